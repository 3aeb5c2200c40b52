"""The table of decisions, the same in the plugin and in `main.py`: what is known of a task → what happens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .history import Place, Sighting
from .records import MAX_ATTEMPTS, TaskRecord


class Action(str, Enum):
    """What recovery does with one task."""

    #: nothing may be concluded; tried again later
    LEAVE = "leave"
    #: it is in the queue: followed to its end
    FOLLOW = "follow"
    #: ComfyUI says it succeeded: check the files, 已完成
    COLLECT = "collect"
    #: a whole result with this task's id lies on disk: 已完成
    ADOPT = "adopt"
    #: queue it again, with the same prompt_id
    REQUEUE = "requeue"
    #: show it, and queue it again when the user says so
    ASK = "ask"
    #: 失败, with the reason
    FAIL = "fail"
    #: the user interrupted it
    CANCEL = "cancel"


class LostPrompts(str, Enum):
    """What to do with lost prompts that have no row."""

    ASK = "ask"
    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True)
class Decision:
    """An action and the reason for it, in words that can be shown."""

    action: Action
    reason: str
    #: the row's cell is left at 否, so that the next batch takes it
    row_stays_open: bool = False


_SEEN = {
    Place.UNKNOWN: Decision(Action.LEAVE, "ComfyUI did not answer; tried again later"),
    Place.WAITING: Decision(Action.FOLLOW, "waiting in ComfyUI's queue"),
    Place.RUNNING: Decision(Action.FOLLOW, "running in ComfyUI"),
    Place.ASKING: Decision(Action.FOLLOW, "ComfyUI's page asks whether to queue it again"),
    Place.SUCCEEDED: Decision(Action.COLLECT, "finished in ComfyUI"),
}


def decide(
    task: TaskRecord,
    sighting: Sighting,
    *,
    on_disk: bool,
    has_graph: bool,
    can_queue: bool = True,
    lost_prompts: LostPrompts = LostPrompts.ASK,
    max_attempts: int = MAX_ATTEMPTS,
) -> Decision:
    """What to do with an unfinished task.

    `on_disk`: a whole result that carries its id was found. `has_graph`: it can be submitted again. `can_queue`:
    False where another plugin keeps pending prompts to itself, so that "not listed" is not "lost".
    """
    if sighting.place in _SEEN:
        return _SEEN[sighting.place]
    if sighting.place is Place.FAILED:
        return Decision(Action.FAIL, sighting.message or "ComfyUI reported an error")
    if sighting.place is Place.INTERRUPTED:
        return Decision(Action.CANCEL, sighting.message or "interrupted by the user")
    if on_disk:
        return Decision(Action.ADOPT, "its complete result was found on disk")
    if not has_graph:
        return Decision(Action.FAIL, "lost before it was submitted", row_stays_open=True)
    if task.attempts >= max_attempts:
        return Decision(Action.FAIL, f"ComfyUI went down {task.attempts} times while it ran; not tried again by itself")
    if task.row_number is None and lost_prompts is LostPrompts.OFF:
        return Decision(Action.CANCEL, "lost when ComfyUI ended; the setting says not to queue it again")
    if not can_queue or (task.row_number is None and lost_prompts is LostPrompts.ASK):
        return Decision(Action.ASK, "lost when ComfyUI ended; waits for your decision")
    return Decision(Action.REQUEUE, "lost when ComfyUI ended; queued again")
