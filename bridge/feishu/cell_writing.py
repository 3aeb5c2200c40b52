"""Texts into cells of their rows, many in one call; and back, where rows moved in that very moment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from ..table.cells import cell_text
from ..table.records import TaskRecord
from ..table.row_identity import short
from ..wording import Wording
from .client import FeishuClient
from .errors import FeishuError
from .finding import RowNotFoundError
from .reading import Cells, Owed, Place, Reading, SheetReader, Write
from .sheet import row_number_of

log = logging.getLogger("wfrecovery")

#: How often what other rows lost is written back when rows keep moving under that as well.
_REPAIR_ROUNDS: Final = 10


class CellWriting:
    """Writes cells by one reading, and looks whether they stand where they should."""

    def __init__(self, feishu: FeishuClient, reader: SheetReader) -> None:
        self._feishu, self._reader = feishu, reader

    def write(self, cells: Cells) -> tuple[bool, dict[str, Exception]]:
        """True when they stand where they should, else the sheet was read again and what went astray put right; and for
        which tasks a person has to look after it. Raises FeishuError."""
        earlier = self._reader.current
        left = cells, earlier
        self._reader.unseen.cells.append(left)
        done = self._written(cells, earlier)
        self._reader.unseen.cells.remove(left)
        return done

    def settle(self) -> None:
        """Look where went what has left and was not looked for, because a reading failed or a part was refused; and put
        it right, before anything else is written: later what stands in a row may be its own by a newer write. Raises
        FeishuError."""
        for left in list(self._reader.unseen.cells):
            cells, earlier = left
            for error in self._restore({**cells, **self._numbers_among(cells)}, earlier).values():
                log.warning("[wfrecovery] %s", error)
            self._reader.unseen.cells.remove(left)

    def _numbers_among(self, cells: Cells) -> Cells:
        """The numbers that were written, by where they stand now: rows may have moved more than once."""
        sheet = self._reader.sheet
        return {
            sheet.address(row, field): (task, field, value)
            for task, field, value in cells.values()
            if field == "task_id"
            for row in sheet.index.rows_of_task(task.task_id)
        }

    def _written(self, cells: Cells, earlier: Reading) -> tuple[bool, dict[str, Exception]]:
        try:
            revisions = self._feishu.write_cells({address: value for address, (_, _, value) in cells.items()})
        except FeishuError as error:
            self._reader.doubt()
            if not error.outcome_unknown or error.slow:  # slow: it may arrive yet, the next flush looks
                raise
            self._reader.read()
            lost = self._restore(cells, earlier)
            if any(not self._reader.stands(task, field, value) for task, field, value in cells.values()):
                raise
            return True, lost
        written = {(row_number_of(address), field): value for address, (_, field, value) in cells.items()}
        if all(self._reader.confirm(Write.CELLS, revision) for revision in revisions):
            self._reader.note_values(written)
            return True, {}
        self._reader.read_after(revisions[0] if len(revisions) == 1 else None, written)
        if len(revisions) == 1:
            self._reader.learn(Write.CELLS, earlier, revisions[0], written)
        return False, self._restore(cells, earlier)

    def _restore(self, cells: Cells, earlier: Reading) -> dict[str, Exception]:
        """Give other rows their own texts back, where ours went into them because rows moved in that very moment; and
        again, where rows moved under that as well. Returns the tasks whose value stands where nobody knows what stood
        there before: nothing is emptied on suspicion. What Feishu refuses stays owed: rows may move until the next try,
        and where it went is known by now."""
        written: Mapping[str, tuple[TaskRecord | Place, str, Any]] = cells
        unseen = self._reader.unseen
        owed = [debt for debt in unseen.owed if self._reader.stands(debt.place, debt.field, debt.shown)]
        unknown: dict[str, Exception] = {}
        for _ in range(_REPAIR_ROUNDS):
            for address, (place, field, text) in self._displaced(written, earlier).items():
                owner, _, shown = written[address]
                if text is None:
                    task = owner if isinstance(owner, TaskRecord) else next(iter(cells.values()))[0]
                    unknown[task.task_id] = _spoiled(address, self._reader)
                elif (place.identity, field) not in {(debt.place.identity, debt.field) for debt in owed}:
                    owed.append(Owed(place, field, text, shown))
            written = {
                self._reader.sheet.address(row, debt.field): (debt.place, debt.field, debt.text)
                for debt in owed
                if (row := self._reader.row_of(debt.place))
                and not self._reader.stands(debt.place, debt.field, debt.text)
            }
            unseen.owed = owed if written else []
            if not written:
                return unknown
            log.warning("[wfrecovery] rows moved under a write: %s get their own texts back", ", ".join(written))
            earlier = self._reader.current
            self._feishu.write_cells({address: text for address, (_, _, text) in written.items()})
            self._reader.read()
        unseen.owed = []
        log.error("[wfrecovery] rows keep moving under the writes: please check %s", ", ".join(written))
        return unknown

    def _displaced(
        self, written: Mapping[str, tuple[TaskRecord | Place, str, Any]], earlier: Reading
    ) -> dict[str, tuple[Place, str, str | None]]:
        """The rows that got what is another's, by the address, with their own text by the reading before; None where
        that cannot be told."""
        found: dict[str, tuple[Place, str, str | None]] = {}
        for address, (owner, field, value) in written.items():
            number = row_number_of(address)
            shown = self._reader.sheet.text(number, field)
            if (
                shown != cell_text(value)
                or number not in self._reader.sheet.row_numbers()
                or self._reader.row_of(owner) == number
            ):
                continue
            own = {earlier.sheet.text(row, field) for row in self._reader.earlier_rows(earlier, number)}
            if shown not in own:
                found[address] = self._reader.place(number), field, own.pop() if len(own) == 1 else None
        return found


def _spoiled(address: str, reader: SheetReader) -> Exception:
    cell, row = address.partition(":")[2], row_number_of(address)
    here = short([reader.sheet.optional_text(row, name) for name in ("product_name", "model_name")])
    return RowNotFoundError(
        Wording(
            f"rows moved while cells were written: cell {cell} of another row ({here}) was written over, and what "
            "stood there is not known → put that right, then push again",
            f"写入单元格时有人移动了行：另一行（{here}）的单元格 {cell} 被覆盖，原内容未知 → 请改正它，再重新推送",
        ),
        [row],
    )
