"""Writes that `main.py`'s recovery must not lose: tried again until the table takes them."""

from __future__ import annotations

import asyncio
import logging
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
    """Change a record off the event loop, and return it as it is then.

    Somebody who holds the table's lock, or a full disk, only makes it later. Raises TaskError where the task is gone or
    does not allow the change.
    """
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
    writing = asyncio.ensure_future(written(db, task_id, change))
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
