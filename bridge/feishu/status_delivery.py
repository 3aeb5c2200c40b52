"""The status (and link) cells of a flush, in as few calls as fit; and back, where rows moved in that very moment."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..table.manager import DatabaseManager
from ..table.records import TaskError, TaskRecord, WorkflowStatus, WorkflowType
from ..table.rows import cell_text
from ..wording import Wording
from .client import RANGES_PER_WRITE, FeishuClient
from .errors import FeishuError
from .reading import Place, Reading, SheetReader, row_number_of
from .sheet import RowNotFoundError, SheetLayoutError

log = logging.getLogger("wfrecovery")

#: The statuses of so many tasks fit into one call: a task has two cells at most.
TASKS_PER_WRITE: Final = RANGES_PER_WRITE // 2
#: How often statuses are written anew when rows keep moving under them.
_STATUS_ROUNDS: Final = 3
#: How often what other rows lost is written back when rows keep moving under that as well.
_REPAIR_ROUNDS: Final = 10

#: What a status cell may say for us to write into it; anything else a person has written on purpose.
_OURS: Final = frozenset({"", "否", "处理中", "在处理中", "失败", "已完成"})

#: Address of a cell → the task and column it is for, and the value.
Cells = Mapping[str, tuple[TaskRecord, str, Any]]


class StatusDelivery:
    """Writes the statuses of one flush. `links`: task id → address of its video."""

    def __init__(
        self, feishu: FeishuClient, db: DatabaseManager, reader: SheetReader, links: Mapping[str, str]
    ) -> None:
        self._feishu, self._db, self._reader, self._links = feishu, db, reader, links

    def write(self, tasks: Sequence[TaskRecord]) -> dict[str, Exception]:
        """Write the status (and link) cells of delivered tasks, of TASKS_PER_WRITE at most, in one call.

        Returns why those failed that did, by task id; the others are in the sheet, or were left to whoever wrote
        something else there.
        """
        failures: dict[str, Exception] = {}
        open_tasks: Iterable[TaskRecord] = tasks
        stopped: Exception
        try:
            self._reader.look_again()
            for _ in range(_STATUS_ROUNDS):
                cells, failures = self._cells(tasks)
                open_tasks = {task.task_id: task for task, _, _ in cells.values()}.values()
                if not cells:
                    return failures
                self._note_statuses(cells)
                if self._write_cells(cells):
                    return failures
            stopped = FeishuError(Wording("rows keep moving while statuses are written", "写状态时一直有人在移动行"))
        except FeishuError as error:
            if len(tasks) > 1 and error.needs_person and not error.concerns_all:
                # one protected cell must not block them all
                return self._write_one_by_one(tasks)
            stopped = error
        except SheetLayoutError as error:  # somebody changed the header meanwhile
            stopped = error
        return {**failures, **{task.task_id: stopped for task in open_tasks}}

    def _write_one_by_one(self, tasks: Sequence[TaskRecord]) -> dict[str, Exception]:
        failures: dict[str, Exception] = {}
        for position, task in enumerate(tasks):
            failures.update(self.write([task]))
            error = failures.get(task.task_id)
            if isinstance(error, FeishuError) and error.leave_alone:
                failures.update((later.task_id, error) for later in tasks[position + 1 :])
                break
        return failures

    def _write_cells(self, cells: Cells) -> bool:
        """True when they stand where they should; else the sheet was read again and what went astray put right."""
        earlier = self._reader.current
        try:
            revisions = self._feishu.write_cells({address: value for address, (_, _, value) in cells.items()})
        except FeishuError as error:
            if not error.outcome_unknown or error.slow:  # slow: it may arrive yet, the next flush looks
                raise
            self._reader.read()
            self._restore(cells, earlier)
            if any(not self._reader.stands(task, field, value) for task, field, value in cells.values()):
                raise
            return True
        if all(map(self._reader.confirm, revisions)):
            written = {(row_number_of(address), field): value for address, (_, field, value) in cells.items()}
            self._reader.note_values(written)
            return True
        self._reader.read()
        self._restore(cells, earlier)
        return False

    def _cells(
        self, tasks: Sequence[TaskRecord]
    ) -> tuple[dict[str, tuple[TaskRecord, str, Any]], dict[str, Exception]]:
        """What is still to be written, by the newest reading, and whose row cannot be told; a success of a row
        outlasts its failures."""
        cells: dict[str, tuple[TaskRecord, str, Any]] = {}
        failures: dict[str, Exception] = {}
        for task in sorted(tasks, key=lambda task: task.status is not WorkflowStatus.FAILED):
            if says_nothing(task, self._feishu):
                continue
            try:
                row, field = self._reader.sheet.row_of(task), status_field(task)
                value = self._status(self._db.table.get(task.task_id), row)
                if value is not None:
                    cells[self._reader.sheet.address(row, field)] = (task, field, value)
                link = self._links.get(task.task_id)
                if link and not self._reader.stands(task, "video_link", _link(task, link)):
                    cells[self._reader.sheet.address(row, "video_link")] = (task, "video_link", _link(task, link))
            except (SheetLayoutError, RowNotFoundError, TaskError) as error:
                failures[task.task_id] = error
        return cells, failures

    def _status(self, task: TaskRecord, row: int) -> str | None:
        """The status to write, None where the cell is to be left as it is."""
        shown, wanted = self._reader.sheet.text(row, status_field(task)), task.status.value
        if shown == wanted or shown not in _OURS:
            return None
        noted = task.outbox.status_before
        if noted is not None and shown != noted:  # written before, and changed by somebody since
            return None
        if task.status is WorkflowStatus.FAILED:
            return None if shown == WorkflowStatus.COMPLETED.value else wanted
        return wanted

    def _note_statuses(self, cells: Cells) -> None:
        """Note what each status cell shows before it is written: a person's edit after that is theirs to keep."""
        for task, field, _ in cells.values():
            if field != "video_link" and self._db.table.get(task.task_id).outbox.status_before is None:
                shown = self._reader.sheet.text(self._reader.sheet.row_of(task), field)
                self._db.table.update(task.task_id, partial(TaskRecord.with_outbox, status_before=shown))

    def _restore(self, cells: Cells, earlier: Reading) -> None:
        """Give other rows their own texts back, where ours went into them because rows moved in that very moment; and
        again, where rows moved under that as well."""
        written: Mapping[str, tuple[TaskRecord | Place, str, Any]] = cells
        own: dict[tuple[Place, str], str] = {}
        for _ in range(_REPAIR_ROUNDS):
            lost = self._displaced(written, earlier)
            known = {(place.key, field) for place, field in own}
            own.update({where: text for where, text in lost.items() if (where[0].key, where[1]) not in known})
            written = {
                self._reader.sheet.address(row, field): (place, field, text)
                for (place, field), text in own.items()
                if (row := self._reader.row_of(place)) and not self._reader.stands(place, field, text)
            }
            if not written:
                return
            log.warning("[wfrecovery] rows moved under a write: %s get their own texts back", ", ".join(written))
            earlier = self._reader.current
            self._feishu.write_cells({address: text for address, (_, _, text) in written.items()})
            self._reader.read()
        log.error("[wfrecovery] rows keep moving under the writes: please check %s", ", ".join(written))

    def _displaced(
        self, written: Mapping[str, tuple[TaskRecord | Place, str, Any]], earlier: Reading
    ) -> dict[tuple[Place, str], str]:
        """The rows that got what is another's, with their own text by the reading before."""
        found = {}
        for address, (owner, field, value) in written.items():
            number = row_number_of(address)
            shown = self._reader.sheet.text(number, field)
            if (
                shown != cell_text(value)
                or number not in self._reader.sheet.row_numbers()
                or self._reader.row_of(owner) == number
            ):
                continue
            own = {
                cell_text(earlier.sheet.cell(row, field)) for row in self._reader.sheet.same_rows(earlier.sheet, number)
            }
            if shown in own:
                continue
            if len(own) != 1:  # a row that no reading has seen is not done: rather nothing than a false word
                log.warning("[wfrecovery] rows moved under a write: please check cell %s", address)
            found[self._reader.place(number), field] = own.pop() if len(own) == 1 else ""
        return found


def says_nothing(task: TaskRecord, feishu: FeishuClient) -> bool:
    """A failed row of which the sheet is to hear nothing needs no row."""
    return task.status is WorkflowStatus.FAILED and not feishu.settings.write_failed


def status_field(task: TaskRecord) -> str:
    """The column that says how far its workflow is."""
    return "video_status" if task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value else "image_status"


def _link(task: TaskRecord, address: str) -> dict[str, str]:
    """A cell with a link (Feishu: writing values, types)."""
    return {"type": "url", "text": Path(task.output_files[0]).name, "link": address}
