"""Looks every few seconds at what others have left in the table: dead owners, wishes, records that are gone."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ...bridge.apart import apart
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import Stage
from ..queue.recorder import Recorder
from ..queue.writing import Writer
from .requests import Requests
from .startup import StartupRecovery

log = logging.getLogger("wfrecovery")

LOOK_SECONDS: Final = 2.0
#: What a recovery could not decide is not decided again and again.
_AGAIN_SECONDS: Final = 60.0


class Watch:
    """Runs for as long as ComfyUI does. What it finds is done by others."""

    def __init__(
        self,
        db: DatabaseManager,
        recovery: StartupRecovery,
        requests: Requests,
        recorder: Recorder,
        writer: Writer,
    ) -> None:
        self._db, self._recovery, self._requests = db, recovery, requests
        self._recorder, self._writer = recorder, writer
        #: by the event loop's clock
        self._tried: dict[str, float] = {}
        self._undone_since: float | None = None
        #: why the last look failed: that is said once
        self._blind: str | None = None

    async def run(self) -> None:
        """Look, over and over."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look_guarded()

    async def look_guarded(self) -> None:
        """Look once. While the table cannot be looked at, what others have left is not taken over: that is said when it
        begins and when it is over, the status says it all the time."""
        try:
            await self.look()
        except Exception as error:
            if self._blind is None:
                self._writer.report("what others leave in the task table is not seen", error)
            self._blind = str(error)
        else:
            if self._blind is not None:
                log.warning("[wfrecovery] the task table can be looked at again")
            self._blind = None

    async def look(self) -> None:
        """Look once."""
        self._recorder.heal()
        last, was_running = self._recovery.state, self._recovery.is_running
        now = asyncio.get_running_loop().time()
        unwanted, left = await apart(self._found, now)
        for task_id in unwanted:
            await self._requests.obey(task_id)
        # What was left while a recovery was under way it has decided since; a run for nothing would hide what it did.
        if was_running or self._recovery.state is not last or not (left or self._is_undone_for_long(now)):
            return
        if self._recovery.start():
            self._undone_since = None
            self._tried.update(dict.fromkeys(left, now))

    def _is_undone_for_long(self, now: float) -> bool:
        """Whether it is time to try again what went wrong."""
        if not self._recovery.is_undone:
            self._undone_since = None
            return False
        self._undone_since = now if self._undone_since is None else self._undone_since
        return now - self._undone_since >= _AGAIN_SECONDS

    def _found(self, now: float) -> tuple[list[str], list[str]]:
        """Of our tasks those that a person wants to end; and those that nobody is at work on, not even we."""
        owners = self._db.owners
        waits = (Stage.QUEUED, Stage.RUNNING)
        unfinished = [entry for entry in self._db.index.entries() if entry.stage in waits]
        unwanted = [entry.task_id for entry in unfinished if entry.unwanted and owners.is_me(entry.owner)]
        others = {entry.task_id for entry in unfinished if not owners.is_me(entry.owner)}
        if not others:
            return unwanted, []
        left = [task_id for task_id in self._recovery.to_decide() if task_id in others]
        return unwanted, [
            task_id for task_id in left if now - self._tried.get(task_id, -_AGAIN_SECONDS) >= _AGAIN_SECONDS
        ]
