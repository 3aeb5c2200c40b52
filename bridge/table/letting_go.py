"""What nobody in this process is at work on any longer is let go of in its record: then others may take it."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from functools import partial

from .changes import let_go
from .database import WorkflowDatabase
from .owners import Owners
from .records import TaskError

log = logging.getLogger("wfrecovery")


class LettingGo:
    """Who ends a task says so; what is left by who was cancelled, or has raised, is found between two beats."""

    def __init__(self, table: WorkflowDatabase, owners: Owners) -> None:
        self._table, self._owners = table, owners
        find = weakref.WeakMethod(self._find)  # held here, the owner would not be gone with who has made it
        owners.between_beats = lambda: _called(find)

    def of(self, task_id: str) -> None:
        """Let go of one, unless somebody here has begun again. Raises TaskError, TableBusyError after a second, or
        OSError: then it is tried again after the next beat."""
        with self._table.locked(1.0):
            if self._owners.work.on(task_id):
                return
            if self._owners.is_me(self._table.get(task_id).owner):
                self._table.update(task_id, partial(let_go, self._owners.me))
            self._owners.work.forget(task_id)

    def _find(self) -> None:
        for task_id in self._owners.work.left():
            try:
                self.of(task_id)
            except OSError as error:  # somebody holds the table's lock, or the disk refuses
                log.debug("[wfrecovery] %s is let go of later: %s", task_id, error)
                return
            except TaskError:  # it is gone, or a newer program's by now
                self._owners.work.forget(task_id)


def _called(find: weakref.WeakMethod[Callable[[], None]]) -> None:
    method = find()
    if method is not None:
        method()
