"""Something that is done after a while beside a run: nothing waits for it, and a run that is over leaves it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger("wfrecovery")


class Later:
    """Calls `do` once, so many seconds after `start` was called last; what goes wrong is logged."""

    def __init__(self, do: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._do = do
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, seconds: float) -> None:
        """From now on; in the loop that runs."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._do()
        except Exception:
            log.exception("[wfrecovery] what was to be done later beside the run failed")
