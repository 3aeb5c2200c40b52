"""What a person has had rendered again in ComfyUI's page after our record of it had ended: it is followed again, else
its result would lie there, and the next batch render the row once more."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Final

from ..engines.errors import EngineError
from ..engines.in_use import EngineInUse
from ..table.changes import followed_again
from ..table.index import TaskEntry
from ..table.manager import DatabaseManager
from ..table.record_json import parsed
from ..table.records import RecordError, Stage, TaskRecord, WorkflowStatus
from ..table.row_identity import Verdict, compare
from .plugin import plugin_of, record_of
from .writing import written

log = logging.getLogger("wfrecovery")

#: Of so many that failed or were cancelled last the plugin is asked at the start of a run.
_MOST_ASKED: Final = 100
_GOES_ON: Final = (Stage.QUEUED, Stage.RUNNING, Stage.FINISHED)


async def follow_retried(db: DatabaseManager, engine: EngineInUse) -> None:
    """Take such tasks up again. Where the plugin does not answer, the next run does."""
    plugin = await plugin_of(engine.plugin_lately)
    if plugin is None or plugin.table_id in (None, db.table.table_id):
        return
    for task in await asyncio.to_thread(_ended, db, plugin.table_id or ""):
        try:
            told = await record_of(engine, task.comfyui_task_id)
            theirs = None if told is None else parsed(told)
        except (EngineError, RecordError) as error:
            log.info("[wfrecovery] whether %s was retried in ComfyUI cannot be told now: %s", task.task_id, error)
            return
        if theirs is not None and theirs.stage in _GOES_ON and _retries(theirs) > _retries(task):
            log.info("[wfrecovery] %s (row %s) was retried in ComfyUI's page", task.task_id, task.row_number)
            await written(db, task.task_id, partial(followed_again, task.revision))


def _ended(db: DatabaseManager, twin: str) -> list[TaskRecord]:
    """Our records that ended without a result, and that the plugin has, too: the newest, as far as no later task is
    for the same row."""
    found: list[TaskEntry] = []
    later: dict[tuple[str | None, str], list[TaskEntry]] = defaultdict(list)
    for entry in db.index.entries():
        others = later[entry.workflow_type, entry.product_name]
        if entry.status is WorkflowStatus.FAILED and entry.row_number is not None and not _is_among(entry, others):
            found.append(entry)
        if len(found) == _MOST_ASKED:
            break
        others.append(entry)
    records = (db.table.look(entry.task_id) for entry in found)
    return [task for task in records if task is not None and task.twin == twin]


def _is_among(entry: TaskEntry, others: Iterable[TaskEntry]) -> bool:
    """Whether one of the others is for its row."""
    return any(compare(entry.identity, other.identity) is Verdict.SAME for other in others)


def _retries(task: TaskRecord) -> int:
    return sum(line.what == "retried" for line in task.story)
