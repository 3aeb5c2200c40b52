"""The status (and link) cells of a flush, in as few calls as fit."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..table.changes import leaving
from ..table.manager import DatabaseManager
from ..table.records import TaskError, TaskRecord, WorkflowStatus
from ..wording import Wording
from .cell_writing import CellWriting
from .client import RANGES_PER_WRITE, FeishuClient
from .errors import FeishuError
from .finding import RowNotFoundError
from .reading import SheetReader
from .sheet import SheetLayoutError, column_of, row_number_of
from .shown import Shown, Whose
from .status_column import status_field
from .unseen import Cells

log = logging.getLogger("wfrecovery")

#: The statuses of so many tasks fit into one call: a task has two cells at most.
TASKS_PER_WRITE: Final = RANGES_PER_WRITE // 2
#: How often statuses are written anew when rows keep moving under them.
_STATUS_ROUNDS: Final = 3
#: So many rows whose column takes nothing mean that it is not the rows.
_REFUSED_IN_A_ROW: Final = 2

#: What was written so often and never showed is a person's to look after.
MOST_SENDS: Final = 4

#: What a status cell may say for us to write into it; anything else a person has written on purpose.
_OURS: Final = frozenset({"", "否", "处理中", "在处理中", "失败", "已完成"})


class StatusDelivery:
    """Writes the statuses of one flush. `links`: task id → address of its video."""

    def __init__(
        self, feishu: FeishuClient, db: DatabaseManager, reader: SheetReader, links: Mapping[str, str], shown: Shown
    ) -> None:
        self._feishu, self._db, self._reader, self._links, self._shown = feishu, db, reader, links, shown
        self._writing = CellWriting(feishu, reader)

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
            self._writing.settle()
            for _ in range(_STATUS_ROUNDS):
                cells, unknown = self._cells([task for task in tasks if not _waits(failures.get(task.task_id))])
                failures.update(unknown)
                open_tasks = {task.task_id: task for task, _, _ in cells.values()}.values()
                noted = self._noted(cells)
                if not noted:
                    return failures
                settled, problems = self._write_cells(noted)
                failures.update(problems)
                if settled:
                    return failures
            stopped = FeishuError(Wording("rows keep moving while statuses are written", "写状态时一直有人在移动行"))
        except FeishuError as error:
            if len(tasks) > 1 and error.needs_person and not error.concerns_all:
                # one protected cell must not block them all
                return self._write_one_by_one(tasks)
            stopped = error
        except SheetLayoutError as error:  # somebody changed the header meanwhile
            stopped = error
        return {**{task.task_id: stopped for task in open_tasks}, **failures}

    def _write_one_by_one(self, tasks: Sequence[TaskRecord]) -> dict[str, Exception]:
        failures: dict[str, Exception] = {}
        in_a_row = 0
        for position, task in enumerate(tasks):
            failures.update(self.write([task]))
            error = failures.get(task.task_id)
            in_a_row = in_a_row + 1 if isinstance(error, FeishuError) and error.concerns_column else 0
            if isinstance(error, FeishuError) and (error.leave_alone or in_a_row == _REFUSED_IN_A_ROW):
                failures.update((later.task_id, error) for later in tasks[position + 1 :])
                break
        return failures

    def _write_cells(self, cells: Cells) -> tuple[bool, dict[str, Exception]]:
        """As `CellWriting.write`; and what is to be looked for later, because it does not show."""
        settled = self._writing.write(cells)
        lost = {task_id: _picture_lost() for task_id in self._writing.lost}
        self._writing.lost.clear()
        return settled and not lost, {**({} if settled else self._unseen(cells)), **lost}

    def _unseen(self, cells: Cells) -> dict[str, Exception]:
        """What Feishu has taken and does not show, although its cell is where it was."""
        unseen: dict[str, Exception] = {}
        for address, (task, field, value) in cells.items():
            if self._is_at(task, field, address) and not self._reader.stands(task, field, value):
                sends = self._count_send(task)
                unseen[task.task_id] = _not_seen(address, sends)
        return unseen

    def _is_at(self, task: TaskRecord, field: str, address: str) -> bool:
        """Whether neither its row nor its column has moved since."""
        at_home = column_of(address) == self._reader.sheet.place(field)
        return at_home and self._reader.row_of(task) == row_number_of(address)

    def _count_send(self, task: TaskRecord) -> int:
        """How often its status has been written and not shown."""
        counted = self._db.table.update(
            task.task_id, lambda record: record.with_outbox(status_sends=record.outbox.status_sends + 1)
        )
        return counted.outbox.status_sends

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
                row, field = self._reader.row(task), status_field(task.workflow_type)
                self._reader.sheet.address(row, field)  # one that is not ours to write is refused in any case
                link = self._link_of(task, row)  # without it no row is done
                if link is not None:
                    cells[self._reader.sheet.address(row, "video_link")] = (task, "video_link", link)
                value = self._status(self._db.table.get(task.task_id), row)
                if value is not None:
                    cells[self._reader.sheet.address(row, field)] = (task, field, value)
            except (SheetLayoutError, RowNotFoundError, TaskError, FeishuError) as error:
                failures[task.task_id] = error
        return cells, failures

    def _link_of(self, task: TaskRecord, row: int) -> dict[str, str] | None:
        """The link to write. Raises RowNotFoundError where a person has put something else there."""
        address = self._links.get(task.task_id)
        if address is None or self._reader.stands(task, "video_link", _link(task, address)):
            return None
        if self._shown.link(self._db.table.get(task.task_id), row) is Whose.A_PERSONS:
            raise _linked(task, row)
        return _link(task, address)

    def _status(self, task: TaskRecord, row: int) -> str | None:
        """The status to write, None where the cell is to be left as it is."""
        shown, wanted = self._reader.sheet.text(row, status_field(task.workflow_type)), task.status.value
        if shown == wanted or shown not in _OURS:
            return None
        noted = task.outbox.status_before
        if noted is not None and shown != noted:  # written before, and changed by somebody since
            return None
        if task.status is WorkflowStatus.FAILED:
            return None if shown == WorkflowStatus.COMPLETED.value else wanted
        return wanted

    def _noted(self, cells: Cells) -> Cells:
        """The cells, with a note of which links leave, and of what each status cell shows before it is written: a
        person's edit after that is theirs to keep. Without those whose task has another result by now."""
        return {address: cell for address, cell in cells.items() if self._note(*cell)}

    def _note(self, task: TaskRecord, field: str, value: Any) -> bool:
        shown = self._reader.sheet.text(self._reader.row(task), field)

        def noted(now: TaskRecord) -> TaskRecord:
            if not now.has_result_of(task):
                return now
            if field == "video_link":
                return leaving(value["link"], now)
            return now if now.outbox.status_before is not None else now.with_outbox(status_before=shown)

        return self._db.table.update(task.task_id, noted).has_result_of(task)


def says_nothing(task: TaskRecord, feishu: FeishuClient) -> bool:
    """A failed row of which the sheet is to hear nothing needs no row."""
    return task.status is WorkflowStatus.FAILED and not feishu.settings.write_failed


def _link(task: TaskRecord, address: str) -> dict[str, str]:
    """A cell with a link (Feishu: writing values, types)."""
    return {"type": "url", "text": Path(task.output_files[0]).name, "link": address}


def _linked(task: TaskRecord, row: int) -> RowNotFoundError:
    return RowNotFoundError(
        Wording(
            f"row {row} has another link or text where that of {task.task_id} goes, and not from here: it is not "
            f"written over → decide: wfrecovery decide {task.task_id} write (or leave)",
            f"第 {row} 行的视频链接单元格里已有别的链接或文字，而且不是从这里写入的：不会用 {task.task_id} 的链接覆盖"
            f" → 请决定：wfrecovery decide {task.task_id} write（或 leave）",
        ),
        [row],
    )


def _waits(error: Exception | None) -> bool:
    """Whether it was written, and is to be looked for later."""
    return isinstance(error, FeishuError)


def _picture_lost() -> Exception:
    return FeishuError(
        Wording(
            "columns moved while its status was written, which went over its picture: that is sent again",
            "写入状态时有人移动了列，状态覆盖了它的图片：会重新发送图片",
        )
    )


def _not_seen(address: str, sends: int) -> Exception:
    cell = address.partition(":")[2]
    if sends < MOST_SENDS:
        return FeishuError(
            Wording(
                f"{cell} was written, and does not show it yet; it is looked at again",
                f"{cell} 已写入，但还没有显示；会再次查看",
            )
        )
    return RowNotFoundError(
        Wording(
            f"{cell} was written {sends} times, and does not show it → look at the sheet, then push again",
            f"{cell} 已写入 {sends} 次，仍未显示 → 请查看表格，再重新推送",
        ),
        [row_number_of(address)],
    )
