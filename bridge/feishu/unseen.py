"""What has left for the sheet, by which reading, until somebody has looked where it went: rows or columns may have
moved under it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from ..table.records import TaskRecord
from ..table.row_identity import PICTURES, TEXTS, RowIdentity, short
from .sheet import SheetTable, column_letters

#: Address of a cell → the task and column it is for, and the value.
Cells = Mapping[str, tuple[TaskRecord, str, Any]]


@dataclass(frozen=True)
class Reading:
    """The sheet as it was read, with what was written since and confirmed."""

    sheet: SheetTable
    #: the spreadsheet's, where the answers tell
    revision: int | None
    #: row number → the task whose picture stands there now
    sent: Mapping[int, TaskRecord]


@dataclass(frozen=True)
class Place:
    """A row that no task of this flush is for, as it is found again when rows move."""

    identity: RowIdentity
    row: int
    #: the reading in which it has that number
    sheet: SheetTable = field(compare=False)
    #: columns of it that were written over, which tell nothing of it
    hit: Set[str] = field(default=frozenset(), compare=False)

    @classmethod
    def of(cls, sheet: SheetTable, row: int, hit: Set[str] = frozenset()) -> Place:
        """A row of a reading; one above the header is found nowhere."""
        unknown: dict[str, Any] = dict.fromkeys(hit & {*TEXTS, *PICTURES})
        return cls(replace(sheet.index.rows.get(row, RowIdentity()), **unknown), row, sheet, hit)

    def cell(self, name: str) -> str:
        """Its cell in a column, as people find it: by its address, what its row says, and the column's title."""
        who = short([self.identity.product_name, self.identity.model_name, self.identity.prompt])
        index = self.sheet.names.get(name)
        address = f"{'' if index is None else column_letters(index)}{self.row}"
        return " ".join(filter(None, [address, who, repr(self.sheet.title(name))]))


@dataclass(eq=False)
class Left:
    """Cells that have left by a reading; nobody has looked yet where they went."""

    cells: Mapping[str, tuple[TaskRecord | Place, str, Any]]
    earlier: Reading
    #: the task for whose sake they were written, or the first of these
    task_id: str
    #: it is looked for later than at once, when a person may have written the same words
    late: bool = False
    #: how often it was looked for
    looks: int = 0
    #: by a program that has ended since: nobody knows for how long, and what people have done meanwhile
    recalled: bool = False
    key: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Owed:
    """A cell that was written over and is not the task's: its own text, until that stands there again."""

    place: Place
    #: the name of its column
    field: str
    text: str
    #: what was written over it: a text, or the token of a picture
    shown: str
    #: of the rows that look like it, so many show that beside it
    beside: int
    #: whose value it was
    task_id: str


#: What a person has to look after: task id → cells as people find them → row.
Told = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Kept:
    """What a kill does not reach."""

    left: Sequence[Left] = ()
    told: Told = field(default_factory=dict)
    #: some of what is kept is of no use any more
    is_less: bool = False


def _nowhere(_sheet_id: str, _kept: Kept) -> None:
    """For a program that is not killed."""


@dataclass
class Unseen:
    """What one publisher has not looked for yet, or not put right. `keep`: notes what has left for a sheet, and what is
    to be told of it, where a kill does not reach that; raises OSError."""

    keep: Callable[[str, Kept], None] = _nowhere

    #: by task id
    pictures: dict[str, Reading] = field(default_factory=dict)
    cells: list[Left] = field(default_factory=list)
    #: what was found to have gone astray, and is not put right yet
    owed: list[Owed] = field(default_factory=list)
    to_tell: dict[str, dict[str, int]] = field(default_factory=dict)
    #: by token, of the pictures that were looked at for that: no token is ever used twice
    marks: dict[str, frozenset[str]] = field(default_factory=dict)
    #: where that is
    sheet_id: str | None = None
    kept: Kept = field(default_factory=Kept)

    def leave(self, left: Left) -> None:
        """Cells leave. Raises OSError, and then they must not."""
        self._keep([*self._open(), left])
        self.cells.append(left)

    def recall(self, kept: Kept) -> None:
        """What is kept is the truth: others may have left some more, and have looked for ours."""
        known, there = {one.key for one in self.kept.left}, {one.key for one in kept.left}
        self.cells = [one for one in self.cells if one.key in there]
        self.cells += [one for one in kept.left if one.key not in known]
        for task_id, cells in kept.told.items():
            for cell, row in cells.items():
                self.tell(task_id, cell, row)
        ours = {one.key: one for one in self.kept.left}
        self.kept = replace(kept, left=[ours.get(one.key, one) for one in kept.left])

    def tell(self, task_id: str, cell: str, row: int) -> bool:
        """A person has to look after a cell of that row. Whether that is new."""
        told = self.to_tell.setdefault(task_id, {})
        new = cell not in told
        told[cell] = row
        return new

    def are_told(self, task_ids: Sequence[str]) -> None:
        """It is in their records. What has been looked for and put right need not be kept any longer. Raises
        OSError."""
        for task_id in task_ids:
            del self.to_tell[task_id]
        left = self._open()
        if self.kept.is_less or len(left) != len(self.kept.left) or self.to_tell != self.kept.told:
            self._keep(left)

    def _open(self) -> list[Left]:
        """What is not looked for yet, or not put right."""
        return [one for one in self.kept.left if self.owed or one in self.cells]

    def _keep(self, left: Sequence[Left]) -> None:
        kept = Kept(left, {task_id: dict(cells) for task_id, cells in self.to_tell.items()})
        self.keep(self.sheet_id or "", kept)
        self.kept = kept

    def is_in(self, sheet_id: str) -> None:
        """From now on that sheet is read. What has left for another one stays kept, for who reads that; what is not put
        right there is told."""
        if self.sheet_id not in (None, sheet_id):
            for owed in self.owed:
                self.tell(owed.task_id, owed.place.cell(owed.field), owed.place.row)
            for left in (self.pictures, self.cells, self.owed):
                left.clear()
            self.kept = Kept()
        self.sheet_id = sheet_id
