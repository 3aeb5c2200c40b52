"""`wfrecovery recover --dry-run`: what it would do with main.py's tasks, row by row, and what that costs."""

from __future__ import annotations

from typing import Final

from ..recovery.manager import TaskRecoveryManager
from ..wording import Wording
from .context import ATTENTION, WELL, CommandError, Context

_ONLY_HERE: Final = Wording(
    "This is main.py's table; ComfyUI's plugin recovers its own when ComfyUI starts.",
    "以上是 main.py 的任务；ComfyUI 插件的任务在 ComfyUI 启动时恢复。",
)


async def run(context: Context) -> int:
    """Print the plan; nothing is changed."""
    if context.db is None:
        raise CommandError("no_table", Wording("main.py has no table here", "这里没有 main.py 的任务表"))
    plan = await TaskRecoveryManager(context.db, context.engine, settings=context.settings).plan()
    context.show(plan.to_json(), [*plan.lines(context.language), context.say(_ONLY_HERE)])
    return ATTENTION if plan.again or plan.asking else WELL
