"""Which rows show what was written for another one, because rows moved while it was on its way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ..table.cells import cell_text
from ..table.row_identity import short
from ..wording import Wording
from .finding import RowNotFoundError
from .reading import Left, Place, SheetReader
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
    moved = left.earlier.sheet.index.rows != reader.sheet.index.rows
    for (field, shown), sent in values.items():
        numbers, meant = {number for number, _ in sent}, [reader.rows_of(owner) for _, owner in sent]
        showing = [row for row in reader.sheet.row_numbers() if reader.sheet.text(row, field) == shown]
        new = partial(_new, reader, left, (field, shown), set(showing).difference(*meant))
        hit = [stray for number in numbers for stray in new(number)]
        yield from hit
        missing = sum(set(rows).isdisjoint(showing) for rows in meant)
        if moved and missing > len(hit):
            for stray in (stray for row in showing if row not in numbers for stray in new(row)):
                yield stray if field == "task_id" else replace(stray, text=None)


def _new(reader: SheetReader, left: Left, cell: tuple[str, str], showing: Set[int], row: int) -> Iterator[Stray]:
    """The row, if it is one of those that show a value in a column and are not meant to, and more of the rows that look
    like it do so than did before."""
    field, shown = cell
    if row not in showing:
        return
    before = [left.earlier.sheet.text(number, field) for number in reader.earlier_rows(left.earlier, row)]
    if not before and shown in _NOT_DONE:
        return
    now = reader.earlier_rows(reader.current, row) or [row]
    if len(showing & set(now)) > before.count(shown):
        own = {text for text in before if text != shown}
        beside = sum(reader.sheet.text(number, field) == shown for number in now) - 1
        yield Stray(row, field, shown, own.pop() if len(own) == 1 else None, beside)


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
