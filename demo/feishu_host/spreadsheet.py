"""The stand-in's spreadsheet: its sheets, and what the answers say of its version."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from .book import Book
from .cells import RowValues
from .sheet import DEFAULT_HEADER, Sheet
from .switches import Switches

__all__ = ["Spreadsheet"]


class Spreadsheet(Book):
    """One document with its sheets."""

    def __init__(
        self, token: str, switches: Switches, clock: Callable[[], float] = time.time, title: str = "商品"
    ) -> None:
        super().__init__(token, switches, clock)
        self.title = title
        self.owner_id = "ou_standin_owner"
        self.sheets: list[Sheet] = []

    @property
    def url(self) -> str:
        """Where a person opens it."""
        return f"{self.base_url}/sheets/{self.token}"

    def add_sheet(
        self,
        title: str,
        rows: Sequence[RowValues] = (),
        *,
        header: Sequence[str] = DEFAULT_HEADER,
        header_row: int = 1,
        header_rows: int = 1,
    ) -> Sheet:
        """Add a sheet: the header from `header_row` on, the rows under it, by title or in the header's order."""
        with self.change():
            sheet = Sheet(self, title, f"sid{len(self.sheets) + 1:03d}", header, header_row, header_rows)
            self.sheets.append(sheet)
            for number, values in enumerate(rows, sheet.first_row):
                sheet.insert_row(number, values)
            return sheet

    def by_id(self, sheet_id: str) -> Sheet | None:
        return next((sheet for sheet in self.sheets if sheet.sheet_id == sheet_id), None)

    def by_title(self, title: str) -> Sheet | None:
        return next((sheet for sheet in self.sheets if sheet.title == title), None)

    def to_json(self) -> dict[str, Any]:
        """Everything but the bytes of the pictures."""
        with self.lock:
            return {"revision": self.revision, "sheets": [sheet.to_json() for sheet in self.sheets]}
