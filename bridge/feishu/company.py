"""A result that comes in alone waits for the next one of its batch: one look at the sheet and one write of the statuses
serve them both, two calls each instead of three.

It waits only while a like row of its batch is being rendered, and not for long. What a person wants pushed, and what
was tried before, waits for nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..table.index import TaskEntry
from ..table.records import Stage, TaskError, TaskRecord, parse_time
from ..table.values import FeishuState

#: Of so many in the outbox one may be the only one that is due; of more, none is looked at for that.
_FEW: Final = 20


def seconds_alone(
    entries: Callable[[], Sequence[TaskEntry]], due: Callable[[], list[TaskRecord]], now: float, longest: float
) -> float:
    """How long what is due may still wait for another result; 0: it need not, or nothing is due, or the table cannot be
    read: the flush says so.

    `now`: seconds since the epoch; `longest`: seconds since the task ended.
    """
    try:
        known = entries() if longest else ()
        waiting = sum(entry.stage.final and entry.feishu_state is FeishuState.PENDING for entry in known)
        tasks = due() if 0 < waiting <= _FEW else []
    except (OSError, TaskError):
        return 0.0
    if len(tasks) != 1:
        return 0.0
    waited = now - parse_time(tasks[0].finished_at)  # a clock that was set makes nobody wait
    is_to_wait = 0 <= waited < longest and _is_fresh(tasks[0]) and any(_is_company(tasks[0], entry) for entry in known)
    return longest - waited if is_to_wait else 0.0


def _is_fresh(task: TaskRecord) -> bool:
    return task.outbox.attempts == 0 and task.outbox.asked_at is None


def _is_company(task: TaskRecord, entry: TaskEntry) -> bool:
    """Whether the other one is being rendered for a row of the same batch, and goes into the same columns."""
    return (
        entry.stage in (Stage.QUEUED, Stage.RUNNING)
        and entry.batch is not None
        and (entry.batch, entry.workflow_type, entry.document) == (task.batch, task.workflow_type, task.document)
        and entry.row_number is not None
        and not entry.unwanted
    )
