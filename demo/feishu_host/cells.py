"""What stands in a cell, how a person reads it, and the records of what was written into it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

__all__ = [
    "CellValue",
    "CellWrite",
    "Picture",
    "PictureWrite",
    "RowValues",
    "cell_from_json",
    "plain_text",
    "row_from_json",
]


@dataclass(frozen=True)
class Picture:
    """A picture in a cell."""

    token: str
    name: str
    data: bytes = field(repr=False)
    sha256: str
    width: int
    height: int


CellValue: TypeAlias = bool | int | float | str | list[dict[str, Any]] | dict[str, Any] | Picture | None
RowValues: TypeAlias = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class PictureWrite:
    """One `values_image` that was carried out."""

    cell: str
    row: int
    title: str
    #: the texts of the row at that moment, by title: rows move, so the number alone proves nothing
    row_texts: dict[str, str]
    name: str
    sha256: str
    token: str
    at: float
    data: bytes = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """All but the bytes."""
        shown = {name: value for name, value in vars(self).items() if name != "data"}
        return {**shown, "size": len(self.data)}


@dataclass(frozen=True)
class CellWrite:
    """One cell that a values call wrote, with the texts of its row after that call."""

    cell: str
    row: int
    title: str
    value: CellValue
    row_texts: dict[str, str]
    at: float


def plain_text(value: CellValue) -> str:
    """What a person reads in the cell."""
    if value is None or isinstance(value, Picture):
        return ""
    if isinstance(value, list):
        return "".join(str(segment.get("text", "")) for segment in value)
    if isinstance(value, dict):
        return str(value.get("text", "")) or ",".join(str(item) for item in value.get("values", ()))
    return str(value)


def cell_from_json(value: Any, folder: Path) -> Any:
    """A cell of a rows file: as it stands, or a picture as {"path": …} or {"base64": …}."""
    if isinstance(value, dict) and "path" in value:
        return (folder / value["path"]).read_bytes()
    if isinstance(value, dict) and "base64" in value:
        return base64.b64decode(value["base64"])
    return value


def row_from_json(values: Any, folder: Path) -> Any:
    """A row by title, or in the header's order."""
    if isinstance(values, dict):
        return {title: cell_from_json(value, folder) for title, value in values.items()}
    return [cell_from_json(value, folder) for value in values]
