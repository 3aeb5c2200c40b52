"""A read sheet: where its columns are, what its cells say, and which row a task belongs to. No network here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .records import RowData, TaskRecord
from .settings import Columns

#: The header is looked for in the first rows; above it people keep a title or notes.
HEADER_ROWS: Final = 5


class SheetLayoutError(ValueError):
    """The sheet has no header that we know, or a column is missing; names the titles that are there."""


class RowNotFoundError(LookupError):
    """The row of a task cannot be told for sure: nothing is written."""


def column_letters(index: int) -> str:
    """0 → A, 25 → Z, 26 → AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


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


def is_picture(cell: Any) -> bool:
    """Whether the cell holds a picture (Feishu: sheets FAQ 8)."""
    return isinstance(cell, Mapping) and cell.get("type") == "embed-image"


@dataclass(frozen=True)
class SheetTable:
    """One sheet as it was read: its id, all its cells, and where the header is."""

    sheet_id: str
    values: Sequence[Sequence[Any]]
    #: index of the header in `values`
    header: int
    #: column field (`Columns`) → index
    places: Mapping[str, int]
    columns: Columns
    #: goes up with each change of the spreadsheet, whoever makes it
    revision: int | None = None

    def cell(self, row_number: int, field: str) -> Any:
        """The cell of a column in a row (1-based); None where there is none."""
        row = self.values[row_number - 1] if 0 < row_number <= len(self.values) else ()
        place = self.place(field)
        return row[place] if place < len(row) else None

    def text(self, row_number: int, field: str) -> str:
        """The cell's text, without blanks around it."""
        return cell_text(self.cell(row_number, field)).strip()

    def place(self, field: str) -> int:
        """The column's index; raises SheetLayoutError that names what is missing and what is there."""
        if field not in self.places:
            there = [cell_text(cell) for cell in self.values[self.header] if cell_text(cell)]
            raise SheetLayoutError(
                f"the sheet has no column {getattr(self.columns, field)!r}; "
                f"its titles are: {', '.join(there) or 'none'}"
            )
        return self.places[field]

    def address(self, row_number: int, field: str) -> str:
        """The cell's address with start and end, as Feishu wants it."""
        cell = f"{column_letters(self.place(field))}{row_number}"
        return f"{self.sheet_id}!{cell}:{cell}"

    def row_numbers(self) -> range:
        """The rows below the header, 1-based."""
        return range(self.header + 2, len(self.values) + 1)

    def rows(self) -> list[RowData]:
        """The rows that name a product or a model."""
        titles = [cell_text(cell).strip() for cell in self.values[self.header]]
        rows = []
        for number in self.row_numbers():
            if not any(self._optional_text(number, field) for field in ("product_name", "model_name")):
                continue
            cells = self.values[number - 1]
            rows.append(
                RowData(
                    row_number=number,
                    product_image=self._optional(number, "product_image"),
                    model_image=self._optional(number, "model_image"),
                    prompt=self._optional_text(number, "prompt"),
                    status=self._optional_text(number, "image_status"),
                    composite_image=self._optional(number, "composite_image"),
                    product_name=self._optional_text(number, "product_name"),
                    model_name=self._optional_text(number, "model_name"),
                    video_status=self._optional_text(number, "video_status"),
                    original_data={title: cell for title, cell in zip(titles, cells, strict=False) if title},
                )
            )
        return rows

    def _optional(self, row_number: int, field: str) -> Any:
        return self.cell(row_number, field) if field in self.places else None

    def _optional_text(self, row_number: int, field: str) -> str:
        return self.text(row_number, field) if field in self.places else ""

    def row_of(self, task: TaskRecord) -> int:
        """The row that a task was made for: where it was, if product and model still stand there, else the only
        row that has them. Raises RowNotFoundError that names what was looked for and what was found."""
        wanted = self._identity(task)
        if not (wanted["product_name"] or wanted["model_name"]):
            raise RowNotFoundError(
                f"the task names no product and no model, so row {task.row_number} cannot be checked"
            )
        for field in wanted:
            self.place(field)
        if task.row_number is not None and self._matches(task.row_number, wanted):
            return task.row_number
        found = [number for number in self.row_numbers() if self._matches(number, wanted)]
        if len(found) == 1:
            return found[0]
        raise RowNotFoundError(self._not_found(task, wanted, found))

    def shows(self, task: TaskRecord, row_number: int) -> bool:
        """Whether this very row is the task's."""
        return self._matches(row_number, self._identity(task))

    def _identity(self, task: TaskRecord) -> dict[str, str]:
        """What the task's row must say, by column field."""
        wanted = {"product_name": task.product_name.strip(), "model_name": task.model_name.strip()}
        prompt = str(task.metadata.get("feishu_row_data", {}).get("prompt") or "").strip()
        return {**wanted, "prompt": prompt} if prompt and "prompt" in self.places else wanted

    def _matches(self, row_number: int, wanted: Mapping[str, str]) -> bool:
        return row_number in self.row_numbers() and all(
            self.text(row_number, field) == text for field, text in wanted.items()
        )

    def _not_found(self, task: TaskRecord, wanted: Mapping[str, str], found: Sequence[int]) -> str:
        looked_for = " · ".join(f"{getattr(self.columns, field)} {text!r}" for field, text in wanted.items())
        if found:
            rows = ", ".join(map(str, found))
            return f"{looked_for} stands in several rows ({rows}), and no longer in row {task.row_number}"
        number = task.row_number or 0
        if number in self.row_numbers():
            now = " · ".join(f"{self.text(number, field)!r}" for field in wanted)
            return f"{looked_for} stands in no row; row {number} now has {now}"
        return f"{looked_for} stands in no row; the sheet has no row {number}"


def read_table(sheet_id: str, values: Sequence[Sequence[Any]], columns: Columns) -> SheetTable:
    """Find the header among the first rows; raises SheetLayoutError when none of them has our titles."""
    best: dict[str, int] = {}
    header = 0
    for index, row in enumerate(values[:HEADER_ROWS]):
        places = _places([cell_text(cell).strip() for cell in row or ()], columns)
        # A note above the header may name all titles in one cell: that is one column, not many.
        if len(set(places.values())) > len(set(best.values())):
            best, header = places, index
    if not best:
        first = [cell_text(cell) for row in values[:HEADER_ROWS] for cell in row or () if cell_text(cell)]
        raise SheetLayoutError(
            f"none of the first {HEADER_ROWS} rows has the titles {columns.product_name!r}, {columns.model_name!r} …; "
            f"they hold: {', '.join(first[:20]) or 'nothing'}"
        )
    return SheetTable(sheet_id, [row or () for row in values], header, best, columns)


def _places(titles: Sequence[str], columns: Columns) -> dict[str, int]:
    """Exact titles first, then the only title that contains the wanted one."""
    places = {}
    for field, wanted in dataclasses.asdict(columns).items():
        exact = [index for index, title in enumerate(titles) if title == wanted]
        contained = [index for index, title in enumerate(titles) if wanted and wanted in title]
        if exact or len(contained) == 1:
            places[field] = (exact or contained)[0]
    return places
