"""Recovery when ComfyUI starts: its queue is gone, the table is not."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from ...bridge.engines.comfyui import refusal_text
from ...bridge.engines.history import ABSENT, Place, Sighting, sighting_of_history
from ...bridge.recovery.decisions import Action, Decision, decide
from ...bridge.results.contents import Contents
from ...bridge.results.find import Found, find_results
from ...bridge.results.whole_result import whole_result
from ...bridge.settings import Settings
from ...bridge.table.manager import DatabaseManager, cancelled, failed, unsubmitted
from ...bridge.table.records import Stage, TaskError, TaskRecord, now_text, parse_time, stage_zh
from ...bridge.table.values import FeishuState, QueuePlace, Result
from ...bridge.wording import Wording
from ..host import Host
from ..queue.ending import Endings, look
from ..queue.intake import Intake
from ..queue.item import QueueItem
from ..queue.writing import Writer

log = logging.getLogger("wfrecovery")

#: Tasks decided between two lines of progress in the log.
BATCH: Final = 50
#: An input that no class has.
_PAST_CACHE: Final = "wfrecovery_run"


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
        intake: Intake,
        writer: Writer,
        endings: Endings,
        settings: Callable[[], Settings],
        on_change: Callable[[TaskRecord], None],
        on_progress: Callable[[], None],
    ) -> None:
        self._host, self._db, self._intake, self._writer, self._settings = host, db, intake, writer, settings
        self._endings, self._contents = endings, Contents(db.table.files, db.output_dir)
        self._on_change, self._on_progress = on_change, on_progress
        self.state = RecoveryState()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> bool:
        """Begin a run in the background; False when one is under way."""
        if self._running is not None and not self._running.done():
            return False
        self.state = RecoveryState(state="running", started_at=now_text())
        self._running = asyncio.create_task(self._run())
        self._on_progress()
        return True

    async def ended(self) -> None:
        """Wait until the run that is under way is over."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            await self._recover()
        except Exception as error:
            self._writer.report("recovery stopped", error)
        finally:
            self.state.state, self.state.finished_at = "idle", now_text()
            self._on_progress()

    async def _recover(self) -> None:
        await asyncio.to_thread(self._db.table.sweep)
        order = await asyncio.to_thread(self._unfinished)
        self.state.total = len(order)
        found = await asyncio.to_thread(self._results_on_disk, order)
        for task_id in order:
            await self._recover_guarded(task_id, found.get(task_id, ()))
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

    def _unfinished(self) -> list[str]:
        """Ids in the order in which ComfyUI would have run them. What main.py has not submitted yet is main.py's."""
        tasks = [task for task in self._db.table.active() if not task.stage.final and task.stage is not Stage.CREATED]
        return [task.task_id for task in sorted(tasks, key=_queue_order)]

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

    async def _recover_guarded(self, task_id: str, files: Sequence[Found]) -> None:
        """One task's trouble does not stop the others."""
        try:
            task = await asyncio.to_thread(self._get, task_id)
            if task is not None and not task.stage.final:
                await self._recover_one(task, files)
        except Exception as error:
            self._writer.report(f"{task_id} could not be recovered; it stays as it is", error)

    async def _recover_one(self, task: TaskRecord, files: Sequence[Found]) -> None:
        graph = await asyncio.to_thread(self._db.table.graph, task.task_id)
        whole = await asyncio.to_thread(self._whole, task, graph, files) if graph else None
        sighting = self._sighting(task)
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
        elif decision.action is Action.REQUEUE and graph is not None:
            await self.requeue(task, graph)
        else:
            found = tuple(file.path for file in files)
            change = await asyncio.to_thread(self._change, task, decision, sighting, graph, whole or ())
            await self._store(task, lambda record: dataclasses.replace(change(record), found=found))

    def _whole(self, task: TaskRecord, graph: Mapping[str, Any], files: Sequence[Found]) -> tuple[Result, ...] | None:
        return whole_result(task, graph, files, self._contents)

    def _sighting(self, task: TaskRecord) -> Sighting:
        """In the queue before in the history: a prompt that ends in between is in the second. A prompt of another task
        may have the same id."""
        if task.comfyui_task_id is None:
            return ABSENT
        running, pending = self._host.queued()
        for place, items in ((Place.RUNNING, running), (Place.WAITING, pending)):
            if any(_is_of(task, item) for item in items):
                return Sighting(place)
        entry = self._host.history_entry(task.comfyui_task_id)
        if entry is None or ("prompt" in entry and not _is_of(task, entry["prompt"])):
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
        prompt = graph["prompt"] if graph else {}
        match decision.action:
            case Action.COLLECT:
                return self._endings.change(task, look(self._db.output_dir, sighting), prompt)
            case Action.ADOPT:
                finishing = self._endings.finishing(task, self._endings.read(results), prompt)
                return lambda record: dataclasses.replace(finishing(record), adopted=True)
            case Action.ASK:
                return lambda task: task.entering(Stage.ASKING)
            case Action.CANCEL:
                return lambda task: cancelled(task, decision.reason)
            case _ if decision.row_stays_open:
                return partial(unsubmitted, decision.reason)
            case _:
                return lambda task: failed(task, decision.reason)

    async def _store(self, task: TaskRecord, change: Callable[[TaskRecord], TaskRecord]) -> None:
        record = await asyncio.to_thread(self._db.table.update, task.task_id, change)
        match record.stage:
            case Stage.FINISHED:
                self.state.recovered += 1
            case Stage.ASKING:
                self.state.asking += 1
            case _:
                self.state.failed += 1
        self._on_change(record)

    async def requeue(self, task: TaskRecord, graph: Mapping[str, Any], *, anew: bool = False) -> bool:
        """Submit a task again under its prompt_id; what ComfyUI refuses is 失败 with its reason.

        `anew`: not to be answered from ComfyUI's cache, whose file is gone.
        """
        prompt = past_the_cache(graph["prompt"], graph.get("outputs_to_execute")) if anew else graph["prompt"]
        body = {"prompt": prompt, "prompt_id": task.comfyui_task_id, "extra_data": _extra_data(task, graph)}
        if graph.get("outputs_to_execute"):
            body["partial_execution_targets"] = graph["outputs_to_execute"]
        with self._intake.post() as post:
            answer = await self._host.submit(body)
            await post.written()
        if answer.status == 200:
            self.state.requeued += 1
            return True
        reason = Wording("it cannot be queued again: ", "无法重新排队：") + refusal_text(answer.body)
        await self._store(task, lambda record: failed(record, reason))
        return False

    # ------------------------------------------------------------------ on request

    async def retry(self, task_id: str) -> bool:
        """Queue a lost, failed or cancelled task again because the user says so; its attempts begin anew.

        Raises TaskError when there is no such task, it runs or is finished, or it has no graph.
        """
        task = await asyncio.to_thread(self._db.table.get, task_id)
        graph = await asyncio.to_thread(self._db.table.graph, task_id)
        if graph is None:
            raise TaskError(
                Wording(
                    f"{task_id} cannot be queued again: its graph was not recorded",
                    f"{task_id} 无法重新排队：没有记录它的工作流",
                )
            )
        if task.stage is Stage.FINISHED and task.feishu_state is not FeishuState.BLOCKED:
            there = await asyncio.to_thread(self._contents.there, task)
            change = _anew if not there else _refused
        else:
            change = _anew
        queued = await asyncio.to_thread(self._db.table.update, task_id, change)
        return await self.requeue(queued, graph, anew=task.stage.final)

    async def cancel(self, task_id: str) -> None:
        """Take a task out of the queue, or interrupt it; its record says cancelled. Raises TaskError."""
        task = await asyncio.to_thread(self._db.table.get, task_id)
        if task.stage.final:
            raise TaskError(
                Wording(f"{task_id} is {task.stage.value} already", f"{task_id} {stage_zh(task.stage)}，不能取消")
            )
        meant = partial(_is_of, task)
        waited = self._host.delete_pending(meant)  # also what goes on with it: a node may have queued it again
        if self._host.interrupt(meant):
            return  # recorded when ComfyUI has stopped it
        if waited:
            await self._writer.written()
        else:
            record = await asyncio.to_thread(
                self._db.table.update,
                task_id,
                lambda record: cancelled(record, Wording("cancelled by the user", "已由用户取消")),
            )
            self._on_change(record)


def _is_of(task: TaskRecord, raw: Any) -> bool:
    """Whether an item of the queue or the history is this task's."""
    item = QueueItem.of(raw)
    if item is not None:
        return item.belongs_to(task.task_id, task.comfyui_task_id)
    return isinstance(raw, tuple | list) and len(raw) > 1 and raw[1] == task.comfyui_task_id


def _refused(task: TaskRecord) -> TaskRecord:
    raise TaskError(
        Wording(
            f"{task.task_id} is {task.stage.value}; only what failed, was cancelled, waits, or whose result is gone or "
            "blocked can be queued again",
            f"{task.task_id} {stage_zh(task.stage)}；只有失败、已取消、等待决定、结果丢失或受阻的任务可以重新排队",
        )
    )


def _anew(task: TaskRecord) -> TaskRecord:
    if not task.stage.final and task.stage is not Stage.ASKING:
        return _refused(task)
    # its place in the queue is a new one, not one that was lost
    if task.stage is Stage.FINISHED:  # but what it made is gone, or can be delivered nowhere: as if it never had been
        task = dataclasses.replace(task, stage=Stage.RUNNING)
    again = task.entering(Stage.QUEUED, error_message=None, error_message_zh=None, queue=None)
    return dataclasses.replace(again, attempts=0, earlier_runs=task.runs)


def past_the_cache(prompt: Mapping[str, Any], outputs: Sequence[str] | None) -> dict[str, Any]:
    """`prompt` with a value in its output nodes that no prompt before had: they run again, while what comes before them
    may still be answered from ComfyUI's cache. ComfyUI hands no node a value that its class does not ask for."""
    changed = dict(prompt)
    for node_id in outputs or ():
        node = changed.get(node_id)
        if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping):
            changed[node_id] = {**node, "inputs": {**node["inputs"], _PAST_CACHE: str(uuid.uuid4())}}
    return changed


def _extra_data(task: TaskRecord, graph: Mapping[str, Any]) -> dict[str, Any]:
    """As it was sent, with this task's id in place; a graph that main.py wrote has none."""
    extra_data = dict(graph.get("extra_data") or {})
    png_info = extra_data.get("extra_pnginfo")
    tag = {"task_id": task.task_id, "prompt_id": task.comfyui_task_id}
    extra_data["extra_pnginfo"] = {**(png_info if isinstance(png_info, dict) else {}), "wfrecovery": tag}
    if task.row_number is not None:
        row = extra_data.get("wfrecovery")
        extra_data["wfrecovery"] = {
            "row_number": task.row_number,
            "product_name": task.product_name,
            "model_name": task.model_name,
            "workflow_type": task.workflow_type,
            "feishu_row_data": dict(task.row_data),
            **(row if isinstance(row, dict) else {}),
            "task_id": task.task_id,
        }
    return extra_data


def _queue_order(task: TaskRecord) -> tuple[str, float, str]:
    queue = task.queue or QueuePlace()
    return queue.boot, queue.number or 0.0, task.created_at


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
