"""Which cells show what was written for other ones, because rows or columns moved while it was on its way."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from ..table.cells import cell_text, pictures_in, read_cell, same_text, value_text
from ..table.records import TaskRecord
from ..table.row_identity import RowIdentity, resembles
from ..wording import Wording
from .finding import RowNotFoundError
from .reading import SheetReader
from .sheet import SheetTable, column_of, row_number_of
from .status_column import RESULT_COLUMNS
from .unseen import Left, Place, Reading

#: So many rows are named to a person.
_MOST_NAMED: Final = 20
#: What a new row says by itself.
_NOT_DONE: Final = ("", "否")
#: What is not understood.
_UNKNOWN: Final[Mapping[str, Any]] = {}

#: A column field and a text that was written into it.
_What = tuple[str, str]


@dataclass(frozen=True)
class Stray:
    """A cell of the newest reading that got what is another's."""

    place: Place
    #: the name of its column
    name: str
    #: the column field that it was written for
    field: str
    shown: str
    #: its own text by the reading before; None where that cannot be told
    text: str | None
    #: of the rows that look like it, so many show that beside it
    beside: int


def strays(reader: SheetReader, left: Left) -> Iterator[Stray]:
    """What went astray of some cells, by the newest reading. Raises SheetLayoutError where no row can be told, and
    FeishuError.

    A cell at the very address that was written to, which shows the value since, and is not the one that was meant:
    that is ours, if it is looked for at once. Where rows or columns have moved, and a value is missing from its own
    row, it may be any other cell that shows it since: they may have moved twice. A task's number is in no other cell by
    chance. But a person may write 已完成 as well: so what stood there before is not told.
    """
    for name in ("product_name", "model_name"):
        reader.sheet.place(name)
    sheet, earlier = reader.sheet, left.earlier
    values: defaultdict[_What, list[tuple[str, TaskRecord | Place]]] = defaultdict(list)
    for address, (owner, field, value) in left.cells.items():
        values[field, cell_text(value).strip()].append((address, owner))
    sent = [_Sent(reader, earlier, what, cells) for what, cells in values.items()]
    hit = frozenset(name for one in sent for name in one.others)
    for one in sent:
        field = one.field
        yield from one.above()
        found = 0
        for name in one.columns:
            look = _Look(reader, left, one, name, hit)
            certain = field == "task_id" or (not left.late and one.column == sheet.place(name))
            here = [stray for number in one.numbers.intersection(sheet.row_numbers()) for stray in look.at(number)]
            yield from (stray if certain else replace(stray, text=None) for stray in here)
            found += sum(not look.is_copy(stray.place.row) for stray in here)
            if one.missing > found and (name != field or look.moved or (left.recalled and one.shown not in _NOT_DONE)):
                elsewhere = (row for row in sheet.row_numbers() if row not in one.numbers)
                for stray in (stray for row in elsewhere for stray in look.at(row)):
                    yield stray if field == "task_id" else replace(stray, text=None)


class _Sent:
    """A value that was sent into a column, and for which rows."""

    def __init__(
        self, reader: SheetReader, earlier: Reading, what: _What, cells: Sequence[tuple[str, TaskRecord | Place]]
    ) -> None:
        self._sheet, self._earlier = reader.sheet, earlier.sheet
        self.field, self.shown = what
        self.numbers = {row_number_of(address) for address, _ in cells}
        self.column = column_of(cells[0][0])
        self._rows = [reader.rows_of(owner) for _, owner in cells]
        self.meant: Set[int] = set().union(*self._rows)

    @cached_property
    def missing(self) -> int:
        """How many rows do not show it."""
        return sum(not any(self._shows(row, self.field) for row in rows) for rows in self._rows)

    @property
    def columns(self) -> list[str]:
        """Where it is looked for."""
        return [*([self.field] if self._sheet.shares(self.field, self._earlier) else []), *self.others]

    @cached_property
    def others(self) -> list[str]:
        """The columns that it was not for and that show it more often since columns have moved. What a new row says by
        itself is looked for only where it was written."""
        if not self._sheet.has_moved(self._earlier) or not self.missing:
            return []
        names = [self._sheet.name_at(self.column)] if self.shown in _NOT_DONE else self._sheet.names
        return [name for name in names if name != self.field and self._is_more(name)]

    def above(self) -> Iterator[Stray]:
        """What came to stand above the header, because rows were inserted there."""
        name = self._sheet.name_at(self.column)
        for number in self.numbers if self._sheet.header > self._earlier.header else ():
            if number <= self._sheet.header and name in self._sheet.names and self._shows(number, name):
                yield Stray(Place(RowIdentity(), number, self._sheet), name, self.field, self.shown, None, 0)

    def _is_more(self, name: str) -> bool:
        before = self._sheet.shares(name, self._earlier)
        then = sum(self._earlier.shown(row, name) == self.shown for row in self._earlier.row_numbers()) if before else 0
        return sum(self._shows(row, name) for row in self._sheet.row_numbers()) > then

    def _shows(self, row: int, name: str) -> bool:
        return name in self._sheet.names and self._sheet.shown(row, name) == self.shown


class _Look:
    """For a value in the column of that name. `hit`: the columns that were written over."""

    def __init__(self, reader: SheetReader, left: Left, sent: _Sent, name: str, hit: Set[str]) -> None:
        self._reader, self._earlier, self._field, self._name, self._hit = reader, left.earlier, sent.field, name, hit
        self._recalled = left.recalled
        self._shown, self._meant = sent.shown, frozenset(sent.meant if name == sent.field else ())
        #: row → the cells of the column before in rows that look like it, and those of them that show the value now
        self._alike: dict[Any, tuple[list[Any], Set[int]]] = {}

    @cached_property
    def moved(self) -> bool:
        """Whether a row has another number than before, or another one has its number; one that was edited, or added at
        the end, has not moved any."""
        before, now = (_numbers(sheet) for sheet in (self._earlier.sheet, self._reader.sheet))
        rows = self._reader.sheet.index.rows
        return any(
            now[identity] != number
            if identity in now
            else (there := rows.get(number, RowIdentity())).named and not resembles(there, identity)
            for identity, number in before.items()
        )

    def shows(self, row: int) -> bool:
        return self._reader.sheet.shown(row, self._name) == self._shown

    def is_copy(self, row: int) -> bool:
        """Whether it may show the value because somebody has copied a row that was meant."""
        return not self._meant.isdisjoint(self._reader.alike(row))

    def at(self, row: int) -> Iterator[Stray]:
        """The row, if it shows the value, is none of those that were meant, and more of the rows that look like it show
        that than did before."""
        if row in self._meant or not self.shows(row):
            return
        cells, showing = self._looks(row)
        before = [",".join(pictures_in(cell)) or (read_cell(cell) or "").strip() for cell in cells]
        if not before and self._shown in _NOT_DONE:
            return
        if self._recalled and (before.count(self._shown) == len(before) > 0 or self._was_delivered(row)):
            return  # copied, or somebody else's result
        if len(showing - self._meant) > before.count(self._shown):
            own = [cell for cell, text in zip(cells, before, strict=True) if text != self._shown]
            text = None if self._formulas else plain_text(own)
            place = self._reader.place(row, self._hit)
            yield Stray(place, self._name, self._field, self._shown, text, len(showing) - 1)

    @cached_property
    def _formulas(self) -> bool:
        return self._reader.has_formulas(self._name)

    def _was_delivered(self, row: int) -> bool:
        """Whether a row has got a result since, that belongs to what it says."""
        sheet, result = self._reader.sheet, RESULT_COLUMNS.get(self._name, "")
        now = sheet.shown(row, result) if self._shown not in _NOT_DONE and result in sheet.places else None
        return bool(now) and now not in self._results_before

    @cached_property
    def _results_before(self) -> Set[str | None]:
        sheet, result = self._earlier.sheet, RESULT_COLUMNS.get(self._name, "")
        return {sheet.shown(row, result) for row in sheet.row_numbers()} if result in sheet.places else frozenset()

    def _looks(self, row: int) -> tuple[list[Any], Set[int]]:
        # Where a column was written over that tells rows apart, each is looked at by its number.
        key = (self._reader.place(row, self._hit).identity, row if self._hit else None)
        if key not in self._alike:
            reader = self._reader
            before = reader.earlier_rows(self._earlier, row, self._hit) or self._edited(key[0])
            now = reader.alike(row, self._hit) or [row]
            cells = [held(reader.sheet, self._earlier, number, self._name) for number in before]
            self._alike[key] = cells, set(filter(self.shows, now))
        return self._alike[key]

    def _edited(self, identity: RowIdentity) -> list[int]:
        """The rows that are not there any more and that it may have been: somebody has corrected a word."""
        there = self._reader.sheet.index
        gone = ((number, row) for number, row in self._earlier.sheet.index.rows.items() if resembles(row, identity))
        return [number for number, row in gone if not there.may_be(row)]


def held(now: SheetTable, earlier: Reading, row: int, name: str) -> Any:
    """What a row of an earlier reading held in a column that has that name now; several cells where it may be any. A
    column that was not there is a new one, or had another title: it held nothing where the row had nothing in those
    that are not there any more."""
    sheet = earlier.sheet
    shared = now.shares(name, sheet)
    names = [name] if shared else [other for other in sheet.names if not now.shares(other, sheet)]
    if "composite_image" in names and row in earlier.sent:  # a picture came there since
        return _UNKNOWN
    cells = [sheet.cell(row, other) for other in names]
    return cells[0] if shared else list(filter(None, cells)) or None


def plain_text(cells: Sequence[Any]) -> str | None:
    """The text that each of some cells is, and nothing else, so that it can be written again; None where they differ,
    or one is more than its text: a link, a number, or what reads as one."""
    texts = {cell or "" if cell is None or isinstance(cell, str) else None for cell in cells}
    text = texts.pop() if len(texts) == 1 else None
    return text if text is not None and value_text(same_text(text)) == same_text(text) else None


def lost_titles(now: SheetTable, earlier: SheetTable, values: Mapping[str, str]) -> dict[str, str]:
    """The titles that were written over because the header came to stand where a row was, by address; none where other
    titles have changed as well. `values`: what was written, by address."""
    there = {
        column_of(address): address
        for address, value in values.items()
        if row_number_of(address) == now.header + 1 and value == now.title_at(column_of(address))
    }
    if now.header == earlier.header or not there:
        return {}
    width = max(len(now.titles), len(earlier.titles))
    before, since = ([*sheet.titles, *[""] * (width - len(sheet.titles))] for sheet in (earlier, now))
    lost = [index for index in range(width) if before[index] != since[index]]
    return {there[index]: before[index] for index in lost} if there.keys() >= set(lost) else {}


def _numbers(sheet: SheetTable) -> Mapping[RowIdentity, int]:
    """The rows that look like no other, and their numbers."""
    rows = sheet.index.rows
    times = Counter(rows.values())
    return {identity: number for number, identity in rows.items() if identity.named and times[identity] == 1}


def spoiled(task_id: str, cells: Mapping[str, int], besides: Wording | None = None) -> RowNotFoundError:
    """What a person is told of cells (as people find them → row), which are not the task's and got what is, and of
    which nobody knows what stood there; `besides`: why the task is blocked already."""
    named = list(cells)
    rows = ", ".join(named[:_MOST_NAMED]) + (" …" if len(named) > _MOST_NAMED else "")
    told = Wording(
        "rows or columns moved while cells were written, and these cells, which are others', were written over, or may "
        f"have been: {rows}; what stood there cannot be put back from here (Feishu keeps former versions) → put that "
        f"right, then push it by its name: wfrecovery push {task_id}",
        "写入单元格时有人移动了行或列，这些不属于它的单元格被覆盖或可能被覆盖："
        f"{rows}；原内容无法自动恢复（可在飞书的历史记录里查看）→ 请检查并改正，再按名称重新推送："
        f"wfrecovery push {task_id}",
    )
    if besides is not None:
        told += Wording("; and: ", "；另外：") + besides
    return RowNotFoundError(told, list(cells.values()))
