"""A person's wish for what a program has submitted, and waits for by itself: nobody follows that here."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from ..engines.in_use import EngineInUse
from ..table.manager import DatabaseManager

log = logging.getLogger("wfrecovery")

#: Seconds between two looks at a record.
LOOK_SECONDS = 1.0
#: So many records are read in that time.
_READ: Final = 100


class Obeying:
    """Tells who renders to stop. What becomes of it then the program sees, and says."""

    def __init__(self, db: DatabaseManager, engine: EngineInUse) -> None:
        self._db, self._engine = db, engine
        self._all: set[asyncio.Task[None]] = set()

    def begin(self, task_id: str) -> None:
        """For as long as this process is at work on it, and its loop runs."""
        obeying = asyncio.create_task(self._obey(task_id))
        self._all.add(obeying)
        obeying.add_done_callback(self._all.discard)

    async def _obey(self, task_id: str) -> None:
        try:
            while not await self._is_over(task_id):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS * max(1.0, len(self._all) / _READ))
        except Exception:  # the program goes on
            log.exception("[wfrecovery] whether a person wants the end of %s is not looked for any more", task_id)

    async def _is_over(self, task_id: str) -> bool:
        task = await asyncio.to_thread(self._db.table.look, task_id)
        if task is None or task.stage.final or task.comfyui_task_id is None or not self._db.owners.is_me(task.owner):
            return True
        return bool(task.cancel_requested) and await self._engine.cancel(task.comfyui_task_id)
