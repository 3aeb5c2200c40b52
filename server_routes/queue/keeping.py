"""Brings the records in step with what the recorder has heard: all of it runs on the writing thread, in order."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from typing import Final

from ...bridge.table.changes import CANCELLED, cancelled, wished_away
from ...bridge.table.disk import DurabilityUnknownError
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.names import UnknownTaskError
from ...bridge.table.records import TaskError, TaskRecord
from ...bridge.table.values import MADE_BY_NODES, Result
from ...bridge.wording import Wording
from ..host import Host
from .ending import DELETED, Change, Ended, Endings
from .item import QueueItem
from .own_files import OwnFiles
from .prompts import Prompt, Prompts
from .recording import (
    NotToRunError,
    files_of,
    going_on,
    keep_graph,
    record_prompt,
    starting,
    with_hashes,
    with_node,
    with_part,
)
from .row_tag import row_tag_of
from .writing import Writer

log = logging.getLogger("wfrecovery")

#: So often a record is made anew that somebody deletes before it is changed.
_TRIES: Final = 3


class Keeper:
    """Keeps the records of the prompts that wait and run here. `on_change` gets each changed record; `document` tells
    what results are delivered to here."""

    def __init__(
        self,
        host: Host,
        db: DatabaseManager,
        writer: Writer,
        *,
        prompts: Prompts,
        endings: Endings,
        own_files: OwnFiles,
        boot: str,
        document: Callable[[], str | None],
        on_change: Callable[[TaskRecord], None],
        reader: Executor,
    ) -> None:
        self._document = document
        self._host, self._db, self._writer, self._boot = host, db, writer, boot
        self._prompts, self._endings, self._own_files = prompts, endings, own_files
        self._on_change, self._reader = on_change, reader

    def change(self, prompt: Prompt, change: Change) -> None:
        """Change its record, unless another process is at work on the task by now."""
        if prompt.task_id is not None:  # else it could not be recorded, which the log says
            self._on_change(self._updated(prompt, lambda task: change(task) if self._ours(task) else task))

    def _ours(self, task: TaskRecord) -> bool:
        return self._db.owners.other_at_work(task) is None

    def _updated(self, prompt: Prompt, change: Change) -> TaskRecord:
        """Its record as it is then. Somebody may empty the folder at any moment: then it is changed once it is back."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(UnknownTaskError):
                return self._updated_once(prompt, change)
        return self._updated_once(prompt, change)

    def _updated_once(self, prompt: Prompt, change: Change) -> TaskRecord:
        self._keep_record(prompt)
        task_id = str(prompt.task_id)
        return self._saved(task_id, lambda: self._db.table.update(task_id, change))

    def _saved(self, task_id: str, write: Callable[[], TaskRecord]) -> TaskRecord:
        """What is written then, also where the disk does not confirm it."""
        try:
            return write()
        except DurabilityUnknownError as error:
            self._writer.report(f"{task_id} is saved, but the disk did not confirm it", error)
            return self._db.table.get(task_id)

    def _keep_record(self, prompt: Prompt) -> None:
        """Somebody may have emptied the folder: a prompt that is still here is recorded again, and whether it runs."""
        task_id = prompt.task_id
        if task_id is not None and self._db.table.files.path_of(task_id) is None:
            log.warning("[wfrecovery] the record of %s is gone: it is made anew", task_id)
            self._db.table.keep_table_id()
            self._db.owners.beat()  # else the record would name nobody who can be seen to live, or to be dead
            with self._claimed(prompt, task_id) as claimed:
                record = self._written(prompt, claimed, runs=prompt.counted)
                if MADE_BY_NODES in prompt.done:  # else the record could show that all files are there
                    record = self._db.table.update(claimed, functools.partial(with_node, node=MADE_BY_NODES))
            prompt.task_id = claimed
            self._on_change(record)

    @contextlib.contextmanager
    def _claimed(self, prompt: Prompt, wanted: str | None = None) -> Iterator[str]:
        """An id for its record, given back where that cannot be written: the next try has to find it free."""
        workflow_type = row_tag_of(prompt.item.prompt, prompt.item.extra_data).workflow_type
        task_id = self._db.table.claim_id(workflow_type, wanted=wanted)
        try:
            yield task_id
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one that matters; it is swept at a start
                self._db.table.release_id(task_id)
            raise

    def heal(self) -> None:
        """Make anew what somebody has deleted of what waits and runs here. Soon it is looked again."""
        try:
            if self._db.table.table_id is None:  # with it goes the beat, by which others know that this is our folder
                self._db.owners.beat()
            self._db.table.keep_table_id()
            for prompt in self._prompts.recorded():
                try:
                    self._heal(prompt)
                except OSError:
                    raise
                except TaskError as error:  # a damaged record, say: all others heal
                    log.info("[wfrecovery] %s is not made anew: %s", prompt.task_id, error)
        except OSError as error:
            log.info("[wfrecovery] what was deleted is made anew later: %s", error)

    def _heal(self, prompt: Prompt) -> None:
        self._keep_record(prompt)
        if prompt.task_id is not None and not prompt.is_part:
            keep_graph(self._db, prompt.item, prompt.task_id, self._host)

    def unwanted(self, prompt: Prompt, reason: Wording) -> None:
        """A person has taken it out of the queue: it has ended, or whoever has it by now gets to know the wish."""
        if prompt.task_id is None or prompt.refused:  # what must not run here we take out ourselves
            return
        # The part that runs is then the last one: the task ends with it.
        goes_on = prompt.is_part and self._prompts.has_task(prompt.task_id)

        def end(task: TaskRecord) -> TaskRecord:
            return ended_by_wish(task, reason) if self._ours(task) and not goes_on else wished_away(task)

        self._on_change(self._updated(prompt, end))

    def start(self, prompt: Prompt) -> None:
        """Count it; or find that it must not run."""
        if prompt.refused or prompt.task_id is None:
            return
        begun = going_on if prompt.is_part else starting
        try:
            record = self._updated(prompt, functools.partial(begun, self._db))
        except NotToRunError as error:
            self._refuse(prompt, error)
            if prompt.unchecked:
                self._host.interrupt(prompt.is_this)
            return
        prompt.counted = True
        self._on_change(record)

    def _refuse(self, prompt: Prompt, error: NotToRunError) -> None:
        """It does not run; what a person wanted to end has ended with that."""
        prompt.refused = True
        log.warning("[wfrecovery] %s", error)
        if prompt.task_id is not None:
            self._on_change(self._db.table.update(prompt.task_id, as_wished))

    def read(self, prompt: Prompt, ended: Ended) -> None:
        """Read what a prompt has written, on the worker: where nothing can be recorded for long, the next one starts
        all the same and may replace it. What cannot be read by the record as it is now, `end` reads."""
        if prompt.task_id is None or prompt.parts:
            return
        try:
            task = self._db.table.get(prompt.task_id)
            prompt.ending = self._changed_by(prompt, task, ended)
        except (OSError, TaskError) as error:
            log.info("[wfrecovery] %s: what it wrote is read later: %s", prompt.task_id, error)

    def _changed_by(self, prompt: Prompt, task: TaskRecord, ended: Ended) -> Change:
        return self._endings.change(task, ended, prompt.item.prompt, prompt.item.outputs, prompt.secrets)

    def end(self, prompt: Prompt, ended: Ended) -> None:
        """Record how it ended."""
        if prompt.task_id is None:
            return
        task = self._updated(prompt, lambda task: task)
        if not self._ours(task):
            log.warning("[wfrecovery] %s has ended here, but another process has taken it over", task.task_id)
            return
        parts = tuple(result for report in task.nodes.values() for result in report.results)
        if task.queue is not None and task.queue.parts:  # what its earlier parts have written is its as well
            named = {result.path for result in ended.results}
            ended = replace(ended, results=(*(part for part in parts if part.path not in named), *ended.results))
        ending = prompt.ending = prompt.ending or self._changed_by(prompt, task, ended)
        record = self._updated(prompt, lambda now: ending(now) if self._ours(now) else now)
        if record.results and not record.unlisted and not ended.from_cache:
            self._own_files.found(prompt, record.results)
        self._on_change(record)
        if any(result.sha256 is None for result in record.results):
            self._reader.submit(self._read_later, record)

    def _read_later(self, task: TaskRecord) -> None:
        """Large files are read while the next prompt runs; Python waits for who reads, however slow the disk is, before
        ComfyUI has ended."""
        if self._writer.ends():
            return
        try:
            hashes = self._endings.read_later(task.results, self._writer.ends)
        except Exception as error:
            self._writer.report(f"{task.task_id}: a result could not be read", error)
            return
        if not self._writer.ends():
            change = functools.partial(with_hashes, hashes=hashes)
            self._writer.submit(lambda: self._db.table.update(task.task_id, change))

    def end_part(self, prompt: Prompt, ended: Ended) -> None:
        """One part of a prompt that a node has queued again: what it wrote is noted, the task goes on, unless somebody
        has taken out what is left of it."""
        named: dict[str, list[Result]] = {}
        for result in ended.results:
            node = result.node if result.node in prompt.item.prompt else MADE_BY_NODES
            named.setdefault(str(node), []).append(result)
        for node, results in named.items():
            self.node_wrote(prompt, node, tuple(results))
        if all(part.taken_out for part in prompt.left):
            self.unwanted(prompt, DELETED)

    def node_wrote(self, prompt: Prompt, node: str, results: tuple[Result, ...]) -> None:
        """Note the files that one node has named."""
        self.change(prompt, functools.partial(with_node, node=node, results=self._endings.read(results)))

    def go_on(self, prompt: Prompt, running: Prompt) -> None:
        """Note that the running prompt goes on with this one."""
        prompt.task_id, prompt.counted = running.task_id, running.counted
        self.change(prompt, functools.partial(with_part, prompt_id=prompt.item.prompt_id))

    def record(self, prompt: Prompt, runs: bool) -> None:
        """Record an accepted prompt, `runs`: as begun; one that must not run is taken out of the queue again."""
        given = self._given(prompt.item)
        with contextlib.nullcontext(given) if given else self._claimed(prompt) as task_id:
            try:
                record = self._written(prompt, task_id, runs=runs)
            except NotToRunError as error:
                prompt.task_id = task_id
                self._refuse(prompt, error)
                if not self._host.delete_pending(prompt.is_this):
                    self._host.interrupt(prompt.is_this)
                return
        prompt.task_id, prompt.counted = task_id, runs
        self._on_change(record)

    def _given(self, item: QueueItem) -> str | None:
        """The task that a prompt was given when it came, unless somebody has emptied the folder and another has that
        by now; or that it goes on with, where its record could not be read then. OSError: still not."""
        named = item.task_id or row_tag_of(item.prompt, item.extra_data).task_id
        try:
            task = self._db.table.get(named or "")
        except TaskError:
            return item.task_id
        if task.comfyui_task_id != item.prompt_id:
            return None
        goes_on = not task.stage.final and not self._prompts.has_task(task.task_id)
        return item.task_id or (task.task_id if goes_on else None)

    def _written(self, prompt: Prompt, task_id: str, *, runs: bool) -> TaskRecord:
        item = prompt.item

        def write() -> TaskRecord:
            return record_prompt(
                self._db,
                item,
                row_tag_of(item.prompt, item.extra_data),
                task_id,
                boot=self._boot,
                runs=runs,
                sensitive_keys=self._host.sensitive_keys,
                files=files_of(item, self._host),
                document=self._document(),
            )

        return self._saved(task_id, write)


def ended_by_wish(task: TaskRecord, reason: Wording) -> TaskRecord:
    """`task` as cancelled; what has ended stays as it is."""
    return task if task.stage.final else cancelled(task, reason)


def as_wished(task: TaskRecord) -> TaskRecord:
    """The same, if a person wants its end."""
    return ended_by_wish(task, CANCELLED) if task.cancel_requested else task
