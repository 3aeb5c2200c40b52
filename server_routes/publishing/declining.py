"""What the plugin does not deliver (any more), because it is not set up for the row's document: said in the records."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from ...bridge.table.lives import Life
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.publishers import addressed, may_deliver, waiting_for_document
from ...bridge.table.records import TaskRecord
from ...bridge.table.values import FeishuState, OwnerKind

log = logging.getLogger("wfrecovery")

_OPEN: Final = (FeishuState.PENDING, FeishuState.BLOCKED)


def decline_others(db: DatabaseManager, document: str | None, on_change: Callable[[TaskRecord], None]) -> None:
    """Go through what was entered before this start, when other settings applied. What a `main.py` with a table of its
    own has sent is declined: it delivers that itself. `document`: what is set here now."""
    if _another_lives(db):  # it may be set up for these rows
        return
    table_id = db.table.table_id
    for task in list(db.table.active()):
        named = task.publisher is not None and task.publisher == table_id and task.feishu_state in _OPEN
        if named and not may_deliver(task, table_id, document):
            changed = db.table.update(task.task_id, partial(_declined, table_id, document))
            log.warning("[wfrecovery] %s (row %s) is not delivered: %s", task.task_id, task.row_number, _why(changed))
            on_change(changed)


def _declined(table_id: str | None, document: str | None, task: TaskRecord) -> TaskRecord:
    """Who shares this table has no other: there it waits."""
    if task.feishu_state not in _OPEN or may_deliver(task, table_id, document):
        return task
    if task.twin is not None:
        return addressed(task, table_id, document)
    return waiting_for_document(task)


def _why(task: TaskRecord) -> str:
    return task.outbox.last_error or "the row's document is not the one that is set here"


def _another_lives(db: DatabaseManager) -> bool:
    lives = ((told.kind, life) for told, life in db.owners.known())
    return any(kind == OwnerKind.COMFYUI and life in (Life.ALIVE, Life.DOUBT) for kind, life in lives)
