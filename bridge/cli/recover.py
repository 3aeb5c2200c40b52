"""`wfrecovery recover`: ComfyUI's tasks by the plugin, main.py's here, unless both are in one table."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from ..feishu.client import FeishuClient
from ..recovery.manager import TaskRecoveryManager
from ..table.manager import DatabaseManager
from ..table.records import WorkflowStatus
from ..wording import Wording, wording_of
from .context import ATTENTION, WELL, CommandError, Context
from .status import status_lines
from .tasks import task_lines

#: Seconds between two looks at a recovery that goes on in ComfyUI.
_LOOK_SECONDS: Final = 0.2


async def run(context: Context) -> int:
    """Recover in ComfyUI, then in main.py's table, and wait for the end."""
    state: Mapping[str, Any] | None = None
    boot_id = None
    lines: list[str] = []
    try:
        await context.plugin("POST", "/wfrecovery/recover")
        data = await _wait_for_recovery(context)
    except CommandError as error:
        if error.kind != "no_plugin" or context.db is None:
            raise
        lines.append(context.say(error.wording))
    else:
        state, boot_id = data["recovery"], data["boot_id"]
        lines += status_lines(context, wording_of("ComfyUI"), data)
    recovered = []
    if context.db is not None and (boot_id is None or context.db.table.host() != boot_id):
        recovered = await _recover_here(context, context.db)
        lines += task_lines(context, recovered) if recovered else []
    context.show({"comfyui": state, "main": recovered}, lines)
    failed = any(task["status"] == WorkflowStatus.FAILED.value for task in recovered)
    return ATTENTION if failed or (state and (state["failed"] or state["asking"])) else WELL


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
