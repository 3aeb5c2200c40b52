"""What the plugin will do with a task of its own when ComfyUI starts the next time, as far as that can be known now."""

from __future__ import annotations

from typing import Final

from ..engines.history import ABSENT
from ..settings import Settings
from ..table.records import Stage, TaskRecord
from ..wording import Wording
from .decisions import Action, decide
from .plan import ACTIONS, PlannedTask
from .submitting import SHARED_ENGINE

#: What cannot be.
UNKNOWABLE: Final = Wording(
    "What ComfyUI's plugin does is told as if ComfyUI went down now. What ends before, a result that is written until "
    "then, and which nodes and settings ComfyUI has by then, cannot be known.",
    "插件会怎样处理，是假设 ComfyUI 现在退出来说的。在那之前结束的任务、写出的结果，以及那时 ComfyUI 有哪些节点和设置，"
    "现在无法知道。",
)
_THEN: Final = Wording("when ComfyUI starts the next time: ", "ComfyUI 下次启动时：")


def is_plugin_s(task: TaskRecord) -> bool:
    """Whether the plugin has recorded it, so that it recovers it."""
    return task.engine == SHARED_ENGINE and task.stage is not Stage.CREATED


def at_next_start(task: TaskRecord, limits: Settings, *, on_disk: bool = False, has_graph: bool = True) -> Wording:
    """By the plugin's own table of decisions: the queue is gone then. `on_disk`: its whole result lies there."""
    then = decide(
        task,
        ABSENT,
        on_disk=on_disk,
        has_graph=has_graph,
        lost_prompts=limits.lost_prompts,
        max_attempts=limits.max_attempts,
    )
    return _THEN + ACTIONS[then.action] + Wording(" (", "（") + then.reason + Wording(")", "）")


def planned_by_plugin(task: TaskRecord, limits: Settings) -> PlannedTask:
    """Of one in the plugin's own table, which only ComfyUI can read."""
    return PlannedTask.of(task, Action.LEAVE, at_next_start(task, limits))
