"""Whose engine main.py's tasks are, what waits there for a person, and what each decision costs."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ..engines.address import is_comfyui, same_engine
from ..engines.in_use import EngineInUse
from ..recovery.submitting import SHARED_ENGINE, is_of
from ..table.lives import Life
from ..table.manager import DatabaseManager
from ..table.record_json import record_to_json
from ..table.records import Stage, TaskRecord
from ..wording import Wording
from .context import CommandError, Context
from .owners import owners_here

#: What may be decided about a task of which nobody knows whether it was rendered, and what that costs.
_DECISIONS: Final = (
    ("again", Wording("costs one more render, maybe paid twice", "再生成一次，可能重复计费")),
    (
        "arrived --id ID",
        Wording(
            "costs nothing: the render that the service has under this id is fetched",
            "不产生费用：取回云端该任务 ID 的结果",
        ),
    ),
    (
        "leave",
        Wording(
            "costs nothing; the next batch renders the row if its cell still says 否",
            "不产生费用；如果单元格仍是 否，下一批会重新生成该行",
        ),
    ),
)


def asks(task: TaskRecord) -> bool:
    """Whether it may have been paid for, so that a person decides; what a ComfyUI asks about is its page's."""
    by_comfyui = (task.engine or "").startswith(SHARED_ENGINE)
    return task.stage is Stage.ASKING and not by_comfyui and task.error_message is not None


def decision_lines(context: Context, task: TaskRecord) -> list[str]:
    """The command for each decision, and what it costs; nothing where a task does not ask."""
    if not asks(task):
        return []
    here = "" if context.comfy is None else " --local"
    commands = [f"wfrecovery decide {task.task_id} {decision}{here}" for decision, _ in _DECISIONS]
    widest = max(map(len, commands))
    costs = (context.say(cost) for _, cost in _DECISIONS)
    return [f"    {command:<{widest}}  {cost}" for command, cost in zip(commands, costs, strict=True)]


def is_elsewhere(context: Context, engine: str | None) -> bool:
    """Whether the asked ComfyUI is not the one that renders it."""
    if engine in (None, SHARED_ENGINE):
        return False
    return context.comfy is None or not same_engine(engine, context.comfy.engine)


@dataclass(frozen=True)
class Rest:
    """What main.py's table has unfinished, by who has to do something about it."""

    #: how many tasks each engine has
    engines: dict[str, int] = field(default_factory=dict)
    #: the same of those that this command line leaves alone, because another engine renders them; what a living program
    #: is at work on is in good hands
    others: dict[str, int] = field(default_factory=dict)
    #: records that wait for a person
    asking: list[dict[str, Any]] = field(default_factory=list)
    #: ids of those that are the cloud's that this command line asks, and that nobody is at work on
    undecided: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"engines": self.engines, "other_engines": self.others, "asking": self.asking}

    def engine_lines(self, context: Context) -> Iterator[Wording]:
        """Who renders them, where that is not the asked ComfyUI."""
        for engine, number in self.engines.items():
            if is_elsewhere(context, engine) and engine not in self.others:
                tasks = "1 unfinished task" if number == 1 else f"{number} unfinished tasks"
                yield Wording(f"{engine} renders {tasks}", f"{engine} 有 {number} 个未完成的任务")

    def others_lines(self, context: Context) -> Iterator[Wording]:
        """Why tasks are left alone, and what lets this command line work on them."""
        for engine, number in self.others.items():
            tasks, them = ("1 task is", "it") if number == 1 else (f"{number} tasks are", "them")
            yield (
                Wording(f"{tasks} {engine}'s: ", f"有 {number} 个任务属于 {engine}：")
                + _setting_for(context, engine)
                + Wording(f" to work on {them}", "，才能处理")
                + _take_over_for(context, engine)
            )

    def undecided_lines(self, context: Context) -> Iterator[Wording]:
        """After a recovery: that nothing could be concluded of some."""
        number = len(self.undecided)
        if number:
            name = EngineInUse.of(context.engine).name
            tasks = "1 task is left as it is" if number == 1 else f"{number} tasks are left as they are"
            yield Wording(
                f"{tasks}: {name} did not answer, or did not give the files → wfrecovery doctor finds out more; then "
                "run this again",
                f"{number} 个任务保持不动：{name} 没有应答，或没有给出文件 → wfrecovery doctor 可以查明原因；"
                "之后请再运行一次",
            )


def rest_of(context: Context, db: DatabaseManager) -> Rest:
    """By the records as they are now."""
    engine = EngineInUse.of(context.engine)
    tasks = [task for task in db.table.active() if not task.stage.final]
    alive = {owner.boot for owner in owners_here(db) if owner.life is Life.ALIVE}
    idle = [task for task in tasks if task.owner is None or task.owner.boot not in alive]
    # what a plugin has recorded, its ComfyUI recovers by itself
    alone = [task for task in idle if task.engine != SHARED_ENGINE and not is_of(task.engine, engine)]
    left = [task for task in idle if task.stage is not Stage.ASKING and is_of(task.engine, engine)]
    undecided = [task.task_id for task in left if context.comfy is None and task.owner is None]
    asking = [record_to_json(task) for task in tasks if asks(task)]
    return Rest(_by_engine(tasks), _by_engine(alone), asking, undecided)


def moved_here(context: Context, db: DatabaseManager, former: str) -> int:
    """Have this ComfyUI render what an unfinished task's record says another address does, because a person says that
    it is the same one, or gone: how many tasks that are. What a living program is at work on stays. Raises CommandError
    where no ComfyUI is asked."""
    if context.comfy is None:
        raise CommandError(
            "engine",
            Wording(
                f"only a ComfyUI can take over what {former} was to render; here a cloud renders",
                f"只有 ComfyUI 可以接管 {former} 的任务；这里使用的是云端",
            ),
        )
    here = context.comfy.engine
    theirs = [task for task in db.table.active() if not task.stage.final and task.engine is not None]
    theirs = [task for task in theirs if same_engine(str(task.engine), former) and not same_engine(former, here)]
    idle = [task for task in theirs if db.owners.at_work(task) is None]
    for task in idle:
        db.table.update(task.task_id, lambda record: dataclasses.replace(record, engine=here))
    return len(idle)


def _take_over_for(context: Context, engine: str) -> Wording:
    if context.comfy is None or not is_comfyui(engine):
        return Wording("", "")
    command = f"wfrecovery recover --take-over {engine}"
    return Wording(
        f"; if that one is this ComfyUI under a former address, or gone for good: {command}",
        f"；如果它就是现在这个 ComfyUI（地址变了），或确实不在了：{command}",
    )


def _by_engine(tasks: list[TaskRecord]) -> dict[str, int]:
    return dict(Counter(task.engine for task in tasks if task.engine is not None))


def _setting_for(context: Context, engine: str) -> Wording:
    """What lets the command line ask another engine."""
    kind, _, place = engine.partition(":")
    ours = EngineInUse.of(context.engine).engine or ""
    if kind == SHARED_ENGINE:
        said = (
            f"COMFYUI_URL={place}" if context.comfy is not None else f"WFRECOVERY_ENGINE=comfyui, COMFYUI_URL={place}"
        )
        return Wording(f"set {said}", f"请设置 {said}")
    if kind == ours.partition(":")[0]:
        return Wording("set the key of that account", "请设置该账户的密钥")
    return Wording("set WFRECOVERY_ENGINE", "请设置 WFRECOVERY_ENGINE")
