"""Before a result is written that another table had to deliver, or may have: whether its row shows it already.

Feishu knows no conditional write, and two programs that do not reach each other cannot agree. What can be seen is the
row: a picture was delivered where the cell shows that very picture. A film cannot be looked at: there the status tells,
which is written last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from ..table.records import TaskRecord, WorkflowStatus, WorkflowType, parse_time
from .reading import SheetReader
from .shown import Shown, Whose
from .status_column import status_before, status_field

log = logging.getLogger("wfrecovery")

#: So long after it was finished nobody else can have delivered it: `main.py` waits for longer before it takes over.
FRESH_SECONDS: Final = 60.0


class LookBack:
    """Looks for the results of one flush. `began`: when this publisher did."""

    def __init__(self, reader: SheetReader, shown: Shown, began: float, clock: Callable[[], float]) -> None:
        self._reader, self._shown, self._began, self._clock = reader, shown, began, clock

    def stands_there(self, task: TaskRecord) -> bool:
        """Whether somebody else has delivered it. Raises FeishuError, SheetLayoutError, RowNotFoundError,
        ResultGoneError."""
        if not self._may_stand_there(task):
            return False
        found = self._looked_for(task)
        if found:
            log.info("[wfrecovery] %s (row %s) stands in its row already", task.task_id, task.row_number)
        return found

    def _looked_for(self, task: TaskRecord) -> bool:
        self._reader.look_again()
        row = self._reader.row(task)
        if task.workflow_type != WorkflowType.IMAGE_COMPOSITION.value:
            return self._is_done(task, row)
        if self._shown.picture(task, row) is not Whose.ITS:
            return False
        self._shown.note_brought(task, row)
        return True

    def _is_done(self, task: TaskRecord, row: int) -> bool:
        """Whether a film's row says so, and did not before."""
        sheet, done = self._reader.sheet, WorkflowStatus.COMPLETED.value
        first = task.outbox.pushed_at is None and not task.outbox.sent
        linked = not sheet.columns.video_link or bool(sheet.optional_text(row, "video_link"))
        return first and linked and sheet.text(row, status_field(task.workflow_type)) == done != status_before(task)

    def _may_stand_there(self, task: TaskRecord) -> bool:
        """What has changed hands may. Not what no other table has a record of, what a person wants written, and what
        has just been finished here for the first time; what was sent from here is looked for where it is sent."""
        if task.twin is None or task.outbox.asked_at is not None or task.outbox.writing is not None:
            return False
        if task.outbox.by is not None:
            return True
        finished_at = parse_time(task.finished_at)
        first = task.runs <= 1 and not task.adopted and task.rebuilt_at is None
        return not (first and self._began <= finished_at and 0 <= self._clock() - finished_at < FRESH_SECONDS)
