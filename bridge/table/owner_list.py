"""The owners of a table as people are told of them, and the one that somebody means who names it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..wording import Wording
from .index import TaskIndex
from .lives import Life
from .owners import Owners
from .records import TaskError
from .values import Owner

#: What is shown of a token; as much is enough to name its owner.
SHORT: Final = 8
#: Less may mean anybody.
FEWEST: Final = 4

#: As `Owners` calls a process by itself.
_OWN_NAME: Final = re.compile(r"(\S+) on (.+) \(process (\d+)\)")


class UnknownOwnerError(TaskError):
    """Nobody is known by that token."""

    def __init__(self, text: str) -> None:
        super().__init__(
            Wording(
                f"no owner is known as {text!r}: wfrecovery status lists them",
                f"没有名为 {text!r} 的所有者：用 wfrecovery status 查看",
            )
        )


class AmbiguousOwnerError(TaskError):
    """More than one token begins with that."""

    def __init__(self, text: str, boots: Iterable[str]) -> None:
        found = sorted(boots)
        # long enough to tell them apart
        length = next(size for size in range(SHORT, 65) if len({boot[:size] for boot in found}) == len(found))
        listed = ", ".join(boot[:length] for boot in found)
        super().__init__(
            Wording(
                f"{text!r} may mean {len(found)} owners: {listed}. Give more of the token",
                f"{text!r} 可能是 {len(found)} 个所有者：{listed}。请多写几位",
            )
        )


class OwnOwnerError(TaskError):
    """It is the very process that is to take over."""

    def __init__(self, text: str) -> None:
        super().__init__(
            Wording(
                f"{text!r} is the program itself that is to take over: its tasks are its own already",
                f"{text!r} 就是要接管的程序本身：它的任务本来就归它",
            )
        )


class BadOwnerError(TaskError, ValueError):
    """No token, nor the beginning of one."""

    def __init__(self) -> None:
        super().__init__(
            Wording(
                f"an owner is named by its token as wfrecovery status shows it, or by its first {FEWEST} characters",
                f"请用 wfrecovery status 显示的编号来指定所有者，至少写前 {FEWEST} 位",
            )
        )


@dataclass(frozen=True)
class KnownOwner:
    """A process that is, or may be, at work in a table."""

    boot: str
    #: an `OwnerKind`, or what a newer program calls itself
    kind: str
    #: what a person calls it
    name: Wording
    life: Life
    #: how many unfinished tasks are its own
    tasks: int

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> KnownOwner:
        """As `to_json` told it, perhaps of another version."""
        life = told.get("life")
        name = str(told.get("name") or told["boot"][:SHORT])
        return cls(
            str(told["boot"]),
            str(told.get("kind") or ""),
            Wording(name, str(told.get("name_zh") or name)),
            Life(life) if life in list(Life) else Life.DOUBT,
            int(told.get("tasks") or 0),
        )

    def to_json(self) -> dict[str, Any]:
        """As the status tells it."""
        return {
            "boot": self.boot,
            "kind": self.kind,
            "name": self.name.en,
            "name_zh": self.name.zh,
            "life": self.life.value,
            "tasks": self.tasks,
        }


def owners_of(index: TaskIndex, owners: Owners) -> list[KnownOwner]:
    """Who is at work in the table, the newest first; of the dead those whose tasks nobody has taken over yet."""
    working = [entry.owner for entry in index.entries() if entry.owner is not None]
    tasks = Counter(owner.boot for owner in working)
    found = [
        KnownOwner(told.boot, told.kind, _called(owners.name_of(Owner(told.kind, told.boot))), life, tasks[told.boot])
        for told, life in owners.known()
    ]
    listed = {owner.boot for owner in found}
    # whose own files somebody has deleted
    silent = {owner.boot: owner for owner in working if owner.boot not in listed}
    for owner in silent.values():
        kind = getattr(owner.kind, "value", owner.kind)
        found.append(KnownOwner(owner.boot, kind, owners.name_of(owner), owners.life(owner), tasks[owner.boot]))
    return [owner for owner in found if owner.tasks or owner.life is not Life.DEAD]


def meant(text: object, boots: Iterable[str], ours: Iterable[str] = ()) -> str:
    """The one of `boots` that `text` is, or is the beginning of; raises TaskError. `ours` cannot be meant."""
    if not isinstance(text, str) or not FEWEST <= len(text) <= 64:
        raise BadOwnerError
    found = {boot for boot in boots if boot.startswith(text)}
    if text in found:
        found = {text}
    if not found:
        raise UnknownOwnerError(text)
    if len(found) > 1:
        raise AmbiguousOwnerError(text, found)
    [boot] = found
    if boot in ours:
        raise OwnOwnerError(text)
    return boot


def _called(name: Wording) -> Wording:
    own = _OWN_NAME.fullmatch(name.en)
    return Wording(name.en, f"{own[2]} 上的 {own[1]}（进程 {own[3]}）") if own else name
