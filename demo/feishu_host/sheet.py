"""The stand-in's spreadsheet: sheets, rows, pictures and merges, without any HTTP.

Row numbers and columns count from 1, as people see them. All methods can be called from any thread.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from .cells import CellValue, CellWrite, Picture, PictureWrite, RowValues, plain_text
from .pictures import pixel_size
from .ranges import Area, cell_position, column_letters, moved, parse_area

__all__ = ["DEFAULT_HEADER", "Sheet", "Spreadsheet"]

DEFAULT_HEADER: Final = (
    "产品图",
    "产品名",
    "模特图",
    "模特名",
    "提示词",
    "图片是否已处理",
    "产品模特合成图",
    "视频是否已实现",
)
#: what a new sheet has in Feishu
GRID_ROWS: Final = 200
GRID_COLUMNS: Final = 20


class Spreadsheet:
    """One document with its sheets. `revision` goes up by one with every change."""

    def __init__(self, token: str, clock: Callable[[], float] = time.time, title: str = "商品") -> None:
        self.token = token
        self.title = title
        self.owner_id = "ou_standin_owner"
        self.clock = clock
        self.revision = 1
        self.sheets: list[Sheet] = []
        #: every picture that was ever stored, also those that were overwritten: they count to Feishu's limit
        self.pictures: dict[str, Picture] = {}
        #: called with the lock held after each change
        self.on_change: Callable[[Spreadsheet], None] | None = None
        self.base_url = ""
        self.lock = threading.RLock()
        self._depth = 0

    @property
    def url(self) -> str:
        """Where a person opens it."""
        return f"{self.base_url}/sheets/{self.token}"

    @property
    def next_revision(self) -> int:
        """What the change under way makes of it: it counts when it is complete."""
        return self.revision + 1

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the lock; at the outer end count one revision and tell the listener."""
        with self.lock:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            if self._depth == 0:
                self.revision += 1
                if self.on_change is not None:
                    self.on_change(self)

    def add_sheet(
        self, title: str, rows: Sequence[RowValues] = (), *, header: Sequence[str] = DEFAULT_HEADER, header_row: int = 1
    ) -> Sheet:
        """Add a sheet: the header in `header_row`, the rows under it, given by title or in the header's order."""
        with self.change():
            sheet = Sheet(self, title, f"sid{len(self.sheets) + 1:03d}", header, header_row)
            self.sheets.append(sheet)
            for number, values in enumerate(rows, header_row + 1):
                sheet.insert_row(number, values)
            return sheet

    def by_id(self, sheet_id: str) -> Sheet | None:
        return next((sheet for sheet in self.sheets if sheet.sheet_id == sheet_id), None)

    def by_title(self, title: str) -> Sheet | None:
        return next((sheet for sheet in self.sheets if sheet.title == title), None)

    def store_picture(self, data: bytes, name: str) -> Picture:
        """Keep the bytes under a new token, as each write does, also of the same bytes."""
        with self.lock:
            width, height = pixel_size(data)
            token = f"standinPicture{len(self.pictures) + 1:05d}"
            picture = Picture(token, name, data, hashlib.sha256(data).hexdigest(), width, height)
            self.pictures[token] = picture
            return picture

    def cell_json(self, value: CellValue) -> Any:
        """The cell as the API shows it: a picture is an object, not a list."""
        if not isinstance(value, Picture):
            return value
        query = f"height=1280&mount_node_token={self.token}&mount_point=sheet_image&policy=equal&width=1280"
        return {
            "fileToken": value.token,
            "height": value.height,
            "width": value.width,
            "text": "",
            "type": "embed-image",
            "link": f"{self.base_url}/_standin/picture/{value.token}?{query}",
        }

    def to_json(self) -> dict[str, Any]:
        """Everything but the bytes of the pictures."""
        with self.lock:
            return {"revision": self.revision, "sheets": [sheet.to_json() for sheet in self.sheets]}


class Sheet:
    """One sheet. Made by `Spreadsheet.add_sheet`."""

    def __init__(self, book: Spreadsheet, title: str, sheet_id: str, header: Sequence[str], header_row: int) -> None:
        self.book = book
        self.title = title
        self.sheet_id = sheet_id
        #: where the titles stand; moves when rows are inserted or deleted above
        self.header_row = header_row
        self.picture_writes: list[PictureWrite] = []
        self.cell_writes: list[CellWrite] = []
        self.merges: list[Area] = []
        self._rows: list[list[CellValue]] = [[] for _ in range(header_row - 1)] + [list(header)]

    @property
    def revision(self) -> int:
        return self.book.revision

    @property
    def last_row(self) -> int:
        """The last row with anything in it."""
        with self.book.lock:
            filled = (number for number in range(len(self._rows), 0, -1) if any(_filled(self._rows[number - 1])))
            return next(filled, 0)

    @property
    def last_column(self) -> int:
        """The last column with anything in it."""
        with self.book.lock:
            return max(
                (max((i for i, on in enumerate(_filled(row), 1) if on), default=0) for row in self._rows), default=0
            )

    @property
    def row_count(self) -> int:
        return max(GRID_ROWS, len(self._rows))

    @property
    def column_count(self) -> int:
        return max(GRID_COLUMNS, max(map(len, self._rows), default=0))

    @property
    def titles(self) -> list[str]:
        """The header, in order."""
        with self.book.lock:
            return [plain_text(value) for value in self._rows[self.header_row - 1]]

    def find(self, title: str) -> str:
        """The column's letters, by its title. KeyError where there is none."""
        titles = self.titles
        if title not in titles:
            raise KeyError(title)
        return column_letters(titles.index(title) + 1)

    def find_rows(self, **texts: str) -> list[int]:
        """Numbers of the rows whose cells read so, for example `find_rows(产品名="杯子")`."""
        with self.book.lock:
            numbers = range(self.header_row + 1, len(self._rows) + 1)
            return [n for n in numbers if all(self.row_texts(n).get(title) == text for title, text in texts.items())]

    def get(self, cell: str) -> CellValue:
        """The value of a cell such as H7."""
        row, column = cell_position(cell)
        with self.book.lock:
            return self.at(row, column)

    def at(self, row: int, column: int) -> CellValue:
        with self.book.lock:
            cells = self._rows[row - 1] if row <= len(self._rows) else []
            return cells[column - 1] if column <= len(cells) else None

    def text(self, cell: str) -> str:
        """What a person reads in the cell."""
        return plain_text(self.get(cell))

    def row(self, number: int) -> dict[str, CellValue]:
        """The row by the titles of the columns."""
        with self.book.lock:
            return {title: self.at(number, column) for column, title in enumerate(self.titles, 1) if title}

    def row_texts(self, number: int) -> dict[str, str]:
        """The row as a person reads it."""
        return {title: plain_text(value) for title, value in self.row(number).items()}

    def set(self, cell: str, value: Any) -> None:
        """What a person does: put a value into a cell. Bytes become a picture."""
        row, column = cell_position(cell)
        with self.book.change():
            self._set(row, column, self._value(value))

    def insert_row(self, at: int, values: RowValues = ()) -> None:
        """Insert a row so that it becomes number `at`; values by title, or in order."""
        with self.book.change():
            self.insert_blank(at, 1)
            if isinstance(values, Mapping):
                values = self._in_order(values)
            for column, value in enumerate(values, 1):
                self._set(at, column, self._value(value))

    def insert_blank(self, at: int, count: int) -> None:
        """Insert empty rows; what was at `at` and below moves down."""
        with self.book.change():
            while len(self._rows) < at - 1:
                self._rows.append([])
            self._rows[at - 1 : at - 1] = [[] for _ in range(count)]
            self.header_row += count if at <= self.header_row else 0
            self.merges = [moved(area, at, count) for area in self.merges]

    def delete_row(self, number: int) -> None:
        """Delete a row; the rows below move up. The header cannot be deleted."""
        with self.book.change():
            if number == self.header_row:
                raise ValueError("the header row cannot be deleted")
            del self._rows[number - 1 : number]
            self.header_row -= 1 if number < self.header_row else 0
            kept = [area for area in self.merges if (area.first_row, area.last_row) != (number, number)]
            self.merges = [moved(area, number + 1, -1) for area in kept]

    def sort(self, key: str | Callable[[dict[str, str]], Any], *, reverse: bool = False) -> None:
        """Sort the rows below the header by a title, or by a function of the row's texts. Takes merges apart."""
        with self.book.change():
            numbers = range(self.header_row + 1, self.last_row + 1)
            chosen = key if callable(key) else (lambda texts: texts[key])
            order = sorted(numbers, key=lambda number: chosen(self.row_texts(number)), reverse=reverse)
            self._rows[self.header_row :] = [self._rows[number - 1] for number in order]
            self.merges = [area for area in self.merges if area.first_row <= self.header_row]

    def merge(self, area: str) -> None:
        """Merge cells: the first keeps its value, the others become empty and stay so, whatever is written there.

        What the service does with a write under a merge is documented nowhere; nobody would see the value.
        """
        merged = parse_area(area)
        with self.book.change():
            self.merges.append(merged)
            for row in range(merged.first_row, (merged.last_row or merged.first_row) + 1):
                for column in range(merged.first_column, merged.last_column + 1):
                    if (row, column) != (merged.first_row, merged.first_column):
                        self._set(row, column, None)

    def read(self, area: Area) -> list[list[CellValue]]:
        """The values, filled up with None to the size of the area."""
        last_row = area.last_row or self.row_count
        columns = range(area.first_column, area.last_column + 1)
        with self.book.lock:
            return [[self.at(row, column) for column in columns] for row in range(area.first_row, last_row + 1)]

    def write(self, area: Area, values: Sequence[Sequence[CellValue]]) -> None:
        """What a values call does, and a record of each cell it wrote."""
        with self.book.change():
            written = []
            for row, cells in enumerate(values, area.first_row):
                for column, value in enumerate(cells, area.first_column):
                    self._set(row, column, value)
                    written.append((row, column, value))
            for row, column, value in written:
                cell, title = f"{column_letters(column)}{row}", self._title(column)
                self.cell_writes.append(CellWrite(cell, row, title, value, self.row_texts(row), self.book.clock()))

    def write_picture(self, row: int, column: int, data: bytes, name: str) -> Picture:
        """What a `values_image` call does, and a record of it."""
        with self.book.change():
            picture = self.book.store_picture(data, name)
            self._set(row, column, picture)
            cell, title, texts = f"{column_letters(column)}{row}", self._title(column), self.row_texts(row)
            self.picture_writes.append(
                PictureWrite(cell, row, title, texts, name, picture.sha256, picture.token, self.book.clock(), data)
            )
            return picture

    def to_json(self) -> dict[str, Any]:
        """The sheet for a page or a verifier; the cells as the API shows them, pictures with their checksum."""
        with self.book.lock:
            return {
                "title": self.title,
                "sheet_id": self.sheet_id,
                "revision": self.revision,
                "header_row": self.header_row,
                "last_row": self.last_row,
                "columns": [column_letters(number) for number in range(1, max(self.last_column, 8) + 1)],
                "merges": [str(area) for area in self.merges],
                "rows": [[self._shown(value) for value in row] for row in self._rows],
                "picture_writes": [write.to_json() for write in self.picture_writes],
            }

    def _shown(self, value: CellValue) -> Any:
        if not isinstance(value, Picture):
            return value
        return {**self.book.cell_json(value), "name": value.name, "sha256": value.sha256}

    def _value(self, value: Any) -> CellValue:
        if isinstance(value, (bytes, bytearray)):
            return self.book.store_picture(bytes(value), "picture.png")
        checked: CellValue = value
        return checked

    def _set(self, row: int, column: int, value: CellValue) -> None:
        while len(self._rows) < row:
            self._rows.append([])
        cells = self._rows[row - 1]
        cells.extend([None] * (column - len(cells)))
        cells[column - 1] = None if value == "" or self._covered(row, column) else value

    def _covered(self, row: int, column: int) -> bool:
        """Whether the cell lies under a merge, and is not its first."""
        return any(
            area.first_row <= row <= (area.last_row or area.first_row)
            and area.first_column <= column <= area.last_column
            and (row, column) != (area.first_row, area.first_column)
            for area in self.merges
        )

    def _title(self, column: int) -> str:
        titles = self.titles
        return titles[column - 1] if column <= len(titles) else ""

    def _in_order(self, values: Mapping[str, Any]) -> list[Any]:
        titles = self.titles
        unknown = [title for title in values if title not in titles]
        if unknown:
            raise KeyError(f"no column is called {unknown[0]}")
        return [values.get(title) for title in titles]


def _filled(row: Sequence[CellValue]) -> Iterator[bool]:
    return (value is not None for value in row)
