"""Which rows show what was written for another one, because rows moved while it was on its way."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from ..table.cells import cell_text, read_cell
from ..table.row_identity import RowIdentity, resembles, short
from ..wording import Wording
from .finding import RowNotFoundError
from .reading import Left, Place, Reading, SheetReader
from .sheet import SheetTable, row_number_of

#: So many rows are named to a person.
_MOST_NAMED: Final = 20
#: What a new row says by itself.
_NOT_DONE: Final = ("", "否")


@dataclass(frozen=True)
class Stray:
    """A row of the newest reading that got what is another's."""

    row: int
    field: str
    shown: str
    #: its own text by the reading before; None where that cannot be told
    text: str | None
    #: of the rows that look like it, so many show that beside it
    beside: int


def strays(reader: SheetReader, left: Left) -> Iterator[Stray]:
    """What went astray of some cells, by the newest reading. Raises SheetLayoutError where no row can be told.

    A row that has the number that was written to, shows the value since, and is not the one that was meant: that is
    ours, if it is looked for at once. Where rows have moved, and a value is missing from its own row, it may be any
    other row that shows it since: rows may have moved twice. A task's number is in no other row by chance. But a person
    may write 已完成 as well: so what stood there before is not told.
    """
    for name in ("product_name", "model_name"):
        reader.sheet.place(name)
    values = defaultdict(list)
    for address, (owner, field, value) in left.cells.items():
        if field in reader.sheet.places:
            values[field, cell_text(value).strip()].append((row_number_of(address), owner))
    for (field, shown), sent in values.items():
        numbers, meant = {number for number, _ in sent}, [reader.rows_of(owner) for _, owner in sent]
        look = _Look(reader, left.earlier, field, shown, set().union(*meant))
        certain = field == "task_id" or not left.late
        hit = [stray for number in numbers.intersection(reader.sheet.row_numbers()) for stray in look.at(number)]
        yield from (stray if certain else replace(stray, text=None) for stray in hit)
        missing = sum(not any(map(look.shows, rows)) for rows in meant)
        if missing > len(hit) and look.moved:
            for stray in (stray for row in reader.sheet.row_numbers() if row not in numbers for stray in look.at(row)):
                yield stray if field == "task_id" else replace(stray, text=None)


class _Look:
    """For a value in a column, that was written for some rows (`meant`) by an earlier reading."""

    def __init__(self, reader: SheetReader, earlier: Reading, field: str, shown: str, meant: Set[int]) -> None:
        self._reader, self._earlier, self._field, self._shown, self._meant = reader, earlier, field, shown, meant
        #: what a row says → the cells of the column before in rows that look like it, and those that show the value now
        self._alike: dict[RowIdentity, tuple[list[Any], Set[int]]] = {}

    @cached_property
    def moved(self) -> bool:
        """Whether a row has another number than before; one that was edited, or added at the end, has not moved any."""
        before, now = (_numbers(sheet) for sheet in (self._earlier.sheet, self._reader.sheet))
        return any(now.get(identity, number) != number for identity, number in before.items())

    def shows(self, row: int) -> bool:
        return self._reader.sheet.text(row, self._field) == self._shown

    def at(self, row: int) -> Iterator[Stray]:
        """The row, if it shows the value, is none of those that were meant, and more of the rows that look like it show
        that than did before."""
        if row in self._meant or not self.shows(row):
            return
        cells, showing = self._looks(row)
        before = [(read_cell(cell) or "").strip() for cell in cells]
        if not before and self._shown in _NOT_DONE:
            return
        if len(showing - self._meant) > before.count(self._shown):
            own = [cell for cell, text in zip(cells, before, strict=True) if text != self._shown]
            plain = own and all(isinstance(cell, str | None) for cell in own)  # a link is more than its text
            texts = {cell_text(cell).strip() for cell in own}
            text = texts.pop() if plain and len(texts) == 1 else None
            yield Stray(row, self._field, self._shown, text, len(showing) - 1)

    def _looks(self, row: int) -> tuple[list[Any], Set[int]]:
        identity = self._reader.sheet.identity(row)
        if identity not in self._alike:
            sheet = self._earlier.sheet
            before = self._reader.earlier_rows(self._earlier, row) or self._edited(identity)
            now = self._reader.earlier_rows(self._reader.current, row) or [row]
            self._alike[identity] = [sheet.cell(number, self._field) for number in before], set(filter(self.shows, now))
        return self._alike[identity]

    def _edited(self, identity: RowIdentity) -> list[int]:
        """The rows that are not there any more and that it may have been: somebody has corrected a word."""
        there = self._reader.sheet.index
        gone = ((number, row) for number, row in self._earlier.sheet.index.rows.items() if resembles(row, identity))
        return [number for number, row in gone if not there.may_be(row)]


def _numbers(sheet: SheetTable) -> Mapping[RowIdentity, int]:
    """The rows that look like no other, and their numbers."""
    rows = sheet.index.rows
    times = Counter(rows.values())
    return {identity: number for number, identity in rows.items() if identity.named and times[identity] == 1}


def spoiled(task_id: str, cells: Sequence[tuple[Place, str]], besides: Wording | None = None) -> RowNotFoundError:
    """What a person is told of cells (row, column field) of other rows, which got what is this task's, and of which
    nobody knows what stood there; `besides`: why the task is blocked already."""
    named = []
    for place, field in cells:
        who = short([place.identity.product_name, place.identity.model_name, place.identity.prompt])
        title = getattr(place.sheet.columns, field)
        named.append(f"{who or place.row} {title!r}")
    named = list(dict.fromkeys(named))
    rows = ", ".join(named[:_MOST_NAMED]) + (" …" if len(named) > _MOST_NAMED else "")
    told = Wording(
        f"rows moved while cells were written, and these cells of other rows were written over, or may have been: "
        f"{rows}; what stood there is not known → put that right, then push it by its name: "
        f"wfrecovery push {task_id}",
        "写入单元格时有人移动了行，其他行的这些单元格被覆盖或可能被覆盖："
        f"{rows}；原内容未知 → 请检查并改正，再按名称重新推送：wfrecovery push {task_id}",
    )
    if besides is not None:
        told += Wording("; and: ", "；另外：") + besides
    return RowNotFoundError(told, [place.row for place, _ in cells])
