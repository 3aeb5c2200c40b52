"""Keeps the table in step with the queue: a prompt's record is on disk before `POST /prompt` answers, and its attempt
before it starts."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any

from ...bridge.engines.history import files_of_node, sighting_of_history
from ...bridge.redact import secret_values
from ...bridge.table.disk import DurabilityUnknownError
from ...bridge.table.manager import DatabaseManager, cancelled
from ...bridge.table.records import TaskRecord
from ...bridge.table.values import Result
from ..host import Host
from .ending import DELETED, ending
from .hooks import install_hooks
from .intake import accepted
from .item import QueueItem
from .progress import progress_of
from .recording import as_started, record_prompt, with_node_outputs
from .row_tag import row_tag_of
from .writing import PATIENCE_SECONDS, Writer

log = logging.getLogger("wfrecovery")

Change = Callable[[TaskRecord], TaskRecord]


def _guarded(method: Callable[..., None]) -> Callable[..., None]:
    """An error of ours is logged and goes no further."""

    @functools.wraps(method)
    def call(self: Recorder, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception as error:
            self._writer.report(f"{method.__name__} failed", error)

    return call


class Recorder:
    """Hears what happens in the queue, and has it written.

    `on_change` gets each changed record, on the writing thread; `on_progress` task_id, value, maximum and node, on
    ComfyUI's worker thread.
    """

    def __init__(
        self,
        host: Host,
        db: DatabaseManager,
        writer: Writer,
        *,
        boot: str,
        record_others: Callable[[], bool],
        on_change: Callable[[TaskRecord], None],
        on_progress: Callable[[str, float, float, str], None],
    ) -> None:
        self._host, self._db, self._writer, self._boot, self._record_others = host, db, writer, boot, record_others
        self._on_change, self._on_progress = on_change, on_progress
        self._writes: dict[str, Future[Any]] = {}
        self._tasks: dict[str, str] = {}
        self._secrets: dict[str, list[str]] = {}
        self._worker_seen = threading.Event()
        self._counted_early: str | None = None

    def install(self) -> None:
        """Begin to listen."""
        install_hooks(self._host, self)

    # ------------------------------------------------------------------ what the hooks tell

    @_guarded
    def put(self, raw: Any) -> None:
        """A prompt was accepted."""
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
        self._writes[item.prompt_id] = future = self._writer.submit(self._record, item, starts_unseen)
        accepted(item.task_id, future)

    @_guarded
    def got(self, result: Any) -> None:
        """The worker takes a prompt."""
        self._worker_seen.set()
        item = QueueItem.of(result[0]) if isinstance(result, tuple) and result else None
        if item is None or item.prompt_id not in self._writes:
            return
        if item.prompt_id == self._counted_early:
            self._counted_early = None
        else:
            self._writes[item.prompt_id] = self._writer.submit(self._change, item.prompt_id, as_started)
        # Counted before it starts: a prompt that takes ComfyUI down leaves its attempt behind.
        _, late = wait_for([self._writes[item.prompt_id]], PATIENCE_SECONDS)
        if late:
            log.error(
                "[wfrecovery] the disk did not answer for %g s: %s starts uncounted", PATIENCE_SECONDS, item.prompt_id
            )

    @_guarded
    def done(self, running: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A prompt has ended, this way or that."""
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
        self._writer.submit(lambda: self._change(item.prompt_id, ending(self._db.output_dir, sighting, secrets)))
        self._writes.pop(item.prompt_id, None)

    @_guarded
    def deleted(self, raw_items: list[Any]) -> None:
        """Prompts were taken out of the queue before they ran."""
        for raw in raw_items:
            item = QueueItem.of(raw)
            if item is not None and item.prompt_id in self._writes:
                self._writer.submit(self._change, item.prompt_id, lambda task: cancelled(task, DELETED))
                self._writes.pop(item.prompt_id, None)
                self._secrets.pop(item.prompt_id, None)

    @_guarded
    def sent(self, event: Any = None, data: Any = None) -> None:
        """`executed` names a node's files while the prompt goes on: proof, should ComfyUI die before the end."""
        progress = progress_of(event, data)
        if progress is not None:
            prompt_id, value, maximum, node = progress
            if prompt_id in self._tasks:
                self._on_progress(self._tasks[prompt_id], value, maximum, node)
            return
        if event != "executed" or not isinstance(data, Mapping) or data.get("prompt_id") not in self._writes:
            return
        results = tuple(Result(file.path) for file in files_of_node(data.get("output") or {}))
        if results:
            change = functools.partial(with_node_outputs, node=str(data["node"]), results=results)
            self._writer.submit(self._change, data["prompt_id"], change)

    # ------------------------------------------------------------------ on the writing thread

    def _change(self, prompt_id: str, change: Change) -> None:
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
            record = record_prompt(
                self._db,
                item,
                tag,
                task_id,
                boot=self._boot,
                started=starts_unseen,
                sensitive_keys=self._host.sensitive_keys,
            )
        except DurabilityUnknownError as error:
            self._writer.report(f"{task_id} is saved, but the disk did not confirm it", error)
            record = self._db.table.get(task_id)
        self._tasks[item.prompt_id] = task_id
        self._on_change(record)
