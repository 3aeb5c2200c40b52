"""How `main.py` submits a task: its prompt_id and graph are on disk before the request leaves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final

from ..engines.address import same_engine
from ..engines.comfyui import new_prompt_id
from ..engines.errors import BusyError, EngineError, NotSentError, RefusedError, RenderLimitError
from ..engines.in_use import EngineInUse
from ..of_loop import Lock, OfLoop
from ..settings import Settings, UnknownEnd
from ..table.changes import CANCELLED, answered, asking, cancelled, failed, sent_off, submitted
from ..table.database import Change
from ..table.disk import DurabilityUnknownError
from ..table.manager import DatabaseManager
from ..table.names import UnknownTaskError
from ..table.record_json import record_to_json
from ..table.records import RecordError, Stage, TaskError, TaskRecord, now_text
from ..wording import Wording
from .decisions import ID_GIVEN_AWAY, UNANSWERED
from .delivering import RunDelivery
from .writing import surely_written, written

log = logging.getLogger("wfrecovery")

#: What a ComfyUI that shares our table writes as the engine of its tasks.
SHARED_ENGINE: Final = "comfyui"
#: Seconds until a busy engine is asked again: at first, at most by ourselves, and at most because it says so.
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_WAIT = 2.0, 60.0, 600.0


class Allowance:
    """How many renders a run may still send; 0: as many as there are. One is held before a record says "sending".

    `unsent`: gets the tasks that surely were not sent, and which the next run sends."""

    def __init__(self, limit: int, unsent: set[str]) -> None:
        self._limit, self._spent, self.unsent = limit, 0, unsent
        #: for whom one is held that may not have been accepted yet
        self._held: set[str] = set()

    @contextlib.contextmanager
    def held(self, task_id: str) -> Iterator[None]:
        """One for a task whose record is to say that it is sent; given back where that cannot be written. Raises
        RenderLimitError."""
        before = task_id in self._held
        if not before and 0 < self._limit <= self._spent + len(self._held):
            self.unsent.add(task_id)
            raise RenderLimitError(self._limit)
        self._held.add(task_id)
        self.unsent.discard(task_id)
        try:
            yield
        except BaseException:
            if not before:
                self.give_back(task_id)
            raise

    def spend(self, task_id: str) -> None:
        """It was accepted, or may have been."""
        self._held.discard(task_id)
        self._spent += 1

    def give_back(self, task_id: str) -> None:
        """It surely was not."""
        self._held.discard(task_id)


class Submitting:
    """Sends prompts to the engine, each for a task that this process is at work on."""

    def __init__(self, db: DatabaseManager, engine: EngineInUse, delivery: RunDelivery, limits: Settings) -> None:
        self._db, self._engine = db, engine
        self._one_by_one = OfLoop(Lock)
        #: what the engine said when a task was sent the last time, and how many questions were unanswered before that
        self._unsent: dict[str, tuple[Wording, int]] = {}
        self.allowance = Allowance(limits.max_renders, db.unsent)
        #: who delivers is named with each submission
        self.naming = delivery.naming
        #: by which records name the engine; None where the client does not say; and what people call it
        self.engine, self.title = engine.engine, engine.title
        #: whether a person is asked before what may be paid for is sent again
        self.makes_own_ids = engine.makes_own_ids
        self.asks = engine.makes_own_ids and limits.unknown is UnknownEnd.ASK

    def is_ours(self, task: TaskRecord) -> bool:
        """Whether our engine renders it."""
        return is_of(task.engine, self._engine)

    def taking(self, task: TaskRecord) -> TaskRecord:
        """The change with which this process begins to work on a task. Raises OwnedError where another is at it."""
        taken = self._db.taking(task)
        return cancelled(task, CANCELLED) if task.cancel_requested and not task.comfyui_task_id else taken

    def beginning(self, task: TaskRecord) -> TaskRecord:
        """The same for one that may be submitted already: whoever is at work on that, it stays as it is. Its engine is
        named before its graph is on disk: another one's recovery would send that. Raises TaskError for what another
        engine has been sent, and may render."""
        if not task.stage.final and not self.is_ours(task) and (is_submitted(task) or task.sending is not None):
            self._db.unsent.add(task.task_id)
            raise TaskError(_elsewhere(task))
        if is_submitted(task):
            return task
        taken = self.taking(task)
        return taken if taken.stage.final else self._named(taken)

    def _named(self, task: TaskRecord) -> TaskRecord:
        """`task` as one that our engine renders, whoever was to render it before: who finds it looks for it there."""
        return dataclasses.replace(task, engine=self.engine or task.engine)

    def submitting(self, prompt_id: str, naming: Change, task: TaskRecord) -> TaskRecord:
        """The same for one that is about to be submitted: with its prompt_id, or as sent off where the engine makes its
        own; and who delivers it, unless it has these already."""
        taken = self.taking(task)
        if taken.stage.final:
            return taken
        if taken.cancel_requested:
            return cancelled(taken, CANCELLED)
        ours = self._named(naming(taken))
        if self._engine.makes_own_ids:
            return sent_off(ours)
        return dataclasses.replace(ours, comfyui_task_id=taken.comfyui_task_id or prompt_id, sending=now_text())

    def again(self, prompt_id: str, naming: Change, task: TaskRecord) -> TaskRecord:
        """The same for one that this process has taken up; what another has had since stays as that has left it: sent
        perhaps, or waiting for a person. Raises OwnedError where that one is still at work on it."""
        self._db.owners.check(task)
        return self.submitting(prompt_id, naming, task) if self._db.owners.is_me(task.owner) else task

    def first(self, prompt_id: str, naming: Change, task: TaskRecord) -> TaskRecord:
        """The same for one that nobody has sent, as far as its record says; else it stays, or waits for a person."""
        if is_submitted(task) or task.stage.final or task.stage is Stage.ASKING:
            return task
        if task.sending is not None and self.asks:
            return asking(self.taking(task), UNANSWERED)
        return self.submitting(prompt_id, naming, task)

    def why_unsent(self, task_id: str) -> Wording | None:
        """What the engine said when it was sent the last time; None where it said nothing."""
        return self._unsent[task_id][0] if task_id in self._unsent else None

    def was_away(self, task: TaskRecord) -> bool:
        """Whether the engine may have gone down since a task left for it without an answer: by what it did not answer
        after that; or who sent the task has gone down himself."""
        return task.task_id not in self._unsent or self._engine.unanswered > self._unsent[task.task_id][1]

    def is_on_its_way(self, task: TaskRecord, prompt_id: str) -> bool:
        """Whether what `first` has made of a task is to be sent."""
        if task.stage is not Stage.CREATED:
            return False
        return task.sending is not None if self._engine.makes_own_ids else task.comfyui_task_id == prompt_id

    def in_turn(self) -> AbstractAsyncContextManager[object]:
        """What is sent to a ComfyUI, one after the other, from the note on disk to the answer: they stand in its queue
        in the order in which their answers were heard, by which is told later who is to blame for what went down, and
        whether a person has taken something out. A cloud renders in an order of its own."""
        return contextlib.nullcontext() if self.makes_own_ids else self._one_by_one.one

    async def send(self, task: TaskRecord, workflow: Mapping[str, Any]) -> str | None:
        """Submit it, for one of the allowance, as often as the engine is busy. The id, whether or not an answer came;
        None where there is none: the engine refuses the graph, which makes the task 失败, a person has cancelled it, or
        has to decide."""
        sent_from = await asyncio.to_thread(self._sent_from)
        pause = _FIRST_PAUSE
        while not task.stage.final and self._db.owners.is_me(task.owner):
            told, unanswered = {**record_to_json(task), "table_id": sent_from}, self._engine.unanswered
            try:
                job_id = await self._engine.submit(workflow, told)
            except BusyError as error:
                log.info("[wfrecovery] %s waits: %s", task.task_id, error)
                await written(self._db, task.task_id, self._if_ours(answered))
                await asyncio.sleep(max(pause, min(error.retry_after or 0.0, _LONGEST_WAIT)))
                pause = min(2 * pause, _LONGEST_PAUSE)
                again = partial(self.again, task.comfyui_task_id or new_prompt_id(), _as_it_is)
                task = await written(self._db, task.task_id, again)
            except RefusedError as error:
                self.allowance.give_back(task.task_id)
                await written(self._db, task.task_id, self._if_ours(partial(_refused, error.wording)))
                return None
            except EngineError as error:
                log.warning("[wfrecovery] %s: %s", task.task_id, error)
                self._unsent[task.task_id] = error.wording, unanswered
                self._account(task.task_id, error)
                task = await written(self._db, task.task_id, self._if_ours(partial(self._unanswered, error)))
                return task.comfyui_task_id
            else:
                self.allowance.spend(task.task_id)
                at = now_text()  # before the table is waited for
                accepted = partial(self._answer, task.sending, job_id, at)
                try:
                    await surely_written(self._db, task.task_id, accepted)
                except UnknownTaskError:
                    await asyncio.to_thread(self._made_anew, accepted(task), workflow)
                return job_id
        self.allowance.give_back(task.task_id)
        return task.comfyui_task_id

    def _made_anew(self, task: TaskRecord, workflow: Mapping[str, Any]) -> None:
        """Somebody has emptied the folder while the answer was waited for: what was accepted must not be forgotten.
        Raises OSError."""
        log.warning("[wfrecovery] the record of %s is gone: it is made anew", task.task_id)
        with contextlib.suppress(RecordError):  # the plugin was faster
            self._db.table.create(task, {"prompt_id": task.comfyui_task_id, "prompt": workflow})

    def _sent_from(self) -> str | None:
        """The table's id. What an answer asks of the index under the lock is read before: the first time takes long."""
        if self.makes_own_ids:
            with contextlib.suppress(OSError):
                self._db.index.entries()
        return self._db.table.table_id

    def _taken_from_others(self, task_id: str, job_id: str) -> None:
        """A service that uses an id again no longer means the task that had it: what it renders is another's. Under the
        table's lock, before the later task has it: a crash in between leaves it to neither."""
        for entry in self._db.index.entries():
            if entry.comfyui_task_id != job_id or entry.task_id == task_id or entry.stage.final:
                continue
            with contextlib.suppress(UnknownTaskError, DurabilityUnknownError):  # it is gone, or written
                self._db.table.update(entry.task_id, partial(self._without_id, job_id))

    def _without_id(self, job_id: str, task: TaskRecord) -> TaskRecord:
        if task.comfyui_task_id != job_id or task.stage.final or not self.is_ours(task):
            return task
        log.warning("[wfrecovery] %s: %s", task.task_id, ID_GIVEN_AWAY)
        return asking(dataclasses.replace(task, comfyui_task_id=None), ID_GIVEN_AWAY)

    def _answer(self, sent_at: str | None, job_id: str, at: str, task: TaskRecord) -> TaskRecord:
        """What was sent at that time is accepted. Where another has taken it over meanwhile, or it waits for a person
        because no answer had come, this is the answer all the same."""
        if self.makes_own_ids:
            self._taken_from_others(task.task_id, job_id)
        if self._db.owners.is_me(task.owner):
            return _accepted(self._db, job_id, at, task)
        late = self.makes_own_ids and task.sending is not None and task.sending == sent_at
        return dataclasses.replace(answered(task), stage=Stage.QUEUED, comfyui_task_id=job_id) if late else task

    def _account(self, task_id: str, error: EngineError) -> None:
        """Where the engine takes our id, what was not answered is looked up, and is no other render if sent again."""
        if isinstance(error, NotSentError):
            self.allowance.give_back(task_id)
            self.allowance.unsent.add(task_id)
        elif self._engine.makes_own_ids:
            self.allowance.spend(task_id)

    def _unanswered(self, error: EngineError, task: TaskRecord) -> TaskRecord:
        """Where the engine takes our id, it can be asked whether the prompt arrived."""
        if isinstance(error, NotSentError):
            return answered(task)
        return asking(task, UNANSWERED) if self.asks else task

    def _if_ours(self, change: Change) -> Change:
        """The change that an answer brings, unless the plugin, or who has taken the task meanwhile, knows better."""
        return lambda record: change(record) if self._db.owners.is_me(record.owner) else record

    async def graph(self, task_id: str) -> dict[str, Any] | None:
        """What can be submitted again."""
        return await asyncio.to_thread(self._db.table.graph, task_id)


def is_of(named: str | None, engine: EngineInUse) -> bool:
    """Whether a task whose record names an engine is this one's. What nobody has named is anybody's."""
    if named is None or engine.engine is None or same_engine(named, engine.engine):
        return True
    return named == SHARED_ENGINE and not engine.makes_own_ids  # a cloud knows nothing of a ComfyUI's prompts


def sent_since(before: TaskRecord, now: TaskRecord) -> bool:
    """Whether somebody has sent a task since its record was read, or is about to."""
    sent = now.sending not in (None, before.sending) or now.queue not in (None, before.queue)
    return sent or now.comfyui_task_id != before.comfyui_task_id


def is_submitted(task: TaskRecord) -> bool:
    """Whether an engine has its prompt. What only carries a prompt_id has perhaps never arrived."""
    return task.comfyui_task_id is not None and task.stage is not Stage.CREATED


def _accepted(db: DatabaseManager, prompt_id: str, at: str, task: TaskRecord) -> TaskRecord:
    return submitted(db.owners.me, dataclasses.replace(answered(task), comfyui_task_id=prompt_id), at)


def _elsewhere(task: TaskRecord) -> Wording:
    return Wording(
        f"{task.task_id} was sent to {task.engine}, which may have rendered it: it is not sent to another one → run "
        "main.py with that one, or decide (wfrecovery decide)",
        f"{task.task_id} 已发送给 {task.engine}，可能已经生成，不再发送给别处 → 请用它再运行一次 main.py，或做决定"
        "（wfrecovery decide）",
    )


def _refused(reason: Wording, task: TaskRecord) -> TaskRecord:
    return failed(answered(task), reason)


def _as_it_is(task: TaskRecord) -> TaskRecord:
    """Who delivers it was named when it was first sent."""
    return task
