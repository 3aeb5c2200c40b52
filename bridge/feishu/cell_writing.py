"""Texts into cells of their rows, many in one call; and back, where rows moved in that very moment."""

from __future__ import annotations

import logging
from typing import Final

from .astray import Stray, spoiled, strays
from .client import FeishuClient
from .errors import FeishuError
from .reading import Cells, Left, Owed, Place, SheetReader, Write
from .sheet import row_number_of

log = logging.getLogger("wfrecovery")

#: How often what other rows lost is written back when rows keep moving under that as well.
_REPAIR_ROUNDS: Final = 10


class CellWriting:
    """Writes cells by one reading, and looks whether they stand where they should."""

    def __init__(self, feishu: FeishuClient, reader: SheetReader) -> None:
        self._feishu, self._reader = feishu, reader
        self._unseen = reader.unseen

    def write(self, cells: Cells) -> bool:
        """True when they stand where they should, else the sheet was read again and what went astray put right. What a
        person has to look after is noted. Raises FeishuError."""
        left = Left(cells, self._reader.current, next(iter(cells.values()))[0].task_id)
        self._unseen.cells.append(left)
        try:
            revisions = self._feishu.write_cells({address: value for address, (_, _, value) in cells.items()})
        except FeishuError as error:
            self._reader.doubt()
            if not error.outcome_unknown or error.slow:  # slow: it may arrive yet, the next flush looks
                raise
            self._reader.read()
            self._put_right()
            if not all(self._reader.stands(*cell) for cell in cells.values()):
                raise
            return True
        written = {(row_number_of(address), field): value for address, (_, field, value) in cells.items()}
        if all(self._reader.confirm(Write.CELLS, revision) for revision in revisions):
            self._reader.note_values(written)
            self._unseen.cells.remove(left)
            return True
        self._reader.read_after(revisions[0] if len(revisions) == 1 else None, written)
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
        """Give other rows their own texts back, where ours went into them because rows moved in that very moment; and
        again, where rows moved under that as well. What Feishu refuses stays owed: rows may move until the next try,
        and where it went is known by now. Nothing is emptied on suspicion: where nobody knows what stood in a cell
        before, or whose it is now, a person is told."""
        for _ in range(_REPAIR_ROUNDS):
            for left in self._unseen.cells:
                self._look_for(left)
            self._unseen.cells.clear()
            self._unseen.owed = [debt for debt in self._unseen.owed if self._still_owed(debt)]
            repair = {
                self._reader.sheet.address(row, debt.field): (debt.place, debt.field, debt.text)
                for debt in self._unseen.owed
                for row in self._reader.rows_of(debt.place)
            }
            if not repair:
                return
            log.warning("[wfrecovery] rows moved under a write: %s get their own texts back", ", ".join(repair))
            self._unseen.cells.append(Left(repair, self._reader.current, self._unseen.owed[0].task_id))
            self._feishu.write_cells({address: text for address, (_, _, text) in repair.items()})
            self._reader.read()
        for debt in self._unseen.owed:
            self._tell(debt.task_id, debt.place, debt.field)
        self._unseen.owed.clear()
        self._unseen.cells.clear()

    def _look_for(self, left: Left) -> None:
        """Note what is owed to the rows that got some of it."""
        owed = {(self._reader.row_of(debt.place), debt.field) for debt in self._unseen.owed}
        for stray in strays(self._reader, left):
            place = self._reader.place(stray.row)
            task_id = self._whose(left, stray)
            if stray.text is None:
                self._tell(task_id, place, stray.field)
            elif (stray.row, stray.field) not in owed:
                self._unseen.owed.append(Owed(place, stray.field, stray.text, stray.shown, stray.beside, task_id))

    def _still_owed(self, debt: Owed) -> bool:
        """Whether its row still shows what was written over its own. A person is told where its row cannot be told from
        others that show it, or is not found any more."""
        rows = self._reader.rows_of(debt.place)
        showing = [row for row in rows if self._reader.sheet.text(row, debt.field) == debt.shown]
        if len(rows) == 1:
            return bool(showing)
        if not rows or len(showing) > debt.beside:
            self._tell(debt.task_id, debt.place, debt.field)
        return False

    def _whose(self, left: Left, stray: Stray) -> str:
        """The task whose value went into another row, as far as that can be told."""
        tasks = [
            owner for owner, field, _ in left.cells.values() if field == stray.field and not isinstance(owner, Place)
        ]
        missing = [task for task in tasks if not self._reader.stands(task, stray.field, stray.shown)]
        return (missing or tasks)[0].task_id if tasks else left.task_id

    def _tell(self, task_id: str, place: Place, field: str) -> None:
        log.warning("[wfrecovery] %s", spoiled([(place, field)]))
        self._unseen.to_tell.setdefault(task_id, []).append((place, field))
