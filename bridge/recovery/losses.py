"""What ComfyUI has lost, where `main.py` counts what that has cost: `starts.py` says how, here everybody is asked."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from ..engines.errors import EngineError
from ..engines.history import Place
from ..engines.in_use import EngineInUse, OfLoop
from ..table.changes import wished_away
from ..table.database import Change
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord
from .starts import gone, may_be_there, suspect, was_put, went_down
from .submitting import Submitting
from .writing import if_ours, written

log = logging.getLogger("wfrecovery")

#: Where a prompt is that ComfyUI knows; it keeps all of that in memory.
_KNOWN: Final = frozenset({Place.WAITING, Place.RUNNING, Place.SUCCEEDED, Place.FAILED, Place.INTERRUPTED})


class Losses:
    """Judges what the engine has lost, one task after the other: what went down together is judged with the first."""

    def __init__(self, db: DatabaseManager, engine: EngineInUse, submitting: Submitting) -> None:
        self._db, self._engine, self._submitting = db, engine, submitting
        self._judging = OfLoop(asyncio.Lock)

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
        """ComfyUI keeps all that it has in memory: by what has become of another one it is told whether it went down,
        or whether somebody has taken this one out."""
        went = partial(went_down, self._db, self._submitting.is_ours)
        other = suspect(await asyncio.to_thread(self._ours))
        if other is None or other.task_id == task.task_id:
            return went
        place = (await self._engine.look_up(other.comfyui_task_id or "")).place
        if place is Place.ABSENT:
            return went
        if place not in _KNOWN or not await asyncio.to_thread(self._was_there_before, other, task):
            return gone
        log.info("[wfrecovery] %s: somebody has taken it out of ComfyUI's queue", task.task_id)
        return _taken_out

    def _was_there_before(self, other: TaskRecord, task: TaskRecord) -> bool:
        """Whether `other`, which was seen in ComfyUI, had come there before `task`, and only once: then ComfyUI has
        not gone down since it took `task`. Before it is sent again its record says so."""
        now = self._db.table.look(other.task_id)
        once = now is not None and now.sending is None and now.queue == other.queue
        if not once or not (was_put(other) and was_put(task)) or task.sending is not None:
            return False
        came, next_came = (one.queue.queued_at if one.queue is not None else None for one in (other, task))
        return came is not None and next_came is not None and came < next_came

    def _ours(self) -> list[TaskRecord]:
        return [task for task in self._db.table.active() if not task.stage.final and self._submitting.is_ours(task)]


def _taken_out(task: TaskRecord) -> TaskRecord:
    return wished_away(gone(task))
