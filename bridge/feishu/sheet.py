"""A read sheet: where its columns are, what its cells say, and which row a task belongs to. No network here."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, Protocol

from ..settings import Columns
from ..table.rows import RowData, cell_text, is_picture, same_text
from ..wording import Wording

#: The header is looked for in the first rows; above it people keep a title or notes.
HEADER_ROWS: Final = 5
KEY_FIELDS: Final = ("product_name", "model_name", "prompt")


class SheetLayoutError(ValueError):
    """The sheet has no header that we know, or a column is missing; names the titles that are there."""

    def __init__(self, wording: Wording) -> None:
        self.wording = wording
        super().__init__(wording.en)


class RowNotFoundError(LookupError):
    """The row of a task cannot be told for sure: nothing is written."""

    def __init__(self, wording: Wording) -> None:
        self.wording = wording
        super().__init__(wording.en)


class RowOwner(Protocol):
    """Whatever was made for a row: a task's record, or its entry in the index."""

    @property
    def row_number(self) -> int | None: ...
    @property
    def product_name(self) -> str: ...
    @property
    def model_name(self) -> str: ...
    @property
    def prompt(self) -> str: ...


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
    merges: Sequence[Merge] = ()
    #: goes up with each change of the spreadsheet, whoever makes it
    revision: int | None = None

    def cell(self, row_number: int, field: str) -> Any:
        """The cell of a column in a row (1-based); None where there is none. Below the header, a cell that is merged
        with the one above it shows that one's value, as people read it."""
        row, place = row_number - 1, self.place(field)
        merge = self._merge_at(row, place)
        if merge is not None and merge.first_row > self.header and merge.first_column == place:
            row = merge.first_row
        cells = self.values[row] if 0 <= row < len(self.values) else ()
        return cells[place] if place < len(cells) else None

    def text(self, row_number: int, field: str) -> str:
        """The cell's text, without blanks around it."""
        return cell_text(self.cell(row_number, field)).strip()

    def picture(self, row_number: int) -> str | None:
        """The token of the picture that a row shows; Feishu never uses a token twice."""
        cell = self.cell(row_number, "composite_image")
        return str(cell.get("fileToken")) if is_picture(cell) else None

    def with_values(self, changes: Mapping[tuple[int, str], Any]) -> SheetTable:
        """The same sheet with some cells, (row number, field) → value, written since."""
        values = list(self.values)
        for (row_number, field), value in changes.items():
            row, place = list(values[row_number - 1]), self.place(field)
            row += [None] * (place + 1 - len(row))
            row[place] = value
            values[row_number - 1] = row
        return dataclasses.replace(self, values=values)

    def place(self, field: str) -> int:
        """The column's index; raises SheetLayoutError that names what is missing and what is there."""
        if field in self.places:
            return self.places[field]
        wanted, titles = getattr(self.columns, field), [cell_text(cell).strip() for cell in self.values[self.header]]
        twice = [column_letters(index) for index, title in enumerate(titles) if title == wanted]
        if twice:
            letters = ", ".join(twice)
            raise SheetLayoutError(
                Wording(
                    f"the sheet has the title {wanted!r} in several columns ({letters}): rename all but one",
                    f"表格里有好几列都叫“{wanted}”（{letters}）：请只保留一个，其余改名",
                )
            )
        there = ", ".join(filter(None, titles))
        raise SheetLayoutError(
            Wording(
                f"the sheet has no column {wanted!r}; its titles are: {there or 'none'} → add or rename it, "
                "or set its title under [columns]",
                f"表格里没有“{wanted}”这一列；现有的列：{there or '无'} → 请新增或改名，或在 [columns] 里设置列名",
            )
        )

    def address(self, row_number: int, field: str) -> str:
        """The cell's address with start and end, as Feishu wants it; raises SheetLayoutError for a cell that is merged
        into another one, because what is written there is not shown."""
        cell = f"{column_letters(self.place(field))}{row_number}"
        merge = self._merge_at(row_number - 1, self.place(field))
        if merge is not None and (merge.first_row, merge.first_column) != (row_number - 1, self.place(field)):
            first = f"{column_letters(merge.first_column)}{merge.first_row + 1}"
            raise SheetLayoutError(
                Wording(
                    f"cell {cell} is merged into {first}, so row {row_number} has no cell of its own in "
                    f"{getattr(self.columns, field)!r}: split the merged cells",
                    f"单元格 {cell} 已合并到 {first}，第 {row_number} 行在“{getattr(self.columns, field)}”"
                    "没有自己的单元格：请取消合并",
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

    def key(self, row_number: int) -> tuple[str, ...]:
        """What tells a row from the others: product, model and prompt, as they are compared."""
        return tuple(same_text(self._optional_text(row_number, field)) for field in KEY_FIELDS)

    def same_rows(self, earlier: SheetTable, row_number: int) -> Sequence[int]:
        """The numbers that a row of this reading may have had in an earlier one; several where rows look the same."""
        return earlier._rows_by_key.get(self.key(row_number), ())

    def row_with(self, key: tuple[str, ...], row_number: int | None) -> int | None:
        """The row with this key: the one of that number, else the only one; None where it cannot be told."""
        found = self._rows_by_key.get(key, ())
        return row_number if row_number in found else found[0] if len(found) == 1 else None

    @cached_property
    def _rows_by_key(self) -> Mapping[tuple[str, ...], Sequence[int]]:
        """Row numbers by product, model and prompt, and by product and model alone. Made once: where one row was
        inserted above, every task has to look for its row."""
        found: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number in self.row_numbers():
            key = self.key(number)
            found[key].append(number)
            found[key[:2]].append(number)
        return found

    def row_of(self, task: RowOwner) -> int:
        """The row that a task was made for: where it was, if product and model still stand there, else the only
        row that has them. Raises RowNotFoundError that names what was looked for and what was found."""
        wanted = self._identity(task)
        if not (wanted["product_name"] or wanted["model_name"]):
            raise RowNotFoundError(
                Wording(
                    f"the task names no product and no model, so row {task.row_number} cannot be checked "
                    "→ put the result in by hand, and have tasks name them (main.py, or the Row Task node)",
                    f"任务没有产品名和模特名，无法核对第 {task.row_number} 行"
                    " → 请手动放入结果，并让任务带上这两项（main.py 或 Row Task 节点）",
                )
            )
        for field in wanted:
            self.place(field)
        key = tuple(wanted.values())
        row = self.row_with(key, task.row_number)
        if row is None:
            raise RowNotFoundError(self._not_found(task, wanted, self._rows_by_key.get(key, ())) + _MEND_THE_ROW)
        return row

    def _identity(self, task: RowOwner) -> dict[str, str]:
        """What the task's row must say, by column field, in the order of KEY_FIELDS."""
        wanted = {"product_name": same_text(task.product_name), "model_name": same_text(task.model_name)}
        prompt = same_text(task.prompt)
        return {**wanted, "prompt": prompt} if prompt and "prompt" in self.places else wanted

    def _not_found(self, task: RowOwner, wanted: Mapping[str, str], found: Sequence[int]) -> Wording:
        looked_for = " · ".join(f"{getattr(self.columns, field)} {_short(text)}" for field, text in wanted.items())
        number = task.row_number or 0
        if found:
            rows = ", ".join(map(str, found[:10])) + (" …" if len(found) > 10 else "")
            return Wording(
                f"{looked_for} stands in several rows ({rows}), and no longer in row {number}",
                f"{looked_for} 出现在好几行（{rows}），而不再是第 {number} 行",
            )
        if number in self.row_numbers():
            now = " · ".join(_short(self.text(number, field)) for field in wanted)
            return Wording(
                f"{looked_for} stands in no row; row {number} now has {now}",
                f"哪一行都没有 {looked_for}；第 {number} 行现在是 {now}",
            )
        return Wording(
            f"{looked_for} stands in no row; the sheet has no row {number}",
            f"哪一行都没有 {looked_for}；表格里也没有第 {number} 行",
        )


_MEND_THE_ROW: Final = Wording(" → put that right in the sheet, then push again", " → 请在表格里改好，再重新推送")


def _short(text: str) -> str:
    """A text in quotes, cut where it is a long prompt."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def read_table(
    sheet_id: str, values: Sequence[Sequence[Any]], columns: Columns, merges: Sequence[Merge] = ()
) -> SheetTable:
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
        held = ", ".join(first[:20])
        raise SheetLayoutError(
            Wording(
                f"none of the first {HEADER_ROWS} rows has the titles {columns.product_name!r}, "
                f"{columns.model_name!r} …; they hold: {held or 'nothing'}",
                f"前 {HEADER_ROWS} 行里没有“{columns.product_name}”“{columns.model_name}”等列名；"
                f"现有内容：{held or '空'}",
            )
        )
    return SheetTable(sheet_id, [row or () for row in values], header, best, columns, merges)


def _places(titles: Sequence[str], columns: Columns) -> dict[str, int]:
    """The only exact title, else the only title that contains the wanted one and is no other column's; of several
    none is guessed."""
    places, known = {}, dataclasses.asdict(columns)
    for field, wanted in known.items():
        exact = [index for index, title in enumerate(titles) if title == wanted]
        contained = [index for index, title in enumerate(titles) if wanted in title and title not in known.values()]
        found = exact or contained
        if wanted and len(found) == 1:
            places[field] = found[0]
    return places
