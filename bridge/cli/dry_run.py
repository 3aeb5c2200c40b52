"""`wfrecovery recover --dry-run`: what it would do with main.py's tasks, row by row, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ..recovery.decisions import Action
from ..recovery.manager import TaskRecoveryManager
from ..recovery.planning import PlannedTask, RecoveryPlan
from ..terminal import table
from ..wording import Wording
from .context import ATTENTION, WELL, CommandError, Context

_TITLES: Final = (
    Wording("TASK", "任务"),
    Wording("ROW", "行"),
    Wording("PRODUCT", "产品"),
    Wording("MODEL", "模特"),
    Wording("WHAT HAPPENS", "将会"),
)
_ACTIONS: Final = {
    Action.LEAVE: Wording("left as it is", "保持不变"),
    Action.FOLLOW: Wording("followed to its end", "等待它结束"),
    Action.COLLECT: Wording("its files are fetched", "取回结果"),
    Action.ADOPT: Wording("its files are taken", "采用已有结果"),
    Action.REQUEUE: Wording("rendered", "重新生成"),
    Action.ASK: Wording("asks you", "等你决定"),
    Action.FAIL: Wording("失败", "失败"),
    Action.CANCEL: Wording("cancelled", "取消"),
}
#: What a decision costs, explained.
_NOTES: Final = {
    "again": Wording(" (a second time, if it was rendered)", "（如果已经生成过，就是第二次）"),
    "leave": Wording(" (by the next batch, if its cell says 否)", "（如果单元格是 否，由下一批生成）"),
    "arrived": Wording(" (--id ID: it is fetched)", "（--id ID：取回结果）"),
}
_ONLY_HERE: Final = Wording(
    "This is main.py's table; ComfyUI's plugin recovers its own when ComfyUI starts.",
    "以上是 main.py 的任务；ComfyUI 插件的任务在 ComfyUI 启动时恢复。",
)


async def run(context: Context) -> int:
    """Print the plan; nothing is changed."""
    if context.db is None:
        raise CommandError("no_table", Wording("main.py has no table here", "这里没有 main.py 的任务表"))
    plan = await TaskRecoveryManager(context.db, context.comfy, settings=context.settings).plan()
    context.show(plan.to_json(), [*_table(context, plan.tasks), context.say(_sum(plan)), context.say(_ONLY_HERE)])
    return ATTENTION if plan.again or plan.asking else WELL


def _table(context: Context, tasks: Sequence[PlannedTask]) -> Iterator[str]:
    """Below each task, why."""
    rows = [_cells(context, task) for task in tasks]
    titles, *lines = table([context.say(title) for title in _TITLES], rows)
    if tasks:
        yield titles
    for task, line in zip(tasks, lines, strict=True):
        yield line
        for reason in _reasons(task):
            yield f"    {context.say(reason)}"


def _cells(context: Context, task: PlannedTask) -> list[str]:
    row = "–" if task.row_number is None else str(task.row_number)
    what = context.say(_ACTIONS[task.action])
    return [task.task_id, row, task.product_name or "–", task.model_name or "–", what]


def _reasons(task: PlannedTask) -> Iterator[Wording]:
    yield task.reason
    if task.again is not None:
        yield Wording("paid for again? ", "再次计费？") + task.again
    if task.row_stays_open:
        yield Wording("the next batch renders its row", "下一批会生成该行")
    for decision, renders in (task.decisions or {}).items():
        yield Wording(f"decide {decision}: {renders} to pay for", f"decide {decision}：计费 {renders} 次") + _NOTES.get(
            decision, ""
        )


def _sum(plan: RecoveryPlan) -> Wording:
    return Wording(
        f"{plan.renders} to be rendered, {plan.again} of them perhaps for a second time; "
        f"{len(plan.asking)} wait for a decision",
        f"将生成 {plan.renders} 个，其中 {plan.again} 个可能是再次生成；{len(plan.asking)} 个等待决定",
    )
