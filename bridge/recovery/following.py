"""Bringing one task of `main.py` to its end: whose it is, what is seen of it, what follows from that, over and over."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, Final

from ..engines.comfyui import new_prompt_id
from ..engines.errors import EngineError, RenderLimitError
from ..engines.history import ABSENT, COME_TO_REST, UNKNOWN, Place, Sighting
from ..engines.in_use import EngineInUse, OnProgress
from ..in_time import beside
from ..of_loop import OfLoop
from ..settings import Settings
from ..table.changes import asking, blameless, cancelled, failed, started, unsubmitted
from ..table.manager import DatabaseManager
from ..table.names import UnknownTaskError
from ..table.owners import OwnedError
from ..table.records import RecordError, Stage, TaskRecord
from ..table.values import Owner, Result
from ..wording import Wording
from .collecting import Change, adopted, collected
from .decisions import Action, Decision, decide
from .delivering import RunDelivery
from .fetching import fetch_all
from .holding import Holding
from .losses import LookAgainError, Losses
from .next_start import is_plugin_s
from .plugin import is_nowhere, seen_with_plugin, shares_table
from .searching import Search
from .starts import gone, is_lost, was_put
from .submitting import SHARED_ENGINE, Submitting, is_submitted, sent_since
from .turns import Turns
from .writing import if_ours, written

log = logging.getLogger("wfrecovery")

#: Seconds between two looks at a task that somebody else is at work on, or that is waited for.
LOOK_SECONDS: Final = 1.0
#: Before a prompt that is nowhere counts as lost, it is looked for again.
SECOND_LOOK_SECONDS: Final = 1.0
#: So often it is looked whether the plugin has made a record anew that somebody has deleted.
_LOOKS_FOR_PLUGIN: Final = 10
#: So often within a run a prompt is sent without an answer, or its files are not fetched, while all else is answered.
_IN_VAIN: Final = 5
#: Where what is to be stopped may still be rendered.
_MAY_GO_ON: Final = frozenset({Place.UNKNOWN, Place.WAITING, Place.RUNNING})
_NEVER_TAKEN: Final = Wording("it was sent several times, and never taken: ", "多次提交，始终没有被接收：")
_NO_WORD: Final = Wording(
    "look into the log of who renders, and at a proxy before it", "请查看渲染端的日志，以及它前面的代理"
)


class Whose(Enum):
    """Who brings a task to its end."""

    OURS = "ours"
    #: another owner, or the plugin that shares our table
    OTHERS = "others"
    #: the plugin had it, and no ComfyUI answers: it may come back with the plugin, or without
    UNKNOWN = "unknown"


class Following:
    """Follows tasks. Whatever is written is written under the table's lock, and only while nobody else is at work."""

    def __init__(
        self,
        db: DatabaseManager,
        engine: EngineInUse,
        submitting: Submitting,
        delivery: RunDelivery,
        limits: Settings,
        *,
        on_progress: OnProgress,
    ) -> None:
        self._db, self._engine, self._submitting, self._delivery = db, engine, submitting, delivery
        self._limits, self._on_progress = limits, on_progress
        self._turns = OfLoop(Turns)
        self.holding = Holding(db)
        self.losses = Losses(db, engine, submitting)
        self._search = Search(db, engine)
        #: of what it has been said that ComfyUI is waited for
        self._said: set[str] = set()

    async def to_the_end(self, task_id: str) -> TaskRecord:
        """Follow a task until it has ended, or waits for a person; over crashes of ComfyUI and of its other owners."""
        with self.holding.of(task_id), self._turns.one.followed(task_id):
            task = await self._to_the_end(task_id)
            if not task.stage.final:
                await asyncio.to_thread(self.holding.let_go, task_id)
            return task

    async def once(self, task: TaskRecord) -> tuple[TaskRecord, Decision]:
        """Decide what happens to a task of a former run, and do that; what is left for later is let go of. Its record
        as it is then."""
        task_id = task.task_id
        with self.holding.of(task_id), self._turns.one.followed(task_id):
            if not await self._can_be_told(task):
                return task, self.decided(task, UNKNOWN, None, None)
            decision = await self._looked_and_decided(task)
            if decision.action is Action.LEAVE:
                await asyncio.to_thread(self.holding.let_go, task_id)
            return await self.read(task_id), decision

    async def _looked_and_decided(self, task: TaskRecord) -> Decision:
        while True:
            task = await self.take(task)
            with contextlib.suppress(LookAgainError):
                return await self.act(task, await self.look(task))

    async def _can_be_told(self, task: TaskRecord) -> bool:
        """Whether there is anything to be done with it now. Of an engine that is out of reach nothing is written."""
        asked = task.comfyui_task_id
        return asked is None or task.cancel_requested is not None or await self._engine.answers(asked)

    async def _to_the_end(self, task_id: str) -> TaskRecord:
        in_vain = 0
        kept = await self.read(task_id), await self._submitting.graph(task_id)
        while True:
            task = await self._read_or_restore(*kept)
            if task.stage.final or task.stage is Stage.ASKING:
                return task
            whose = await self.whose(task)
            if whose is not Whose.OURS:
                await asyncio.sleep(self._turns.one.pause(LOOK_SECONDS))
                continue
            if not self._submitting.is_ours(task):  # whoever had it there is gone, and here it is not known
                log.info("[wfrecovery] %s is left alone: %s renders it", task_id, task.engine)
                return task
            try:
                task = await self.take(task)
                seen = await self._seen(task)
                if seen is None:
                    continue
                decision = await self.act(task, seen)
            except (OwnedError, UnknownTaskError, LookAgainError):  # somebody was faster, or has emptied the folder
                continue
            # a wish is told until it is heard
            left = decision.action is Action.LEAVE and not task.cancel_requested
            if seen.place is Place.ASKING or left:
                return await self.read(task_id)
            unanswered = decision.action is Action.REQUEUE and task.stage is Stage.CREATED
            in_vain = in_vain + 1 if unanswered or decision.action is Action.COLLECT else 0
            if in_vain > _IN_VAIN and unanswered:
                await written(self._db, task_id, partial(unsubmitted, self._never_taken(task_id)))
            elif in_vain > _IN_VAIN:  # it is rendered, and can be fetched by the next run
                return await self.read(task_id)

    def _never_taken(self, task_id: str) -> Wording:
        return _NEVER_TAKEN + (self._submitting.why_unsent(task_id) or _NO_WORD)

    async def take(self, task: TaskRecord) -> TaskRecord:
        """Begin to work on it; raises OwnedError."""
        return await written(self._db, task.task_id, self._taking)

    def _taking(self, task: TaskRecord) -> TaskRecord:
        """What was lost with the power is not to blame for that."""
        with_power = self._db.owners.lost_power(task.owner)
        taken = self._submitting.taking(task)
        return gone_with_power(taken) if with_power and not taken.stage.final else taken

    async def _read_or_restore(self, before: TaskRecord, graph: Mapping[str, Any] | None) -> TaskRecord:
        """The record; where somebody has emptied the folder, as it was when we began to follow it. The plugin, where it
        shares the table, makes its own records anew, which is waited for."""
        for _ in range(_LOOKS_FOR_PLUGIN):
            with contextlib.suppress(UnknownTaskError):
                return await self.read(before.task_id)
            if not await shares_table(self._engine, self._db):
                break
            await asyncio.sleep(LOOK_SECONDS)
        log.warning("[wfrecovery] the record of %s is gone: it is made anew", before.task_id)
        with contextlib.suppress(RecordError):  # somebody was faster
            await asyncio.to_thread(self._db.table.create, before, graph)
        return await self.read(before.task_id)

    async def read(self, task_id: str) -> TaskRecord:
        """The record as it is now."""
        return await asyncio.to_thread(self._db.table.get, task_id)

    async def at_work(self, task: TaskRecord) -> Owner | None:
        """Another process that is, or may be, at work on it."""
        return await asyncio.to_thread(self._db.owners.other_at_work, task)

    async def whose(self, task: TaskRecord) -> Whose:
        """Who brings it to its end, by what can be known now."""
        if await self.at_work(task) is not None:
            return Whose.OTHERS
        if task.stage is Stage.CREATED or self._db.owners.is_me(task.owner):
            return Whose.OURS
        if task.engine not in (None, SHARED_ENGINE):  # sent by `main.py`, and never heard of by a plugin
            return Whose.OURS
        shared = await shares_table(self._engine, self._db)
        if shared is None and is_plugin_s(task):
            self._say_waits(task)
            return Whose.UNKNOWN
        return Whose.OTHERS if shared else Whose.OURS

    def _say_waits(self, task: TaskRecord) -> None:
        if task.task_id not in self._said:
            self._said.add(task.task_id)
            number = task.row_number
            log.warning("[wfrecovery] %s (row %s) waits for ComfyUI, whose plugin had it", task.task_id, number)

    # ------------------------------------------------------------------ what is seen

    async def _seen(self, task: TaskRecord) -> Sighting | None:
        """How ComfyUI ended the prompt; None where the record has changed meanwhile and is to be read again."""
        if task.cancel_requested:
            return await self._looked_up(task.comfyui_task_id) if task.comfyui_task_id else ABSENT
        if not task.comfyui_task_id:
            return ABSENT
        if is_lost(task):  # it need not wait to be waited for
            at_first = await self.look(task)
            if at_first.place is Place.ABSENT:
                return at_first
            self.losses.was_seen(task, at_first.place)
        seen: list[Place] = []
        in_turn = asyncio.Event()
        async with beside(self._waited_for(task.comfyui_task_id, seen, in_turn)) as waiting:
            counting = await self.losses.counts_starts()
            while True:
                pause = LOOK_SECONDS if in_turn.is_set() else self._turns.one.pause(LOOK_SECONDS)
                done, _ = await asyncio.wait({waiting}, timeout=pause)
                if done:
                    return await seen_with_plugin(self._engine, task, waiting.result(), self._db.owners.is_me)
                record = await self.read(task.task_id)
                if record.stage.final or record.cancel_requested or not self._db.owners.is_me(record.owner):
                    return None
                if is_lost(record) and not is_lost(task):  # as somebody else has seen by now
                    return None
                waits = record.stage is Stage.QUEUED and in_turn.is_set()
                if counting and waits and await self._runs(record, seen):
                    await written(self._db, task.task_id, if_ours(self._db, _seen_running))

    async def _looked_up(self, job_id: str) -> Sighting:
        async with self._turns.one.asking:
            return await self._engine.look_up(job_id)

    async def _waited_for(self, job_id: str, seen: list[Place], in_turn: asyncio.Event) -> Sighting:
        """How the engine ended it. Only a few wait for it at the same time; what has ended already need not."""
        at_first = await self._looked_up(job_id)
        if at_first.place in COME_TO_REST:
            return at_first
        async with self._turns.one.following:
            in_turn.set()
            return await self._engine.wait(job_id, lambda sighting: seen.append(sighting.place), self._on_progress)

    async def _runs(self, task: TaskRecord, seen: Sequence[Place]) -> bool:
        """Whether it was seen running; a client that waits by itself tells nothing of that."""
        if self._engine.is_polled or not task.comfyui_task_id:
            return Place.RUNNING in seen
        return await self.losses.queue.place_of(task) is Place.RUNNING

    # ------------------------------------------------------------------ what follows

    async def look(self, task: TaskRecord) -> Sighting:
        """Where a task of a former run is. A request that timed out may still be on its way; and a cloud may know late
        what it has accepted."""
        if not task.comfyui_task_id:
            return ABSENT
        seen = await self._looked_up(task.comfyui_task_id)
        if seen.place is Place.ABSENT:
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            seen = await self._looked_up(task.comfyui_task_id)
        return await seen_with_plugin(self._engine, task, seen, self._db.owners.is_me)

    async def at_hand(
        self, task: TaskRecord, seen: Sighting
    ) -> tuple[dict[str, Any] | None, tuple[Result, ...] | None]:
        """Its graph, and its whole result where the engine has lost it and it lies on disk."""
        graph = await self._submitting.graph(task.task_id)
        lost = graph is not None and seen.place is Place.ABSENT
        return graph, await self._search.whole(task, graph) if lost and graph is not None else None

    def decided(self, task: TaskRecord, seen: Sighting, graph: object, whole: object) -> Decision:
        """What is to become of it, by what was seen and is at hand."""
        return decide(
            task,
            seen,
            on_disk=whole is not None,
            has_graph=graph is not None,
            may_be_paid=self._submitting.asks,
            lost_prompts=self._limits.lost_prompts,
            max_attempts=self._limits.max_attempts,
            who=self._engine.title,
        )

    async def act(self, task: TaskRecord, seen: Sighting) -> Decision:
        """Decide, and do it. Whether the task has ended by that is in its record. Raises LookAgainError."""
        async with self._db.owners.work.deciding(task.task_id):
            if sent_since(task, await self.read(task.task_id)):
                raise LookAgainError
            return await self._act(task, seen)

    async def _act(self, task: TaskRecord, seen: Sighting) -> Decision:
        self.losses.was_seen(task, seen.place)
        graph, whole = await self.at_hand(task, seen)
        if seen.place is Place.ABSENT and whole is None:
            task = await self.losses.counted(task)
        decision = self.decided(task, seen, graph, whole)
        self.losses.lost.discard(task.task_id)
        log.info("[wfrecovery] %s (row %s): %s", task.task_id, task.row_number, decision.reason)
        match decision.action:
            case Action.ADOPT:
                await self._end(task, await asyncio.to_thread(adopted, self._db, task, whole or ()))
            case Action.COLLECT:
                await self._collect(task, seen)
            case Action.CANCEL:
                return await self._cancel(task, decision)
            case Action.FAIL:
                end = partial(unsubmitted, decision.reason) if decision.row_stays_open else None
                await self._end(task, end or (lambda record: failed(record, decision.reason)))
            case Action.ASK:
                await self._end(task, lambda record: asking(record, decision.reason))
            case Action.REQUEUE if graph is not None:
                try:
                    await self._send_in_turn(task, graph)
                except RenderLimitError as error:
                    return Decision(Action.LEAVE, error.wording)
        return decision

    async def _send_in_turn(self, task: TaskRecord, graph: Mapping[str, Any]) -> None:
        """What was lost together is sent again in the order in which it was entered, one after the other: what takes
        ComfyUI down is then begun before what waited behind it, and is to blame. Each sees the loss at a look of its
        own: that is waited for. Only then its record says that it is sent. Raises RenderLimitError, LookAgainError."""
        # it may have died between writing the graph and noting its prompt_id
        prompt_id = str(graph.get("prompt_id") or new_prompt_id())
        async with self._turns.one.sending(task.task_id, 2 * LOOK_SECONDS, self.losses.lost):
            naming = await self._submitting.naming(task)
            async with self._submitting.in_turn():
                if not await is_nowhere(self._engine, task, self._db.owners.is_me):
                    raise LookAgainError  # whoever waits for his turn may be overtaken, in a shared folder
                with self._submitting.allowance.held(task.task_id):
                    task = await written(self._db, task.task_id, partial(self._submitting.again, prompt_id, naming))
                await self._submitting.send(task, graph["prompt"])

    async def _end(self, task: TaskRecord, change: Change) -> None:
        """Record an end, unless somebody else has taken the task, or ended it, or it was seen under an id that is not
        its own any more."""
        job_id = task.comfyui_task_id
        same: Change = lambda record: change(record) if record.comfyui_task_id == job_id else record  # noqa: E731
        await written(self._db, task.task_id, if_ours(self._db, same))

    async def _cancel(self, task: TaskRecord, decision: Decision) -> Decision:
        """Carry out a person's wish, in ComfyUI too, where it may be whole before it hears of that; or record that
        ComfyUI has stopped it. Until the engine has heard, or it is nowhere, it goes on as if nobody wished it."""
        if task.cancel_requested and task.comfyui_task_id and (task.sending or is_submitted(task)):
            async with self._turns.one.asking:
                is_over = await self._engine.cancel(task.comfyui_task_id)
                seen = await self._engine.look_up(task.comfyui_task_id)
            if seen.place is Place.SUCCEEDED:
                await self._collect(task, seen)
                return decision
            if not is_over and seen.place in _MAY_GO_ON:
                await asyncio.sleep(LOOK_SECONDS)
                return self.decided(dataclasses.replace(task, cancel_requested=None), seen, None, None)
        await self._end(task, lambda record: cancelled(record, decision.reason))
        return decision

    # ------------------------------------------------------------------ fetching

    async def _collect(self, task: TaskRecord, seen: Sighting) -> None:
        """Fetch the files of a finished prompt and finish the task; a network fault is tried again within the run."""
        current = await self.read(task.task_id)
        if current.stage is Stage.FINISHED:  # the plugin shares our table and was faster
            return
        try:
            async with self._turns.one.fetching:
                fetched = await fetch_all(self._engine, self._db.output_dir, current, seen)
        except (EngineError, OSError) as error:
            log.warning("[wfrecovery] %s: %s; tried again", task.task_id, error)
            await asyncio.sleep(LOOK_SECONDS)
            return
        await self._end(task, await asyncio.to_thread(partial(collected, self._db, current, fetched)))
        if fetched.paths and await self._delivery.goes_by_itself(task):
            await written(self._db, task.task_id, lambda record: record.with_outbox(by="plugin"))


def _seen_running(task: TaskRecord) -> TaskRecord:
    """One count per start: of one that was seen running before, it is counted."""
    return started(task) if task.stage is Stage.QUEUED else task


def gone_with_power(task: TaskRecord) -> TaskRecord:
    """`task` as its engine has lost it with the power: no fault of its own. What stood in no queue any more, or in that
    of a plugin, was judged before."""
    return gone(blameless(task) if was_put(task) else task)
