"""Records that are older than the user wants to keep leave the table; their results stay where they are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from itertools import islice
from typing import Final

from ...bridge.apart import apart
from ...bridge.in_time import within
from ...bridge.table.index import TaskEntry
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import TaskError, parse_time
from ...bridge.table.values import FeishuState

log = logging.getLogger("wfrecovery")

DAY_SECONDS: Final = 86_400.0
#: Records removed in one go; others get the disk and the table's lock in between.
BATCH: Final = 100
PAUSE_SECONDS: Final = 0.05


class Retention:
    """Looks once at the start, once a day, and when the setting was changed."""

    def __init__(
        self, db: DatabaseManager, keep_days: Callable[[], int], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._db, self._keep_days, self._clock = db, keep_days, clock
        self._wake = asyncio.Event()

    def look_again(self) -> None:
        """The setting has changed. On the event loop."""
        self._wake.set()

    async def run(self) -> None:
        """For as long as ComfyUI runs."""
        while True:
            self._wake.clear()
            try:
                removed = await self.remove_old()
                if removed:
                    log.info("[wfrecovery] %d records older than %d days removed", removed, self._keep_days())
            except Exception:
                log.exception("[wfrecovery] old records could not be removed; tried again tomorrow")
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await within(DAY_SECONDS, self._wake.wait())

    async def remove_old(self) -> int:
        """Remove what is settled and old enough, in batches; how many there were. 0 days: nothing ever."""
        days = self._keep_days()
        if days <= 0:
            return 0
        before = self._clock() - days * DAY_SECONDS
        entries = await apart(self._db.index.entries)
        old = (entry.task_id for entry in entries if _settled_before(entry, before))
        removed = 0
        while batch := list(islice(old, BATCH)):
            removed += await apart(self._remove, batch, before)
            await asyncio.sleep(PAUSE_SECONDS)
        return removed

    def _remove(self, task_ids: list[str], before: float) -> int:
        removed = 0
        for task_id in task_ids:
            try:
                removed += self._db.table.forget(task_id, before)
            except TaskError as error:
                log.warning("[wfrecovery] %s is kept: %s", task_id, error)
        return removed


def _settled_before(entry: TaskEntry, before: float) -> bool:
    settled = entry.stage.final and entry.feishu_state in (FeishuState.PUSHED, FeishuState.OFF)
    return settled and 0 < parse_time(entry.finished_at) < before
