"""What ComfyUI has lost, where `main.py` counts what that has cost: `starts.py` says how, here everybody is asked."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from ..engines.errors import EngineError
from ..engines.history import Place
from ..engines.in_use import EngineInUse, OfLoop
from ..table.changes import wished_away
from ..table.database import Change
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord
from ..table.values import QueuePlace
from .queue_looks import QueueLooks
from .starts import gone, may_be_there, suspect, was_put, went_down
from .submitting import Submitting
from .writing import if_ours, written

log = logging.getLogger("wfrecovery")

#: Where a prompt is that ComfyUI knows; it keeps all of that in memory.
_ENDED: Final = frozenset({Place.SUCCEEDED, Place.FAILED, Place.INTERRUPTED})
_KNOWN: Final = frozenset({Place.WAITING, Place.RUNNING, *_ENDED})
#: So many of those that were seen last in the queue, and as many that have ended, are asked about.
_WITNESSES: Final = 3


class Losses:
    """Judges what the engine has lost, one task after the other: what went down together is judged with the first."""

    def __init__(self, db: DatabaseManager, engine: EngineInUse, submitting: Submitting) -> None:
        self._db, self._engine, self._submitting = db, engine, submitting
        self._judging = OfLoop(asyncio.Lock)
        self.queue = QueueLooks(engine)
        #: those that were seen in the engine's history last
        self._ended: deque[TaskRecord] = deque(maxlen=_WITNESSES)

    def was_seen(self, task: TaskRecord, place: Place) -> None:
        """What has ended is known to the engine until that goes down."""
        if place in _ENDED and was_put(task):
            self._ended.append(task)

    async def counts_starts(self) -> bool:
        """Whether nobody else does: there is no plugin."""
        try:
            return await self._engine.plugin_lately() is None
        except EngineError:
            return True

    async def are_counted(self) -> bool:
        """Whether that is to be done here: where the engine takes our ids, and without a plugin."""
        return not self._engine.makes_own_ids and await self.counts_starts()

    async def counted(self, task: TaskRecord) -> TaskRecord:
        """`task`, which ComfyUI has lost, with the start that it has cost, if it is to blame for that; or as one whose
        end a person wants, who has taken it out of the queue."""
        if not may_be_there(task) or not await self.are_counted():
            return task
        async with self._judging.one:
            task = await asyncio.to_thread(self._db.table.get, task.task_id)
            return await self._judged(task) if may_be_there(task) else task

    async def _judged(self, task: TaskRecord) -> TaskRecord:
        never_came = task.sending is not None and not self._submitting.was_away(task)
        change = gone if never_came else await self._by_the_others(task)
        return await written(self._db, task.task_id, if_ours(self._db, change))

    async def _by_the_others(self, task: TaskRecord) -> Change:
        """ComfyUI keeps all that it has in memory: by what has become of others it is told whether it went down, or
        whether somebody has taken this one out."""
        ours = await asyncio.to_thread(self._ours)
        to_blame = suspect(ours)
        lost = True
        for other in self._witnesses(to_blame, ours):
            if other.task_id == task.task_id:
                continue
            place = (await self._engine.look_up(other.comfyui_task_id or "")).place
            if place in _KNOWN and await asyncio.to_thread(self._was_there_before, other, task):
                log.info("[wfrecovery] %s: somebody has taken it out of ComfyUI's queue", task.task_id)
                return _taken_out
            lost = lost and (place is Place.ABSENT or other is not to_blame)
        return partial(went_down, self._db, self._submitting.is_ours) if lost else gone

    def _ours(self) -> list[TaskRecord]:
        return [task for task in self._db.table.active() if may_be_there(task) and self._submitting.is_ours(task)]

    def _witnesses(self, to_blame: TaskRecord | None, ours: Sequence[TaskRecord]) -> list[TaskRecord]:
        """Those that ComfyUI has if it did not go down: who ran, who was in the queue at the last looks, and who has
        ended."""
        seen_last = sorted(ours, key=self.queue.last_seen, reverse=True)[:_WITNESSES]
        found = filter(None, (to_blame, *seen_last, *reversed(self._ended)))
        return list({other.task_id: other for other in found}.values())

    def _was_there_before(self, other: TaskRecord, task: TaskRecord) -> bool:
        """Whether `other`, which was seen in ComfyUI, had come there, and only once, before `task` was there: then
        ComfyUI has not gone down since. Before it is sent again its record says so."""
        now = self._db.table.look(other.task_id)
        once = now is not None and now.sending is None and _its_place(now) == _its_place(other)
        if not once or not (was_put(other) and was_put(task)) or task.sending is not None:
            return False
        if self.queue.stood_together(other, task):
            return True
        came, next_came = (one.queue.queued_at if one.queue is not None else None for one in (other, task))
        return came is not None and next_came is not None and came < next_came


def _its_place(task: TaskRecord) -> tuple[str | None, QueuePlace | None]:
    return task.comfyui_task_id, task.queue


def _taken_out(task: TaskRecord) -> TaskRecord:
    return wished_away(gone(task))
