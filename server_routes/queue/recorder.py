"""Records what happens in ComfyUI's prompt queue.

The hooks run on ComfyUI's event loop and on its worker thread, and never raise. Writing happens on one thread of our
own, in order. A prompt's record is on disk before `POST /prompt` answers, and its attempt before it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import functools
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from typing import Any, Final

from ...bridge.engines.history import INTERRUPTED, Place, Sighting, files_of_node, sighting_of_history
from ...bridge.redact import redact, secret_values, without_secrets
from ...bridge.results.output_files import why_not_whole
from ...bridge.table.disk import DurabilityUnknownError
from ...bridge.table.manager import DatabaseManager, cancelled, failed, finished, new_metadata
from ...bridge.table.records import (
    FeishuState,
    Stage,
    TaskError,
    TaskRecord,
    canonical_uuid,
    now_text,
)
from ...bridge.wording import Wording
from ..host import Host
from ..page.events import progress_of
from ..page.preview import title_of
from .row_tag import RowTag, row_tag_of

log = logging.getLogger("wfrecovery")

DELETED: Final = Wording("deleted from the queue by the user", "已被用户从队列中删除")
NO_FILE: Final = Wording(
    "ComfyUI says it finished, but it wrote no file into the output folder",
    "ComfyUI 报告已完成，但没有在输出文件夹写出文件",
)

#: A disk that hangs for longer must not hold up ComfyUI: the prompt goes on unrecorded, and the log says so.
PATIENCE_SECONDS: Final = 30.0


@dataclass
class _Intake:
    """One `POST /prompt`: ids claimed for it, and writes that its answer waits for."""

    claimed: set[str] = field(default_factory=set)
    writes: list[Future[Any]] = field(default_factory=list)

    async def written(self) -> None:
        """Wait until the records are on disk or could not be written; not for ever, and without cancelling them."""
        if self.writes:
            await asyncio.wait([asyncio.wrap_future(future) for future in self.writes], timeout=PATIENCE_SECONDS)


_intake: contextvars.ContextVar[_Intake | None] = contextvars.ContextVar("wfrecovery_intake", default=None)


@dataclass(frozen=True)
class QueueItem:
    """What we use of a queue item, which has five parts up to 0.3.66 and six from then on."""

    number: float
    prompt_id: str
    prompt: Mapping[str, Any]
    extra_data: Mapping[str, Any]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, item: Any) -> QueueItem | None:
        """The parts, or None for another plugin's own kind of item. The sixth part holds secrets: never recorded."""
        if not isinstance(item, tuple | list) or len(item) < 5:
            return None
        number, prompt_id, prompt, extra_data, outputs = item[:5]
        if not isinstance(prompt, Mapping) or not isinstance(extra_data, Mapping):
            return None
        return cls(number, str(prompt_id), prompt, extra_data, tuple(map(str, outputs or ())))

    @property
    def task_id(self) -> str | None:
        """The task that the intake wrote into the prompt's own metadata."""
        tag = (self.extra_data.get("extra_pnginfo") or {}).get("wfrecovery")
        if isinstance(tag, Mapping) and tag.get("prompt_id") == self.prompt_id:
            return str(tag.get("task_id"))
        return None


def _guarded(method: Callable[..., None]) -> Callable[..., None]:
    """An error of ours is logged and goes no further."""

    @functools.wraps(method)
    def call(self: Recorder, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception as error:
            self.report(f"{method.__name__.strip('_')} failed", error)

    return call


class Recorder:
    """Keeps the table in step with the queue.

    `on_change` gets each changed record, on the writing thread; `on_progress` task_id, value, maximum and node, on
    ComfyUI's worker thread.
    """

    def __init__(
        self,
        host: Host,
        db: DatabaseManager,
        *,
        boot: str,
        record_others: Callable[[], bool],
        on_change: Callable[[TaskRecord], None],
        on_progress: Callable[[str, float, float, str], None],
    ) -> None:
        self._host, self._db, self._boot, self._record_others = host, db, boot, record_others
        self._on_change, self._on_progress = on_change, on_progress
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="wfrecovery-writer")
        self._writes: dict[str, Future[Any]] = {}
        self._tasks: dict[str, str] = {}
        self._secrets: dict[str, list[str]] = {}
        self._worker_seen = threading.Event()
        self._counted_early: str | None = None
        self.last_error: str | None = None

    def report(self, what: str, error: BaseException) -> None:
        """Log an error of ours; ComfyUI goes on."""
        self.last_error = redact(f"{what}: {error}")
        expected = isinstance(error, OSError | TaskError)
        log.error("[wfrecovery] %s. ComfyUI goes on without it.", self.last_error, exc_info=None if expected else error)

    # ------------------------------------------------------------------ hooks

    def install(self) -> None:
        """Wrap the queue's methods on the instance, outermost."""
        queue = self._host.queue
        self._wrap_put(queue)
        self._wrap(queue, "get", after=lambda _, result: self._got(result))
        self._wrap_task_done(queue)
        self._wrap_delete(queue)
        self._wrap_wipe(queue)
        self._wrap(self._host.server, "send_sync", after=lambda args, _: self._sent(*args[:2]))
        for items in self._host.queued():
            for item in items:  # put before we were there
                self._put(item)

    @staticmethod
    def _wrap(owner: Any, name: str, after: Callable[[tuple[Any, ...], Any], None]) -> None:
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            after((*args, *kwargs.values()), result)
            return result

        setattr(owner, name, wrapper)

    def _wrap_put(self, queue: Any) -> None:
        original = queue.put

        @functools.wraps(original)
        def put(*args: Any, **kwargs: Any) -> Any:
            # Under the mutex, else an idle worker takes the prompt, and may even end it, before it is known here.
            # Nothing waits in there: the record is written by our own thread.
            with getattr(queue, "mutex", contextlib.nullcontext()):
                result = original(*args, **kwargs)
                self._put((*args, *kwargs.values())[0])
                return result

        queue.put = put

    def _wrap_task_done(self, queue: Any) -> None:
        original = queue.task_done

        @functools.wraps(original)
        def task_done(*args: Any, **kwargs: Any) -> Any:
            running = getattr(queue, "currently_running", {}).get(args[0] if args else kwargs.get("item_id"))
            result = original(*args, **kwargs)
            self._done(running, args, kwargs)
            return result

        queue.task_done = task_done

    def _wrap_delete(self, queue: Any) -> None:
        original = queue.delete_queue_item

        @functools.wraps(original)
        def delete_queue_item(function: Callable[[Any], bool], *args: Any, **kwargs: Any) -> Any:
            matched = []

            def spy(item: Any) -> bool:
                wanted = function(item)
                if wanted:
                    matched.append(item)
                return wanted

            result = original(spy, *args, **kwargs)
            if result:
                self._deleted(matched[:1])
            return result

        queue.delete_queue_item = delete_queue_item

    def _wrap_wipe(self, queue: Any) -> None:
        original = queue.wipe_queue

        @functools.wraps(original)
        def wipe_queue(*args: Any, **kwargs: Any) -> Any:
            with getattr(queue, "mutex", contextlib.nullcontext()):  # else the worker may take one in between
                pending = list(getattr(queue, "queue", ()))
                result = original(*args, **kwargs)
            self._deleted(pending)
            return result

        queue.wipe_queue = wipe_queue

    # ------------------------------------------------------------------ intake, on the event loop

    @contextlib.contextmanager
    def intake(self) -> Iterator[_Intake]:
        """One `POST /prompt`: ids that it does not use up are given back."""
        intake = _Intake()
        token = _intake.set(intake)
        try:
            yield intake
        finally:
            _intake.reset(token)
            for task_id in intake.claimed:
                self._writer.submit(self._release, task_id)

    def on_prompt(self, json_data: Any) -> Any:
        """ComfyUI's own hook, before validation: gives the prompt its id, and its files the task's."""
        try:
            if isinstance(json_data, dict) and isinstance(json_data.get("prompt"), dict):
                self._prepare(json_data)
        except Exception as error:
            self.report("a prompt was not prepared for recording", error)
        return json_data

    def _prepare(self, json_data: dict[str, Any]) -> None:
        extra_data = json_data.get("extra_data")
        if not isinstance(extra_data, dict):
            extra_data = json_data["extra_data"] = {}
        given = json_data.get("prompt_id")
        json_data["prompt_id"] = prompt_id = canonical_uuid(given) or str(uuid.uuid4())
        if given is not None and given != prompt_id:
            log.warning("[wfrecovery] prompt_id %r is no canonical UUID; the prompt runs as %s", given, prompt_id)
        tag = row_tag_of(json_data["prompt"], extra_data)
        if tag.row_number is None and not self._record_others():
            return
        png_info = extra_data.get("extra_pnginfo")
        if not isinstance(png_info, dict):
            png_info = extra_data["extra_pnginfo"] = {}
        before = png_info.get("wfrecovery")
        wanted = tag.task_id or (before.get("task_id") if isinstance(before, dict) else None)
        png_info["wfrecovery"] = {"task_id": self._task_id(wanted, prompt_id, tag), "prompt_id": prompt_id}

    def _task_id(self, wanted: str | None, prompt_id: str, tag: RowTag) -> str:
        """The id that was sent along, where it is free or means this prompt already; else one of our own."""
        if wanted is not None:
            with contextlib.suppress(TaskError, OSError):
                record = self._db.table.get(wanted)
                if record.comfyui_task_id == prompt_id and not record.stage.final:
                    return wanted
                wanted = None
        intake = _intake.get()
        task_id = self._db.table.claim_id(tag.workflow_type, wanted=wanted)
        if intake is not None:
            intake.claimed.add(task_id)
        return task_id

    @_guarded
    def _put(self, raw: Any) -> None:
        item = QueueItem.of(raw)
        if item is None or (item.task_id is None and not self._record_others()):
            return
        # The worker waits inside the unwrapped `get` until its first prompt: that one starts unseen.
        starts_unseen = not self._worker_seen.is_set() and self._counted_early is None
        if starts_unseen:
            self._counted_early = item.prompt_id
        # from 0.3.67 on they stand in the sixth part; kept in memory only, to clean the nodes' messages of them
        sixth = raw[5] if len(raw) > 5 and isinstance(raw[5], Mapping) else {}
        self._secrets[item.prompt_id] = secret_values({**item.extra_data, **sixth}, self._host.sensitive_keys)
        future = self._writer.submit(self._record, item, starts_unseen)
        self._writes[item.prompt_id] = future
        future.add_done_callback(self._report_future)
        intake = _intake.get()
        if intake is not None:
            intake.claimed.discard(item.task_id or "")
            intake.writes.append(future)

    def _report_future(self, future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            self.report("not recorded", error)

    # ------------------------------------------------------------------ running, on the worker thread

    @_guarded
    def _got(self, result: Any) -> None:
        self._worker_seen.set()
        item = QueueItem.of(result[0]) if isinstance(result, tuple) and result else None
        if item is None or item.prompt_id not in self._writes:
            return
        if item.prompt_id == self._counted_early:
            self._counted_early = None
        else:
            self._writes[item.prompt_id] = self._submit(item.prompt_id, _started)
        # Counted before it starts: a prompt that takes ComfyUI down leaves its attempt behind.
        _, late = wait_for([self._writes[item.prompt_id]], PATIENCE_SECONDS)
        if late:
            log.error(
                "[wfrecovery] the disk did not answer for %g s: %s starts uncounted", PATIENCE_SECONDS, item.prompt_id
            )

    @_guarded
    def _done(self, running: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        item = QueueItem.of(running)
        if item is None or item.prompt_id not in self._writes:
            return
        result = args[1] if len(args) > 1 else kwargs.get("history_result")
        status = args[2] if len(args) > 2 else kwargs.get("status")
        entry = {
            "outputs": (result or {}).get("outputs"),
            "status": status._asdict() if isinstance(status, tuple) and hasattr(status, "_asdict") else status,
        }
        sighting = sighting_of_history(entry)
        secrets = self._secrets.pop(item.prompt_id, [])
        future = self._writer.submit(lambda: self._change(item.prompt_id, self.ending(sighting, secrets)))
        future.add_done_callback(self._report_future)
        self._writes.pop(item.prompt_id, None)

    @_guarded
    def _deleted(self, raw_items: list[Any]) -> None:
        for raw in raw_items:
            item = QueueItem.of(raw)
            if item is not None and item.prompt_id in self._writes:
                self._submit(item.prompt_id, lambda task: cancelled(task, DELETED))
                self._writes.pop(item.prompt_id, None)
                self._secrets.pop(item.prompt_id, None)

    @_guarded
    def _sent(self, event: Any = None, data: Any = None) -> None:
        """`executed` names a node's files while the prompt goes on: proof, should ComfyUI die before the end."""
        progress = progress_of(event, data)
        if progress is not None:
            prompt_id, value, maximum, node = progress
            if prompt_id in self._tasks:
                self._on_progress(self._tasks[prompt_id], value, maximum, node)
            return
        if event != "executed" or not isinstance(data, Mapping) or data.get("prompt_id") not in self._writes:
            return
        files = [file.path for file in files_of_node(data.get("output") or {})]
        if files:
            self._submit(data["prompt_id"], functools.partial(_node_finished, node=str(data["node"]), files=files))

    # ------------------------------------------------------------------ writing, on our own thread

    async def written(self) -> None:
        """Wait until what has happened so far is in the records; not for ever."""
        await asyncio.wait([asyncio.wrap_future(self._writer.submit(lambda: None))], timeout=PATIENCE_SECONDS)

    def _submit(self, prompt_id: str, change: Callable[[TaskRecord], TaskRecord]) -> Future[Any]:
        future = self._writer.submit(self._change, prompt_id, change)
        future.add_done_callback(self._report_future)
        return future

    def _change(self, prompt_id: str, change: Callable[[TaskRecord], TaskRecord]) -> None:
        task_id = self._tasks.get(prompt_id)
        if task_id is not None:  # else it could not be recorded, which the log says
            record = self._db.table.update(task_id, change)
            if record.stage.final:
                self._tasks.pop(prompt_id, None)
            self._on_change(record)

    def _record(self, item: QueueItem, starts_unseen: bool) -> None:
        tag = row_tag_of(item.prompt, item.extra_data)
        task_id = item.task_id or self._db.table.claim_id(tag.workflow_type)
        try:
            record = self._written(item, tag, task_id, starts_unseen)
        except DurabilityUnknownError as error:
            self.report(f"{task_id} is saved, but the disk did not confirm it", error)
            record = self._db.table.get(task_id)
        self._tasks[item.prompt_id] = task_id
        self._on_change(record)

    def _written(self, item: QueueItem, tag: RowTag, task_id: str, starts_unseen: bool) -> TaskRecord:
        queue = {"boot": self._boot, "number": item.number, "queued_at": now_text()}
        graph = self._graph(item, tag)
        try:
            self._db.table.get(task_id)
        except TaskError:
            metadata = new_metadata(Stage.QUEUED, tag.feishu_row_data, has_row=tag.row_number is not None)
            metadata["queue"] = queue
            if tag.row_number is None:
                metadata["title"] = redact(title_of(item.prompt))
            if tag.problem:
                metadata["error_message"] = tag.problem
                log.warning("[wfrecovery] %s runs as a prompt without a row: %s", task_id, tag.problem)
            record = TaskRecord(task_id, comfyui_task_id=item.prompt_id, metadata=metadata, **_row_fields(tag))
            return self._db.table.create(_started(record) if starts_unseen else record, graph)
        self._db.table.write_graph(task_id, graph, replace=True)
        return self._db.table.update(task_id, lambda task: _queued(task, item.prompt_id, queue, starts_unseen))

    def _graph(self, item: QueueItem, tag: RowTag) -> dict[str, Any]:
        row = {
            **_row_fields(tag),
            "metadata": new_metadata(Stage.QUEUED, tag.feishu_row_data, has_row=tag.row_number is not None),
        }
        return {
            "prompt_id": item.prompt_id,
            "prompt": item.prompt,
            "extra_data": without_secrets(item.extra_data, self._host.sensitive_keys),
            "outputs_to_execute": list(item.outputs),
            "task": row,
        }

    def ending(self, sighting: Sighting, secrets: Sequence[str] = ()) -> Callable[[TaskRecord], TaskRecord]:
        """The change that records how a prompt ended. A success counts only with files that are whole.

        The files are read here, before the table is locked for the change.
        """
        files = tuple(file.path for file in sighting.files)
        reasons = ((name, why_not_whole(self._db.output_dir / name)) for name in files)
        broken = next((f"{name} is no whole result: {reason}" for name, reason in reasons if reason), None)

        def change(task: TaskRecord) -> TaskRecord:
            if task.stage.final:
                return task
            if sighting.place is Place.INTERRUPTED:
                return cancelled(task, sighting.message or INTERRUPTED)
            if sighting.place is not Place.SUCCEEDED:
                reason = sighting.message or Wording("failed", "失败")
                return failed(task, reason.changed(lambda text: redact(text, secrets)))
            if broken:
                return failed(
                    task,
                    Wording(f"ComfyUI says it finished, but {broken}", f"ComfyUI 报告已完成，但结果不完整：{broken}"),
                )
            if not files and task.row_number is not None:
                return failed(task, NO_FILE)
            return finished(task, files)

        return change

    def _release(self, task_id: str) -> None:
        try:
            self._db.table.release_id(task_id)
        except OSError as error:
            self.report(f"the unused id {task_id} was not given back", error)


def _row_fields(tag: RowTag) -> dict[str, Any]:
    return {
        "row_number": tag.row_number,
        "product_name": tag.product_name,
        "model_name": tag.model_name,
        "workflow_type": tag.workflow_type,
    }


def _queued(task: TaskRecord, prompt_id: str, queue: Mapping[str, Any], starts_unseen: bool) -> TaskRecord:
    record = task.entering(Stage.QUEUED, comfyui_task_id=prompt_id, error_message=None, output_files=())
    metadata = {key: value for key, value in record.metadata.items() if key not in ("node_outputs", "finished_at")}
    metadata["queue"] = queue
    if task.row_number is not None:
        metadata["feishu"] = {**record.feishu, "state": FeishuState.PENDING.value}
    record = dataclasses.replace(record, metadata=metadata)
    return _started(record) if starts_unseen else record


def _started(task: TaskRecord) -> TaskRecord:
    return task.entering(Stage.RUNNING).with_metadata(attempts=task.attempts + 1, processing_start_time=now_text())


def _node_finished(task: TaskRecord, *, node: str, files: list[str]) -> TaskRecord:
    if task.stage.final:
        return task
    return task.with_metadata(node_outputs={**task.metadata.get("node_outputs", {}), node: files})
