"""`wfrecovery tasks`: a list, by the same filters whether ComfyUI or main.py's table answers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from ..table.records import FeishuState, Stage
from ..wording import Wording, wording_of
from .context import WELL, CommandError, Context
from .terminal import table

#: What one page of the plugin's list holds at most.
_PAGE: Final = 200
_STAGES: Final = {
    Stage.CREATED.value: Wording("entered", "已登记"),
    Stage.QUEUED.value: Wording("queued", "排队中"),
    Stage.RUNNING.value: Wording("rendering", "渲染中"),
    Stage.ASKING.value: Wording("asks you", "等你决定"),
    Stage.FINISHED.value: Wording("finished", "完成"),
    Stage.FAILED.value: Wording("failed", "失败"),
    Stage.CANCELLED.value: Wording("cancelled", "已取消"),
}
_FEISHU: Final = {
    FeishuState.PENDING.value: Wording("waits", "待写入"),
    FeishuState.PUSHED.value: Wording("in the sheet", "已写入"),
    FeishuState.BLOCKED.value: Wording("blocked", "受阻"),
    FeishuState.OFF.value: Wording("–", "–"),
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


async def run(context: Context) -> int:
    """A list of tasks, newest first; from ComfyUI, or from main.py's table with --local."""
    found = _local_tasks(context) if context.arguments.local else await _plugin_tasks(context)
    context.show(found, task_lines(context, found))
    return WELL


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
    if context.db is None:
        raise CommandError(
            "no_table",
            Wording(
                f"there is no task table in {context.output_dir}: set WFRECOVERY_OUTPUT to main.py's output folder",
                f"{context.output_dir} 里没有任务表：请把 WFRECOVERY_OUTPUT 设为 main.py 的输出文件夹",
            ),
        )
    found: list[dict[str, Any]] = []
    for task_id in context.db.table.ids():
        task = context.db.get_task(task_id)
        if task is not None and _is_wanted(task, context.arguments):
            found.append(task)
        if len(found) == context.arguments.limit:
            break
    return found


def _is_wanted(task: Mapping[str, Any], arguments: argparse.Namespace) -> bool:
    text = f"{task['task_id']} {task['product_name']} {task['model_name']} {task['row_number']}"
    return (
        arguments.status in (None, task["status"])
        and arguments.workflow_type in (None, task["workflow_type"])
        and arguments.stage in (None, task["metadata"].get("stage"))
        and arguments.feishu in (None, task["metadata"].get("feishu", {}).get("state"))
        and (arguments.search or "").lower() in text.lower()
    )


def task_lines(context: Context, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table; below a task, why it failed or is blocked."""
    if not found:
        return [context.say(Wording("no tasks", "没有任务"))]
    lines = table([context.say(title) for title in _TASK_TITLES], [_task_cells(context, task) for task in found])
    told = [lines[0]]
    for task, line in zip(found, lines[1:], strict=True):
        told.append(line)
        reason = task["error_message"] or context.last_error(task["metadata"].get("feishu", {}))
        if reason:
            told.append(f"    {reason}")
    return told


def _task_cells(context: Context, task: Mapping[str, Any]) -> list[str]:
    stage = str(task["metadata"].get("stage") or "")
    feishu = str(task["metadata"].get("feishu", {}).get("state") or "")
    return [
        task["task_id"],
        task["status"],
        context.say(_STAGES.get(stage, wording_of(stage))),
        context.say(_FEISHU.get(feishu, wording_of(feishu))),
        "–" if task["row_number"] is None else str(task["row_number"]),
        task["product_name"] or "–",
        task["model_name"] or "–",
    ]
