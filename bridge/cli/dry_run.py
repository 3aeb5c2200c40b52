"""`wfrecovery recover --dry-run`: what would happen to each task, row by row, and what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from ..recovery.manager import TaskRecoveryManager
from ..recovery.next_start import UNKNOWABLE, is_plugin_s, planned_by_plugin
from ..recovery.plan import RecoveryPlan
from ..table.record_json import parsed
from ..table.records import WorkflowStatus
from ..wording import Wording
from .context import ATTENTION, WELL, CommandError, Context
from .tasks import listed

_ONLY_HERE: Final = Wording(
    "Listed is the table in {folder}. What ComfyUI's plugin has recorded in another output folder, it recovers when "
    "ComfyUI starts: set WFRECOVERY_OUTPUT to that folder to see it.",
    "以上是 {folder} 里的任务。ComfyUI 插件记录在别的输出文件夹里的任务，在 ComfyUI 启动时恢复："
    "要查看，请把 WFRECOVERY_OUTPUT 设为那个文件夹。",
)


async def run(context: Context) -> int:
    """Print the plan; nothing is changed."""
    if context.db is None:
        plan, notes = await _of_plugin(context), [UNKNOWABLE]
    else:
        plan = await TaskRecoveryManager(context.db, context.engine, settings=context.settings).plan()
        here = str(context.output_dir)
        records = (context.db.get_task(task.task_id) for task in plan.tasks if task.task_id is not None)
        by_plugin = any(is_plugin_s(parsed(record)) for record in records if record is not None)
        notes = [UNKNOWABLE] if by_plugin else []
        notes += [] if context.comfy is None else [_ONLY_HERE.changed(lambda text: text.format(folder=here))]
    unreadable = [] if context.db is None else await asyncio.to_thread(context.db.table.unreadable)
    if unreadable:
        notes.append(_unreadable(unreadable))
    context.show(
        {**plan.to_json(), "unreadable": unreadable}, [*plan.lines(context.language), *map(context.say, notes)]
    )
    return ATTENTION if plan.again or plan.asking or unreadable else WELL


def _unreadable(records: Sequence[str]) -> Wording:
    """Of records that the next start rebuilds from their graphs, and may render."""
    number, named = len(records), "; ".join(records[:5]) + ("; …" if len(records) > 5 else "")
    some = "1 record cannot be read" if number == 1 else f"{number} records cannot be read"
    return Wording(
        f"{some}: the next start rebuilds what it can from their graphs, and may render that, too ({named})",
        f"有 {number} 条记录无法读取：下次启动会尽量用工作流重建，也可能因此生成（{named}）",
    )


async def _of_plugin(context: Context) -> RecoveryPlan:
    """Of a table that only ComfyUI reads; raises CommandError where it cannot be asked."""
    if context.comfy is None:
        context.table()
    try:
        tasks = await listed(context, {"status": WorkflowStatus.IN_PROGRESS.value})
    except CommandError as error:
        nowhere = Wording(
            f"there is no task table in {context.output_dir}, and what ComfyUI's plugin has recorded cannot be told: ",
            f"{context.output_dir} 里没有任务表，也无法得知 ComfyUI 插件记录了什么：",
        )
        raise CommandError(error.kind, nowhere + error.wording) from error
    return RecoveryPlan(tuple(planned_by_plugin(parsed(task), context.settings) for task in reversed(tasks)))
