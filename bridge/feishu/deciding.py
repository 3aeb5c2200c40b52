"""What a person decides about a result that could not be delivered: write it into a row all the same, take a file that
he names for it, or leave it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ..results.by_hand import file_named
from ..results.contents import Contents
from ..table.changes import given, left, meant_for
from ..table.manager import DatabaseManager, shown_by
from ..table.publishers import back_in_outbox, delivered_here
from ..table.records import Stage, TaskError, TaskRecord, WorkflowStatus, stage_zh
from ..table.row_identity import RowIdentity, made_of_same, resembles, same_labels, short
from ..table.rows import RowData
from ..table.value_json import value_to_json
from ..table.values import FeishuState
from ..wording import Wording
from .client import FeishuClient
from .finding import RowFinder, RowNotFoundError
from .sheet import SheetLayoutError, SheetTable
from .status_column import status_field

#: Rows that are shown to choose from.
MOST_SHOWN: Final = 50
_DONE, _FAILED = WorkflowStatus.COMPLETED.value, WorkflowStatus.FAILED.value


@dataclass(frozen=True)
class Choice:
    """A row that a result may be written into, as a person is shown it before he decides."""

    row_number: int
    product_name: str
    model_name: str
    prompt: str
    #: a digest of all that tells the row apart: with it the result goes where he has looked, or nowhere
    seen: str


def choices(db: DatabaseManager, feishu: FeishuClient, task_id: str, row_number: int | None = None) -> list[Choice]:
    """The rows that a result may be meant for, as far as the sheet tells; none where nothing is like its row. Or the
    one of that number. Raises TaskError and FeishuError."""
    task = db.table.get(task_id)
    with _layout_as_task_error():
        sheet = feishu.read_sheet()
        numbers = [row_number] if row_number is not None else _rows_for(db, sheet, task) or _rows_like(sheet, task)
    rows = _rows_by_number(sheet)
    if row_number is not None and row_number not in rows:
        raise _no_such_row(row_number)
    return [_choice(sheet, rows[number]) for number in numbers if number in rows][:MOST_SHOWN]


def write_anyway(
    db: DatabaseManager, feishu: FeishuClient, task_id: str, row_number: int | None = None, seen: str | None = None
) -> TaskRecord:
    """Deliver a result into the row `row_number`, whatever that says now; without a number into the only row that it
    can be meant for. `seen`: what a person was shown of that row. Its record afterwards, whose result waits in the
    outbox.

    Raises TaskError where there is no such row, none to choose from, another one by now, no result, or one that is done
    without it; and FeishuError.
    """
    task = db.table.get(task_id)
    with _layout_as_task_error():
        sheet = feishu.read_sheet()
        number = row_number if row_number is not None else _only_row(db, sheet, task)
    rows = _rows_by_number(sheet)
    if number not in rows:
        raise _no_such_row(number)
    identity = sheet.identity(number)
    if seen not in (None, _digest(identity)):
        raise TaskError(
            Wording(
                f"row {number} is not what it was when it was shown: rows have moved, or it was changed → look again",
                f"第 {number} 行已不是刚才显示的内容：行被移动或修改过 → 请重新查看",
            )
        )
    if task.status is WorkflowStatus.FAILED and sheet.optional_text(number, status_field(task.workflow_type)) == _DONE:
        raise _done_without_it(task_id, number)
    row = rows[number]
    document, here = feishu.settings.document, feishu.settings.sheet_key(sheet.sheet_id)
    if document is not None:
        db.note_sheet(document, here)
    return db.table.update(task_id, lambda record: replace(meant_for(record, row, identity, shown_by(row)), sheet=here))


def leave(db: DatabaseManager, task_id: str) -> TaskRecord:
    """Deliver a result no more; what the row's cell says decides whether a next batch renders the row. Raises
    TaskError."""
    return db.table.update(task_id, left)


def give_file(db: DatabaseManager, task_id: str, name: str, document: str | None) -> TaskRecord:
    """Take the file of that name for the task's result, and have it delivered into its row, from this table where
    `document` says that one is set here. Reads the file. Raises TaskError with what speaks against it, and OSError."""
    task = db.table.get(task_id)
    contents = Contents(db.table.files, db.output_dir)
    if task.stage is Stage.FINISHED and task.feishu_state is not FeishuState.BLOCKED and contents.there(task):
        raise TaskError(
            Wording(
                f"{task_id} is {task.stage.value}, and its result is there: it needs no other file",
                f"{task_id} {stage_zh(task.stage)}，结果文件也在，不需要指定别的文件",
            )
        )
    result = file_named(contents, db.table.files.folder, db.output_dir, task, name)
    push = (
        partial(back_in_outbox, db.table.table_id)
        if document is None
        else partial(delivered_here, db.table.keep_table_id(), document)
    )

    def change(record: TaskRecord) -> TaskRecord:
        done = given(record, result)
        return done if record.row_number is None else push(done)

    change(task)  # what is refused leaves the copy that is kept as it is
    if task.row_number is not None:
        contents.keep(task_id, result)
    return db.table.update(task_id, change)


def _rows_for(db: DatabaseManager, sheet: SheetTable, task: TaskRecord) -> list[int]:
    try:
        return [RowFinder(sheet, known=db.index.find, tasks=db.index.entries).row_of(task)]
    except RowNotFoundError as error:
        return list(error.rows)


def _rows_like(sheet: SheetTable, task: TaskRecord) -> list[int]:
    """Rows that were perhaps changed and moved since: to be looked at, not to be taken. The one that has the number
    alone, if it is among them."""
    like = [number for number, row in sheet.index.rows.items() if resembles(task.identity, row)]
    return [number for number in like if number == task.row_number] or like


def _only_row(db: DatabaseManager, sheet: SheetTable, task: TaskRecord) -> int:
    rows = _rows_for(db, sheet, task)
    if len(rows) == 1 and _is_still_its_own(task, sheet, rows[0]):
        return rows[0]
    named = ", ".join(_named(task, sheet, number) for number in rows[:10])
    hint = Wording(f"say which row: {named or 'its number'}", f"请指定哪一行：{named or '行号'}")
    raise TaskError(Wording(f"{task.task_id}: ", f"{task.task_id}：") + hint)


def _is_still_its_own(task: TaskRecord, sheet: SheetTable, number: int) -> bool:
    """Whether a person who names no row can have meant this one: it may be the one below a row that was deleted."""
    row = sheet.identity(number)
    return (
        same_labels(task.identity, row)
        or made_of_same(task.identity, row)
        or number in sheet.index.rows_of_task(task.task_id)
    )


def _named(task: TaskRecord, sheet: SheetTable, number: int) -> str:
    row = sheet.identity(number)
    known = same_labels(task.identity, row)
    return str(number) if known else f"{number} ({short([row.product_name, row.model_name])})"


def _rows_by_number(sheet: SheetTable) -> dict[int, RowData]:
    return {row.row_number: row for row in sheet.rows()}


def _choice(sheet: SheetTable, row: RowData) -> Choice:
    return Choice(row.row_number, row.product_name, row.model_name, row.prompt, _digest(sheet.identity(row.row_number)))


def _digest(row: RowIdentity) -> str:
    text = json.dumps(value_to_json(row), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _no_such_row(number: int) -> TaskError:
    return TaskError(
        Wording(
            f"the sheet has no row {number} with a product or a model → name another one",
            f"表格里没有写着产品或模特的第 {number} 行 → 请指定另一行",
        )
    )


def _done_without_it(task_id: str, number: int) -> TaskError:
    command = f"wfrecovery decide {task_id} file --file"
    return TaskError(
        Wording(
            f"{task_id} failed and has no result, and row {number} says {_DONE}: {_FAILED} is not written over that "
            f"→ name the file that is its result ({command} PATH), or let it be",
            f"{task_id} 失败，没有结果，而第 {number} 行是 {_DONE}，不会改成 {_FAILED}"
            f" → 请指定作为结果的文件（{command} 路径），或不必处理",
        )
    )


@contextlib.contextmanager
def _layout_as_task_error() -> Iterator[None]:
    """A sheet in which no row can be found is no fault of the caller's, and no crash."""
    try:
        yield
    except SheetLayoutError as error:
        raise TaskError(error.wording) from error
