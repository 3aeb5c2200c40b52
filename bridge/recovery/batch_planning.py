"""What a batch would do with the rows that it is given, by the table as it is: nothing is entered, nothing is noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..table.index import TaskEntry
from ..table.records import Stage, WorkflowStatus, WorkflowType, workflow_type_of
from ..table.row_identity import RowIdentity, RowIndex, interchangeable, nearest, short
from ..table.row_places import keeps_row
from ..table.row_tasks import RowTask, changed_row, index_of, may_be, of_newer, tasks_of_rows, unsettled
from ..table.rows import RowData, row_data_of
from ..table.values import FeishuState
from ..wording import Wording
from .decisions import Action
from .plan import PlannedTask

_OPEN: Final = Wording("no task is at work on the row", "没有任务在处理该行")
_FREED: Final = Wording(" ends without a result, and the row stays open", " 没有结果就结束，该行仍待处理")
_SENT: Final = Wording("the task that ends was sent", "结束的那个任务曾提交过")
_DONE_IN_SHEET: Final = Wording("its cell says 已完成", "单元格已写着 已完成")
_NAMELESS: Final = Wording(
    "it names no product and no model: its result could not be told where to go, so it is not paid for",
    "没有产品名和模特名：结果无法确定写到哪里，因此不生成",
)


def planned_rows(
    entries: Sequence[TaskEntry],
    rows: Sequence[RowData],
    workflow_type: WorkflowType | str,
    recovery: Mapping[str, PlannedTask],
    refused: Mapping[int, Wording],
    *,
    newer: Sequence[TaskEntry] = (),
    writes_failed: bool = True,
) -> list[PlannedTask]:
    """What happens to each row of one reading of the sheet, apart from those whose task is planned in `recovery`, by
    task id. `entries`: every task, newest first; `newer`: see `TableFiles.newer`. `refused`: see `refused_rows`.
    `writes_failed`: whether the cell of what fails says so by then."""
    kind = workflow_type_of(workflow_type).value
    index = index_of(rows)
    known = {entry.task_id: entry for entry in entries}.get
    tasks = {one.row_number: one for one in tasks_of_rows(index, list(unsettled([*newer, *entries], kind)), known)}
    before = _tried_before(entries, kind, index)
    planned = []
    for row in map(row_data_of, rows):
        number, task = row.row_number, tasks.get(row.row_number)
        ends = recovery.get(task.task.task_id) if task is not None else None
        if task is None or (ends is not None and _leaves_row_open(ends, writes_failed=writes_failed)):
            ended = None if task is None else task.task
            planned.append(_free(row, kind, ended, refused.get(number), before.get(number)))
        elif ends is None:
            why = _why_left(task) if known(task.task.task_id) else of_newer(task.task, number)
            planned.append(_planned(row, kind, Action.LEAVE, why))
        elif task.changed:
            planned.append(_planned(row, kind, Action.LEAVE, changed_row(task.task, number)))
    return planned


def _free(
    row: RowData, kind: str, ended: TaskEntry | None, refused: Wording | None, before: Wording | None
) -> PlannedTask:
    """Of a row that no task keeps, or keeps any more (`ended`). `before`: what became of a former one."""
    if refused is not None:
        return _planned(row, kind, Action.LEAVE, refused)
    reason = _OPEN if ended is None else Wording(ended.task_id, ended.task_id) + _FREED
    sent = _SENT if ended is not None and ended.comfyui_task_id is not None else None
    done = _DONE_IN_SHEET if _status(row, kind) == WorkflowStatus.COMPLETED.value else None
    return _planned(row, kind, Action.RENDER, reason, sent or before or done)


def refused_rows(rows: Sequence[RowData]) -> dict[int, Wording]:
    """Which rows of a reading are not rendered for a sheet, by their numbers: nobody could tell where results go."""
    index = index_of(rows)
    found = {number: _why_refused(index, row) for number, row in index.rows.items()}
    return {number: why for number, why in found.items() if why is not None}


def _why_refused(index: RowIndex, row: RowIdentity) -> Wording | None:
    if not row.named:
        return _NAMELESS
    alike = nearest(row, {other: index.rows[other] for other in index.may_be(row)})
    if len(alike) < 2 or interchangeable([index.rows[other] for other in alike]):
        return None
    named, numbers = short([row.product_name, row.model_name]), ", ".join(map(str, alike[:10]))
    return Wording(
        f"{named} stands in several rows ({numbers}), and nothing tells them apart: it is not paid for before that is "
        "put right in the sheet",
        f"{named} 出现在好几行（{numbers}），无法区分：请先在表格里改好，改好之前不生成",
    )


def _planned(row: RowData, kind: str, action: Action, reason: Wording, again: Wording | None = None) -> PlannedTask:
    return PlannedTask(
        None, row.row_number, kind, str(row.product_name), str(row.model_name), action, reason, again=again
    )


def _leaves_row_open(ends: PlannedTask, *, writes_failed: bool) -> bool:
    """Whether the batch takes the row of a task that comes to this end. What is cancelled leaves its cell at 否."""
    fails_unseen = ends.action is Action.FAIL and not writes_failed
    return ends.row_stays_open or ends.action is Action.CANCEL or fails_unseen


def _why_left(taken: RowTask) -> Wording:
    """Of a row whose task is not planned: it has ended, or there is no plan."""
    task = taken.task
    if taken.changed:
        return changed_row(task, taken.row_number)
    this = Wording(task.task_id, task.task_id)
    if task.feishu_state is FeishuState.BLOCKED and task.stage.final:
        return this + Wording(
            " is finished, and its result cannot go into the sheet (why: wfrecovery tasks --local --feishu blocked)",
            " 已完成，但结果写不进表格（原因见 wfrecovery tasks --local --feishu blocked）",
        )
    if task.stage.final:
        return this + Wording(
            " is finished; its result waits to be written into the sheet", " 已完成，结果等待写入表格"
        )
    if task.stage is Stage.ASKING:
        return this + Wording(" waits for a person (wfrecovery decide)", " 等待决定（wfrecovery decide）")
    return this + Wording(" is at work on it", " 正在处理")


def _tried_before(entries: Sequence[TaskEntry], kind: str, index: RowIndex) -> dict[int, Wording]:
    """Of which rows a task of former days was sent, by their numbers; the newest says it."""
    names = {row.product_name for row in index.rows.values()}
    # a sheet that is rendered every day has a row in the table many times
    newest: dict[tuple[str | int | None, ...], TaskEntry] = {}
    for entry in entries:
        if entry.workflow_type == kind and entry.comfyui_task_id is not None and entry.identity.product_name in names:
            newest.setdefault((entry.row_number, *_parts(entry.identity)), entry)
    found: dict[int, Wording] = {}
    for entry in newest.values():
        if not keeps_row(entry):
            alike = may_be(entry, index.may_be(entry.identity), index)
            for number in [entry.row_number] if entry.row_number in alike else alike:
                found.setdefault(number or 0, _what_became(entry))
    return found


def _parts(row: RowIdentity) -> tuple[str | None, ...]:
    return row.product_name, row.model_name, row.prompt, row.product_image, row.model_image


def _what_became(task: TaskEntry) -> Wording:
    match task.stage:
        case Stage.FINISHED:
            return Wording("a former task has rendered it", "之前的任务已生成过")
        case Stage.FAILED:
            return Wording("a former task was sent, and failed", "之前的任务提交过，但失败了")
        case _:
            return Wording("a former task was sent, and cancelled", "之前的任务提交过，后来被取消")


def _status(row: RowData, kind: str) -> str:
    return str(row.video_status if kind == WorkflowType.IMAGE_TO_VIDEO.value else row.status)
