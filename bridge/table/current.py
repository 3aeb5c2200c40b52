"""The task that a program is at: entering one makes it the current one of that asyncio context (or thread)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import ReferenceType, ref

from .records import WorkflowStatus

#: Submits a task's workflow; True: this program has done that before. The engine's id, or None where the workflow is
#: none of this task's.
Submit = Callable[[str, Mapping[str, Any], bool], Awaitable[str | None]]


class Entering(Protocol):
    """What is known of the table in which a task was entered."""

    #: the recovery of this table, by the name of its engine; None where the program has none
    submits: tuple[str, Submit] | None

    def get_task(self, task_id: str) -> dict[str, Any] | None:
        """A record."""


@dataclass
class CurrentTask:
    """One task, in its table, which nobody keeps alive by that."""

    table: ReferenceType[Entering]
    task_id: str
    #: whether a workflow was handed over for it since it was entered, whatever came of that
    tried: bool = False
    #: whether one was submitted
    used: bool = False
    #: what was entered before it in this context, when nothing had been handed over for that yet
    before: str | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether a workflow may as well be for another: a program that enters all its rows first, and submits then."""
        db, before = self.table(), self.before
        task = None if db is None or before is None else db.get_task(before)
        return task is not None and task["status"] == WorkflowStatus.IN_PROGRESS.value

    @property
    def submits(self) -> tuple[str, Submit] | None:
        """Who submits for it."""
        db = self.table()
        return None if db is None else db.submits


_current: ContextVar[CurrentTask | None] = ContextVar("wfrecovery_task", default=None)


def make_current(db: Entering, task_id: str) -> None:
    """From now on a workflow that is submitted in this context without a task's name is this one's."""
    last = _current.get()
    untried = last is not None and not last.tried and last.table() is db and last.task_id != task_id
    _current.set(CurrentTask(ref(db), task_id, before=last.task_id if last is not None and untried else None))


def current_task() -> CurrentTask | None:
    """The one that was entered last in this context."""
    return _current.get()
