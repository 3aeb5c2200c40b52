"""Who is at work in a table, in words: which owners there are, whether they live, and whose a task is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..table.lives import Life
from ..table.manager import DatabaseManager
from ..table.owner_list import SHORT, KnownOwner, owners_of
from ..table.values import OwnerKind
from ..wording import Wording
from .context import Context


def owners_here(db: DatabaseManager) -> list[KnownOwner]:
    """Of main.py's own table."""
    return owners_of(db.index, db.owners)


def owners_there(status: Mapping[str, Any]) -> list[KnownOwner]:
    """Of ComfyUI's table, as its status tells; an older plugin tells of none."""
    return [KnownOwner.of(told) for told in status.get("owners") or ()]


def owner_lines(context: Context, owners: Sequence[KnownOwner], *, in_comfyui: bool) -> list[str]:
    """One for each, where there is any but the asked ComfyUI itself."""
    if all(owner.life is Life.OURS for owner in owners):
        return []
    return [
        f"{owner.boot[:SHORT]}  " + " · ".join(map(context.say, (owner.name, _life(owner, in_comfyui), _tasks(owner))))
        for owner in owners
    ]


def left_alone(owners: Iterable[KnownOwner]) -> list[KnownOwner]:
    """Those whose tasks a recovery has not touched, because they live or may live."""
    return [owner for owner in owners if owner.tasks and owner.life in (Life.ALIVE, Life.DOUBT)]


def left_alone_line(owner: KnownOwner) -> Wording:
    """Why a recovery has not touched them, and what helps where that is wrong."""
    one = owner.tasks == 1
    count = Wording(f"1 task is left alone: {owner.name.en} ", f"1 个任务保持不动：{owner.name.zh} ")
    if not one:
        count = Wording(
            f"{owner.tasks} tasks are left alone: {owner.name.en} ", f"{owner.tasks} 个任务保持不动：{owner.name.zh} "
        )
    them = "it" if one else "them"
    if owner.life is Life.ALIVE:
        why = Wording(f"is at work on {them}", "正在处理")
    else:
        why = Wording(
            f"has {them}, and it is not sure yet whether that still runs (known within 90 s)",
            "持有，尚不确定它是否还在运行（90 秒内可知）",
        )
    return count + why + Wording(". If it is gone for good: ", "。如果它确实不在了：") + take_over_command(owner)


def take_over_command(owner: KnownOwner) -> str:
    """What a person types to take its tasks."""
    return f"wfrecovery recover --take-over {owner.boot[:SHORT]}"


def whose(owner: KnownOwner) -> Wording:
    """Its name, with what is wrong with its life."""
    if owner.life is Life.DEAD:
        return Wording("(gone) ", "（已不在）") + owner.name
    if owner.life is Life.DOUBT:
        return Wording("(not sure) ", "（不确定）") + owner.name
    return owner.name


def _tasks(owner: KnownOwner) -> Wording:
    return Wording("1 task" if owner.tasks == 1 else f"{owner.tasks} tasks", f"{owner.tasks} 个任务")


def _life(owner: KnownOwner, in_comfyui: bool) -> Wording:
    match owner.life:
        case Life.OURS:
            return Wording("this ComfyUI", "就是这个 ComfyUI")
        case Life.ALIVE:
            return Wording("running", "运行中")
        case Life.DOUBT if in_comfyui:
            return Wording("not sure whether it still runs, known within 90 s", "不确定是否还在运行，90 秒内可知")
        case Life.DOUBT:  # who looks only once cannot know
            return Wording("not sure whether it still runs", "不确定是否还在运行")
    if not in_comfyui:
        return Wording(
            "gone: the next main.py or wfrecovery recover takes over",
            "已不在：下次 main.py 或 wfrecovery recover 会接管",
        )
    if owner.kind == OwnerKind.MAIN:  # what it has not sent is nothing that ComfyUI could render
        return Wording("gone: the next main.py takes over", "已不在：下次 main.py 会接管")
    return Wording("gone: taken over in a moment", "已不在：马上会被接管")
