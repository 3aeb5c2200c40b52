"""How often a ComfyUI without the plugin began a prompt before it went down: nobody there counts, so `main.py` does.

What was seen running was counted then. Where nothing was seen, of all that went down together the oldest one is to
blame, for ComfyUI runs one after the other; and it alone: forty rows that waited behind it have not been started.

Who stands in ComfyUI's queue has a `queue` in his record, from the answer to his submission on, and `sending` from the
request on until then: `main.py` may go down with ComfyUI before it can note the answer. Whoever sees a loss
first takes that from all that went down: so each crash is judged once, by whichever program, over restarts of all.
A `queue` that names a start of ComfyUI was written by the plugin, which has counted what began there.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable

from ..table.disk import DurabilityUnknownError
from ..table.manager import DatabaseManager
from ..table.records import Stage, TaskRecord, parse_time


def suspect(tasks: Iterable[TaskRecord]) -> TaskRecord | None:
    """Who is to blame if ComfyUI has gone down with `tasks`: who was seen running, else the oldest in its queue."""

    def turn(task: TaskRecord) -> tuple[bool, float, str]:
        since = (task.queue and task.queue.queued_at) or task.sending
        return not _was_seen_running(task), parse_time(since), task.task_id  # who sent it may have another time zone

    return min(filter(may_be_there, tasks), key=turn, default=None)


def may_be_there(task: TaskRecord) -> bool:
    """Whether it stands in ComfyUI's queue, or is on its way there: who sent it may have died before an answer came."""
    return not task.stage.final and (was_put(task) or task.sending is not None)


def was_put(task: TaskRecord) -> bool:
    """Whether a ComfyUI without the plugin has said that it stands in its queue."""
    return task.queue is not None and not task.queue.boot


def is_lost(task: TaskRecord) -> bool:
    """Whether a ComfyUI without the plugin had it and has gone down with it, which was judged, and nobody has sent it
    again since."""
    return task.stage in (Stage.QUEUED, Stage.RUNNING) and task.queue is None and task.sending is None


def _was_seen_running(task: TaskRecord) -> bool:
    return task.stage is Stage.RUNNING and was_put(task)


def gone(task: TaskRecord) -> TaskRecord:
    """`task` as ComfyUI has lost it, for no fault of its own."""
    return dataclasses.replace(task, queue=None, sending=None)


def went_down(db: DatabaseManager, with_it: Callable[[TaskRecord], bool], lost: TaskRecord) -> TaskRecord:
    """The change of a task with which ComfyUI has gone down. The others that went down are changed with it, as all of
    this is under the table's lock; the one to blame comes last, for a crash in between must not make it another."""
    there = {task.task_id: task for task in db.table.active() if may_be_there(task) and with_it(task)}
    to_blame = suspect(there.values())
    if not may_be_there(lost) or to_blame is None:  # judged before
        return lost
    for task_id in sorted(there.keys() - {lost.task_id}, key=lambda task_id: task_id == to_blame.task_id):
        with contextlib.suppress(DurabilityUnknownError):
            db.table.update(task_id, blamed if task_id == to_blame.task_id else _without_place)
    return blamed(lost) if lost.task_id == to_blame.task_id else gone(lost)


def _without_place(task: TaskRecord) -> TaskRecord:
    return task if task.stage.final else gone(task)


def blamed(task: TaskRecord) -> TaskRecord:
    """One start more; that of what was seen running is counted already."""
    if not task.stage.final and not _was_seen_running(task):
        task = dataclasses.replace(task, attempts=task.attempts + 1)
    return _without_place(task)
