"""Looks every few seconds at what others have left in the table: dead owners, wishes, records that are gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import Stage, TaskError
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
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db, self._recovery, self._requests = db, recovery, requests
        self._recorder, self._writer, self._clock = recorder, writer, clock
        self._tried: dict[str, float] = {}

    async def run(self) -> None:
        """Look, over and over."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except (TaskError, OSError) as error:
                log.debug("[wfrecovery] the table could not be looked at: %s", error)
            except Exception as error:
                self._writer.report("the table could not be looked at", error)

    async def look(self) -> None:
        """Look once."""
        self._recorder.heal()
        last, was_running = self._recovery.state, self._recovery.is_running
        unwanted, left = await asyncio.to_thread(self._found)
        for task_id in unwanted:
            await self._requests.obey(task_id)
        # What was left while a recovery was under way it has decided since; a run for nothing would hide what it did.
        if not left or was_running or self._recovery.state is not last:
            return
        if self._recovery.start():
            self._tried.update(dict.fromkeys(left, self._clock()))

    def _found(self) -> tuple[list[str], list[str]]:
        """Of our tasks those that a person wants to end; and those that nobody is at work on, not even we."""
        owners = self._db.owners
        waits = (Stage.QUEUED, Stage.RUNNING)
        unfinished = [entry for entry in self._db.index.entries() if entry.stage in waits]
        unwanted = [entry.task_id for entry in unfinished if entry.unwanted and owners.is_me(entry.owner)]
        others = {entry.task_id for entry in unfinished if not owners.is_me(entry.owner)}
        if not others:
            return unwanted, []
        now = self._clock()
        left = [task_id for task_id in self._recovery.to_decide() if task_id in others]
        return unwanted, [
            task_id for task_id in left if now - self._tried.get(task_id, -_AGAIN_SECONDS) >= _AGAIN_SECONDS
        ]
