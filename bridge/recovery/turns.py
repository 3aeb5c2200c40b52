"""How many tasks are in the air at the same time, so that neither the engine nor we are overrun."""

from __future__ import annotations

import asyncio
from typing import Final

#: Tasks that are decided about at the same time; most of that time is waiting.
TOGETHER: Final = 128
#: Of them, and of those that are followed: looked up, followed and fetched at the same time.
_FEW: Final = 8


class Turns:
    """Of one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.asking, self.following, self.fetching = (asyncio.Semaphore(_FEW) for _ in range(3))
