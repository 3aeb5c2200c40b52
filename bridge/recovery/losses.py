"""What ComfyUI has lost, where `main.py` counts what that has cost: `starts.py` says how, here everybody is asked."""

from __future__ import annotations

import asyncio
from functools import partial

from ..engines.errors import EngineError
from ..engines.history import Place
from ..engines.in_use import EngineInUse, OfLoop
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord
from .starts import gone, may_be_there, suspect, went_down
from .submitting import Submitting
from .writing import if_ours, written


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
        """`task`, which ComfyUI has lost, with the start that it has cost, if it is to blame for that."""
        if not may_be_there(task) or not await self.are_counted():
            return task
        async with self._judging.one:
            task = await asyncio.to_thread(self._db.table.get, task.task_id)
            return await self._judged(task) if may_be_there(task) else task

    async def _judged(self, task: TaskRecord) -> TaskRecord:
        if task.sending is not None and not self._submitting.was_away(task):  # it has never come there
            return await written(self._db, task.task_id, if_ours(self._db, gone))
        other = suspect(await asyncio.to_thread(self._ours))
        if other is not None and other.task_id != task.task_id and not await self._is_lost(other):
            return await written(self._db, task.task_id, if_ours(self._db, gone))  # somebody has taken it out
        change = partial(went_down, self._db, self._submitting.is_ours)
        return await written(self._db, task.task_id, if_ours(self._db, change))

    async def _is_lost(self, task: TaskRecord) -> bool:
        return (await self._engine.look_up(task.comfyui_task_id or "")).place is Place.ABSENT

    def _ours(self) -> list[TaskRecord]:
        return [task for task in self._db.table.active() if not task.stage.final and self._submitting.is_ours(task)]
