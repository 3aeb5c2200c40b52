"""Texts into cells of their rows, many in one call; and back, where rows moved in that very moment."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from ..table.cells import cell_text
from ..table.records import TaskRecord, WorkflowStatus, WorkflowType
from .astray import Stray, lost_titles, spoiled, strays
from .client import RANGES_PER_WRITE, FeishuClient
from .codes import PARTLY_DONE
from .errors import FeishuError
from .reading import SheetReader, Write
from .sheet import SheetLayoutError, row_number_of
from .unseen import Cells, Left, Owed, Place, Reading

log = logging.getLogger("wfrecovery")

#: How often what other rows lost is written back when rows keep moving under that as well.
_REPAIR_ROUNDS: Final = 10


#: How often what stands nowhere is looked for.
_MOST_LOOKS: Final = 3


class CellWriting:
    """Writes cells by one reading, and looks whether they stand where they should."""

    def __init__(self, feishu: FeishuClient, reader: SheetReader) -> None:
        self._feishu, self._reader = feishu, reader
        self._unseen = reader.unseen
        #: the tasks whose own pictures were written over by their statuses: they are to be sent again
        self.lost: set[str] = set()

    def write(self, cells: Cells) -> bool:
        """True when they stand where they should, else the sheet was read again and what went astray put right. What a
        person has to look after is noted. Raises FeishuError; and OSError, with nothing written."""
        left = Left(cells, self._reader.current, next(iter(cells.values()))[0].task_id)
        self._unseen.leave(left)
        self._reader.writes({task.task_id: row_number_of(address) for address, (task, _, _) in cells.items()})
        try:
            revisions = self._feishu.write_cells({address: value for address, (_, _, value) in cells.items()})
        except FeishuError as error:
            self._reader.doubt()
            left.late = True
            if _is_nowhere(error, len(cells)):
                self._unseen.cells.remove(left)
            if not error.outcome_unknown or error.slow:  # slow: it may arrive yet, the next flush looks
                raise
            self._reader.read()
            left.late = False
            self._put_right()
            if not all(self._reader.stands(*cell) for cell in cells.values()):
                raise
            return True
        written = {(row_number_of(address), field): value for address, (_, field, value) in cells.items()}
        if all(self._reader.confirm(Write.CELLS, revision) for revision in revisions):
            self._reader.note_values(written)
            self._unseen.cells.remove(left)
            return True
        left.late = True
        self._reader.read_after(revisions[0] if len(revisions) == 1 else None, written)
        left.late = False
        if len(revisions) == 1:
            self._reader.learn(Write.CELLS, left.earlier, revisions[0], written)
        self._put_right()
        return False

    def settle(self) -> None:
        """Look where went what has left and was not looked for, because a reading failed or a part was refused; and put
        it right, before anything else is written: later what stands in a row may be its own by a newer write. What a
        person has to look after is noted. Raises FeishuError."""
        if self._unseen.cells or self._unseen.owed:
            self._put_right()

    def _put_right(self) -> None:
        """Give other cells their own texts back, where ours went into them because rows or columns moved in that very
        moment; and again, where they moved under that as well. What Feishu refuses for now stays owed: they may move
        until the next try, and where it went is known by now. Nothing is emptied on suspicion: where nobody knows what
        stood in a cell before, whose it is now, or how to write it, a person is told."""
        for _ in range(_REPAIR_ROUNDS):
            for left in list(self._unseen.cells):
                values = {address: cell_text(value).strip() for address, (_, _, value) in left.cells.items()}
                give_titles_back(self._feishu, self._reader, left.earlier, values)
                if self._look_for(left):
                    self._unseen.cells.remove(left)
            self._unseen.owed = [debt for debt in self._unseen.owed if self._still_owed(debt)]
            if not self._unseen.owed:
                return
            paid = self._paid()
            self._reader.read()
            for left in paid:
                left.late = False
        for debt in self._unseen.owed:
            self._tell(debt.task_id, debt.place, debt.field)
        self._unseen.owed.clear()
        self._unseen.cells.clear()

    def _paid(self) -> list[Left]:
        """Write rows' own texts into their cells, in one call; one by one where Feishu refuses some of them for good,
        which then hold up nobody. What has left."""
        paid = []
        parts = [list(self._unseen.owed)]
        for debts in parts:
            part = {address: debt for debt in debts if (address := self._address(debt)) is not None}
            if not part:
                continue
            cells = {address: (debt.place, debt.field, debt.text) for address, debt in part.items()}
            left = Left(cells, self._reader.current, debts[0].task_id, late=True)
            self._unseen.leave(left)
            paid.append(left)
            try:
                self._feishu.write_cells({address: debt.text for address, debt in part.items()})
            except FeishuError as error:
                if _is_nowhere(error, len(part)):
                    self._unseen.cells.remove(left)
                if not error.needs_person or error.concerns_all:
                    raise
                if len(part) > 1:
                    parts += [[debt] for debt in part.values()]
                else:
                    self._give_up(next(iter(part.values())))
        return paid

    def _address(self, debt: Owed) -> str | None:
        try:
            (row,) = self._reader.rows_of(debt.place)
            address = self._reader.sheet.address(row, debt.field)
        except SheetLayoutError:  # merged or removed meanwhile
            self._give_up(debt)
            return None
        log.warning("[wfrecovery] rows or columns moved under a write: %s gets its own text back", address)
        return address

    def _give_up(self, debt: Owed) -> None:
        self._tell(debt.task_id, debt.place, debt.field)
        self._unseen.owed.remove(debt)

    def _look_for(self, left: Left) -> bool:
        """Note what is owed to the rows that got some of it. False where it stands nowhere yet: Feishu may show it
        later, or still be at work on it, and it is looked for again."""
        owed = {(self._reader.row_of(debt.place), debt.field) for debt in self._unseen.owed}
        found = list(strays(self._reader, self._not_arrived(left) if left.recalled else left))
        for stray in found:
            place, name, task_id = stray.place, stray.name, _whose(left, stray)
            if self._is_own_picture(left, stray):
                self.lost.add(task_id)
            elif stray.text is None:
                self._tell(task_id, place, name)
            elif (place.row, name) not in owed:
                self._unseen.owed.append(Owed(place, name, stray.text, stray.shown, stray.beside, task_id))
        left.looks, left.late = left.looks + 1, True
        stands = all(self._reader.stands(*cell) for cell in left.cells.values() if cell[1] in self._reader.sheet.names)
        return bool(found) or stands or left.looks == _MOST_LOOKS

    def _not_arrived(self, left: Left) -> Left:
        """Without the values that all rows show for which they were, and that were written that once: nothing of these
        is elsewhere."""
        later = self._unseen.cells[self._unseen.cells.index(left) + 1 :]
        again = {(owner.task_id, name) for other in later for owner, name in _tasks_of(other)}
        lacking = {
            (name, cell_text(value))
            for owner, name, value in left.cells.values()
            if not (name in self._reader.sheet.names and self._reader.stands(owner, name, value))
        }
        cells = {
            address: (owner, name, value)
            for address, (owner, name, value) in left.cells.items()
            if (name, cell_text(value)) in lacking or (isinstance(owner, TaskRecord) and (owner.task_id, name) in again)
        }
        return replace(left, cells=cells)

    def _is_own_picture(self, left: Left, stray: Stray) -> bool:
        """Whether a finished task's status stands where its own picture stood."""
        return stray.name == "composite_image" and any(
            isinstance(owner, TaskRecord)
            and owner.workflow_type == WorkflowType.IMAGE_COMPOSITION.value
            and owner.status is WorkflowStatus.COMPLETED
            and self._reader.row_of(owner) == row_number_of(address) == stray.place.row
            for address, (owner, _, _) in left.cells.items()
        )

    def _still_owed(self, debt: Owed) -> bool:
        """Whether its row still shows what was written over its own. A person is told where its row cannot be told from
        others that show it, or is not found any more."""
        if not self._reader.sheet.shares(debt.field, debt.place.sheet):  # its column was removed or renamed
            self._tell(debt.task_id, debt.place, debt.field)
            return False
        rows = self._reader.rows_of(debt.place)
        showing = [row for row in rows if self._reader.sheet.shown(row, debt.field) == debt.shown]
        if len(rows) == 1:
            return bool(showing)
        if not rows or len(showing) > debt.beside:
            self._tell(debt.task_id, debt.place, debt.field)
        return False

    def _tell(self, task_id: str, place: Place, field: str) -> None:
        cell = place.cell(field)
        if self._unseen.tell(task_id, cell, place.row):
            log.warning("[wfrecovery] %s", spoiled(task_id, {cell: place.row}))


def give_titles_back(feishu: FeishuClient, reader: SheetReader, earlier: Reading, values: Mapping[str, str]) -> None:
    """Write titles again that were written over because rows were inserted above them; `values`: by what, by address.
    Raises FeishuError and SheetLayoutError."""
    lost = lost_titles(reader.sheet, earlier.sheet, values)
    if lost:
        log.warning("[wfrecovery] rows moved under a write: the title is written again in %s", ", ".join(lost))
        feishu.write_cells(lost)
        reader.read()


def _tasks_of(left: Left) -> Iterator[tuple[TaskRecord, str]]:
    """What it was for, and into which columns."""
    return ((owner, name) for owner, name, _ in left.cells.values() if isinstance(owner, TaskRecord))


def _whose(left: Left, stray: Stray) -> str:
    """The task whose value went into another cell: of those that wrote it the one that wrote there."""
    wrote = {
        row_number_of(address): owner.task_id
        for address, (owner, field, value) in left.cells.items()
        if isinstance(owner, TaskRecord) and field == stray.field and cell_text(value).strip() == stray.shown
    }
    return wrote.get(stray.place.row) or next(iter(wrote.values()), left.task_id)


def _is_nowhere(error: FeishuError, cells: int) -> bool:
    """Whether a write of so many cells surely did nothing: it was turned away as a whole."""
    may_be_half = error.needs_person or error.code in PARTLY_DONE or cells > RANGES_PER_WRITE
    return not (error.outcome_unknown or may_be_half)
