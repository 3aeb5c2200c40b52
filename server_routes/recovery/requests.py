"""What a person asks for: a task again, or its end; also in the place of a process that is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...bridge.apart import apart
from ...bridge.results.contents import Contents
from ...bridge.table.changes import CANCELLED, cancelled, counted_anew, sent_once_more, wished_away
from ...bridge.table.disk import DurabilityUnknownError
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import Stage, TaskError, TaskRecord, stage_zh
from ...bridge.table.values import FeishuState
from ...bridge.wording import Wording
from ..host import Host
from ..queue.item import is_of
from ..queue.keeping import as_wished
from ..queue.recording import ENGINE
from ..queue.writing import WISH_SECONDS, Writer
from .requeueing import Requeued, Requeueing

log = logging.getLogger("wfrecovery")


@dataclass(frozen=True)
class Wish:
    """A person wants the end of a task, which is as it was before that."""

    task: TaskRecord
    written: Future[Any]


class Requests:
    """Carries out what a person asks for. `may_be_whole`: whether somebody here is about to find out how a task has
    ended, and then carries out a wish; `on_change` gets each changed record."""

    def __init__(
        self,
        host: Host,
        db: DatabaseManager,
        writer: Writer,
        requeueing: Requeueing,
        *,
        may_be_whole: Callable[[TaskRecord], bool],
        on_change: Callable[[TaskRecord], None],
    ) -> None:
        self._may_be_whole = may_be_whole
        self._host, self._db, self._writer, self._requeueing, self._on_change = host, db, writer, requeueing, on_change
        self._contents = Contents(db.table.files, db.output_dir)
        #: what each of those who queue many again has still to queue: by task id the item that it will be there
        self._coming: list[dict[str, tuple[Any, ...]]] = []

    @contextlib.contextmanager
    def coming(self, tasks: Iterable[TaskRecord]) -> Iterator[Callable[[str], bool]]:
        """Many are queued again one after the other; whether somebody has taken one out meanwhile, by its task id: who
        clears the queue means them all."""
        wanted: dict[str, tuple[Any, ...]] = {task.task_id: (0, task.comfyui_task_id, {}, {}, []) for task in tasks}
        all_of_them = frozenset(wanted)
        self._coming.append(wanted)
        try:
            yield lambda task_id: task_id in all_of_them and task_id not in wanted
        finally:
            self._coming = [one for one in self._coming if one is not wanted]

    def unwanted(self, meant: Callable[[Any], bool]) -> None:
        """A person wants to be taken out what is about to be queued again."""
        for wanted in self._coming:
            for task_id in [task_id for task_id, item in wanted.items() if meant(item)]:
                del wanted[task_id]

    async def retry(self, task_id: str) -> Requeued:
        """Queue a lost, failed or cancelled task again because the user says so; its attempts begin anew. What a cloud
        renders is sent by `main.py`.

        Raises TaskError when there is no such task, it runs or is finished, or it has no graph.
        """
        task = await apart(self._db.table.get, task_id)
        graph = await apart(self._db.table.graph, task_id)
        if graph is None:
            raise TaskError(
                Wording(
                    f"{task_id} cannot be queued again: its graph was not recorded",
                    f"{task_id} 无法重新排队：没有记录它的工作流",
                )
            )
        elsewhere = task.engine is not None and not task.engine.startswith(ENGINE)
        change = sent_once_more if elsewhere else _anew
        if task.stage is Stage.FINISHED and task.feishu_state is not FeishuState.BLOCKED:
            there = await apart(self._contents.there, task)
            change = _refused if there else change
        again = partial(_unless_finished_since, task, change)
        if elsewhere:
            self._on_change(await apart(self._updated, task_id, again))
            return Requeued.ELSEWHERE
        queued = await apart(self._updated, task_id, partial(self._asked_for_anew, again))
        try:
            return await self._requeueing.requeue(queued, graph, anew=task.stage.final)
        except Exception:
            self._requeueing.undone = True
            raise

    def _updated(self, task_id: str, change: Callable[[TaskRecord], TaskRecord]) -> TaskRecord:
        try:
            return self._db.table.update(task_id, change)
        except DurabilityUnknownError as error:  # it is ours by then, and has to come into the queue
            log.warning("[wfrecovery] %s: %s", task_id, error)
            return self._db.table.get(task_id)

    def _asked_for_anew(self, change: Callable[[TaskRecord], TaskRecord], task: TaskRecord) -> TaskRecord:
        self._db.owners.check(task)
        return dataclasses.replace(change(task), owner=self._db.owners.me, cancel_requested=None, refused_by=())

    async def wish(self, task_ids: Iterable[str]) -> dict[str, Wish]:
        """Note that a person wants the end of these; what has ended, or is no task, is left out. On disk before all
        else: whoever starts one, queues it again or adopts it looks there first. Where the disk does not answer, that
        is waited for once, for `WISH_SECONDS`."""
        tasks = await apart(lambda: [task for task_id in task_ids if (task := self._unended(task_id))])
        wishes = {task.task_id: Wish(task, self._writer.submit(self._wish, task.task_id)) for task in tasks}
        for wish in wishes.values():
            await self._writer.wait([wish.written], WISH_SECONDS)
            if not wish.written.done():  # nor will the next ones be
                break
        return wishes

    def _unended(self, task_id: str) -> TaskRecord | None:
        with contextlib.suppress(TaskError):
            task = self._db.table.get(task_id)
            return None if task.stage.final else task
        return None

    async def cancel(self, task_id: str, wishes: Mapping[str, Wish]) -> None:
        """Take a task that a person wants to end out of the queue, or interrupt it; its record says cancelled, where
        the disk answers: else as soon as it does. Raises TaskError."""
        if task_id not in wishes:
            task = await apart(self._db.table.get, task_id)
            raise TaskError(
                Wording(f"{task_id} is {task.stage.value} already", f"{task_id} {stage_zh(task.stage)}，不能取消")
            )
        wish = wishes[task_id].written
        stopped = self.stop(wishes[task_id].task)
        if not wish.done():
            return
        if not stopped:
            other = await apart(self._db.owners.other_at_work, wish.result())
            if other is None:  # else it is that one's to obey
                wish = self._writer.submit(self._end_as_wished, task_id)
        await self._writer.written()
        if wish.done():
            wish.result()

    def stop(self, task: TaskRecord) -> bool:
        """Take it out of the queue, or interrupt it; whether it was there. The hooks then record its end."""
        meant = partial(is_of, task)
        waited = self._host.delete_pending(meant)  # also what goes on with it: a node may have queued it again
        return self._host.interrupt(meant) or waited

    def _wish(self, task_id: str) -> TaskRecord:
        """What main.py has not submitted yet ends at once: it looks before it submits; so does what waits for a person.
        What main.py is submitting may be accepted: it has that stopped then, or this ComfyUI refuses it."""

        def wish(task: TaskRecord) -> TaskRecord:
            unsent = task.stage is Stage.CREATED and task.sending is None
            return cancelled(task, CANCELLED) if unsent or task.stage is Stage.ASKING else wished_away(task)

        record = self._db.table.update(task_id, wish)
        self._on_change(record)
        return record

    def _end_as_wished(self, task_id: str) -> None:
        """What is in no queue any more has ended with that; unless its end is on its way into the record, or is being
        looked for: it may be whole. What was sent elsewhere may be whole there, or has to be stopped: the next run of
        `main.py` does that."""
        task = self._db.table.get(task_id)
        elsewhere = task.engine not in (None, ENGINE) and (task.comfyui_task_id or task.sending)
        if not elsewhere and not self._may_be_whole(task):
            self._on_change(self._db.table.update(task_id, as_wished))

    async def obey(self, task_id: str) -> None:
        """Another process has written down that a person wants the end of a task that is ours."""
        task = await apart(self._db.table.get, task_id)
        wished = task.cancel_requested and not task.stage.final  # it may have ended since, and be asked for anew
        if wished and not self.stop(task):
            self._writer.submit(self._end_as_wished, task_id)

    def take_over(self, boot: str) -> int:
        """Be at work on what another process was at work on, because a person says so; how many tasks that are. Raises
        TaskError where there is no such owner, or several are meant, and OSError."""
        try:
            return self._db.take_over(boot)
        except OSError:  # some may be ours by now
            self._requeueing.undone = True
            raise


def _unless_finished_since(
    looked_at: TaskRecord, change: Callable[[TaskRecord], TaskRecord], task: TaskRecord
) -> TaskRecord:
    """What was decided of a task, unless it has finished while it was decided: that result is whole."""
    return (_refused if task.stage is Stage.FINISHED is not looked_at.stage else change)(task)


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
    return counted_anew(task).entering(Stage.QUEUED, error_message=None, error_message_zh=None, queue=None)
