"""Several results of one row: which is the newest, and what that means for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..table.index import TaskEntry
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, WorkflowStatus
from ..table.values import FeishuState
from .reading import SheetReader

#: A newer result that was itself refused so often no longer holds back an older one of its row.
_REFUSED_OFTEN: Final = 3


def newer_results(db: DatabaseManager, tasks: Sequence[TaskRecord], reader: SheetReader) -> Mapping[str, TaskEntry]:
    """Task id → the newest result of its row and workflow, where that is another one's and is in the sheet, or gets
    there unless it is refused again and again. One that cannot be delivered holds back none."""
    since = min((task.result_order for task in tasks), default=0)
    newest: dict[tuple[str | None, int | None], TaskEntry] = {}
    for entry in db.index.entries():
        if entry.status is WorkflowStatus.COMPLETED and entry.result_order > since and _goes_in(db, entry):
            place = entry.workflow_type, reader.row_of(entry)
            newest[place] = max(newest.get(place, entry), entry, key=_order)
    found = {}
    for task in tasks:
        row = reader.row_of(task)
        by = newest.get((task.workflow_type, row)) if row else None
        if by is not None and _order(by) > _order(task):
            found[task.task_id] = by
    return found


def _goes_in(db: DatabaseManager, entry: TaskEntry) -> bool:
    if entry.feishu_state is not FeishuState.PENDING or entry.row_number is None:
        return entry.feishu_state is FeishuState.PUSHED
    task = db.table.look(entry.task_id)
    return task is not None and task.outbox.refused < _REFUSED_OFTEN


def _order(task: TaskRecord | TaskEntry) -> tuple[int, str]:
    """Which of two results is newer; of two that an older program has finished in one millisecond the id decides."""
    return task.result_order, task.task_id
