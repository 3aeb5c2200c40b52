"""What ComfyUI has lost, where `main.py` counts what that has cost: `starts.py` says how, here everybody is asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence, Set
from functools import partial
from typing import Final

from ..engines.errors import EngineError
from ..engines.history import Place
from ..engines.in_use import EngineInUse
from ..of_loop import Lock, OfLoop
from ..table.changes import wished_away
from ..table.database import Change
from ..table.manager import DatabaseManager
from ..table.records import Stage, TaskRecord, parse_time
from ..table.values import QueuePlace
from .queue_looks import QueueLooks
from .starts import gone, may_be_there, suspect, was_put, went_down
from .submitting import Submitting
from .writing import if_ours, written

log = logging.getLogger("wfrecovery")

_ENDED: Final = frozenset({Place.SUCCEEDED, Place.FAILED, Place.INTERRUPTED})
#: Where a prompt is that ComfyUI knows; it keeps all of that in memory.
_KNOWN: Final = frozenset({Place.WAITING, Place.RUNNING, *_ENDED})
#: So many of those that have stood in the queue for longest, and of those that have ended last, can tell.
_WITNESSES: Final = 3


class LookAgainError(Exception):
    """A task is not where it was seen, or not as it was: whoever decides about it looks again."""


class Losses:
    """Judges what the engine has lost, one task after the other: what went down together is judged with the first."""

    def __init__(self, db: DatabaseManager, engine: EngineInUse, submitting: Submitting) -> None:
        self._db, self._engine, self._submitting = db, engine, submitting
        self._judging = OfLoop(Lock)
        self.queue = QueueLooks(engine)
        #: ids of tasks with which the engine has gone down, and of which nothing was decided since
        self.lost: set[str] = set()
        #: those that were seen in the engine's history last
        self._ended: list[TaskRecord] = []

    def was_seen(self, task: TaskRecord, place: Place) -> None:
        """What has ended is known to the engine until that goes down; what is known to it was not lost."""
        if place in _KNOWN:
            self.lost.discard(task.task_id)
        if place in _ENDED and was_put(task):
            others = [other for other in self._ended if other.task_id != task.task_id]
            self._ended = [*others, task][-_WITNESSES:]

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
        end a person wants, who has taken it out of the queue. Raises LookAgainError."""
        if not may_be_there(task) or not await self.are_counted():
            return task
        async with self._judging.one:
            now = await asyncio.to_thread(self._db.table.get, task.task_id)
            if not may_be_there(now):  # judged with another one
                return now
            if _its_place(now) != _its_place(task):  # and sent again since
                raise LookAgainError
            return await self._judged(now)

    async def _judged(self, task: TaskRecord) -> TaskRecord:
        never_came = task.sending is not None and not self._submitting.was_away(task)
        change = gone if never_came else await self._by_the_others(task)
        return await written(self._db, task.task_id, partial(_as_it_was, task, if_ours(self._db, change)))

    async def _by_the_others(self, task: TaskRecord) -> Change:
        """ComfyUI keeps all that it has in memory: by what has become of others it is told whether it went down, or
        whether somebody has taken this one out. What runs nobody can take out. Raises LookAgainError."""
        if await self._place_of(task) is not Place.ABSENT:
            raise LookAgainError
        ours = await asyncio.to_thread(self._ours)
        in_queue = await self._in_queue()  # after that: what has come since is neither there nor lost
        to_blame, waits = suspect(ours), task.stage is not Stage.RUNNING
        for other in self._longest_there(task, ours, in_queue) if waits else ():
            if await asyncio.to_thread(self._was_there_before, other, task):
                return self._taken_out(other, task)
        lost = to_blame is None or to_blame.comfyui_task_id not in in_queue
        for other in self._elsewhere(task, to_blame, in_queue):
            known = await self._place_of(other) in _KNOWN
            if waits and known and await asyncio.to_thread(self._was_there_before, other, task):
                return self._taken_out(other, task)
            lost = lost and not (known and to_blame is not None and other.task_id == to_blame.task_id)
        if not lost:
            return gone
        gone_with_it = {one.task_id: _its_place(one) for one in ours if one.comfyui_task_id not in in_queue}
        self.lost |= gone_with_it.keys()
        return partial(went_down, self._db, lambda one: gone_with_it.get(one.task_id) == _its_place(one))

    async def _place_of(self, task: TaskRecord) -> Place:
        """Raises LookAgainError where there is no answer."""
        place = (await self._engine.look_up(task.comfyui_task_id or "")).place
        if place is Place.UNKNOWN:
            raise LookAgainError
        return place

    async def _in_queue(self) -> frozenset[str]:
        """The prompts that ComfyUI has in its queue now; empty of a client that cannot tell. Raises LookAgainError."""
        try:
            return frozenset(await self._engine.prompts_in_queue() or ())
        except EngineError as error:
            raise LookAgainError from error

    def _ours(self) -> list[TaskRecord]:
        return [task for task in self._db.table.active() if may_be_there(task) and self._submitting.is_ours(task)]

    def _longest_there(self, task: TaskRecord, ours: Sequence[TaskRecord], there: Set[str]) -> list[TaskRecord]:
        others = [one for one in ours if one.comfyui_task_id in there and one.task_id != task.task_id]
        return sorted(others, key=self.queue.first_seen)[:_WITNESSES]

    def _elsewhere(self, task: TaskRecord, to_blame: TaskRecord | None, in_queue: Set[str]) -> list[TaskRecord]:
        """Who may be in ComfyUI's history."""
        asked = filter(None, (*reversed(self._ended), to_blame))
        found = {other.task_id: other for other in asked if other.comfyui_task_id not in in_queue}
        found.pop(task.task_id, None)
        return list(found.values())

    def _taken_out(self, other: TaskRecord, task: TaskRecord) -> Change:
        log.info("[wfrecovery] %s: somebody has taken it out of ComfyUI's queue", task.task_id)
        return partial(self._wished_away, other)

    def _wished_away(self, other: TaskRecord, task: TaskRecord) -> TaskRecord:
        """Under the table's lock it is still so. Raises LookAgainError."""
        if not self._was_there_before(other, task):
            raise LookAgainError
        return wished_away(gone(task))

    def _was_there_before(self, other: TaskRecord, task: TaskRecord) -> bool:
        """Whether `other`, which was seen in ComfyUI, had come there, and only once, before `task` was there: then
        ComfyUI has not gone down since. Before it is sent again its record says so."""
        try:
            now = self._db.table.look(other.task_id)
        except OSError:
            return False
        once = now is not None and now.sending is None and _its_place(now) == _its_place(other)
        if not once or not (was_put(other) and was_put(task)) or task.sending is not None:
            return False
        if self.queue.stood_together(other, task):
            return True
        # the clock of another program may be another computer's
        return self._db.owners.other_at_work(other) is None and _came_before(other, task)


def _came_before(other: TaskRecord, task: TaskRecord) -> bool:
    """By the clock; nothing tells where that has been set back since."""
    came, next_came = (parse_time(one.queue.queued_at if one.queue is not None else None) for one in (other, task))
    return 0 < came < next_came <= time.time()


def _its_place(task: TaskRecord) -> tuple[str | None, QueuePlace | None, str | None]:
    return task.comfyui_task_id, task.queue, task.sending


def _as_it_was(seen: TaskRecord, change: Change, task: TaskRecord) -> TaskRecord:
    """Raises LookAgainError where it was sent again meanwhile."""
    if _its_place(task) != _its_place(seen):
        raise LookAgainError
    return change(task)
