"""`wfrecovery push`: what the sheet did not take goes out again, once somebody has mended the sheet."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..feishu.client import FeishuClient
from ..feishu.publisher import Publisher
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord
from ..table.values import FeishuState
from ..wording import Wording
from .context import ATTENTION, WELL, CommandError, Context
from .tasks import listed


async def run(context: Context) -> int:
    """Try blocked results again, after the sheet was mended: in ComfyUI, and in main.py's table."""
    wanted = context.arguments.task_ids
    result: dict[str, Any] = {"comfyui": [], "refused": {}, "main": None}
    problem = None
    status = None
    if not (wanted and context.arguments.local):
        try:
            status = await context.plugin("GET", "/wfrecovery/status")
            await _push_there(context, wanted or await _blocked_there(context), result)
        except CommandError as error:
            problem = error
    here = context.db is not None and not context.db.table.is_shared_with(status)
    if context.db is not None and here and (not wanted or context.arguments.local):
        result["main"] = await asyncio.to_thread(_push_here, context, context.db, wanted)
    elif problem is not None:
        raise problem
    context.show(result, _push_lines(context, result, problem))
    main = result["main"] or {"blocked": {}, "waiting": {}}
    return ATTENTION if problem or result["refused"] or main["blocked"] or main["waiting"] else WELL


async def _push_there(context: Context, task_ids: Sequence[str], result: dict[str, Any]) -> None:
    with context.progress(Wording("pushing again", "重新写入")) as bar:
        for number, task_id in enumerate(task_ids, 1):
            try:
                await context.plugin("POST", f"/wfrecovery/tasks/{quote(task_id, safe='')}/push")
                result["comfyui"].append(task_id)
            except CommandError as error:
                if error.kind in ("unreachable", "no_plugin"):
                    raise
                result["refused"][task_id] = str(error)
            bar.show(number, len(task_ids))


async def _blocked_there(context: Context) -> list[str]:
    return [task["task_id"] for task in await listed(context, {"feishu": FeishuState.BLOCKED.value})]


def _push_here(context: Context, db: DatabaseManager, task_ids: Sequence[str]) -> dict[str, Any]:
    """Deliver what main.py's table holds."""
    if not context.settings.feishu_configured:
        names = ", ".join(context.settings.missing)
        raise CommandError(
            "not_configured",
            Wording(f"Feishu is not set up here: {names} missing", f"这里还没有设置飞书：缺少 {names}"),
        )
    with context.progress(Wording("main.py's results", "main.py 的结果")) as bar:
        done: set[str] = set()

        def changed(record: TaskRecord) -> None:
            done.add(record.task_id)
            bar.show(len(done), total)

        publisher = Publisher(db, FeishuClient(context.settings), on_change=changed)
        total = 0  # what is put back first does not count
        if task_ids:
            for task_id in task_ids:
                db.put_back(task_id)
        else:
            publisher.unblock()
        done.clear()
        total = len(db.unpushed())
        report = publisher.flush()
    return {"pushed": report.pushed, "blocked": report.blocked, "waiting": report.waiting}


def _push_lines(context: Context, result: Mapping[str, Any], problem: CommandError | None) -> list[str]:
    lines = []
    if problem is not None:
        lines.append(context.say(problem.wording))
    else:
        ids = ", ".join(result["comfyui"])
        lines.append(
            context.say(
                Wording(
                    f"handed to ComfyUI's publisher again: {ids or 'nothing was blocked'}",
                    f"已重新交给 ComfyUI 写入：{ids or '没有受阻的任务'}",
                )
            )
        )
    lines += [f"{task_id}: {reason}" for task_id, reason in result["refused"].items()]
    if result["main"] is not None:
        ids = ", ".join(result["main"]["pushed"])
        lines.append(
            context.say(
                Wording(f"pushed from main.py's table: {ids or 'nothing'}", f"main.py 的任务表已写入：{ids or '无'}")
            )
        )
        for kind in ("blocked", "waiting"):
            lines += [f"{task_id}: {reason}" for task_id, reason in result["main"][kind].items()]
    return lines
