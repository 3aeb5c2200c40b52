"""What stands in ComfyUI's queue: looked at once for all who follow a task, and remembered.

ComfyUI keeps its queue in memory. Of two prompts that were there together, one that is still known tells that it has
not gone down since: then somebody has taken the other one out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ..engines.errors import EngineError
from ..engines.history import Place
from ..engines.in_use import EngineInUse
from ..of_loop import Lock, OfLoop
from ..table.records import TaskRecord
from ..table.values import QueuePlace

#: For so long a look serves whoever asks.
FRESH_SECONDS: Final = 1.0
#: After so many looks at which a prompt was not there it is forgotten when it was.
_REMEMBERED: Final = 300


@dataclass(frozen=True)
class _Stay:
    """At which looks a prompt was there. They are numbered, for a clock may be set meanwhile."""

    #: that of the submission which is meant: it may be sent again under its id
    queue: QueuePlace | None
    first: int | None = None
    last: int | None = None


class QueueLooks:
    """Looks at the queue of the engine, one after the other."""

    def __init__(self, engine: EngineInUse) -> None:
        self._engine = engine
        self._looking = OfLoop(Lock)
        self._fresh_until = float("-inf")
        self._number = 0
        #: None where the client cannot tell
        self._places: Mapping[str, Place] | None = {}
        #: by prompt_id, of those that are followed
        self._stays: dict[str, _Stay] = {}

    async def place_of(self, task: TaskRecord) -> Place:
        """Where a task's prompt is in the queue, as of a moment ago; or, of a client that cannot tell, where it is."""
        prompt_id = task.comfyui_task_id or ""
        if self._stay_of(task) is None:
            self._stays[prompt_id] = _Stay(task.queue)
        async with self._looking.one:
            if asyncio.get_running_loop().time() >= self._fresh_until:
                await self._look()
            places = self._places
        if places is None:
            return (await self._engine.look_up(prompt_id)).place
        # a look that was over before it was sent again saw it where it was then
        there = self.last_seen(task) == self._number
        return places.get(prompt_id, Place.ABSENT) if there else Place.ABSENT

    async def _look(self) -> None:
        asked = dict(self._stays)
        try:
            self._places = await self._engine.prompts_in_queue()
        except EngineError:
            self._places = {}
        self._fresh_until = asyncio.get_running_loop().time() + FRESH_SECONDS
        self._number += 1
        for prompt_id, stay in asked.items():
            if self._stays.get(prompt_id) is not stay:  # it was sent again meanwhile
                continue
            if prompt_id in (self._places or {}):
                first = self._number if stay.first is None else stay.first
                self._stays[prompt_id] = replace(stay, first=first, last=self._number)
            elif stay.last is not None and stay.last < self._number - _REMEMBERED:
                del self._stays[prompt_id]

    def stood_together(self, other: TaskRecord, task: TaskRecord) -> bool:
        """Whether `other` was in the queue when `task` was last seen there, or before."""
        return self.first_seen(other) <= self.last_seen(task)

    def first_seen(self, task: TaskRecord) -> float:
        """The lower, the earlier; infinity: never."""
        stay = self._stay_of(task)
        return float("inf") if stay is None or stay.first is None else stay.first

    def last_seen(self, task: TaskRecord) -> int:
        """The higher, the later; -1: never."""
        stay = self._stay_of(task)
        return -1 if stay is None or stay.last is None else stay.last

    def _stay_of(self, task: TaskRecord) -> _Stay | None:
        stay = self._stays.get(task.comfyui_task_id or "")
        return stay if stay is not None and stay.queue == task.queue else None
