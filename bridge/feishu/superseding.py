"""Several results of one row: which is the newest, and what that means for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ..table.index import TaskEntry
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, WorkflowStatus
from ..table.values import FeishuState
from .reading import SheetReader

#: Document, workflow, and which row.
_Key = tuple[str | None, str | None, tuple[int, ...], int | None]
#: A newer result that was itself refused so often no longer holds back an older one of its row.
_REFUSED_OFTEN: Final = 3


def newer_results(
    db: DatabaseManager, tasks: Sequence[TaskRecord], reader: SheetReader, document: str | None
) -> Mapping[str, TaskEntry]:
    """Task id → the newest result of its row and workflow, where that is another one's and is in the sheet, or gets
    there unless it is refused again and again. One that cannot be delivered holds back none, and none one of another
    document than this one."""
    if not tasks:  # mostly none is held back, and the table may have 100,000
        return {}
    since = min(task.result_order for task in tasks)
    newest: dict[_Key, TaskEntry] = {}
    known = db.sheets.read()

    def sheet_of(task: TaskRecord | TaskEntry) -> str | None:
        named = task.document or document
        return task.sheet or known.get(named or "", named)

    key_of = partial(_key, reader, sheet_of)
    for entry in db.index.entries():
        if entry.status is WorkflowStatus.COMPLETED and entry.result_order > since and _goes_in(db, entry):
            key = key_of(entry)
            newest[key] = max(newest.get(key, entry), entry, key=_order)
    found = {}
    for task in tasks:
        by = newest.get(key_of(task)) if reader.row_of(task) else None
        if by is not None and _order(by) > _order(task):
            found[task.task_id] = by
    return found


def _key(
    reader: SheetReader, sheet_of: Callable[[TaskRecord | TaskEntry], str | None], task: TaskRecord | TaskEntry
) -> _Key:
    """By which results of one row are told. Of rows that look the same each has one of its own: there the number in
    which the task was entered tells, for what they get is shared out."""
    rows = reader.rows_alike(task)
    return sheet_of(task), task.workflow_type, rows, task.row_number if len(rows) > 1 else None


def _goes_in(db: DatabaseManager, entry: TaskEntry) -> bool:
    if entry.feishu_state is not FeishuState.PENDING or entry.row_number is None:
        return entry.feishu_state is FeishuState.PUSHED
    task = db.table.look(entry.task_id)
    return task is not None and task.outbox.refused < _REFUSED_OFTEN


def _order(task: TaskRecord | TaskEntry) -> tuple[int, str]:
    """Which of two results is newer; of two that an older program has finished in one millisecond the id decides."""
    return task.result_order, task.task_id
