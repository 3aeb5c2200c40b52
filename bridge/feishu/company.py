"""A result that comes in alone waits for the next one of its batch: one look at the sheet and one write of the statuses
serve them both, two calls each instead of three.

It waits only while a like row of its batch is being rendered, and not for long. What a person wants pushed, and what
was tried before, waits for nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..table.index import TaskEntry
from ..table.manager import DatabaseManager
from ..table.records import Stage, TaskError, TaskRecord, parse_time
from ..table.values import FeishuState
from .client import FeishuClient
from .left_on_disk import LeftOnDisk

#: Of so many in the outbox one may be the only one that is due; of more, none is looked at for that.
_FEW: Final = 20


class Company:
    """For how long what is due in one table may wait. `clock`: seconds since the epoch."""

    def __init__(self, db: DatabaseManager, feishu: FeishuClient, left: LeftOnDisk, clock: Callable[[], float]) -> None:
        self._db, self._feishu, self._left, self._clock = db, feishu, left, clock

    def seconds(self, due: Callable[[], list[TaskRecord]], unless_set: int) -> float:
        """Until WFRECOVERY_GATHER_SECONDS (`unless_set`) are over; 0: it need not wait, or nothing is due. Where the
        table cannot be read, or a killed program's texts are to be looked for, the flush is to begin."""
        longest = self._feishu.settings.gather_seconds
        longest = unless_set if longest is None else longest
        try:
            if not longest or self._left.will_be_due():
                return 0.0
            entries = self._db.index.entries()
            waiting = sum(entry.stage.final and entry.feishu_state is FeishuState.PENDING for entry in entries)
            tasks = due() if 0 < waiting <= _FEW else []
        except (OSError, TaskError):
            return 0.0
        if len(tasks) != 1 or not _is_fresh(tasks[0]):
            return 0.0
        waited = self._clock() - parse_time(tasks[0].finished_at)
        if not 0 <= waited < longest:  # a clock that was set makes nobody wait
            return 0.0
        return longest - waited if any(_is_company(tasks[0], entry) for entry in entries) else 0.0


def _is_fresh(task: TaskRecord) -> bool:
    return task.outbox.attempts == 0 and task.outbox.asked_at is None


def _is_company(task: TaskRecord, entry: TaskEntry) -> bool:
    """Whether the other one is being rendered for a row of the same batch, and goes into the same columns. What comes
    from the page is of no batch, all of it."""
    return (
        entry.stage in (Stage.QUEUED, Stage.RUNNING)
        and (entry.batch, entry.workflow_type, entry.document) == (task.batch, task.workflow_type, task.document)
        and entry.row_number is not None
        and not entry.unwanted
    )
