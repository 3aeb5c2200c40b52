"""A row of the sheet, and how its cells are read and compared as texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RowData:
    """One row of the sheet, read by column title."""

    #: 1-based, as Feishu shows it
    row_number: int
    #: picture: a file token, a path or a link, as the cell holds it
    product_image: Any = None
    model_image: Any = None
    prompt: str = ""
    #: 图片是否已处理
    status: str = ""
    #: 产品模特合成图
    composite_image: Any = None
    product_name: str = ""
    model_name: str = ""
    #: 视频是否已实现
    video_status: str = ""
    #: every titled cell of the row, as it was read
    original_data: dict[str, Any] = field(default_factory=dict)


def cell_text(cell: Any) -> str:
    """What a person reads in a cell: text, number, link, or rich text in segments."""
    if cell is None or isinstance(cell, bool):
        return "" if cell is None else str(cell)
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, list):
        return "".join(cell_text(part) for part in cell)
    if isinstance(cell, Mapping):
        return "" if is_picture(cell) else cell_text(cell.get("text"))
    return str(cell)


def same_text(text: str) -> str:
    """`text` as two cells are compared: line breaks and runs of blanks count as one blank."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def is_picture(cell: Any) -> bool:
    """Whether the cell holds a picture (Feishu: sheets FAQ 8)."""
    return isinstance(cell, Mapping) and cell.get("type") == "embed-image"
