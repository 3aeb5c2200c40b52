"""`wfrecovery recover`: ComfyUI's tasks by the plugin, main.py's here, unless both are in one table."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from ..feishu.client import FeishuClient
from ..recovery.manager import TaskRecoveryManager
from ..table.manager import DatabaseManager
from ..table.records import TaskError, WorkflowStatus
from ..wording import Wording, wording_of
from .context import ATTENTION, WELL, CommandError, Context
from .status import status_lines
from .tasks import task_lines

#: Seconds between two looks at a recovery that goes on in ComfyUI.
_LOOK_SECONDS: Final = 0.2


async def run(context: Context) -> int:
    """Recover in ComfyUI, then in main.py's table, and wait for the end."""
    state: Mapping[str, Any] | None = None
    status: Mapping[str, Any] | None = None
    lines: list[str] = []
    owner = context.arguments.take_over
    taken: list[int] = []
    try:
        if owner:
            taken += await _taken_over_there(context, owner)
        else:
            await context.plugin("POST", "/wfrecovery/recover")
        status = await _wait_for_recovery(context)
    except CommandError as error:
        if error.kind not in ("no_plugin", "unreachable" if owner else "no_plugin") or context.db is None:
            raise
        lines.append(context.say(error.wording))
    else:
        state = status["recovery"]
        lines += status_lines(context, wording_of("ComfyUI"), status)
    recovered = []
    if context.db is not None and not context.db.table.is_shared_with(status):
        taken += _taken_over_here(context.db, owner) if owner else []
        recovered = await _recover_here(context, context.db)
        lines += task_lines(context, recovered) if recovered else []
    if owner and not taken:
        raise CommandError(
            "unknown_owner",
            Wording(
                f"nobody is known as {owner!r}: wfrecovery status lists the owners",
                f"没有名为 {owner!r} 的所有者：用 wfrecovery status 查看",
            ),
        )
    if owner:
        lines.insert(0, context.say(Wording(f"{sum(taken)} tasks taken over", f"已接管 {sum(taken)} 个任务")))
    context.show({"comfyui": state, "main": recovered, "taken_over": sum(taken) if owner else None}, lines)
    failed = any(task["status"] == WorkflowStatus.FAILED.value for task in recovered)
    return ATTENTION if failed or (state and (state["failed"] or state["asking"])) else WELL


async def _taken_over_there(context: Context, owner: str) -> list[int]:
    """How many tasks of ComfyUI's table; nothing where it knows no such owner."""
    try:
        answer = await context.plugin("POST", "/wfrecovery/recover", {"take_over": owner})
    except CommandError as error:
        if error.kind != "not_possible":
            raise
        return []
    return [int(answer["taken_over"])]


def _taken_over_here(db: DatabaseManager, owner: str) -> list[int]:
    try:
        return [db.take_over(owner)]
    except TaskError:
        return []


async def _wait_for_recovery(context: Context) -> Mapping[str, Any]:
    """Until ComfyUI has decided for every task; its status then."""
    with context.progress(Wording("recovering", "正在恢复")) as bar:
        while True:
            data: dict[str, Any] = await context.plugin("GET", "/wfrecovery/status")
            bar.show(data["recovery"]["done"], data["recovery"]["total"])
            if data["recovery"]["state"] == "idle":
                return data
            await asyncio.sleep(_LOOK_SECONDS)


async def _recover_here(context: Context, db: DatabaseManager) -> list[dict[str, Any]]:
    with context.progress(Wording("main.py's tasks", "main.py 的任务")) as bar:
        manager = TaskRecoveryManager(db, context.comfy, FeishuClient(context.settings), on_progress=bar.show)
        return await manager.check_and_recover_tasks() + await manager.wait_until_done()
