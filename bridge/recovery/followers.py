"""The tasks that a `main.py` follows in the background."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from ..table.records import TaskRecord
from .following import Following

log = logging.getLogger("wfrecovery")

Follower = asyncio.Task[TaskRecord | None]


class Followers:
    """Of the loop that runs; what another one has followed, which has ended, nobody follows any more."""

    def __init__(self, follow: Following) -> None:
        self._follow = follow
        self._all: dict[str, Follower] = {}

    def begin(self, task_id: str) -> None:
        """Follow it to its end."""
        follower = self._all[task_id] = asyncio.create_task(self._guarded(task_id))
        follower.add_done_callback(partial(self._over, task_id))

    def now(self) -> dict[str, Follower]:
        """Who follows what."""
        loop = asyncio.get_running_loop()
        for task_id, follower in list(self._all.items()):
            if follower.get_loop() is not loop or follower.cancelled():
                del self._all[task_id]
        return self._all

    def taken(self) -> dict[str, Follower]:
        """The same, whose ends are from now on waited for by who calls."""
        followed, self._all = self.now(), {}
        return followed

    async def _guarded(self, task_id: str) -> TaskRecord | None:
        try:
            record = await self._follow.to_the_end(task_id)
        except Exception:
            log.exception("[wfrecovery] %s could not be followed; it stays as it is", task_id)
            return None
        return record if record.stage.final else None

    def _over(self, task_id: str, follower: Follower) -> None:
        """One that is stopped before its first step cannot let go itself."""
        if follower.cancelled():
            self._follow.holding.let_go(task_id)
