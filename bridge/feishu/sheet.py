"""A read sheet: where its columns are, what its cells say, and which row a task belongs to. No network here."""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Final

from ..settings import Columns
from ..table.cells import cell_text, literal, pictures_in, read_cell, words_in
from ..table.records import is_task_id
from ..table.row_identity import PICTURES, TEXTS, UNCLEAR, RowIdentity, RowIndex, key_text, picture_key
from ..table.rows import RowData
from ..wording import Wording
from .titles import meant, only_meant, unbroken

#: The header is looked for in the first rows; above it people keep a title or notes.
HEADER_ROWS: Final = 5
#: Columns that a sheet need not have.
OPTIONAL: Final = frozenset({"task_id"})
STATUSES: Final = ("image_status", "video_status")
#: The columns that are written into.
WRITTEN: Final = (*STATUSES, "composite_image", "video_link", "task_id")
#: The columns that decide what is paid for, and where it goes. Pictures may be a team's own to read, by other titles.
_DECIDE: Final = frozenset({*TEXTS, *STATUSES, "composite_image"})
#: The columns by which rows are told apart, and what is kept of them.
_TELLS_APART: Final = frozenset({*TEXTS, *PICTURES, "task_id"})
#: A column's letters, as a name.
_LETTERS: Final = re.compile(r"([A-Z]+):\1")
_MAY_BE_EMPTY: Final = Wording(" (an empty one if there is none)", "（没有这一列就设为空）")
_FIELDS: Final = frozenset(field.name for field in dataclasses.fields(Columns))
_MADE_OF_ROWS: Final = ("index", "_merges_by_column")


class SheetLayoutError(ValueError):
    """The sheet has no header that we know, or a column is missing; names the titles that are there."""

    def __init__(self, wording: Wording) -> None:
        self.wording = wording
        super().__init__(wording.en)


@dataclass(frozen=True)
class Merge:
    """Cells that are shown as one; only the first holds the value. All four are indexes from 0, inclusive."""

    first_row: int
    last_row: int
    first_column: int
    last_column: int


def column_letters(index: int) -> str:
    """0 → A, 25 → Z, 26 → AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


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
    #: of all columns, as people read the header
    titles: Sequence[str] = ()
    merges: Sequence[Merge] = ()
    #: goes up with each change of the spreadsheet, whoever makes it
    revision: int | None = None
    #: rows and columns of its grid
    size: tuple[int, int] = (0, 0)

    def cell(self, row_number: int, field: str) -> Any:
        """The cell of a column in a row (1-based); None where there is none. Below the header, a cell that is merged
        with the one above it shows that one's value, as people read it."""
        row, place = row_number - 1, self.place(field)
        merge = self._merge_at(row, place)
        if merge is not None and merge.first_row > self.header and merge.first_column == place:
            row = merge.first_row
        cells = self.values[row] if 0 <= row < len(self.values) else ()
        return cells[place] if place < len(cells) else None

    def text(self, row_number: int, field: str) -> str | None:
        """The cell's text, without blanks around it; None for a cell that is not understood."""
        text = read_cell(self.cell(row_number, field))
        return None if text is None else text.strip()

    def picture(self, row_number: int, field: str = "composite_image") -> str | None:
        """The token of the picture that a row shows, of all where there are several; Feishu never uses one twice."""
        return ",".join(pictures_in(self.cell(row_number, field))) or None

    def shown(self, row_number: int, field: str) -> str | None:
        """A cell's picture, else its text."""
        return self.picture(row_number, field) or self.text(row_number, field)

    def with_values(self, changes: Mapping[tuple[int, str], Any]) -> SheetTable:
        """The same sheet with some cells, (row number, field) → value, written since."""
        values = list(self.values)
        values += [[] for _ in range(max((row for row, _ in changes), default=0) - len(values))]
        for (row_number, field), value in changes.items():
            row, place = list(values[row_number - 1]), self.place(field)
            row += [None] * (place + 1 - len(row))
            row[place] = value
            values[row_number - 1] = row
        changed = dataclasses.replace(self, values=values)
        if not _TELLS_APART.intersection(field for _, field in changes):  # what was made of the rows still holds
            vars(changed).update({name: vars(self)[name] for name in _MADE_OF_ROWS if name in vars(self)})
        return changed

    def with_formulas(self, first: int, fields: Sequence[str], rows: Sequence[Sequence[Any]]) -> SheetTable:
        """The same sheet with its formulas as such, by another reading of `fields` from row `first` on: what they give
        is not to be written over."""
        return self.with_values(
            {
                (number, field): {"type": "formula", "text": cell}
                for number, cells in enumerate(rows, first)
                for field, cell in zip(fields, cells, strict=False)
                if isinstance(cell, str) and cell.startswith("=")
            }
        )

    def place(self, field: str) -> int:
        """The column's index; raises SheetLayoutError that names what is missing and what is there."""
        if field in self.places:
            return self.places[field]
        wanted, titles = self.title(field), self.titles
        if field not in _FIELDS and field in self.names:
            return self.names[field]
        twice = meant(titles, self.columns).get(field, [])
        if len(twice) > 1:
            letters = ", ".join(f"{column_letters(index)} {titles[index]}" for index in twice)
            raise SheetLayoutError(
                Wording(
                    f"several columns of the sheet may be {wanted!r} ({letters}): rename all but one, or set the title "
                    "under [columns]",
                    f"表格里有好几列可能是“{wanted}”（{letters}）：请只保留一个，其余改名，或在 [columns] 里设置列名",
                )
            )
        there = ", ".join(filter(None, titles))
        empty = _MAY_BE_EMPTY if field in TEXTS else Wording("", "")
        raise SheetLayoutError(
            Wording(
                f"the sheet has no column {wanted!r}; its titles are: {there or 'none'} → add or rename it, "
                f"or set its title under [columns]{empty.en}",
                f"表格里没有“{wanted}”这一列；现有的列：{there or '无'} → 请新增或改名，"
                f"或在 [columns] 里设置列名{empty.zh}",
            )
        )

    def title(self, name: str) -> str:
        """What people call the column of a field, or of another name."""
        return str(getattr(self.columns, name)) if name in _FIELDS else name

    @cached_property
    def names(self) -> Mapping[str, int]:
        """All columns: by their field, else by their title; what has none of its own by its letters, which mean it in
        this reading alone."""
        fields, times = {index: field for field, index in self.places.items()}, Counter(self.titles)
        names: dict[str, int] = {}
        for index in range(max((len(cells) for cells in self.values), default=0)):
            letters, title = column_letters(index), self.title_at(index)
            own = title and times[title] == 1 and title not in _FIELDS and not _LETTERS.fullmatch(title)
            names[fields.get(index) or (title if own else f"{letters}:{letters}")] = index
        return names

    def name_at(self, index: int) -> str:
        """The name of the column that stands there."""
        letters = column_letters(index)
        return next((name for name, place in self.names.items() if place == index), f"{letters}:{letters}")

    def title_at(self, index: int) -> str:
        """The title of the column that stands there."""
        return self.titles[index] if 0 <= index < len(self.titles) else ""

    def has_moved(self, earlier: SheetTable) -> bool:
        """Whether columns stand elsewhere than in an earlier reading."""
        return _without_blanks(self.titles) != _without_blanks(earlier.titles)

    def shares(self, name: str, other: SheetTable) -> bool:
        """Whether a column is in both readings, under that name."""
        same = not _LETTERS.fullmatch(name) or not self.has_moved(other)
        return same and name in self.names and name in other.names

    def check_columns(self) -> list[str]:
        """The titles of the columns that are not there. Raises SheetLayoutError where several may be one of them, or
        another one has a longer title, or where one is gone by which rows are told apart: what it says would be left
        out, and a row be paid for without its 提示词. Who has no such column says so by an empty title."""
        missing = []
        for field, title in dataclasses.asdict(self.columns).items():
            if title and field not in (*OPTIONAL, *self.places):
                longer = self._longer_than(title)
                if field in TEXTS or len(longer) == 1 or (longer and field in _DECIDE):
                    self.place(field)
                missing.append(title)
        return missing

    def _longer_than(self, wanted: str) -> list[str]:
        others = {unbroken(title) for title in dataclasses.asdict(self.columns).values() if title != wanted}
        return [title for title in map(unbroken, self.titles) if unbroken(wanted) in title and title not in others]

    def address(self, row_number: int, field: str) -> str:
        """The cell's address with start and end, as Feishu wants it, to be written. Raises SheetLayoutError for a cell
        that is merged into another one, because what is written there is not shown; and for one that holds what is not
        understood, perhaps a formula: that is not written over."""
        cell = f"{column_letters(self.place(field))}{row_number}"
        merge = self._merge_at(row_number - 1, self.place(field))
        if merge is not None and (merge.first_row, merge.first_column) != (row_number - 1, self.place(field)):
            first = f"{column_letters(merge.first_column)}{merge.first_row + 1}"
            raise SheetLayoutError(
                Wording(
                    f"cell {cell} is merged into {first}, so row {row_number} has no cell of its own in "
                    f"{self.title(field)!r}: split the merged cells",
                    f"单元格 {cell} 已合并到 {first}，第 {row_number} 行在“{self.title(field)}”"
                    "没有自己的单元格：请取消合并",
                )
            )
        if self.text(row_number, field) is None:
            title = self.title(field)
            raise SheetLayoutError(
                Wording(
                    f"cell {cell} ({title!r}) holds something that is not understood, perhaps a formula: it is not "
                    "written over → empty it, then push again",
                    f"单元格 {cell}（“{title}”）里有无法识别的内容（可能是公式），不会覆盖 → 请清空它，再重新推送",
                )
            )
        return f"{self.sheet_id}!{cell}:{cell}"

    def _merge_at(self, row: int, column: int) -> Merge | None:
        merges = self._merges_by_column.get(column, ())
        above = bisect_right(merges, row, key=attrgetter("first_row")) - 1
        return merges[above] if above >= 0 and row <= merges[above].last_row else None

    @cached_property
    def _merges_by_column(self) -> Mapping[int, Sequence[Merge]]:
        """The merges of each column, from the top; they never overlap."""
        found = defaultdict(list)
        for merge in sorted(self.merges, key=attrgetter("first_row")):
            for column in range(merge.first_column, merge.last_column + 1):
                found[column].append(merge)
        return found

    def row_numbers(self) -> range:
        """The rows below the header, 1-based."""
        return range(self.header + 2, len(self.values) + 1)

    def unclear_rows(self, columns: Sequence[str] = TEXTS) -> list[int]:
        """The rows in which a cell of `columns` is not understood, such as a formula that is shown as one. With a name
        or a 提示词 like that, what would be rendered is not known, and could not be delivered."""
        fields = [field for field in columns if field in self.places]
        return [number for number in self.row_numbers() if any(self.text(number, field) is None for field in fields)]

    def rows(self, read_at: float = 0.0) -> list[RowData]:
        """The rows that name a product or a model, without the unclear ones. `read_at`: see `RowData`."""
        rows, unclear = [], set(self.unclear_rows())
        for number in self.row_numbers():
            named = any(self.optional_text(number, field) for field in ("product_name", "model_name"))
            if not named or number in unclear:
                continue
            cells = self.values[number - 1]
            rows.append(
                RowData(
                    row_number=number,
                    product_image=self._optional(number, "product_image"),
                    model_image=self._optional(number, "model_image"),
                    prompt=self.optional_text(number, "prompt"),
                    status=self.optional_text(number, "image_status"),
                    composite_image=self._optional(number, "composite_image"),
                    product_name=self.optional_text(number, "product_name"),
                    model_name=self.optional_text(number, "model_name"),
                    video_status=self.optional_text(number, "video_status"),
                    original_data={title: cell for title, cell in zip(self.titles, cells, strict=False) if title},
                    task_number=self.optional_text(number, "task_id"),
                    read_at=read_at,
                )
            )
        return rows

    def _optional(self, row_number: int, field: str) -> Any:
        return self.cell(row_number, field) if field in self.places else None

    def optional_text(self, row_number: int, field: str) -> str:
        """The cell's text, "" where there is no such column, or the cell is not understood."""
        return (self.text(row_number, field) or "") if field in self.places else ""

    def identity(self, row_number: int) -> RowIdentity:
        """What tells a row from the others."""
        return self.index.rows[row_number]

    @cached_property
    def index(self) -> RowIndex:
        """All rows below the header. Made once: where one was inserted above, every task has to look for its row."""
        rows = {number: self._identity(number) for number in self.row_numbers()}
        numbered = rows if "task_id" in self.places else ()
        return RowIndex(rows, {number: list(filter(is_task_id, self.task_words(number))) for number in numbered})

    def _identity(self, row_number: int) -> RowIdentity:
        parts: dict[str, Any] = {}
        for names, key in ((TEXTS, key_text), (PICTURES, picture_key)):
            for name in names:
                if name in self.places:
                    # what is not understood is like nothing else, not even like itself in another row
                    cell = self.cell(row_number, name)
                    text = key(cell)
                    parts[name] = f"{UNCLEAR}{row_number}" if text is None else literal(cell, text)
        return RowIdentity(**parts)

    def task_words(self, row_number: int) -> Sequence[str]:
        """All that stands in the column 任务号, where the sheet has one: numbers, and a person's own words."""
        return words_in(self.optional_text(row_number, "task_id"))


def read_table(
    sheet_id: str, values: Sequence[Sequence[Any]], columns: Columns, merges: Sequence[Merge] = ()
) -> SheetTable:
    """Find the header among the first rows; raises SheetLayoutError when none of them has our titles."""
    best: dict[str, int] = {}
    header, titles = 0, list[str]()
    for index in range(min(HEADER_ROWS, len(values))):
        shown = _titles(values, index, merges)
        places = only_meant(shown, columns)
        # A note above the header may name all titles in one cell: that is one column, not many.
        if len(set(places.values())) > len(set(best.values())):
            best, header, titles = places, index, shown
    if not best:
        first = [cell_text(cell) for row in values[:HEADER_ROWS] for cell in row or () if cell_text(cell)]
        held = ", ".join(first[:20])
        raise SheetLayoutError(
            Wording(
                f"none of the first {HEADER_ROWS} rows has the titles {columns.product_name!r}, "
                f"{columns.model_name!r} …; they hold: {held or 'nothing'}",
                f"前 {HEADER_ROWS} 行里没有“{columns.product_name}”“{columns.model_name}”等列名；"
                f"现有内容：{held or '空'}",
            )
        )
    return SheetTable(sheet_id, [row or () for row in values], header, best, columns, titles, merges)


def _titles(values: Sequence[Sequence[Any]], index: int, merges: Sequence[Merge]) -> list[str]:
    """What people read as titles in a row, also where a title's cell is merged with the one above."""
    shown = [cell_text(cell).strip() for cell in values[index] or ()]
    for merge in merges:
        if merge.first_row < index <= merge.last_row:
            above = values[merge.first_row] or ()
            shown += [""] * (merge.first_column + 1 - len(shown))
            held = above[merge.first_column] if merge.first_column < len(above) else None
            shown[merge.first_column] = shown[merge.first_column] or cell_text(held).strip()
    return shown


def row_number_of(address: str) -> int:
    """The row of a cell's address, 0 where it names none."""
    digits = address.rpartition(":")[2].lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return int(digits) if digits.isdecimal() else 0


def column_of(address: str) -> int:
    """The index of the column of a cell's address, -1 where it names none."""
    index = -1
    for letter in address.rpartition(":")[2].rstrip("0123456789"):
        index = (index + 1) * 26 + ord(letter) - ord("A")
    return index


def _without_blanks(titles: Sequence[str]) -> Sequence[str]:
    """Those at the end may be left out."""
    return titles[: max((place for place, title in enumerate(titles, 1) if title), default=0)]
