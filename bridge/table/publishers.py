"""Who delivers a task's result: named when the task is submitted, and kept in every record of its prompt.

A publisher is a table, by its id; the processes that work in one table settle by a lock who of them does it. It changes
only where it declines, where it was out of reach for long, or where a person says so. Any other answer to "who
delivers?" would be another one a moment later: two would write, or nobody.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from ..wording import Wording, wording_of
from .changes import pushed_again
from .records import TaskError, TaskRecord
from .values import FeishuState

#: Letters of a table's id that are shown.
_SHORT: Final = 8
OTHER_DOCUMENT: Final = Wording(
    "its row stands in another document than the one that is set here; it waits for a program of this folder that is "
    "set to that one → set it, or push it by its name to write it into the one that is set here",
    "该行在另一个表格里，不是这里设置的那个；等待使用此文件夹、并设置了那个表格的程序 → 请设置那个表格，"
    "或单独推送这个任务，写入这里设置的表格",
)
_PUSH_THERE: Final = Wording(": push it there (wfrecovery push --local)", "：请在那里推送（wfrecovery push --local）")


@dataclass(frozen=True)
class Naming:
    """What is said of a task's delivery when it is submitted."""

    publisher: str | None = None
    document: str | None = None
    #: the other table that has a record of it
    twin: str | None = None
    #: by `Settings.sheet`
    sheet: str | None = None


def named(naming: Naming, task: TaskRecord) -> TaskRecord:
    """`task` with who delivers it; where that stands there already, it stays."""
    if task.publisher is not None:
        return task
    known = {name: getattr(task, name) or getattr(naming, name) for name in ("document", "sheet", "twin")}
    return dataclasses.replace(task, publisher=naming.publisher, **known)


def may_deliver(task: TaskRecord, table_id: str | None, document: str | None) -> bool:
    """Whether a program that works in that table, and is set to that document, delivers it. What names nobody is
    delivered by whoever has it."""
    return task.publisher in (None, table_id) and task.document in (None, document)


def stands_in(task: TaskRecord, sheet: str | None) -> bool:
    """Whether its row stands in that sheet, as far as it is known for which one it was entered."""
    return sheet is None or task.sheet in (None, sheet)


def in_sheet(sheet: str | None, task: TaskRecord) -> TaskRecord:
    """`task` with the sheet that it was entered for; once that is known, it stays."""
    return dataclasses.replace(task, sheet=task.sheet or sheet)


def addressed(task: TaskRecord, table_id: str | None, document: str | None) -> TaskRecord:
    """`task` as the plugin enters it: its result waits in the outbox, unless another table delivers it.

    Where the row's document is not the one that is set here, that is the table of who has sent it; one that shares
    this table has no other.
    """
    if task.row_number is None:
        return task
    if task.publisher not in (None, table_id):
        return _left(task, task.publisher or "", main_delivers(task.publisher))
    if task.twin is not None and not may_deliver(task, table_id, document):
        return _left(task, task.twin, _elsewhere(document) + main_delivers(task.twin))
    return task.with_outbox(state=FeishuState.PENDING, by=None)


def _left(task: TaskRecord, to: str, why: Wording) -> TaskRecord:
    left = dataclasses.replace(task, publisher=to)
    return left.with_outbox(state=FeishuState.OFF, by=to, last_error=why.en, last_error_zh=why.zh)


def taken_from_other(table_id: str, task: TaskRecord) -> TaskRecord:
    """`task` with this table as the publisher, in the place of one that declines, or is out of reach; and perhaps has
    delivered it."""
    if task.feishu_state is not FeishuState.PENDING or not task.stage.final:
        return task
    taken = dataclasses.replace(task, publisher=table_id, twin=task.twin or task.publisher)
    return taken.with_outbox(by=task.publisher, last_error=None, last_error_zh=None)


def back_in_outbox(table_id: str | None, task: TaskRecord) -> TaskRecord:
    """`task` in the outbox again, as a person wants it who pushes many at once. Raises TaskError where there is no
    result, or another table delivers it."""
    again = pushed_again(task)
    if task.publisher not in (None, table_id):
        raise TaskError(wording_of(f"{task.task_id}: ") + main_delivers(task.publisher) + _PUSH_THERE)
    return again


def delivered_here(table_id: str, document: str, task: TaskRecord, *, sheet: str | None = None) -> TaskRecord:
    """The same for one that a person has named: whoever was to deliver it, this table does from now on. Where it waited
    for another document, it goes into `document`: the one that is set here. What another was to deliver may be there
    already: that is looked at first, unless a person has decided that it be written whatever is there. `sheet`: what
    has the title of that, as far as was noted; what was told that its own is another one goes into it."""
    again = pushed_again(task)
    ours = task.publisher in (None, table_id)
    decided = again.with_outbox(asked_at=task.outbox.asked_at)
    again = again.with_outbox(by=None) if ours else taken_from_other(table_id, decided)
    waited = task.feishu_state in (FeishuState.PENDING, FeishuState.OFF)
    goes_to = document if waited and task.document is not None else task.document
    told = task.feishu_state is not FeishuState.PUSHED and not stands_in(task, sheet)
    return dataclasses.replace(again, document=goes_to, sheet=sheet if told or goes_to != task.document else task.sheet)


def main_delivers(table_id: str | None) -> Wording:
    """Of a record in the plugin's table."""
    shown = (table_id or "?")[:_SHORT]
    return Wording(f"main.py delivers it, from its own table ({shown})", f"由 main.py 从自己的任务表（{shown}）写入")


def waiting_for_document(task: TaskRecord) -> TaskRecord:
    """`task` with the reason why it waits in this outbox: the program that looks is not set to its document."""
    if not task.stage.final or task.feishu_state is not FeishuState.PENDING:
        return task
    return task.with_outbox(last_error=OTHER_DOCUMENT.en, last_error_zh=OTHER_DOCUMENT.zh)


def _elsewhere(document: str | None) -> Wording:
    if document is None:
        return Wording("Feishu is not set up here: ", "这里没有设置飞书：")
    return Wording("its row stands in another document than the one that is set here: ", "该行不在这里设置的表格里：")
