"""Writes that `main.py`'s recovery must not lose: tried again until the table takes them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Final

from ..table.database import Change, may_come_in_later
from ..table.disk import DurabilityUnknownError
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord

log = logging.getLogger("wfrecovery")

#: Seconds between two tries, the first and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
#: So many seconds pass between two lines in the log.
_TELL_EVERY: Final = 60.0


async def written(db: DatabaseManager, task_id: str, change: Change) -> TaskRecord:
    """Change a record off the event loop, and return it as it is then. Who is stopped meanwhile does not change it.

    Somebody who holds the table's lock, or a full disk, only makes it later. Raises TaskError where the task is gone or
    does not allow the change.
    """
    with _unless_stopped(change) as wanted:
        return await _written(db, task_id, wanted)


async def written_at_once(db: DatabaseManager, task_id: str, change: Change) -> TaskRecord:
    """The same, and what makes it later is raised."""
    with _unless_stopped(change) as wanted:
        return await asyncio.to_thread(db.table.update, task_id, wanted)


@contextlib.contextmanager
def _unless_stopped(change: Change) -> Iterator[Change]:
    """A thread cannot be stopped: one that still waits for the table's lock would take a task of which who was stopped
    has let go since. Letting go takes that lock, too: it comes before the change, which then is none, or after it."""
    stopped = threading.Event()
    try:
        yield lambda record: record if stopped.is_set() else change(record)
    except asyncio.CancelledError:
        stopped.set()
        raise


async def _written(db: DatabaseManager, task_id: str, change: Change) -> TaskRecord:
    pause, told = _FIRST_PAUSE, float("-inf")
    while True:
        try:
            return await asyncio.to_thread(db.table.update, task_id, change)
        except DurabilityUnknownError as error:  # it is written, and readable
            log.warning("[wfrecovery] %s: %s", task_id, error)
            return await asyncio.to_thread(db.table.get, task_id)
        except OSError as error:
            if not may_come_in_later(error):
                raise
            now = asyncio.get_running_loop().time()
            if now - told >= _TELL_EVERY:
                told = now
                log.warning("[wfrecovery] %s cannot be written yet, tried again until it is: %s", task_id, error)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def surely_written(db: DatabaseManager, task_id: str, change: Change) -> TaskRecord:
    """The same; who is stopped meanwhile stops when it is written."""
    writing = asyncio.ensure_future(_written(db, task_id, change))
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing})
        raise


def if_ours(db: DatabaseManager, change: Change) -> Change:
    """The change for a task that has not ended; it raises OwnedError where somebody else has taken that."""

    def ours(record: TaskRecord) -> TaskRecord:
        db.owners.check(record)
        return record if record.stage.final else change(record)

    return ours
