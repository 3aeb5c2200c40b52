"""The outbox: which finished results are due, how long what failed waits, and one flush at a time in all processes."""

from __future__ import annotations

import contextlib
import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any, Final

from filelock import Timeout

from ..chance import CHANCE
from ..results.contents import ResultGoneError
from ..table.changes import pushed, superseded
from ..table.manager import DatabaseManager
from ..table.publishers import may_deliver
from ..table.records import TaskError, TaskRecord, WorkflowStatus, now_text
from ..table.values import FeishuState
from ..wording import Wording
from .astray import spoiled
from .cell_writing import CellWriting
from .client import FeishuClient
from .company import Company
from .delivery import Delivery, video_links
from .errors import FeishuError
from .finding import RowNotFoundError
from .left_on_disk import LeftOnDisk
from .numbering import RowNumbers
from .one_at_a_time import publishing_alone
from .own_push import OwnPush
from .reading import SheetReader
from .sheet import SheetLayoutError
from .status_delivery import TASKS_PER_WRITE
from .superseding import newer_results
from .unseen import Unseen
from .waiting import LONGEST_SERVER_WAIT, backoff, in_future, leave_alone, needs_person, reason_of, table_trouble
from .which_document import WhichDocument

log = logging.getLogger("wfrecovery")

#: So many tasks that fail one after the other mean that it is not the tasks.
_FAILURES_IN_A_ROW: Final = 3
#: Records in memory at once, delivered by one reading of the sheet.
TASKS_AT_ONCE: Final = 500


@dataclass
class FlushReport:
    """What one flush did, by task id; `waiting` maps to the reason."""

    pushed: list[str] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    #: another process is publishing
    busy: bool = False


class Publisher:
    """Delivers finished tasks of one table to the sheet. One flush at a time over all processes."""

    def __init__(
        self,
        db: DatabaseManager,
        feishu: FeishuClient,
        *,
        clock: Callable[[], float] = time.time,
        on_change: Callable[[TaskRecord], None] | None = None,
    ) -> None:
        self._db, self._feishu, self._clock, self._on_change = db, feishu, clock, on_change
        self._began = clock()
        #: why the newest flush did not deliver everything
        self.last_problem: Wording | None = None
        #: the sheet as the newest flush knew it
        self._reader: SheetReader | None = None
        self._left = LeftOnDisk(db.table.files, feishu.settings)
        self._unseen = Unseen(self._left.keep)
        self._company = Company(db, feishu, self._left, clock)
        self._numbers, self._own_push = RowNumbers(db, feishu, clock), OwnPush()
        self.which = WhichDocument(db, feishu, clock)
        #: numbers and results are written one after the other
        self._turn = threading.Lock()
        self._keep_alone: Callable[[], None] = lambda: None
        #: Feishu wants to be left alone until then
        self._asked_until = 0.0
        #: workflow → why Feishu takes nothing into its column, by the first refusal of this flush
        self._barred: dict[str | None, FeishuError] = {}

    @property
    def last_error(self) -> str | None:
        return self.last_problem.en if self.last_problem else None

    @property
    def document(self) -> str | None:
        """Where it writes to; results of rows of another one are left alone."""
        return self._feishu.settings.document

    def due(self) -> list[TaskRecord]:
        """The first of the outbox that may be tried now; nothing while the server asks to be left alone."""
        return self._due(frozenset())

    def _due(self, leave: frozenset[str]) -> list[TaskRecord]:
        now, left_alone, ours = self._clock(), False, (self._db.table.table_id, self.document)

        def due() -> Iterator[TaskRecord]:
            nonlocal left_alone
            for task in self._outbox():
                left_alone = left_alone or in_future(task.outbox.wait_until, now)
                due_now = task.task_id not in leave and not in_future(task.outbox.next_try_at, now)
                if due_now and may_deliver(task, *ours):
                    yield task

        # What was itself refused goes last: it must not hold up the others each time.
        first = heapq.nsmallest(TASKS_AT_ONCE, due(), key=lambda task: task.outbox.refused)
        return [] if left_alone else first

    def _outbox(self) -> Iterator[TaskRecord]:
        """What has to reach the sheet, oldest first; one record in memory at a time."""
        for entry in reversed(self._db.index.entries()):
            if entry.stage.final and entry.feishu_state is FeishuState.PENDING:
                task = self._db.table.look(entry.task_id)
                if task is not None and task.stage.final and task.feishu_state is FeishuState.PENDING:
                    yield task

    def waits_for_company(self, leave: frozenset[str] = frozenset(), *, unless_set: int) -> float:
        """Seconds that what is due, apart from the tasks in `leave`, may wait for company, `unless_set` otherwise."""
        return self._company.seconds(partial(self._due, leave), unless_set)

    def unblock(self) -> None:
        """Give what is blocked another try: at each start, because somebody may have mended the sheet or a setting. Not
        what has spoiled another row: that would be forgotten."""
        try:
            for task in self._db.table.active():
                if task.feishu_state is FeishuState.BLOCKED and not task.outbox.spoiled:
                    self._db.try_again(task.task_id)
        except OSError as error:  # a full disk: main.py goes on all the same
            self.last_problem = table_trouble(error)
            log.error("[wfrecovery] %s", self.last_problem)

    def flush(self, leave: frozenset[str] = frozenset()) -> FlushReport:
        """Push what is due, apart from the tasks in `leave`, by so many at once as memory and one reading are for.

        Raises nothing for the sake of Feishu or of the table: what could not be pushed says why, and waits.
        """
        report = FlushReport()
        self._barred = {}
        tasks: list[TaskRecord] = []
        problem = self.last_problem
        try:
            while self._feishu.configured:
                self.which.learn()
                seen = {*leave, *report.pushed, *report.blocked, *report.waiting}
                before, tasks = len(report.pushed), self._due(frozenset(seen))
                if self._left.is_due() or tasks:
                    with self._turn, publishing_alone(self._db, self._feishu.settings) as self._keep_alone:
                        self._flush(tasks, report)
                        self._tell_astray(report)
                if len(tasks) < TASKS_AT_ONCE or len(report.pushed) == before:
                    break
        except Timeout:
            report.busy = True
        except (OSError, TaskError) as error:  # a full disk, a table that is locked for long: nothing can be noted
            self._reader = None
            self.last_problem = table_trouble(error)
            if self.last_problem != problem:
                log.error("[wfrecovery] %s", self.last_problem)
            told = {*report.pushed, *report.blocked}
            report.waiting.update((task.task_id, str(self.last_problem)) for task in tasks if task.task_id not in told)
        return report

    def number(self) -> bool:
        """Write the numbers of tasks that were entered into their rows; True where some are to be tried again. Raises
        nothing: a row without a number is found by all else."""
        reader, tasks = self._reader, list[TaskRecord]()
        without = not self._feishu.configured or (reader is not None and not self._numbers.has_column(reader))
        if not self._feishu.configured or self._clock() < self._asked_until:
            return not without
        try:
            self.which.learn()
            self.which.name_sheet()
            if without:
                return False
            tasks = self._numbers.wanted(self._db.table.table_id, self.document)
            if tasks:
                with self._turn, publishing_alone(self._db, self._feishu.settings) as self._keep_alone:
                    reader, tasks = self._reading(tasks)
                    self._numbers.write(tasks, reader)
                    self._tell_astray(FlushReport())
        except Timeout:
            return True
        except (FeishuError, SheetLayoutError) as error:
            self._numbers.put_off(tasks, error)
        except (OSError, TaskError) as error:
            log.warning("[wfrecovery] task numbers are not written: %s", error)
        return self._numbers.again

    def _flush(self, tasks: Sequence[TaskRecord], report: FlushReport) -> None:
        # Looked at again under the publisher's lock: another process may have pushed some meanwhile.
        ready = [task for task in map(self._current, tasks) if task is not None]
        try:
            reader, ready = self._reading(ready, report)
        except (FeishuError, SheetLayoutError) as error:
            self._put_all_off([task for task in tasks if task.task_id not in report.blocked], error, report)
            return
        links = video_links(self._feishu, self._db)
        delivery = Delivery(
            self._feishu, self._db, reader, links, began=self._began, clock=self._clock, own_push=self._own_push
        )
        self.last_problem = None
        kept = rest = self._without_older(ready, reader, delivery, report)
        while rest:
            part, rest = rest[:TASKS_PER_WRITE], rest[TASKS_PER_WRITE:]
            delivered, stop = self._deliver(part, delivery, report)
            failures = delivery.write_statuses(delivered)
            for task in delivered:
                if task.task_id in failures:
                    self._put_off(task, failures[task.task_id], report)
                    _tell(task, failures[task.task_id])
                elif task.task_id not in self._unseen.to_tell:
                    self._store(task, partial(pushed, by=delivery.found.get(task.task_id)))
                    report.pushed.append(task.task_id)
            stop = stop or next(filter(leave_alone, failures.values()), None)
            if stop is not None:
                self._leave_untried(rest, stop, report)
                break
        # What held the others back may be in the sheet by now.
        told = {*report.blocked, *report.waiting, *(task.task_id for task in kept)}
        held_back = [task for task in ready if task.task_id not in told and self._current(task) is not None]
        self._without_older(held_back, reader, delivery, report)

    def _reading(
        self, tasks: Sequence[TaskRecord], report: FlushReport | None = None
    ) -> tuple[SheetReader, list[TaskRecord]]:
        """The sheet, by the reading that we have where that will do, and those of the tasks whose row stands in it; a
        flush (`report`) tells the others so. Raises FeishuError, SheetLayoutError, OSError and TaskError."""
        reader, self._reader = self._reader, None  # with an error on the way it is read anew the next time
        if reader is not None and any(self.which.not_here(task, reader.sheet.sheet_id) for task in tasks):
            reader = None  # the title may be another sheet's by now
        reader = reader or SheetReader(self._feishu, self._db.index.find, self._unseen, self._db.index.entries)
        self._keep_alone()
        self.which.note()
        here, elsewhere = self.which.sorted_out(tasks, reader.sheet.sheet_id)
        for task, why in elsewhere if report is not None else ():
            self._put_off(task, why, report or FlushReport())
            _tell(task, why)
        kept = self._left.of(reader.sheet.sheet_id, self._db.table.look)
        if kept is not None:
            self._unseen.recall(kept)
        reader.begin(here)
        CellWriting(self._feishu, reader).settle()
        self._reader = reader
        return reader, here

    def _current(self, task: TaskRecord) -> TaskRecord | None:
        with contextlib.suppress(TaskError):  # gone or damaged meanwhile
            record = self._db.table.get(task.task_id)
            ours = may_deliver(record, self._db.table.table_id, self.document)
            return record if ours and record.feishu_state is FeishuState.PENDING and record.stage.final else None
        return None

    def _deliver(
        self, tasks: Sequence[TaskRecord], delivery: Delivery, report: FlushReport
    ) -> tuple[list[TaskRecord], Exception | None]:
        """The tasks of which only the status is still missing, and why to stop there. One row's failure leaves the
        others alone; when the server asks for time, or everything fails, the rest waits without being counted as
        tried."""
        delivered: list[TaskRecord] = []
        in_a_row = 0
        for position, task in enumerate(tasks):
            if task.workflow_type in self._barred and task.status is not WorkflowStatus.FAILED:
                self._put_off(task, self._barred[task.workflow_type], report)
                continue
            try:
                delivery.deliver(task)
            except OSError:  # not this task's: the table cannot be written
                raise
            except Exception as error:
                self._put_off(task, error, report, refused=True)
                _tell(task, error)
                if isinstance(error, FeishuError) and error.concerns_column:  # each upload would be refused
                    self._barred[task.workflow_type] = error
                in_a_row = 0 if needs_person(error) else in_a_row + 1
                if in_a_row == _FAILURES_IN_A_ROW or leave_alone(error):
                    untried = tasks[position + 1 :]
                    if isinstance(error, FeishuError) and error.slow:  # it may be at work on the sheet: no more writes
                        untried, delivered = [*delivered, *untried], []
                    self._leave_untried(untried, error, report)
                    return delivered, error
            else:
                delivered.append(task)
                in_a_row = 0
        return delivered, None

    def _leave_untried(self, tasks: Sequence[TaskRecord], error: Exception, report: FlushReport) -> None:
        """What a person has to mend for all of them blocks them; otherwise they wait, not counted as tried."""
        if isinstance(error, FeishuError) and error.concerns_all:
            self._put_all_off(tasks, error, report)
        else:
            report.waiting.update((task.task_id, str(error)) for task in tasks)

    # ------------------------------------------------------------------ several results of one row

    def _without_older(
        self, tasks: Sequence[TaskRecord], reader: SheetReader, delivery: Delivery, report: FlushReport
    ) -> list[TaskRecord]:
        """`tasks` without those that a newer result of their row has made useless, or is about to: statuses and
        pictures never go back to an older one. A picture of theirs that is in another row leaves that."""
        newer = newer_results(self._db, tasks, reader, self.document)
        kept = []
        for task in tasks:
            by = newer.get(task.task_id)
            if by is None:
                kept.append(task)
            elif by.feishu_state is FeishuState.PUSHED:
                try:
                    delivery.withdraw(task)
                except (FeishuError, SheetLayoutError, RowNotFoundError, ResultGoneError) as error:
                    self._put_off(task, error, report)
                    _tell(task, error)
                    continue
                log.info("[wfrecovery] %s is not pushed: %s is a newer result of its row", task.task_id, by.task_id)
                self._store(task, partial(superseded, by=by.task_id))
        return kept

    # ------------------------------------------------------------------ what failed

    def _tell_astray(self, report: FlushReport) -> None:
        """What went into another row, and cannot be put right, is for a person, also where the result is in its own by
        now; of a task that is rendered once more, when that has ended. Who has decided about it is not asked again."""
        told = []
        for task_id, cells in self._unseen.to_tell.items():
            task = self._db.table.look(task_id)
            if task is not None and not task.stage.final:
                continue
            told.append(task_id)
            if task is not None and task.feishu_state is not FeishuState.OFF:
                besides = task.outbox.reason if task.feishu_state is FeishuState.BLOCKED else None
                self._put_off(task, spoiled(task_id, cells, besides), report, spoiled=True)
        self._unseen.are_told(told)

    def _put_all_off(self, tasks: Sequence[TaskRecord], error: Exception, report: FlushReport) -> None:
        """What went wrong concerns them all: they wait for the same moment, or for a person."""
        unit = CHANCE.random()
        for task in tasks:
            self._put_off(task, error, report, unit=unit)
        if tasks:
            log.warning("[wfrecovery] %d results not pushed: %s", len(tasks), error)

    def _put_off(
        self,
        task: TaskRecord,
        error: Exception,
        report: FlushReport,
        *,
        refused: bool = False,
        unit: float | None = None,
        spoiled: bool = False,
    ) -> None:
        """Note why it did not go, and when to try again; what needs a person is blocked. `spoiled`: see `Outbox`."""
        self.last_problem = reason = reason_of(error)
        attempts = task.outbox.attempts + 1
        change: dict[str, Any] = {"attempts": attempts, "last_error": reason.en, "last_error_zh": reason.zh}
        if needs_person(error):
            change.update(state=FeishuState.BLOCKED, spoiled=spoiled, asked_at=None)
            report.blocked[task.task_id] = reason.en
        else:
            server_wait = error.wait if isinstance(error, FeishuError) else None
            wait = backoff(attempts, server_wait, CHANCE.random() if unit is None else unit)
            change["next_try_at"] = self._later(wait)
            if server_wait:
                self._asked_until = self._clock() + min(server_wait, LONGEST_SERVER_WAIT)
                change["wait_until"] = self._later(min(server_wait, LONGEST_SERVER_WAIT))
            if refused:
                change["refused"] = task.outbox.refused + 1
            report.waiting[task.task_id] = reason.en
        self._store(task, lambda record: record.with_outbox(**change))

    def _later(self, seconds: float) -> str:
        return now_text(datetime.fromtimestamp(self._clock() + seconds, timezone.utc))

    def _store(self, task: TaskRecord, change: Callable[[TaskRecord], TaskRecord]) -> None:
        """Note how it went with the result that `task` had; a newer one is still to come."""
        try:
            record = self._db.table.update(task.task_id, lambda now: change(now) if now.has_result_of(task) else now)
        except OSError:
            raise
        except TaskError as error:  # gone or damaged meanwhile: there is nothing to note it in
            log.warning("[wfrecovery] %s: how it went cannot be noted: %s", task.task_id, error)
            return
        if self._on_change is not None:
            self._on_change(record)


def _tell(task: TaskRecord, error: Exception) -> None:
    log.warning("[wfrecovery] %s (row %s) not pushed: %s", task.task_id, task.row_number, error)
