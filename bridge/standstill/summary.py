"""The summary of a batch beside what was told in its middle: neither tells again what the other has just told."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Final

from ..feishu.client import FeishuClient
from ..feishu.group_summary import Summary, tell_group
from ..table.records import TaskError, parse_time
from .note import Note, Told
from .view import Blocked

#: Seconds for which the group needs not hear the same again.
JUST: Final = 15 * 60.0


def tell_summary(feishu: FeishuClient, summary: Summary, note: Note) -> None:
    """Send it as `tell_group` does. Raises nothing."""
    left = without_told(summary, note, time.time())
    if left is not None and tell_group(feishu, left) is None:
        with contextlib.suppress(OSError, TaskError):
            note.claim(_blocked_in(left))


def without_told(summary: Summary, note: Note, now: float) -> Summary | None:
    """Without the blocked results of which the group was told just before; None where it would tell nothing else."""
    told = (what for key, what in note.read().items() if key.startswith("blocked:"))
    before = {task_id for what in told if 0 <= now - parse_time(what.at) < JUST for task_id in what.tasks}
    blocked = tuple(trouble for trouble in summary.blocked if trouble.task_id not in before)
    if not (blocked or summary.finished or summary.failed or summary.asking):
        return None
    return replace(summary, blocked=blocked, blocked_before=len(summary.blocked) - len(blocked))


def _blocked_in(summary: Summary) -> dict[str, Told]:
    """What the group knows from it, should the next batch find them blocked still."""
    tasks: dict[str, list[str]] = {}
    for trouble in summary.blocked:
        tasks.setdefault(f"blocked:{Blocked(trouble.task_id, trouble.reason).key}", []).append(trouble.task_id)
    return {key: Told(tasks=tuple(ids)) for key, ids in tasks.items()}
