"""The table of decisions, the same in the plugin and in `main.py`: what is known of a task → what happens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from ..engines.history import INTERRUPTED, Place, Sighting
from ..settings import MAX_ATTEMPTS, LostPrompts
from ..table.changes import CANCELLED
from ..table.records import TaskRecord
from ..wording import Wording

UNANSWERED = Wording(
    "it was sent, and no answer came: it may be rendered and paid for → look at the service's list of tasks, then "
    "decide (wfrecovery decide)",
    "已发送但没有收到应答：可能已经生成并计费 → 请查看云端的任务列表，再决定（wfrecovery decide）",
)
FORGOTTEN = Wording(
    "the service took it and does not know it any more: it may be rendered and paid for → look at the service's list "
    "of tasks, then decide (wfrecovery decide)",
    "服务曾接收该任务，但现在查不到：可能已经生成并计费 → 请查看云端的任务列表，再决定（wfrecovery decide）",
)
ID_GIVEN_AWAY = Wording(
    "the service has given its id to a later task: it may be rendered and paid for → look at the service's list of "
    "tasks, then decide (wfrecovery decide)",
    "服务把它的任务 ID 给了后来的任务：可能已经生成并计费 → 请查看云端的任务列表，再决定（wfrecovery decide）",
)
#: So often a task begins again that was cut off each time by an end that is no fault of its own, as far as anybody can
#: tell. Nobody stops ComfyUI so often within one render; a service that stops it for that very task does (when memory
#: is short, say), and so does a node that does it from a thread of its own, and each time is paid for.
MOST_CUT_OFF: Final = 10
LOST_UNSUBMITTED = Wording("lost before it was submitted", "提交之前就已丢失")


class Action(str, Enum):
    """What recovery does with one task."""

    #: nothing may be concluded, or it is somebody else's; looked at again later
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
    #: only planned, of a row of the batch that has no task: it is entered and sent
    RENDER = "render"


@dataclass(frozen=True)
class Decision:
    """An action and the reason for it, in words that can be shown."""

    action: Action
    reason: Wording
    #: the row's cell is left at 否, so that the next batch takes it
    row_stays_open: bool = False


#: What has ended is what it has become, whatever somebody wished meanwhile.
_ENDED = (Place.SUCCEEDED, Place.FAILED, Place.INTERRUPTED)
#: WHO stands for the name of who renders.
_SEEN = {
    Place.UNKNOWN: Decision(Action.LEAVE, Wording("WHO did not answer; tried again later", "WHO 没有应答，稍后再试")),
    Place.WAITING: Decision(Action.FOLLOW, Wording("waiting in WHO's queue", "在 WHO 队列中等待")),
    Place.RUNNING: Decision(Action.FOLLOW, Wording("running in WHO", "正在 WHO 中运行")),
    Place.ASKING: Decision(
        Action.FOLLOW, Wording("ComfyUI's page asks whether to queue it again", "ComfyUI 页面正在询问是否重新排队")
    ),
    Place.SUCCEEDED: Decision(Action.COLLECT, Wording("finished in WHO", "WHO 已完成")),
}
#: Of a task that is nowhere: a ComfyUI forgets what it has when it ends, a cloud for reasons of its own.
_LOST_BY_COMFYUI = Wording("lost when ComfyUI ended", "ComfyUI 退出时丢失")
_NOT_THERE = Wording("WHO does not have it", "WHO 中没有该任务")


def decide(
    task: TaskRecord,
    sighting: Sighting,
    *,
    on_disk: bool,
    has_graph: bool,
    may_be_paid: bool = False,
    can_queue: bool = True,
    lost_prompts: LostPrompts = LostPrompts.ASK,
    max_attempts: int = MAX_ATTEMPTS,
    who: str = "ComfyUI",
) -> Decision:
    """What to do with an unfinished task that nobody else is at work on.

    `on_disk`: a whole result that carries its id was found. `has_graph`: it can be submitted again. `may_be_paid`: its
    engine makes its own ids, so that what was sent may have been rendered although it is not there, and the setting
    says to ask. `can_queue`: False where another plugin keeps pending prompts to itself, so that "not listed" is not
    "lost". `who`: what people call the engine.
    """
    lost = _LOST_BY_COMFYUI if who == "ComfyUI" else _of(who, _NOT_THERE)
    if task.cancel_requested and sighting.place not in _ENDED and not on_disk:
        return Decision(Action.CANCEL, CANCELLED)  # also what waits or runs: it is taken out, or stopped
    if sighting.place in _SEEN:
        seen = _SEEN[sighting.place]
        return Decision(seen.action, _of(who, seen.reason))
    if sighting.place is Place.FAILED:
        return Decision(Action.FAIL, sighting.message or Wording(f"{who} reported an error", f"{who} 报错"))
    if sighting.place is Place.INTERRUPTED:
        return Decision(Action.CANCEL, sighting.message or INTERRUPTED)
    if on_disk:
        return Decision(Action.ADOPT, Wording("its complete result was found on disk", "在磁盘上找到了完整的结果"))
    if may_be_paid and task.sending is not None:
        return Decision(Action.ASK, UNANSWERED)
    if may_be_paid and task.comfyui_task_id is not None:
        return Decision(Action.ASK, FORGOTTEN)
    if not has_graph:
        return Decision(Action.FAIL, LOST_UNSUBMITTED, row_stays_open=True)
    given_up = _given_up(task, max_attempts, who)
    if given_up is not None:
        return Decision(Action.FAIL, given_up)
    if task.row_number is None and lost_prompts is LostPrompts.OFF:
        kept_out = Wording("; the setting says not to queue it again", "；按设置不再重新排队")
        return Decision(Action.CANCEL, lost + kept_out)
    if not can_queue or (task.row_number is None and lost_prompts is LostPrompts.ASK):
        return Decision(Action.ASK, lost + Wording("; waits for your decision", "，等待你的决定"))
    return Decision(Action.REQUEUE, lost + Wording("; queued again", "，已重新排队"))


def _given_up(task: TaskRecord, max_attempts: int, who: str) -> Wording | None:
    """Why it is not started again by itself, however well it could be."""
    if task.attempts >= max_attempts and task.sending is not None and task.comfyui_task_id is None:
        return Wording(
            f"it was sent {task.attempts + 1} times, and no answer came; not sent again by itself",
            f"已发送 {task.attempts + 1} 次，没有收到应答，不再自动重试",
        )
    if task.attempts >= max_attempts:
        return Wording(
            f"{who} went down {task.attempts} times while it ran; not tried again by itself",
            f"运行它时 {who} 已崩溃 {task.attempts} 次，不再自动重试",
        )
    if task.cut_off >= MOST_CUT_OFF:
        return Wording(
            f"{who} was stopped, or its computer went down, {task.cut_off} times while it ran; not tried again by "
            "itself → find out why (a node that restarts it, a service when memory is short), then render again",
            f"运行它时 {who} 或电脑已被停止 {task.cut_off} 次，不再自动重试 → "
            "请查明原因（重启它的节点，或内存不足时停止它的服务），再重新生成",
        )
    return None


def _of(who: str, wording: Wording) -> Wording:
    return wording.changed(lambda said: said.replace("WHO", who))
