"""Recovery when ComfyUI starts: its queue is gone, the table is not."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from types import CellType, FunctionType
from typing import Any, Final

from ...bridge.apart import apart
from ...bridge.engines.history import ABSENT, Place, Sighting, sighting_of_history
from ...bridge.recovery.decisions import Action, Decision, decide
from ...bridge.results.choice import Savers
from ...bridge.results.contents import Contents
from ...bridge.results.find import Found, find_results
from ...bridge.results.whole_result import whole_result
from ...bridge.settings import Settings
from ...bridge.table.changes import CANCELLED, cancelled, failed, unsubmitted, wished_away
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.owners import OwnedError
from ...bridge.table.records import Stage, TaskError, TaskRecord, now_text, parse_time
from ...bridge.table.values import QueuePlace, Result
from ..host import Host
from ..queue.ending import Endings, look
from ..queue.item import QueueItem, is_of, prompt_id_of
from ..queue.keeping import ended_by_wish
from ..queue.recording import ENGINE
from ..queue.writing import Writer
from .requests import Requests
from .requeueing import Requeued, Requeueing

log = logging.getLogger("wfrecovery")

#: Tasks decided between two lines of progress in the log.
BATCH: Final = 50
#: What a ComfyUI has, or had, in its queue.
_QUEUED: Final = (Stage.QUEUED, Stage.RUNNING)

#: Whether an item of the queue is one that a person wants taken out.
Meant = Callable[[Any], bool]


@dataclass
class RecoveryState:
    """What the last recovery did, as the status route shows it."""

    state: str = "idle"
    total: int = 0
    done: int = 0
    #: results found and taken over
    recovered: int = 0
    requeued: int = 0
    #: in the queue already
    waiting: int = 0
    failed: int = 0
    asking: int = 0
    started_at: str | None = None
    finished_at: str | None = None


class StartupRecovery:
    """Decides for every unfinished task of the table. One run at a time; running it twice is the same as once."""

    def __init__(
        self,
        *,
        host: Host,
        db: DatabaseManager,
        requeueing: Requeueing,
        requests: Requests,
        writer: Writer,
        endings: Endings,
        settings: Callable[[], Settings],
        on_change: Callable[[TaskRecord], None],
        on_progress: Callable[[], None],
    ) -> None:
        self._host, self._db, self._writer, self._settings = host, db, writer, settings
        self._requeueing, self._requests = requeueing, requests
        self._endings, self._contents = endings, Contents(db.table.files, db.output_dir)
        self._on_change, self._on_progress = on_change, on_progress
        self.state = RecoveryState()
        #: of what has stood in a queue, what is not decided yet: by task id, each as the item that it would be there
        self.undecided: dict[str, tuple[Any, ...]] = {}
        #: what a person wants taken out before it is known what the queue has lost; None from then on
        self._early: list[tuple[Meant, Future[None]]] | None = []
        self._running: asyncio.Task[None] | None = None

    def start(self) -> bool:
        """Begin a run in the background; False when one is under way."""
        if self.is_running:
            return False
        self.state = RecoveryState(state="running", started_at=now_text())
        self._requeueing.undone = False
        self._running = asyncio.create_task(self._run())
        self._on_progress()
        return True

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self._running is not None and not self._running.done()

    @property
    def is_undone(self) -> bool:
        """Whether tasks may be ours that nobody brings to an end, because something went wrong."""
        return self._requeueing.undone

    def is_about_to_decide(self, task: TaskRecord) -> bool:
        """Whether a run may still find its whole result, and carries out a wish where there is none."""
        lost = task.stage in _QUEUED and task.engine in (None, ENGINE)
        return task.task_id in self.undecided or (lost and self._early is not None)

    async def ended(self) -> None:
        """Wait until the run that is under way is over."""
        if self._running is not None:
            await asyncio.wait([self._running])

    def unwanted(self, meant: Meant) -> list[Future[Any]]:
        """A person wants to be taken out what is about to be queued again: the writes that note it. What runs here is
        in no queue: that is interrupted, or goes on."""
        self._requests.unwanted(meant)
        if self._early is not None:
            noted: Future[None] = Future()
            self._early.append((_as_it_means_now(meant), noted))
            return [noted]
        running = {prompt_id_of(raw) for raw in self._host.queued()[0]}
        return self._wish_away(meant, [task_id for task_id, item in self.undecided.items() if item[1] not in running])

    def _wish_away(self, meant: Meant, task_ids: Sequence[str]) -> list[Future[Any]]:
        items = ((task_id, self.undecided.get(task_id)) for task_id in task_ids)
        return [self._writer.submit(self._wish, task_id) for task_id, item in items if item and meant(item)]

    def _wish(self, task_id: str) -> None:
        """What waits for a decision is in no queue, and has ended with that."""

        def wish(task: TaskRecord) -> TaskRecord:
            return ended_by_wish(task, CANCELLED) if task.stage is Stage.ASKING else wished_away(task)

        self._on_change(self._db.table.update(task_id, wish))

    async def _wish_early(self, order: Sequence[str]) -> None:
        """What was wanted before the queue's loss was known means what was lost; not what has come in since."""
        early, self._early = self._early, None
        lost = await apart(self._lost, order) if early else []
        for meant, noted in early or ():
            await self._writer.wait(self._wish_away(meant, lost))
            noted.set_result(None)

    def _lost(self, task_ids: Sequence[str]) -> list[str]:
        tasks = [task for task_id in task_ids if (task := self._get(task_id)) is not None]
        lost = (task for task in tasks if not self._db.owners.is_me(task.owner))
        return [task.task_id for task in lost if task.stage in _QUEUED]

    async def _run(self) -> None:
        try:
            await self._recover()
        except Exception as error:
            self._requeueing.undone = True
            self._writer.report("recovery stopped", error)
        finally:
            self.undecided.clear()
            self.state.state, self.state.finished_at = "idle", now_text()
            self._on_progress()

    async def _recover(self) -> None:
        await apart(self._db.sweep)
        order = await apart(self.to_decide)
        self.undecided = await apart(self._as_items, order)
        await self._wish_early(order)
        self.state.total = len(order)
        found = await apart(self._results_on_disk, order)
        for task_id in order:
            await self._recover_guarded(task_id, found.get(task_id, ()))
            self.undecided.pop(task_id, None)
            self.state.done += 1
            self._on_progress()
            if self.state.done % BATCH == 0:
                log.info("[wfrecovery] recovery: %d of %d tasks decided", self.state.done, self.state.total)
        if order:
            log.info("[wfrecovery] %s", summary(self.state))

    def in_queue_order(self, task_ids: Sequence[str]) -> list[str]:
        """The tasks in the order in which ComfyUI would have run them; what cannot be read comes last."""
        tasks = [task for task_id in task_ids if (task := self._get(task_id)) is not None]
        ordered = [task.task_id for task in sorted(tasks, key=_queue_order)]
        return [*ordered, *(task_id for task_id in task_ids if task_id not in set(ordered))]

    def to_decide(self) -> list[str]:
        """Ids in the order in which ComfyUI would have run them. What main.py has not submitted yet is main.py's, and
        what somebody else is at work on, or renders, is left alone."""
        tasks = [task for task in self._db.table.active() if not task.stage.final and self._is_ours(task)]
        return [task.task_id for task in sorted(tasks, key=_queue_order)]

    def _is_ours(self, task: TaskRecord) -> bool:
        if task.stage is Stage.CREATED or task.engine not in (None, ENGINE):
            return False
        if self._db.owners.other_at_work(task) is not None:
            return False
        return self._db.owners.me.boot not in task.refused_by or not self._requeueing.others_may(task)

    def _as_items(self, task_ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """As little of each as whoever looks for it in the queue goes by; what waits for a person is in none."""
        tasks = (task for task_id in task_ids if (task := self._get(task_id)) is not None)
        queued = (task for task in tasks if task.stage in _QUEUED)
        return {task.task_id: (0, task.comfyui_task_id, {}, {}, []) for task in queued}

    def _results_on_disk(self, task_ids: Sequence[str]) -> dict[str, list[Found]]:
        tasks = {task_id: task for task_id in task_ids if (task := self._get(task_id)) is not None}
        prompts = {task_id: task.comfyui_task_id for task_id, task in tasks.items() if task.comfyui_task_id}
        since = min((parse_time(task.created_at) for task in tasks.values()), default=0.0)
        return find_results(self._db.output_dir, prompts, since)

    def _get(self, task_id: str) -> TaskRecord | None:
        try:
            return self._db.table.get(task_id)
        except TaskError:
            return None

    async def _requeue(self, task: TaskRecord, graph: Mapping[str, Any]) -> None:
        match await self._requeueing.requeue(task, graph):
            case Requeued.YES:
                self.state.requeued += 1
            case Requeued.ELSEWHERE:
                self.state.waiting += 1
            case Requeued.REFUSED:
                self.state.failed += 1

    async def _recover_guarded(self, task_id: str, files: Sequence[Found]) -> None:
        """One task's trouble does not stop the others."""
        try:
            task = await apart(self._get, task_id)
            if task is not None and self._db.owners.is_me(task.owner):
                await self._writer.written()  # what has happened to it here is on its way into its record
                self._requeueing.undone |= self._writer.behind is not None
                task = None if self._writer.behind else await apart(self._get, task_id)
            if task is not None and not task.stage.final:
                await self._recover_one(task, files)
        except OwnedError as error:  # another ComfyUI was faster
            log.info("[wfrecovery] %s", error)
        except Exception as error:
            self._requeueing.undone = True
            self._writer.report(f"{task_id} could not be recovered; it stays as it is", error)

    async def _recover_one(self, task: TaskRecord, files: Sequence[Found]) -> None:
        task = await apart(self._db.take_lost, task.task_id)
        if task.stage.final:
            return
        graph = await apart(self._db.table.graph, task.task_id)
        whole = await apart(self._whole, task, graph, files) if graph else None
        sighting = self._sighting(task, graph or {})
        settings = self._settings()
        decision = decide(
            task,
            sighting,
            on_disk=whole is not None,
            has_graph=graph is not None,
            can_queue=not self._host.hides_pending,
            lost_prompts=settings.lost_prompts,
            max_attempts=settings.max_attempts,
        )
        log.info("[wfrecovery] %s (row %s): %s", task.task_id, task.row_number, decision.reason)
        if decision.action is Action.FOLLOW:
            self.state.waiting += 1
        elif decision.action is Action.CANCEL and self._requests.stop(task):
            self.state.failed += 1
        elif decision.action is Action.REQUEUE and graph is not None:
            await self._requeue(task, graph)
        else:
            found = tuple(file.path for file in files)
            change = await apart(self._change, task, decision, sighting, graph, whole or ())
            await self._store(task, lambda record: self._mine(dataclasses.replace(change(record), found=found), record))

    def _whole(self, task: TaskRecord, graph: Mapping[str, Any], files: Sequence[Found]) -> tuple[Result, ...] | None:
        return whole_result(task, graph, files, self._contents)

    def _sighting(self, task: TaskRecord, graph: Mapping[str, Any]) -> Sighting:
        """In the queue before in the history: a prompt that ends in between is in the second. A prompt of another task
        may have the same id. What ran without an output that its row needs is not what is looked for."""
        if task.comfyui_task_id is None:
            return ABSENT
        running, pending = self._host.queued()
        for place, items in ((Place.RUNNING, running), (Place.WAITING, pending)):
            if any(is_of(task, item) for item in items):
                return Sighting(place)
        if task.queue is not None and task.queue.parts and task.queue.started_by == self._db.owners.me.boot:
            # The history has its parts one by one; the last one's end is on its way into the record.
            return Sighting(Place.RUNNING)
        entry = self._host.history_entry(task.comfyui_task_id)
        if entry is None or ("prompt" in entry and not is_of(task, entry["prompt"])):
            return ABSENT
        ran = QueueItem.of(entry.get("prompt"))
        if ran is not None and not set(graph.get("outputs_to_execute") or ()) <= set(ran.outputs):
            return ABSENT
        return sighting_of_history(entry)

    def _change(
        self,
        task: TaskRecord,
        decision: Decision,
        sighting: Sighting,
        graph: Mapping[str, Any] | None,
        results: tuple[Result, ...],
    ) -> Callable[[TaskRecord], TaskRecord]:
        prompt, outputs = (graph["prompt"], graph.get("outputs_to_execute") or ()) if graph else ({}, ())
        match decision.action:
            case Action.COLLECT:
                return self._endings.change(task, look(self._db.output_dir, sighting), prompt, outputs)
            case Action.ADOPT:
                finishing = self._endings.finishing(task, self._endings.read(results), Savers.of(prompt, outputs))
                return lambda record: dataclasses.replace(
                    done := finishing(record), adopted=done.stage is Stage.FINISHED
                )
            case Action.ASK:
                return lambda task: task.entering(Stage.ASKING)
            case Action.CANCEL:
                return lambda task: cancelled(task, decision.reason)
            case _ if decision.row_stays_open:
                return partial(unsubmitted, decision.reason)
            case _:
                return lambda task: failed(task, decision.reason)

    def _mine(self, changed: TaskRecord, record: TaskRecord) -> TaskRecord:
        """What has ended meanwhile, or was taken by another, stays as it is; what a person wants to end ends."""
        self._db.owners.check(record)
        wished = record.cancel_requested and changed.stage is not Stage.FINISHED
        return ended_by_wish(record, CANCELLED) if record.stage.final or wished else changed

    async def _store(self, task: TaskRecord, change: Callable[[TaskRecord], TaskRecord]) -> None:
        record = await apart(self._db.table.update, task.task_id, change)
        match record.stage:
            case Stage.FINISHED:
                self.state.recovered += 1
            case Stage.ASKING:
                self.state.asking += 1
            case _:
                self.state.failed += 1
        self._on_change(record)


def _as_it_means_now(meant: Meant) -> Meant:
    """The same with the values that its names have now: ComfyUI makes it in a loop over ids, all with one name."""
    if not isinstance(meant, FunctionType) or not meant.__closure__:
        return meant
    cells = tuple(CellType(cell.cell_contents) for cell in meant.__closure__)
    return FunctionType(meant.__code__, meant.__globals__, meant.__name__, meant.__defaults__, cells)


def _queue_order(task: TaskRecord) -> tuple[bool, bool, float, str, float, float]:
    boot, number = (task.queue or QueuePlace()).turn
    started = parse_time(boot.partition("/")[0])  # of several ComfyUIs each may have its time zone
    # What was put to the front overtakes what other starts have left, too; but not what runs.
    front = number is not None and number < 0
    place = -started if front else started, boot, number or 0.0
    return task.stage is not Stage.RUNNING, not front, *place, parse_time(task.created_at)


def summary(state: RecoveryState) -> str:
    """One sentence for log and toast."""
    parts = [
        f"{state.recovered} results found complete",
        f"{state.requeued} queued again",
        f"{state.waiting} in the queue already",
        f"{state.failed} failed or cancelled",
        f"{state.asking} wait for your decision",
    ]
    return f"recovery: {state.total} unfinished tasks: {', '.join(parts)}"
