"""What a person decides about a result that could not be delivered: write it into a row all the same, or leave it."""

from __future__ import annotations

from ..table.changes import left, meant_for
from ..table.manager import DatabaseManager
from ..table.records import TaskError, TaskRecord
from ..wording import Wording
from .client import FeishuClient
from .finding import RowFinder, RowNotFoundError
from .sheet import SheetTable


def write_anyway(db: DatabaseManager, feishu: FeishuClient, task_id: str, row_number: int | None = None) -> TaskRecord:
    """Deliver a result into the row `row_number`, whatever that says now; without a number into the only row that it
    can be meant for. Its record afterwards, whose result waits in the outbox.

    Raises TaskError where there is no such row, none to choose from, or no result, and FeishuError.
    """
    task = db.table.get(task_id)
    sheet = feishu.read_sheet()
    number = row_number if row_number is not None else _only_row(sheet, task)
    rows = {row.row_number: row for row in sheet.rows()}
    if number not in rows:
        raise TaskError(
            Wording(
                f"the sheet has no row {number} with a product or a model → name another one",
                f"表格里没有写着产品或模特的第 {number} 行 → 请指定另一行",
            )
        )
    names = rows[number].product_name, rows[number].model_name
    return db.table.update(task_id, lambda record: meant_for(record, number, sheet.identity(number), names))


def leave(db: DatabaseManager, task_id: str) -> TaskRecord:
    """Deliver a result no more; what the row's cell says decides whether a next batch renders the row. Raises
    TaskError."""
    return db.table.update(task_id, left)


def _only_row(sheet: SheetTable, task: TaskRecord) -> int:
    try:
        return RowFinder(sheet).row_of(task)
    except RowNotFoundError as error:
        if len(error.rows) == 1:
            return error.rows[0]
        named = ", ".join(map(str, error.rows[:10]))
        hint = Wording(f"say which row: {named or 'its number'}", f"请指定哪一行：{named or '行号'}")
        raise TaskError(Wording(f"{task.task_id}: ", f"{task.task_id}：") + hint) from error
