"""Which rows show what was written for another one, because rows moved while it was on its way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from ..table.cells import cell_text
from ..table.row_identity import short
from ..wording import Wording
from .finding import RowNotFoundError
from .reading import Left, Place, Reading, SheetReader
from .sheet import row_number_of

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
    """What went astray of some cells, by the newest reading.

    A row that has the number that was written to, shows the value since, and is not the one that was meant: that is
    ours. Where rows have moved, and a value is missing from its own row, it may be any other row that shows it since:
    rows may have moved twice. A task's number is in no other row by chance. But a person may write 已完成 as well: so
    what stood there before is not told.
    """
    values = defaultdict(list)
    for address, (owner, field, value) in left.cells.items():
        values[field, cell_text(value).strip()].append((row_number_of(address), owner))
    for (field, shown), sent in values.items():
        numbers, meant = {number for number, _ in sent}, [reader.rows_of(owner) for _, owner in sent]
        look = _Look(reader, left.earlier, field, shown, set().union(*meant))
        hit = [stray for number in numbers.intersection(reader.sheet.row_numbers()) for stray in look.at(number)]
        yield from hit
        missing = sum(not any(map(look.shows, rows)) for rows in meant)
        if missing > len(hit) and left.earlier.sheet.index.rows != reader.sheet.index.rows:
            for stray in (stray for row in reader.sheet.row_numbers() if row not in numbers for stray in look.at(row)):
                yield stray if field == "task_id" else replace(stray, text=None)


@dataclass(frozen=True)
class _Look:
    """For a value in a column, that was written for some rows (`meant`) by an earlier reading."""

    reader: SheetReader
    earlier: Reading
    field: str
    shown: str
    meant: Set[int]

    def shows(self, row: int) -> bool:
        return self.reader.sheet.text(row, self.field) == self.shown

    def at(self, row: int) -> Iterator[Stray]:
        """The row, if it shows the value, is none of those that were meant, and more of the rows that look like it show
        that than did before."""
        if row in self.meant or not self.shows(row):
            return
        before = [self.earlier.sheet.text(number, self.field) for number in self.reader.earlier_rows(self.earlier, row)]
        if not before and self.shown in _NOT_DONE:
            return
        alike = self.reader.earlier_rows(self.reader.current, row) or [row]
        showing = set(filter(self.shows, alike))
        if len(showing - self.meant) > before.count(self.shown):
            own = {text for text in before if text != self.shown}
            yield Stray(row, self.field, self.shown, own.pop() if len(own) == 1 else None, len(showing) - 1)


def spoiled(cells: Sequence[tuple[Place, str]], besides: Wording | None = None) -> RowNotFoundError:
    """What a person is told of cells (row, column field) of other rows, of which nobody knows what stood there;
    `besides`: why the task is blocked already."""
    named = []
    for place, field in cells:
        who = short([place.identity.product_name, place.identity.model_name, place.identity.prompt])
        title = getattr(place.sheet.columns, field)
        named.append(f"{who} {title!r}" if who else f"{place.row} {title!r}")
    rows = ", ".join(dict.fromkeys(named))
    told = Wording(
        f"rows moved while cells were written, and these cells of other rows were written over, or may have been: "
        f"{rows}; what stood there is not known → put that right, then push again",
        "写入单元格时有人移动了行，其他行的这些单元格被覆盖或可能被覆盖："
        f"{rows}；原内容未知 → 请检查并改正，再重新推送",
    )
    if besides is not None:
        told += Wording("; and: ", "；另外：") + besides
    return RowNotFoundError(told, [place.row for place, _ in cells])
