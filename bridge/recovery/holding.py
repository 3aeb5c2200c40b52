"""Being at work on a task in `main.py`, and letting go of it: whoever takes it next need not wait for this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from ..table.database import TableBusyError
from ..table.manager import DatabaseManager

#: So often in a row the table's lock is waited for in vain: hundreds of tasks may be let go of at once, and the end of
#: the program waits for that.
_IN_VAIN: Final = 5


class Holding:
    """What this process is at work on."""

    def __init__(self, db: DatabaseManager) -> None:
        self._db = db
        self._in_vain = 0

    @contextlib.contextmanager
    def of(self, task_id: str) -> Iterator[None]:
        """At work on it for as long as the block lasts; who fails, or is stopped, lets go of it."""
        self._in_vain = 0
        with self._db.owners.work.during(task_id):
            try:
                yield
            except BaseException:
                self.let_go(task_id)
                raise

    def let_go(self, task_id: str) -> None:
        """This process is no longer at work on it."""
        self._db.owners.work.end(task_id)
        if self._in_vain >= _IN_VAIN:
            return
        with contextlib.suppress(Exception):  # whatever is wrong, the process ends or the error is on its way
            try:
                self._db.release_task(task_id)
                self._in_vain = 0
            except TableBusyError:
                self._in_vain += 1
