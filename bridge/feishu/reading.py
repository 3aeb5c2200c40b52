"""The sheet as a publisher knows it: read once, confirmed by the answer to each write, and kept while it holds.

Feishu knows no conditional write. But each answer carries a revision: where that is the one of our reading plus one,
nobody has changed the sheet meanwhile, and the reading holds for the next row as well. Where it is not, the sheet is
read again, and it is looked for where the write went. How `revision` counts is documented nowhere. So it is believed
for one kind of write only after a reading has shown that it counts that by one; and where it does not, each write costs
a reading.

A row that comes in alone so costs three calls (see `company` for how two share them). Its picture and its status are
two, and the first call after a pause has to be a look: no former answer tells what people did meanwhile, and the answer
to a write comes when a cell is written over, perhaps that of a row that no reading has seen.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from enum import Enum
from typing import Any, Final

from ..table.cells import cell_text
from ..table.index import TaskEntry
from ..table.records import TaskRecord
from ..table.row_identity import RowIdentity, nearest
from ..table.row_places import Known, RowOwner
from ..table.values import FeishuState
from ..wording import Wording
from .cell_pictures import marks_of
from .client import FeishuClient
from .errors import FeishuError
from .finding import Claim, RowFinder, RowNotFoundError
from .sheet import WRITTEN, SheetLayoutError, SheetTable
from .unseen import Place, Reading, Unseen

#: A reading that no answer has confirmed for so many seconds is looked at again before it is written by.
_TRUSTED_SECONDS: Final = 1.0
_ANOTHER_SHEET: Final = Wording(
    "the title in FEISHU_SHEET_NAME belongs to another sheet since the sheet was read; it is looked at again",
    "读取之后，FEISHU_SHEET_NAME 里的名称已属于另一个工作表；稍后会再看一次",
)


class Write(Enum):
    """The kinds of writes, each of which may count in its own way."""

    PICTURE = "picture"
    CELLS = "cells"


class SheetReader:
    """The newest reading, and whether it still holds."""

    def __init__(
        self,
        feishu: FeishuClient,
        known: Known = lambda _: None,
        unseen: Unseen | None = None,
        tasks: Callable[[], Iterable[TaskEntry]] = tuple,
    ) -> None:
        """Reads the sheet; raises FeishuError and SheetLayoutError. `known`, `tasks`: see `RowFinder`. `unseen`: of the
        readers before this one."""
        self._known, self._tasks = known, tasks
        self.unseen = unseen if unseen is not None else Unseen()
        self._feishu, self._flush_began, self._fresh = feishu, time.monotonic(), True
        self._claims: Sequence[Claim] = ()
        #: two readings, the columns of these that were written over, and whether their rows stand still: every row asks
        self._compared: tuple[SheetTable, SheetTable, Set[str], bool] | None = None
        #: the sheet that the first reading has found under its title
        self._sheet_id: str | None = None
        #: the kinds of writes that the revision is known to count by one
        self._counted: set[Write] = set()
        self.read()
        self.unseen.is_in(self.sheet.sheet_id)

    @property
    def sheet(self) -> SheetTable:
        """The sheet by the newest reading."""
        return self.current.sheet

    def read(self) -> None:
        """Read it anew; raises FeishuError and SheetLayoutError."""
        started, self._confirmed_at = time.monotonic(), -math.inf  # without an answer nothing is written by the old one
        sheet, self._compared = self._feishu.read_sheet(), None
        if self._sheet_id not in (None, sheet.sheet_id):
            raise FeishuError(_ANOTHER_SHEET)
        self._sheet_id = sheet.sheet_id
        self.current, self._confirmed_at = Reading(sheet, sheet.revision, {}), started
        self._finder = self._finder_in(sheet)

    def read_after(self, revision: int | None, cells: Collection[tuple[int, str]]) -> None:
        """Read it anew after a write into `cells` (row number, column field), with the revision that it was answered
        with: by a read of the cells alone, where nothing else than that write seems to have changed the sheet."""
        earlier = self.current
        if self._is_next(revision):
            self.doubt()
            started, sheet = time.monotonic(), self._feishu.read_again(self.sheet)
            if sheet.revision == revision and _same_but(earlier, sheet, cells):
                self.current, self._confirmed_at = Reading(sheet, revision, {}), started
                self._finder = self._finder_in(sheet)
                return
        self.read()

    def writes(self, tasks: Mapping[str, int]) -> None:
        """Texts of tasks, by their ids, leave for these rows: of rows that look the same each keeps the one it has, and
        what such a row says from now on may be theirs."""
        self._claims = [
            replace(claim, sent_to=claim.sent_to or tasks[claim.task_id], may_be_done=True)
            if claim.task_id in tasks
            else claim
            for claim in self._claims
        ]

    def sent(self, task: TaskRecord) -> None:
        """The task's picture leaves for the cell that its outbox entry names."""
        self.unseen.pictures[task.task_id] = self.current
        claims = {claim.task_id: claim for claim in self._claims}
        self._claims = list({**claims, task.task_id: Claim.of(task)}.values())

    def confirm(self, kind: Write, revision: int | None) -> bool:
        """Whether a write's answer shows that nobody else changed the sheet since the reading."""
        if kind not in self._counted or not self._is_next(revision):
            return False
        self.current = replace(self.current, revision=revision)
        self._confirmed_at = time.monotonic()
        return True

    def learn(self, kind: Write, earlier: Reading, revision: int | None, cells: Collection[tuple[int, str]]) -> None:
        """Whether that kind of write counts by one, by the reading after it: if only the `cells` (row number, column
        field) of the write are others than before it."""
        counts = revision is not None and earlier.revision is not None and revision == earlier.revision + 1
        if counts and self.current.revision == revision and _same_but(earlier, self.sheet, cells):
            self._counted.add(kind)

    def begin(self, tasks: Collection[TaskRecord]) -> None:
        """Begin a flush of `tasks`, if need be by the reading of the one before.

        That does for results that go their usual way. What was tried before, or has no row in it, may be mended since.
        """
        self._forget_ended()
        self._claims = [Claim.of(task) for task in tasks]
        self._finder = self._finder_in(self.sheet)
        if self._fresh:
            self._fresh = False
            return
        self._flush_began = time.monotonic()
        if self.unseen.cells or any(
            task.outbox.attempts or task.outbox.writing or self.row_of(task) is None for task in tasks
        ):
            self._look()

    def _forget_ended(self) -> None:
        """What is delivered some other way, or waits for a person, is not looked for any more."""
        entries = ((task_id, self._known(task_id)) for task_id in self.unseen.pictures)
        ended = [task_id for task_id, entry in entries if entry and entry.feishu_state is not FeishuState.PENDING]
        for task_id in ended:
            del self.unseen.pictures[task_id]

    def look_again(self) -> None:
        """Make sure that the reading still holds: one of an earlier flush is old, and converting a picture or uploading
        a video takes its time. One small read where the revision is known to count, else a reading."""
        if self._confirmed_at < self._flush_began or time.monotonic() - self._confirmed_at > _TRUSTED_SECONDS:
            self._look()

    def _look(self) -> None:
        if self._counted:
            revision = self._feishu.revision(f"{self.sheet.sheet_id}!A1:A1")
            if revision is not None and revision == self.current.revision:
                self._confirmed_at = time.monotonic()
                return
        self.read()

    def doubt(self) -> None:
        """Nobody knows what becomes of a write that is on its way: the reading is looked at again before the next."""
        self._confirmed_at = -math.inf

    def note_picture(self, row: int, task: TaskRecord) -> None:
        """A task's picture stands in a row now, and the answer has confirmed it."""
        self.current = replace(self.current, sent={**self.current.sent, row: task})
        self.seen(task)

    def seen(self, task: TaskRecord) -> None:
        """It is known what became of its picture. A reading is the whole sheet: none is kept for longer than that."""
        self.unseen.pictures.pop(task.task_id, None)

    def has_picture(self, task: TaskRecord, row: int) -> bool:
        """Whether its picture is known to stand in a row, although this reading does not show it."""
        sent = self.current.sent.get(row)
        return sent is not None and sent.task_id == task.task_id

    def note_values(self, written: Mapping[tuple[int, str], Any]) -> None:
        """Cells, (row number, field) → value, are written, and the answers have confirmed it."""
        self.current = replace(self.current, sheet=self.sheet.with_values(written))
        self._finder = self._finder_in(self.sheet)

    def _finder_in(self, sheet: SheetTable) -> RowFinder:
        return RowFinder(sheet, self._claims, self._known, self._tasks, self.marks)

    def marks(self, token: str) -> frozenset[str]:
        """What a picture of the sheet is known by: see `marks_of`. Raises FeishuError."""
        known = self.unseen.marks
        if token not in known:
            known[token] = marks_of(self._feishu.media(token))
        return known[token]

    def _is_next(self, revision: int | None) -> bool:
        known = self.current.revision
        return revision is not None and known is not None and revision == known + 1

    # ------------------------------------------------------------------ rows

    def row(self, task: RowOwner) -> int:
        """The row of a task by the newest reading. Raises RowNotFoundError, SheetLayoutError and FeishuError."""
        return self._finder.row_of(task)

    def rows_alike(self, task: RowOwner) -> tuple[int, ...]:
        """All rows that may be its own: see `RowFinder.looks_like`."""
        return self._finder.looks_like(task)

    def place(self, row: int, hit: Set[str] = frozenset()) -> Place:
        """A row, as it is found again when rows move; `hit`: see `Place`."""
        return Place.of(self.sheet, row, hit)

    def row_of(self, owner: RowOwner | Place) -> int | None:
        """Its row by the newest reading; None where that cannot be told."""
        found = self.rows_of(owner)
        return found[0] if len(found) == 1 else None

    def rows_of(self, owner: RowOwner | Place) -> Sequence[int]:
        """The same; several where a place is looked for and rows look the same."""
        if isinstance(owner, Place):
            return self._counterparts(self.sheet, owner)
        with contextlib.suppress(RowNotFoundError, SheetLayoutError, FeishuError):
            return [self.row(owner)]
        return []

    def earlier_rows(self, earlier: Reading, row: int, hit: Set[str] = frozenset()) -> Sequence[int]:
        """The numbers that a row of this reading may have had in an earlier one; several where rows look the same."""
        return self._counterparts(earlier.sheet, self.place(row, hit))

    def _counterparts(self, sheet: SheetTable, place: Place) -> Sequence[int]:
        """The numbers that a row may have in another reading. What was written over may have been all that tells it
        from others; where no row has moved it has its number."""
        if place.sheet is sheet:
            return [place.row]
        found = _narrowed(sheet, place.identity)
        if not place.hit or len(found) == 1:
            return found
        one, other, hit, still = self._compared or (None, None, None, False)
        if one is not place.sheet or other is not sheet or hit != place.hit:
            still = _stand_still(place.sheet, sheet, place.hit)
            self._compared = place.sheet, sheet, place.hit, still
        return [place.row] if still else found

    def alike(self, row: int, hit: Set[str] = frozenset()) -> Sequence[int]:
        """The rows of this reading that look like it."""
        return _narrowed(self.sheet, self.place(row, hit).identity)

    def has_formulas(self, name: str) -> bool:
        """Whether a column holds formulas: readings show what they give. Raises FeishuError."""
        return name not in WRITTEN and self._feishu.has_formulas(self.sheet, name)

    def stands(self, owner: TaskRecord | Place, field: str, value: Any) -> bool:
        """Whether a cell of its row shows this value."""
        row = self.row_of(owner)
        return row is not None and self.sheet.text(row, field) == cell_text(value).strip()


def _stand_still(one: SheetTable, other: SheetTable, hit: Set[str]) -> bool:
    """Whether all rows of either reading say the same in all columns that both have, but in those that are written."""
    names = [name for name in one.names if one.shares(name, other) and name not in hit | {*WRITTEN}]
    numbers = sorted({*one.row_numbers(), *other.row_numbers()})
    return bool(names) and all(
        (one.cell(number, name) or None) == (other.cell(number, name) or None) for name in names for number in numbers
    )


def _narrowed(sheet: SheetTable, identity: RowIdentity) -> Sequence[int]:
    found = sheet.index.may_be(identity) if identity.named else []
    return nearest(identity, {number: sheet.identity(number) for number in found}) if len(found) > 1 else found


def _same_but(earlier: Reading, other: SheetTable, cells: Collection[tuple[int, str]]) -> bool:
    """Whether two readings differ in nothing but these cells, and the pictures sent since the earlier one."""
    one = earlier.sheet
    if one.header != other.header or one.places != other.places:
        return False
    blank = dict.fromkeys([*cells, *((row, "composite_image") for row in earlier.sent)])
    return _cells(one.with_values(blank).values) == _cells(other.with_values(blank).values)


def _cells(values: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Without blanks at the end of rows and of the sheet, which may be left out."""
    rows = [list(row) for row in values]
    for row in rows:
        while row and row[-1] in (None, ""):
            row.pop()
    while rows and not rows[-1]:
        rows.pop()
    return rows
