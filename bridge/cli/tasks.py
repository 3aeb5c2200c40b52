"""`wfrecovery tasks`: a list, by the same filters whether ComfyUI or main.py's table answers."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from ..table.lives import Life
from ..table.owner_list import SHORT, KnownOwner
from ..table.record_json import parsed, record_to_json
from ..table.records import Stage, TaskError, TaskRecord
from ..table.values import FeishuState
from ..terminal import table
from ..wording import Wording
from .context import WELL, Context
from .engines import decision_lines, is_elsewhere
from .owners import owners_here, owners_there, whose

#: What one page of the plugin's list holds at most.
_PAGE: Final = 200
_STAGES: Final = {
    Stage.CREATED: Wording("entered", "已登记"),
    Stage.QUEUED: Wording("queued", "排队中"),
    Stage.RUNNING: Wording("rendering", "渲染中"),
    Stage.ASKING: Wording("asks you", "等你决定"),
    Stage.FINISHED: Wording("finished", "完成"),
    Stage.FAILED: Wording("failed", "失败"),
    Stage.CANCELLED: Wording("cancelled", "已取消"),
}
_FEISHU: Final = {
    FeishuState.PENDING: Wording("waits", "待写入"),
    FeishuState.PUSHED: Wording("in the sheet", "已写入"),
    FeishuState.BLOCKED: Wording("blocked", "受阻"),
    FeishuState.OFF: Wording("–", "–"),
}
_TASK_TITLES: Final = (
    Wording("TASK", "任务"),
    Wording("STATUS", "状态"),
    Wording("STAGE", "阶段"),
    Wording("FEISHU", "飞书"),
    Wording("ROW", "行"),
    Wording("PRODUCT", "产品"),
    Wording("MODEL", "模特"),
)
_OWNER_TITLE: Final = Wording("OWNER", "所有者")
_ENGINE_TITLE: Final = Wording("ENGINE", "生成端")


async def run(context: Context) -> int:
    """A list of tasks, newest first; from ComfyUI, or from main.py's table with --local."""
    found = _local_tasks(context) if context.only_here else await _plugin_tasks(context)
    owners: Sequence[KnownOwner] = ()
    if any(parsed(task).owner is not None for task in found):
        owners = await _owners(context)
    context.show(found, task_lines(context, found, owners))
    return WELL


async def _owners(context: Context) -> Sequence[KnownOwner]:
    if context.only_here:
        return [] if context.db is None else owners_here(context.db)
    return owners_there(await context.plugin("GET", "/wfrecovery/status"))


async def _plugin_tasks(context: Context) -> list[dict[str, Any]]:
    arguments = context.arguments
    names = ("status", "workflow_type", "stage", "feishu")
    wanted = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    if arguments.search:
        wanted["q"] = arguments.search
    return await listed(context, wanted, arguments.limit)


async def listed(context: Context, wanted: Mapping[str, str], limit: int | None = None) -> list[dict[str, Any]]:
    """ComfyUI's tasks that answer to a filter, newest first, page by page; at most `limit`."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        size = _PAGE if limit is None else min(_PAGE, limit - len(found))
        page = await context.plugin("GET", f"/wfrecovery/tasks?{urlencode({**wanted, **cursor, 'limit': size})}")
        found += page["tasks"]
        if not page["next_cursor"] or len(found) == limit:
            return found
        cursor = {"cursor": page["next_cursor"]}


def _local_tasks(context: Context) -> list[dict[str, Any]]:
    db = context.table()
    found: list[dict[str, Any]] = []
    for task_id in db.table.ids():
        with contextlib.suppress(TaskError):
            task = db.table.get(task_id)
            if _is_wanted(task, context.arguments):
                found.append(record_to_json(task))
        if len(found) == context.arguments.limit:
            break
    return found


def _is_wanted(task: TaskRecord, arguments: argparse.Namespace) -> bool:
    text = f"{task.task_id} {task.product_name} {task.model_name} {task.row_number}"
    return (
        arguments.status in (None, task.status.value)
        and arguments.workflow_type in (None, task.workflow_type)
        and arguments.stage in (None, task.stage.value)
        and arguments.feishu in (None, task.feishu_state.value)
        and (arguments.search or "").lower() in text.lower()
    )


def task_lines(context: Context, found: Sequence[Mapping[str, Any]], owners: Sequence[KnownOwner] = ()) -> list[str]:
    """A table; below a task, why it failed or is blocked, or what it waits for, and what may be decided. Whose a task
    is, and who renders it, stands there where it is not the asked ComfyUI."""
    if not found:
        return [context.say(Wording("no tasks", "没有任务"))]
    tasks = [parsed(task) for task in found]
    titles = [context.say(title) for title in _TASK_TITLES]
    cells = [_task_cells(context, task) for task in tasks]
    engines = [task.engine or "" if is_elsewhere(context, task.engine) else "" for task in tasks]
    names = [_owner_name(context, task, owners) for task in tasks]
    for title, column in ((_ENGINE_TITLE, engines), (_OWNER_TITLE, names)):
        if any(column):
            titles.append(context.say(title))
            cells = [[*row, cell or "–"] for row, cell in zip(cells, column, strict=True)]
    lines = table(titles, cells)
    told = [lines[0]]
    for task, line in zip(tasks, lines[1:], strict=True):
        told.append(line)
        reason = _reason(task)
        if reason:
            told.append(f"    {context.say(reason)}")
        told += decision_lines(context, task)
    return told


def _owner_name(context: Context, task: TaskRecord, owners: Sequence[KnownOwner]) -> str:
    owner = task.owner
    if owner is None:
        return ""
    known = next((known for known in owners if known.boot == owner.boot), None)
    if known is None:  # ended a moment ago
        return owner.boot[:SHORT]
    return "" if known.life is Life.OURS else context.say(whose(known))


def _reason(task: TaskRecord) -> Wording | None:
    if task.error_message:
        return Wording(task.error_message, task.error_message_zh or task.error_message)
    if task.outbox.reason:
        return task.outbox.reason
    if task.refused_by and task.stage is Stage.QUEUED:
        return Wording("waits for a ComfyUI that has its nodes", "等待装有所需节点的 ComfyUI")
    return None


def _stage(task: TaskRecord) -> Wording:
    if task.cancel_requested and not task.stage.final:
        return Wording("being cancelled", "正在取消")
    return _STAGES[task.stage]


def _task_cells(context: Context, task: TaskRecord) -> list[str]:
    return [
        task.task_id,
        task.status.value,
        context.say(_stage(task)),
        context.say(_FEISHU[task.feishu_state]),
        "–" if task.row_number is None else str(task.row_number),
        task.product_name or "–",
        task.model_name or "–",
    ]
