"""One sheet of the stand-in's spreadsheet: rows, pictures, merges, protection and drop-downs, without any HTTP.

Row numbers and columns count from 1, as people see them. All methods can be called from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, Literal, TypeAlias

from .book import Book
from .cells import CellValue, CellWrite, Choice, Mixed, Picture, PictureWrite, RowValues, plain_text, with_types
from .late import Old, Row
from .ranges import Area, cell_position, column_letters, column_number, moved, parse_area, rearranged
from .rendering import picture_json

__all__ = ["DEFAULT_HEADER", "Sheet"]

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

_Mark: TypeAlias = Literal["merged", "protected", "one of a list", "several of a list"]
#: whether they take several
_DROP_DOWNS: Final[Mapping[_Mark, bool]] = {"one of a list": False, "several of a list": True}


class Sheet:
    """One sheet. Made by `Spreadsheet.add_sheet`."""

    def __init__(
        self, book: Book, title: str, sheet_id: str, header: Sequence[str], header_row: int, header_rows: int
    ) -> None:
        self.book = book
        self.title = title
        self.sheet_id = sheet_id
        #: where the titles stand; moves when rows are inserted or deleted above
        self.header_row = header_row
        #: how many rows the header is high; each title is merged over all of them
        self.header_rows = header_rows
        self.picture_writes: list[PictureWrite] = []
        self.cell_writes: list[CellWrite] = []
        self._rows: list[Row] = [[] for _ in range(header_row + header_rows - 1)]
        self._rows[header_row - 1] = list(header)
        bottom = header_row + header_rows - 1
        high = [Area(header_row, column, bottom, column) for column in range(1, len(header) + 1)]
        self._marks: dict[_Mark, list[Area]] = {"merged": high if header_rows > 1 else []}

    @property
    def revision(self) -> int:
        return self.book.revision

    @property
    def merges(self) -> list[Area]:
        return self._marked("merged")

    @property
    def first_row(self) -> int:
        """The first row below the header."""
        return self.header_row + self.header_rows

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
    def filled_cells(self) -> int:
        with self.book.lock:
            return sum(sum(_filled(row)) for row in self._rows)

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
            numbers = range(self.first_row, len(self._rows) + 1)
            return [n for n in numbers if all(self.row_texts(n).get(title) == text for title, text in texts.items())]

    def get(self, cell: str) -> CellValue:
        """The value of a cell such as H7."""
        row, column = cell_position(cell)
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

    # What people do

    def set(self, cell: str, value: Any) -> None:
        """Put a value into a cell. Bytes become a picture, a list of texts and bytes a cell with all of them."""
        row, column = cell_position(cell)
        with self._change():
            self._set(row, column, self._value(value))
            self.book.late.overwritten(self._rows[row - 1], column)

    def insert_row(self, at: int, values: RowValues = ()) -> None:
        """Insert a row so that it becomes number `at`; values by title, or in order."""
        with self._change():
            self.insert_blank(at, 1)
            if isinstance(values, Mapping):
                values = self._in_order(values)
            for column, value in enumerate(values, 1):
                self._set(at, column, self._value(value))

    def insert_blank(self, at: int, count: int) -> None:
        """Insert empty rows; what was at `at` and below moves down."""
        with self._change():
            while len(self._rows) < at - 1:
                self._rows.append([])
            self._rows[at - 1 : at - 1] = [[] for _ in range(count)]
            if self.header_row < at < self.first_row:
                self.header_rows += count
            self.header_row += count if at <= self.header_row else 0
            self._move(at, count)

    def delete_row(self, number: int) -> None:
        """Delete a row; the rows below move up. The row with the titles cannot be deleted."""
        with self._change():
            if number == self.header_row:
                raise ValueError("the header row cannot be deleted")
            del self._rows[number - 1 : number]
            if self.header_row < number < self.first_row:
                self.header_rows -= 1
            self.header_row -= 1 if number < self.header_row else 0
            for mark, areas in self._marks.items():
                self._marks[mark] = [area for area in areas if (area.first_row, area.last_row) != (number, number)]
            self._move(number + 1, -1)

    def sort(self, key: str | Callable[[dict[str, str]], Any], *, reverse: bool = False) -> None:
        """Sort the rows below the header by a title, or by a function of the row's texts. Takes merges apart."""
        with self._change():
            numbers = range(self.first_row, self.last_row + 1)
            chosen = key if callable(key) else (lambda texts: texts[key])
            order = sorted(numbers, key=lambda number: chosen(self.row_texts(number)), reverse=reverse)
            self._rows[self.first_row - 1 :] = [self._rows[number - 1] for number in order]
            self._marks["merged"] = [area for area in self.merges if area.first_row < self.first_row]

    def insert_column(self, at: str, title: str = "") -> None:
        """Insert an empty column so that its letters become `at`; what was there and right of it moves on."""
        with self._change():
            columns, place = self._columns(), column_number(at) - 1
            self._rearrange([*columns[:place], None, *columns[place:]])
            self._set(self.header_row, place + 1, title)

    def delete_column(self, letters: str) -> None:
        """Delete a column with all that is in it; what is right of it moves up."""
        with self._change():
            self._rearrange([number for number in self._columns() if number != column_number(letters)])

    def move_column(self, letters: str, to: str) -> None:
        """Drag a column to where its letters become `to`. ValueError where that would tear merged cells apart."""
        with self._change():
            number, columns = column_number(letters), self._columns()
            columns.remove(number)
            columns.insert(column_number(to) - 1, number)
            if any((now := rearranged(area, columns)) is None or now.columns != area.columns for area in self.merges):
                raise ValueError("merged cells cannot be torn apart")
            self._rearrange(columns)

    def merge(self, area: str) -> None:
        """Merge cells: the first keeps its value, the others become empty and stay so, whatever is written there.

        What the service does with a write under a merge is documented nowhere; nobody would see the value.
        """
        merged = parse_area(area)
        with self._change():
            self._mark("merged", merged)
            for row in range(merged.first_row, (merged.last_row or merged.first_row) + 1):
                for column in range(merged.first_column, merged.last_column + 1):
                    if (row, column) != (merged.first_row, merged.first_column):
                        self._set(row, column, None)

    def protect(self, area: str = "") -> None:
        """The API may not write there; without a range, nowhere in the sheet."""
        with self._change():
            self._mark("protected", parse_area(area or "A:ZZZ"))

    def unprotect(self) -> None:
        """The API may write everywhere."""
        with self._change():
            self._marks["protected"] = []

    def drop_down(self, area: str, *, several: bool = False) -> None:
        """What stands in these cells is chosen from a list, whoever writes it."""
        with self._change():
            self._mark(next(mark for mark, takes in _DROP_DOWNS.items() if takes is several), parse_area(area))

    # What the API does

    def protected(self, area: Area) -> bool:
        return any(area.touches(there) for there in self._marked("protected"))

    def read(self, area: Area) -> list[list[CellValue]]:
        """What reads find, filled up with None to the size of the area."""
        last_row = area.last_row or self.row_count
        columns = range(area.first_column, area.last_column + 1)
        with self.book.lock:
            return [[self._found(row, column) for column in columns] for row in range(area.first_row, last_row + 1)]

    def write(self, area: Area, values: Sequence[Sequence[CellValue]]) -> None:
        """What a values call does, and a record of each cell it wrote."""
        with self.book.change(self.sheet_id, "values"):
            written = [
                (row, column, value)
                for row, cells in enumerate(values, area.first_row)
                for column, value in enumerate(cells, area.first_column)
            ]
            self._write(written)
            for row, column, value in written:
                cell, title = f"{column_letters(column)}{row}", self._title(column)
                self.cell_writes.append(CellWrite(cell, row, title, value, self.row_texts(row), self.book.clock()))

    def write_picture(self, row: int, column: int, data: bytes, name: str) -> Picture:
        """What a `values_image` call does, and a record of it."""
        with self.book.change(self.sheet_id, "picture"):
            picture = self.book.store_picture(data, name)
            self.book.written.add(picture.token)
            self._write([(row, column, picture)])
            cell, title, texts = f"{column_letters(column)}{row}", self._title(column), self.row_texts(row)
            self.picture_writes.append(
                PictureWrite(cell, row, title, texts, name, picture.sha256, picture.token, self.book.clock(), data)
            )
            return picture

    def to_json(self) -> dict[str, Any]:
        """The sheet for a page or a verifier; pictures with their checksum."""
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
        if isinstance(value, Picture):
            shown = picture_json(value, self.book.token, self.book.base_url)
            return {**shown, "name": value.name, "sha256": value.sha256}
        if isinstance(value, Mixed):
            return [
                {"type": "text", "text": part} if isinstance(part, str) else self._shown(part) for part in value.parts
            ]
        return value if value is None or isinstance(value, (bool, int, float, list, dict)) else plain_text(value)

    def _value(self, value: Any) -> CellValue:
        if isinstance(value, (bytes, bytearray)):
            return self._picture(value)
        if isinstance(value, list) and any(isinstance(part, (bytes, str)) for part in value):
            return Mixed(tuple(part if isinstance(part, str) else self._picture(part) for part in value))
        return with_types(value)

    def _picture(self, data: bytes | bytearray) -> Picture:
        return self.book.store_picture(bytes(data), "picture.png")

    def _change(self) -> AbstractContextManager[None]:
        return self.book.change(self.sheet_id)

    def _write(self, cells: Sequence[tuple[int, int, CellValue]]) -> None:
        before = []
        for row, column, value in cells:
            there = self.at(row, column)
            self._set(row, column, value)
            before.append(Old(self._rows[row - 1], column, there))
        self.book.late.wrote(self.sheet_id, before, self.book.revisions.of(self.sheet_id))

    def _set(self, row: int, column: int, value: CellValue) -> None:
        while len(self._rows) < row:
            self._rows.append([])
        cells = self._rows[row - 1]
        cells.extend([None] * (column - len(cells)))
        cells[column - 1] = None if value == "" or self._covered(row, column) else value

    def _found(self, row: int, column: int) -> CellValue:
        """What a read finds in a cell: not yet what was written late, and with its drop-down."""
        value = self.at(row, column)
        if row <= len(self._rows):
            value = self.book.late.shown(self._rows[row - 1], column, value)
        if isinstance(value, (int, float, str, Choice)):
            values = value.values if isinstance(value, Choice) else (value,)
            for mark, several in _DROP_DOWNS.items():
                if any(area.holds(row, column) for area in self._marked(mark)):
                    return Choice(values, several)
        return value

    def _covered(self, row: int, column: int) -> bool:
        """Whether the cell lies under a merge, and is not its first."""
        return any(
            area.holds(row, column) and (row, column) != (area.first_row, area.first_column) for area in self.merges
        )

    def _mark(self, mark: _Mark, area: Area) -> None:
        self._marks[mark] = [*self._marked(mark), area]

    def _marked(self, mark: _Mark) -> list[Area]:
        return self._marks.get(mark, [])

    def _move(self, at: int, count: int) -> None:
        """Rows from `at` on have moved; so do the areas."""
        for mark, areas in self._marks.items():
            self._marks[mark] = [moved(area, at, count) for area in areas]

    def _columns(self) -> list[int]:
        return list(range(1, self.column_count + 1))

    def _rearrange(self, columns: Sequence[int | None]) -> None:
        """The former number of each column, None for a new one; all that stands there, and the areas, go along."""
        for row in self._rows:
            row[:] = [row[former - 1] if former is not None and former <= len(row) else None for former in columns]
            while row and row[-1] is None:
                row.pop()
        for mark, areas in self._marks.items():
            self._marks[mark] = [now for area in areas if (now := rearranged(area, columns)) is not None]
        self.book.late.rearranged(self._rows, columns)

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
