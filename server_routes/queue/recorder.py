"""Keeps the table in step with the queue: a prompt's record is on disk before `POST /prompt` answers, and its attempt
before it starts."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping, Set
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final, TypeVar

from ...bridge.engines.history import Place, Sighting, files_of_node, sighting_of_history
from ...bridge.engines.refusals import left_out_reason
from ...bridge.redact import secret_values
from ...bridge.results.left_out import lacking, left_out
from ...bridge.table.changes import wished_away
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import TaskRecord
from ...bridge.wording import Wording
from ..host import WORKER_NAME, Host
from .ending import DELETED, Ended, Endings, look
from .hooks import install_hooks
from .intake import Intake, awaited
from .item import QueueItem, prompt_id_of
from .keeping import Keeper
from .own_files import OwnFiles, cached_nodes, nodes_in
from .progress import nodes_of, progress_of
from .prompts import Moment, Prompt, Prompts
from .recording import with_node
from .row_tag import RowTag, row_tag_of
from .writing import Pool, Writer, one_thread

log = logging.getLogger("wfrecovery")

#: How ComfyUI says that a node handed nothing on, which is no error: the prompt goes on without what needs it.
_BLOCKED: Final = "ExecutionBlocked"

_Answer = TypeVar("_Answer")


def _guarded(method: Callable[..., _Answer]) -> Callable[..., _Answer | None]:
    """An error of ours is logged and goes no further."""

    @functools.wraps(method)
    def call(self: Recorder, *args: Any) -> _Answer | None:
        try:
            return method(self, *args)
        except Exception as error:
            self._writer.report(f"{method.__name__} failed", error)
            return None

    return call


class Recorder:
    """Hears what happens in the queue, and has it written.

    `on_change` gets each changed record, on the writing thread; `on_progress` task_id, value, maximum and node, and
    `on_start` nothing, on ComfyUI's worker thread. `unwanted` tells the recovery which items a person wants taken out,
    should it be about to queue them again; it returns what it writes for that.
    """

    def __init__(
        self,
        host: Host,
        db: DatabaseManager,
        writer: Writer,
        *,
        intake: Intake,
        prompts: Prompts,
        endings: Endings,
        boot: str,
        document: Callable[[], str | None],
        on_change: Callable[[TaskRecord], None],
        on_progress: Callable[[str, float, float, str], None],
        on_start: Callable[[], None],
        unwanted: Callable[[Callable[[Any], bool]], list[Future[Any]]],
        pool: Pool = one_thread,
    ) -> None:
        self._host, self._db, self._writer = host, db, writer
        self._intake, self._prompts, self._on_progress, self._on_start = intake, prompts, on_progress, on_start
        self._unwanted = unwanted
        self._own_files = OwnFiles(db.output_dir)
        self._keeper = Keeper(
            host,
            db,
            writer,
            prompts=prompts,
            endings=endings,
            own_files=self._own_files,
            boot=boot,
            document=document,
            on_change=on_change,
            reader=pool("wfrecovery-reader"),
        )
        self._worker: threading.Thread | None = None
        self._early: Prompt | None = None

    def install(self) -> None:
        """Begin to listen."""
        install_hooks(self._host, self)

    def heal(self) -> None:
        """Look whether what waits and runs here still has its records, and whether those can be written by now that
        could not."""
        self._writer.try_again()
        if not self._writer.behind:
            self._writer.submit(self._keeper.heal)

    # ------------------------------------------------------------------ what the hooks tell

    def validated(self, prompt: Any, verdict: Any) -> Any:
        """ComfyUI has validated a prompt; its verdict, or ours."""
        return self._validated(prompt, verdict) or verdict

    @_guarded
    def _validated(self, prompt: Any, verdict: Any) -> Any:
        valid, _, _, node_errors = verdict
        left = left_out(node_errors) if valid else []
        return self._intake.accepted(prompt, verdict, left) if valid else verdict

    @_guarded
    def putting(self, raw: Any) -> None:
        """A prompt is about to be put: its files get a task's id, also where it came past `POST /prompt`."""
        item = QueueItem.of(raw)
        if item is not None and self._continued(item) is None:
            self._intake.prepare_item(item)

    @_guarded
    def put(self, raw: Any) -> None:
        """A prompt was accepted."""
        item = QueueItem.of(raw)
        if item is None:
            return
        running = self._continued(item)
        tag = row_tag_of(item.prompt, item.extra_data)
        lacks, why = self._lacks(item, tag)
        item = replace(item, left_out=lacks) if lacks else item
        # The worker may still be inside the unwrapped `get`, from which it takes one prompt unseen.
        unseen = self._worker is None and self._early is None
        tagged = running is not None or item.task_id is not None
        recorded = tagged or self._intake.records(tag)
        prompt = Prompt(raw, item, recorded=recorded, starts_unseen=unseen)
        prompt.began = Moment.now() if unseen else None
        prompt.lacks = running.lacks if running is not None else why
        # from 0.3.67 on they stand in the sixth part; kept in memory only, to clean the nodes' messages of them
        sixth = raw[5] if len(raw) > 5 and isinstance(raw[5], Mapping) else {}
        prompt.secrets = secret_values({**item.extra_data, **sixth}, self._host.sensitive_keys)
        if unseen:
            self._early = prompt
        self._prompts.add(prompt)
        if running is not None:
            prompt.parts = running.parts
            prompt.parts.append(prompt)
            prompt.write = self._writer.submit(self._keeper.go_on, prompt, running)
        elif recorded:
            # Handed over as it is now: the worker may have it before the writing thread comes to that.
            prompt.write = self._writer.submit(self._keeper.record, prompt, unseen)
            awaited(prompt.write, item.task_id)

    def asks(self) -> None:
        """The worker takes nothing unseen any more."""
        self._worker = threading.current_thread()

    def got(self, result: Any) -> bool:
        """The worker takes a prompt; whether it may run."""
        return self._taken(result) is not False

    @_guarded
    def _taken(self, result: Any) -> bool:
        self._on_start()
        if not isinstance(result, tuple) or len(result) < 2:
            return True
        prompt = self._prompts.taken(*result[:2])
        if prompt is None:
            return True
        prompt.began = prompt.began or Moment.now()
        if not prompt.recorded:
            return True
        if prompt is self._early:
            prompt.starts_unseen = False  # its first record counts it
        elif prompt.write is not None:
            prompt.write = self._writer.submit(self._keeper.start, prompt)
        if prompt.write is None:
            return True
        # Counted before it starts: a prompt that takes ComfyUI down leaves its attempt behind.
        if not self._writer.wait_here(prompt.write):
            prompt.unchecked = True
            log.error("[wfrecovery] the disk does not answer: %s starts, and is counted later", prompt.item.prompt_id)
        elif prompt is not self._early and prompt.task_id is not None:
            # By the clock of the disk that its files come to.
            record = self._db.table.files.active_path(prompt.task_id)
            prompt.began = Moment.written(record) or prompt.began
        if prompt.refused:
            self._prompts.ended(result[1], result[0])
            self._prompts.over(prompt)
        return not prompt.refused

    def in_prompt(self) -> bool:
        """Whether the calling thread is ComfyUI's worker, at work on a prompt."""
        return self._on_worker() and self._prompts.running() is not None

    @_guarded
    def done(self, running: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A prompt has ended, this way or that."""
        prompt = self._prompts.ended(args[0] if args else kwargs.get("item_id"), running)
        if prompt is None:
            return
        write = None
        try:
            write = self._end(prompt, args, kwargs)
        finally:
            if write is None:
                self._prompts.over(prompt)
            else:
                write.add_done_callback(lambda _: self._prompts.over(prompt))

    def _end(self, prompt: Prompt, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any] | None:
        """Have its end written."""
        result = args[1] if len(args) > 1 else kwargs.get("history_result")
        status = args[2] if len(args) > 2 else kwargs.get("status")
        outputs = result.get("outputs") if isinstance(result, Mapping) else None
        entry = {
            "outputs": self._own_outputs(prompt.item, outputs if isinstance(outputs, Mapping) else {}),
            "status": status._asdict() if isinstance(status, tuple) and hasattr(status, "_asdict") else status,
        }
        sighting = sighting_of_history(entry)
        if prompt.lacks is not None and sighting.place is Place.SUCCEEDED:  # of what it ran for
            sighting = Sighting(Place.FAILED, message=prompt.lacks)
        ended = self._ended(prompt, look(self._db.output_dir, sighting), entry["status"])
        if not prompt.recorded:
            return None
        if prompt.left and ended.sighting.message is None:
            return self._writer.submit(self._keeper.end_part, prompt, ended)
        if prompt.left:  # the task ends with this part; before that is seen, and a person asks for it again
            self._take_out_next(prompt)
        self._keeper.read(prompt, ended)
        return self._writer.submit(self._keeper.end, prompt, ended)

    def _take_out_next(self, prompt: Prompt) -> None:
        """Later parts do not run. That is nobody's wish: it is not to be noted as one, least of all when the task runs
        anew by then."""
        meant = functools.partial(_goes_on_with, prompt)
        self._prompts.refuse(meant)
        self._host.delete_pending(meant)

    @_guarded
    def deleted(self, raw_items: list[Any]) -> None:
        """Prompts were taken out of the queue before they ran."""
        for raw in raw_items:
            prompt = self._prompts.deleted(raw)
            if prompt is not None and prompt.recorded:
                awaited(self._writer.submit(self._keeper.unwanted, prompt, DELETED))

    @_guarded
    def missed(self, meant: Callable[[Any], bool]) -> None:
        """A prompt is to be taken out that the recovery is about to queue again: as if it stood in the queue."""
        for write in self._unwanted(meant):
            awaited(write)

    def named(self, prompt_ids: Set[str]) -> None:
        """Prompts are to end by a route that looks only for what ComfyUI has."""
        if prompt_ids:
            self.missed(lambda raw: prompt_id_of(raw) in prompt_ids)

    def wiped(self) -> None:
        """The queue is cleared while the recovery fills it: what has not come yet is meant as well."""
        self.missed(lambda _: True)

    @_guarded
    def interrupted(self) -> None:
        """Somebody wants what runs to stop: that is on disk before the answer, should ComfyUI die before it stops.
        Where another plugin has several run at once, ComfyUI stops one of them, and its end tells which."""
        running = self._prompts.all_running(self._host.queued()[0])
        for prompt in running if len(running) == 1 else ():
            prompt.interrupted = True
            if prompt.recorded:
                awaited(self._writer.submit(self._keeper.change, prompt, wished_away))

    @_guarded
    def _begins(self) -> bool:
        prompt = self._prompts.running()
        if prompt is None or prompt.begun:  # a plugin that calls it off later means to
            return False
        prompt.begun = True
        return prompt.interrupted

    def begins(self) -> bool:
        """ComfyUI's executor begins; whether it forgets by that what was meant for what it begins."""
        return self._begins() is True

    @_guarded
    def sent(self, event: Any = None, data: Any = None) -> None:
        """What ComfyUI says of single nodes while the prompt goes on: proof, should it die before the end."""
        prompt_id = data.get("prompt_id") if isinstance(data, Mapping) else None
        prompt = self._prompts.running(prompt_id) if isinstance(prompt_id, str) else None
        if prompt is None or not prompt.recorded:
            return
        progress = progress_of(event, data)
        if progress is not None and prompt.task_id is not None:
            self._on_progress(prompt.task_id, *progress[1:])
        if event == "execution_cached":
            prompt.cached = nodes_in(data)
        elif event == "execution_error" and data.get("exception_type") == _BLOCKED:
            prompt.blocked = str(data.get("exception_message"))
        for node, ended in nodes_of(event, data, prompt.item):
            # One that came from the cache wrote nothing: what it stands for is known only where it names that.
            told = node not in prompt.cached or node in prompt.named
            if told and node not in prompt.done:
                prompt.done.add(node)
                change = functools.partial(with_node, node=node, done=ended)
                write = self._writer.submit(self._keeper.change, prompt, change)
                if not ended:  # on disk before that node can save anything: it tells that nobody knows what is to come
                    self._writer.wait_here(write)
        if event == "executed" and isinstance(data, Mapping):
            node = str(data.get("node"))
            named = look(
                self._db.output_dir, replace(sighting_of_history({}), files=files_of_node(data.get("output"), node))
            )
            found = self._own_files.of(prompt, named, prompt.cached)
            if found.results:
                prompt.named.add(node)
                # of what others have made, no file shows after a crash that all is there
                if node in prompt.item.prompt:
                    self._writer.submit(self._keeper.node_wrote, prompt, node, found.results)

    # ------------------------------------------------------------------ on ComfyUI's threads

    def _continued(self, item: QueueItem) -> Prompt | None:
        """The running prompt whose node has queued this one: it carries that one's tag, and comes from its thread."""
        running = self._prompts.running() if self._on_worker() else None
        if running is None or not running.recorded or item.tag is None or running.item.tag is None:
            return None
        return running if item.tag == running.item.tag or item.tag[0] == running.task_id else None

    def _lacks(self, item: QueueItem, tag: RowTag) -> tuple[tuple[str, ...], Wording | None]:
        """Of the outputs that ComfyUI has left out those that its row needs, and why it has none."""
        left = self._intake.left_out(item.prompt) if tag.row_number is not None else None
        if left is None:
            return (), None
        lacks = lacking(item.prompt, left.outputs, self._host.node_classes(item.prompt), tag.workflow_type)
        return lacks, left_out_reason(lacks, left.node_errors) if lacks else None

    def _on_worker(self) -> bool:
        thread = threading.current_thread()
        return thread is self._worker or thread.name.endswith(WORKER_NAME)

    def _own_outputs(self, item: QueueItem, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Without output nodes that this prompt did not run for, whose old files ComfyUI's cache names all the same."""
        return {
            str(node_id): output
            for node_id, output in outputs.items()
            if not item.outputs or str(node_id) in item.outputs or not self._is_other_output(item, str(node_id))
        }

    def _is_other_output(self, item: QueueItem, node_id: str) -> bool:
        node = item.prompt.get(node_id)
        return isinstance(node, Mapping) and self._host.is_output_node(str(node.get("class_type")))

    def _ended(self, prompt: Prompt, ended: Ended, status: Any) -> Ended:
        """With the prompt's own files alone."""
        cached = cached_nodes(status.get("messages") if isinstance(status, Mapping) else None)
        outputs = frozenset(prompt.item.outputs)
        ended = self._own_files.before(prompt, self._own_files.of(prompt, ended, cached), cached)
        ended = replace(ended, from_cache=bool(outputs) and cached >= outputs)
        named = {(result.node or "").partition(".")[0] for result in ended.results}
        return replace(ended, silent=outputs - cached - named, blocked=prompt.blocked)


def _goes_on_with(prompt: Prompt, raw: Any) -> bool:
    """Whether an item of the queue is a later part of the prompt."""
    item = QueueItem.of(raw)
    return item is not None and item.tag is not None and item.tag == prompt.item.tag
