"""The list of a spreadsheet's sheets (sheets/v3 … sheets/query), and the one in it that the settings name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..wording import Wording
from .errors import FeishuError, Reach, Remedy, lacking
from .sheet import Merge


@dataclass(frozen=True)
class Grid:
    """A sheet as the list describes it."""

    sheet_id: str
    rows: int
    columns: int
    merges: tuple[Merge, ...]


def grid_of(sheets: Sequence[Mapping[str, Any]], wanted: str) -> Grid:
    """The sheet `wanted`, by title first, then by id. Raises FeishuError."""
    for name in ("title", "sheet_id"):
        for sheet in sheets:
            if sheet.get(name) == wanted:
                try:
                    return _grid(sheet)
                except (KeyError, TypeError, ValueError, OverflowError):
                    raise lacking("sheets/query") from None
    titles = ", ".join(str(sheet.get("title")) for sheet in sheets)
    raise FeishuError(
        Wording(
            f"the spreadsheet has no sheet {wanted!r}; it has: {titles or 'none'}",
            f"表格里没有工作表“{wanted}”；现有：{titles or '无'}",
        ),
        code=90215,
        remedy=Remedy.FINAL,
        reach=Reach.DOCUMENT,
        advice=Wording("set FEISHU_SHEET_NAME", "请设置 FEISHU_SHEET_NAME"),
    )


def _grid(sheet: Mapping[str, Any]) -> Grid:
    size = sheet.get("grid_properties") or {}
    rows, columns = (max(1, int(size.get(name) or 1)) for name in ("row_count", "column_count"))
    merges = (_merge(merge, rows, columns) for merge in sheet.get("merges") or ())
    return Grid(str(sheet["sheet_id"]), rows, columns, tuple(merges))


def _merge(data: Mapping[str, Any], rows: int, columns: int) -> Merge:
    """What is merged, inside the grid."""
    names = ("start_row_index", "end_row_index", "start_column_index", "end_column_index")
    first_row, last_row, first_column, last_column = (max(0, int(data.get(name) or 0)) for name in names)
    return Merge(first_row, min(last_row, rows - 1), first_column, min(last_column, columns - 1))
