"""Several results of one row: which is the newest, and what that means for the others."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ..table.index import TaskEntry
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, WorkflowStatus
from ..table.row_identity import pictures_differ, shows_its_pictures
from ..table.values import FeishuState
from .errors import FeishuError
from .reading import SheetReader
from .sheet import SheetLayoutError
from .status_column import result_field, status_field

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
    known = db.sheets.read()

    def sheet_of(task: TaskRecord | TaskEntry) -> str | None:
        named = task.document or document
        return task.sheet or known.get(named or "", named)

    key_of = partial(_key, reader, sheet_of)
    entries = [
        entry
        for entry in db.index.entries()
        if entry.status is WorkflowStatus.COMPLETED and entry.result_order > since and _goes_in(db, entry)
    ]
    keys = set(map(key_of, tasks))
    if any(entry.feishu_state is FeishuState.PUSHED and key_of(entry) in keys for entry in entries):
        with contextlib.suppress(FeishuError, SheetLayoutError):  # who delivers looks as well, and says so
            reader.look_again()  # another program may have brought it since
    results: defaultdict[_Key, list[TaskEntry]] = defaultdict(list)
    for entry in entries:
        results[key_of(entry)].append(entry)
    found = {}
    for task in tasks:
        row = reader.row_of(task)
        newer = [entry for entry in results.get(key_of(task), ()) if _order(entry) > _order(task)]
        its = [entry for entry in newer if row and _is_for(reader, row, task, entry)]
        if its:
            found[task.task_id] = max(its, key=_order)
    return found


def _is_for(reader: SheetReader, row: int, task: TaskRecord, newer: TaskEntry) -> bool:
    """Whether a newer result is for the task's row as well. The row of that one may have been deleted or changed: then
    the task's is the only one left that looks like it. What it shows tells, and the pictures that it is made of."""
    there = reader.sheet.identity(row)
    if pictures_differ(newer.identity, there) and shows_its_pictures(task.identity, there):
        return False
    return newer.feishu_state is FeishuState.PENDING or _has_result(reader, row, task.workflow_type)


def _has_result(reader: SheetReader, row: int, workflow_type: str | None) -> bool:
    """Whether a row says that it is done, or shows something where its result goes."""
    sheet, done = reader.sheet, WorkflowStatus.COMPLETED.value
    result = result_field(workflow_type)
    shows = row in reader.current.sent or (result in sheet.places and sheet.shown(row, result) != "")
    return shows or sheet.optional_text(row, status_field(workflow_type)) == done


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
