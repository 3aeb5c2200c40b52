"""What was written and is not shown to reads yet. Not thread-safe by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from .cells import CellValue
from .switches import Switches

__all__ = ["Late", "Old", "Row"]

#: the cells of a row: the same list wherever the row moves
Row: TypeAlias = list[CellValue]


@dataclass(frozen=True)
class Old:
    """A cell before it was written."""

    row: Row
    column: int
    value: CellValue


@dataclass
class _Write:
    """One write of the API."""

    sheet: str
    before: list[Old]
    #: the number that answers about this sheet carried before
    revision: int | None
    #: reads that will not know it yet, and the time until when
    reads: int
    until: float
    #: a person has changed the sheet since, so that its number shows
    told: bool = False


class Late:
    """The writes of the API that reads do not know yet. What people change shows at once."""

    def __init__(self, switches: Switches, clock: Callable[[], float]) -> None:
        self._switches = switches
        self._clock = clock
        self._writes: list[_Write] = []

    def wrote(self, sheet: str, before: Sequence[Old], revision: int | None) -> None:
        """The API has written; cells and number as they were."""
        reads, seconds = self._switches.late_reads, self._switches.late_seconds
        if reads or seconds:
            self._writes.append(_Write(sheet, list(before), revision, reads, self._clock() + seconds))

    def person_changed(self) -> None:
        """A person has changed the sheet: reads carry the number of that."""
        for write in self._writes:
            write.told = True

    def overwritten(self, row: Row, column: int) -> None:
        """A person has changed this very cell."""
        for write in self._writes:
            write.before = [old for old in write.before if old.row is not row or old.column != column]

    def rearranged(self, rows: Sequence[Row], columns: Sequence[int | None]) -> None:
        """The columns of these rows have moved; they had these numbers before."""
        theirs = set(map(id, rows))
        for write in self._writes:
            write.before = [
                replace(old, column=columns.index(old.column) + 1) if id(old.row) in theirs else old
                for old in write.before
                if id(old.row) not in theirs or old.column in columns
            ]

    def begin_read(self) -> None:
        """A read comes in: what is due shows from now on."""
        now = self._clock()
        self._writes = [write for write in self._writes if write.reads > 0 or now < write.until]
        for write in self._writes:
            write.reads -= 1

    def shown(self, row: Row, column: int, value: CellValue) -> CellValue:
        """What a read finds in a cell that holds `value`."""
        for write in self._writes:
            for old in write.before:
                if old.row is row and old.column == column:
                    return old.value
        return value

    def revision(self, sheet: str, current: int | None) -> int | None:
        """The number that a read carries."""
        if self._switches.late_revision == "old":
            for write in self._writes:
                if write.sheet == sheet and not write.told:
                    return write.revision
        return current
