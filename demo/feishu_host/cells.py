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
    "Choice",
    "Formatted",
    "Formula",
    "Mixed",
    "Picture",
    "PictureWrite",
    "RowValues",
    "cell_from_json",
    "plain_text",
    "row_from_json",
    "with_types",
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


@dataclass(frozen=True)
class Formatted:
    """A number with a format, `Formatted(0.15, "15%")`; a date counts the days since 1899-12-30."""

    value: int | float
    #: what a person sees
    text: str
    date: bool = False


@dataclass(frozen=True)
class Formula:
    """A formula and what it gives. Nothing is computed: a person says what it gives, the API's gives its own text."""

    text: str
    value: bool | int | float | str | Formatted | None


@dataclass(frozen=True)
class Choice:
    """What was chosen from a drop-down."""

    values: tuple[bool | int | float | str, ...]
    #: the drop-down takes several
    several: bool = True


@dataclass(frozen=True)
class Mixed:
    """Texts and pictures in one cell, or several pictures."""

    parts: tuple[str | Picture, ...]


CellValue: TypeAlias = (
    bool
    | int
    | float
    | str
    | list[dict[str, Any]]
    | dict[str, Any]
    | Picture
    | Formatted
    | Formula
    | Choice
    | Mixed
    | None
)
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
    match value:
        case None | Picture():
            return ""
        case Formatted():
            return value.text
        case Formula():
            return plain_text(value.value)
        case Choice():
            return ",".join(map(str, value.values))
        case Mixed():
            return "".join(part for part in value.parts if isinstance(part, str))
        case list():
            return "".join(str(segment.get("text", "")) for segment in value)
        case dict():
            return str(value.get("text", ""))
    return str(value)


def with_types(value: Any) -> CellValue:
    """A value as the API is given it: a formula and a drop-down are objects there."""
    if isinstance(value, dict) and value.get("type") == "formula":
        text = str(value.get("text", ""))
        return Formula(text, value.get("value", text))
    if isinstance(value, dict) and value.get("type") == "multipleValue":
        return Choice(tuple(value.get("values", ())))
    checked: CellValue = value
    return checked


def cell_from_json(value: Any, folder: Path) -> Any:
    """A cell of a rows file: as the API is given it, or as an object with one of these.

    A picture has `path` or `base64`, a number with a format `number` and `text`, a date `date` and `text`, what was
    chosen from a drop-down of one `choice`, and a cell with several texts and pictures `parts`.
    """
    match value:
        case {"path": path}:
            return (folder / path).read_bytes()
        case {"base64": encoded}:
            return base64.b64decode(encoded)
        case {"number": number, "text": text}:
            return Formatted(number, text)
        case {"date": number, "text": text}:
            return Formatted(number, text, date=True)
        case {"choice": chosen}:
            return Choice((chosen,), several=False)
        case {"parts": parts}:
            return [cell_from_json(part, folder) for part in parts]
    return value


def row_from_json(values: Any, folder: Path) -> Any:
    """A row by title, or in the header's order."""
    if isinstance(values, dict):
        return {title: cell_from_json(value, folder) for title, value in values.items()}
    return [cell_from_json(value, folder) for value in values]
