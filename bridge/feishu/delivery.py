"""One flush: results into the rows they were made for, by one reading of the sheet that every answer confirms.

Feishu knows no conditional write. But each change of a spreadsheet raises its revision by one, and each write's answer
carries the new one: as long as that is the revision of our reading plus one, nobody has changed the sheet meanwhile,
and the reading holds for the next row as well. Where it is not, the sheet is read again, and it is looked for where
the write went. That `revision` counts so is documented nowhere: where it does not, each picture costs a reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..results.output_files import why_not_whole
from ..table.manager import DatabaseManager
from ..table.records import TaskError, TaskRecord, WorkflowStatus, WorkflowType
from ..table.rows import cell_text
from ..wording import Wording
from .cell_pictures import LARGEST_PICTURE, picture_for_cell
from .client import RANGES_PER_WRITE, FeishuClient
from .errors import FeishuError, Remedy
from .sheet import RowNotFoundError, SheetLayoutError, SheetTable

log = logging.getLogger("wfrecovery")

#: The statuses of so many tasks fit into one call: a task has two cells at most.
TASKS_PER_WRITE: Final = RANGES_PER_WRITE // 2
#: A reading that no answer has confirmed for so many seconds is looked at again before it is written by.
_TRUSTED_SECONDS: Final = 1.0
#: How often statuses are written anew when rows keep moving under them.
_STATUS_ROUNDS: Final = 3
#: How often what other rows lost is written back when rows keep moving under that as well.
_REPAIR_ROUNDS: Final = 10
#: A picture that Feishu calls too large is halved so often.
_HALVINGS: Final = 5
_SMALLEST_PICTURE: Final = 16 * 1024

#: What a status cell may say for us to write into it; anything else a person has written on purpose.
_OURS: Final = frozenset({"", "否", "处理中", "在处理中", "失败", "已完成"})

#: Name and bytes of a picture.
Picture = tuple[str, bytes]
#: Brings a task's video (the path) to where a link can show it, and returns the link's address.
VideoLink = Callable[[TaskRecord, Path], str]
#: Address of a cell → the task and column it is for, and the value.
Cells = Mapping[str, tuple[TaskRecord, str, Any]]


@dataclass(frozen=True)
class _Sent:
    """What is noted in the record before a picture leaves, to find it again when no answer comes."""

    cell: str
    #: the picture that the task's row showed before
    before: str | None
    sha256: str

    @property
    def row(self) -> int:
        return _row_number(self.cell)


@dataclass(frozen=True)
class _Reading:
    """The sheet as it was read, with what was written since and confirmed."""

    sheet: SheetTable
    #: the spreadsheet's, where the answers tell
    revision: int | None
    #: row number → the task whose picture stands there now
    sent: Mapping[int, TaskRecord]


@dataclass(frozen=True)
class _Place:
    """A row that no task of this flush is for, as it is found again when rows move."""

    key: tuple[str, ...]
    row: int


class Delivery:
    """The sheet as one flush knows it. Not for several threads; the caller holds the publisher's locks."""

    def __init__(self, feishu: FeishuClient, db: DatabaseManager, video_link: VideoLink | None = None) -> None:
        """Reads the sheet; raises FeishuError and SheetLayoutError."""
        self._feishu, self._db, self._video_link = feishu, db, video_link
        self._links: dict[str, str] = {}
        self._read()

    # ------------------------------------------------------------------ one task

    def deliver(self, task: TaskRecord) -> None:
        """Bring the task's picture into its cell, or its video to where it is linked; the status comes last, by
        `write_statuses`. Raises FeishuError, SheetLayoutError, RowNotFoundError."""
        if self._says_nothing(task):
            return
        self.sheet.address(self.sheet.row_of(task), _status_field(task))
        if task.status is WorkflowStatus.FAILED:
            return
        self._check_files(task)
        if task.workflow_type == WorkflowType.IMAGE_COMPOSITION.value:
            self._put_picture(task)
        elif self._video_link is not None:
            self.sheet.place("video_link")
            self._links[task.task_id] = self._video_link(task, self._file(task))

    def _says_nothing(self, task: TaskRecord) -> bool:
        """A failed row of which the sheet is to hear nothing needs no row."""
        return task.status is WorkflowStatus.FAILED and not self._feishu.settings.write_failed

    def _check_files(self, task: TaskRecord) -> None:
        if not task.output_files:
            raise FeishuError(
                Wording("the task has no result file → render the row again", "任务没有结果文件 → 请重新生成该行"),
                remedy=Remedy.FINAL,
            )
        for name in task.output_files:
            reason = why_not_whole(self._db.output_dir / name)
            if reason:
                raise FeishuError(
                    Wording(
                        f"the result {name} cannot be sent: {reason} → put the file back, or render the row again",
                        f"结果文件 {name} 不存在或不完整，无法发送（{reason}）→ 请放回文件，或重新生成该行",
                    ),
                    remedy=Remedy.FINAL,
                )

    def _file(self, task: TaskRecord) -> Path:
        return self._db.output_dir / task.output_files[0]

    # ------------------------------------------------------------------ the reading

    @property
    def sheet(self) -> SheetTable:
        """The sheet by the newest reading."""
        return self._reading.sheet

    def _read(self) -> None:
        started, self._confirmed_at = time.monotonic(), -math.inf  # without an answer nothing is written by the old one
        sheet = self._feishu.read_sheet()
        self._reading, self._confirmed_at = _Reading(sheet, sheet.revision, {}), started

    def _confirm(self, revision: int | None) -> bool:
        """Whether a write's answer shows that nobody else changed the sheet since the reading."""
        if revision is None or self._reading.revision is None or revision != self._reading.revision + 1:
            return False
        self._reading = replace(self._reading, revision=revision)
        self._confirmed_at = time.monotonic()
        return True

    def _look_again(self) -> None:
        """Make sure that the reading still holds: converting a picture or uploading a video takes its time."""
        if time.monotonic() - self._confirmed_at <= _TRUSTED_SECONDS:
            return
        revision = self._feishu.revision(f"{self.sheet.sheet_id}!A1:A1")
        if revision is not None and revision == self._reading.revision:
            self._confirmed_at = time.monotonic()
        else:
            self._read()

    # ------------------------------------------------------------------ pictures

    def _put_picture(self, task: TaskRecord) -> None:
        noted = task.feishu.get("writing")
        if isinstance(noted, Mapping) and self._arrived(task, _sent_from(noted), None):
            return
        path, limit = self._file(task), LARGEST_PICTURE
        for halving in range(_HALVINGS + 1):
            name, content = picture_for_cell(path, limit)
            try:
                self._send_picture(task, name, content)
            except FeishuError as error:
                limit = min(limit, len(content)) // 2
                if error.remedy is not Remedy.SPLIT or halving == _HALVINGS or limit < _SMALLEST_PICTURE:
                    raise
                log.info("[wfrecovery] %s: %s is too large for Feishu, trying a smaller copy", task.task_id, path.name)
            else:
                return

    def _send_picture(self, task: TaskRecord, name: str, content: bytes) -> None:
        self._look_again()
        row = self.sheet.row_of(task)
        address, shown = self.sheet.address(row, "composite_image"), self.sheet.picture(row)
        sent = _Sent(address, shown, hashlib.sha256(content).hexdigest())
        self._db.table.update(task.task_id, lambda record: record.with_feishu(writing=vars(sent)))
        earlier = self._reading
        try:
            if self._confirm(self._feishu.write_picture(address, name, content)):
                self._reading = replace(self._reading, sent={**self._reading.sent, row: task})
                return
        except FeishuError as error:
            if not error.outcome_unknown or error.slow:  # slow: it may arrive yet, the next flush looks
                raise
            self._read()
            if not self._arrived(task, sent, earlier):
                raise
        else:
            self._read()
            if not self._arrived(task, sent, earlier):
                raise FeishuError(
                    Wording(
                        "rows moved while the picture was on its way; it is sent again",
                        "发送图片时有人移动了行；会重新发送",
                    )
                )

    def _arrived(self, task: TaskRecord, sent: _Sent, earlier: _Reading | None) -> bool:
        """Whether a picture that was sent stands in its row, by the current reading; one that went astray is taken
        back. `earlier` is the reading by which it was sent, None after a restart."""
        try:
            row = self.sheet.row_of(task)
        except RowNotFoundError:
            self._take_back(sent, earlier)
            raise
        shown = self.sheet.picture(row)
        if shown is not None and shown != sent.before:
            return True
        if row != sent.row:
            self._take_back(sent, earlier)
        return False

    def _take_back(self, sent: _Sent, earlier: _Reading | None) -> None:
        """Give another row its own picture back, where ours went into it because rows moved in that very moment."""
        shown = self.sheet.picture(sent.row) if sent.row in self.sheet.row_numbers() else None
        if (
            shown is None
            or shown == sent.before
            or hashlib.sha256(self._feishu.media(shown)).hexdigest() != sent.sha256
        ):
            return
        there = self.sheet.same_rows(earlier.sheet, sent.row) if earlier else ()
        if not earlier or len(there) != 1:
            here = " · ".join(filter(None, self.sheet.key(sent.row)[:2]))
            raise RowNotFoundError(
                Wording(
                    f"rows moved while the picture was on its way, and it stands in row {sent.row} ({here}) now: "
                    "take it out there, then push again",
                    f"发送图片时有人移动了行，图片现在在第 {sent.row} 行（{here}）：请在那里删掉它，再重新推送",
                )
            )
        self._give_back(sent.row, self._own_picture(earlier, there[0]))

    def _own_picture(self, earlier: _Reading, row: int) -> Picture | None:
        """What a row showed by an earlier reading."""
        if row in earlier.sent:
            return picture_for_cell(self._file(earlier.sent[row]))
        token = earlier.sheet.picture(row)
        return ("picture.png", self._feishu.media(token)) if token else None

    def _give_back(self, row: int, own: Picture | None) -> None:
        """Write a row's own picture into it again. Rows may move under that too: it is looked for where it went, until
        all have their own."""
        waiting = [(self._place(row), own)]
        strangers: list[_Place] = []
        try:
            for _ in range(_REPAIR_ROUNDS):
                place, own = waiting[-1]
                number, earlier = self._row_of(place), self._reading
                if number is None:
                    break
                log.warning("[wfrecovery] rows moved under a write: row %d gets its own picture back", number)
                self._write_own(self.sheet.address(number, "composite_image"), own)
                self._read()
                now, there = self._row_of(place), self.sheet.same_rows(earlier.sheet, number)
                if now and self.sheet.picture(now) != earlier.sheet.picture(number):
                    waiting.pop()
                elif len(there) != 1:  # a row that no reading has seen has it now
                    strangers.append(self._place(number))
                elif self.sheet.picture(number) != earlier.sheet.picture(there[0]):
                    waiting.append((self._place(number), self._own_picture(earlier, there[0])))
                if not waiting:
                    break
        except FeishuError as error:
            raise _to_check([*strangers, *(place for place, _ in waiting)]) from error
        if waiting or strangers:
            raise _to_check([*strangers, *(place for place, _ in waiting)])

    def _write_own(self, cell: str, own: Picture | None) -> None:
        try:
            if own:
                self._feishu.write_picture(cell, *own)
            else:
                self._feishu.write_cells({cell: ""})
        except FeishuError as error:  # where nobody knows, reading tells
            if not error.outcome_unknown or error.slow:
                raise

    def _place(self, row: int) -> _Place:
        return _Place(self.sheet.key(row), row)

    def _row_of(self, owner: TaskRecord | _Place) -> int | None:
        """Its row by the newest reading; None where that cannot be told."""
        if isinstance(owner, _Place):
            return self.sheet.row_with(owner.key, owner.row)
        with contextlib.suppress(RowNotFoundError):
            return self.sheet.row_of(owner)
        return None

    # ------------------------------------------------------------------ statuses and links

    def write_statuses(self, tasks: Sequence[TaskRecord]) -> dict[str, Exception]:
        """Write the status (and link) cells of delivered tasks, of TASKS_PER_WRITE at most, in one call.

        Returns why those failed that did, by task id; the others are in the sheet, or were left to whoever wrote
        something else there.
        """
        failures: dict[str, Exception] = {}
        open_tasks: Iterable[TaskRecord] = tasks
        stopped: Exception
        try:
            self._look_again()
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
            failures.update(self.write_statuses([task]))
            error = failures.get(task.task_id)
            if isinstance(error, FeishuError) and error.leave_alone:
                failures.update((later.task_id, error) for later in tasks[position + 1 :])
                break
        return failures

    def _write_cells(self, cells: Cells) -> bool:
        """True when they stand where they should; else the sheet was read again and what went astray put right."""
        earlier = self._reading
        try:
            revisions = self._feishu.write_cells({address: value for address, (_, _, value) in cells.items()})
        except FeishuError as error:
            if not error.outcome_unknown or error.slow:  # slow: it may arrive yet, the next flush looks
                raise
            self._read()
            self._restore(cells, earlier)
            if any(not self._stands(task, field, value) for task, field, value in cells.values()):
                raise
            return True
        if all(map(self._confirm, revisions)):
            written = {(_row_number(address), field): value for address, (_, field, value) in cells.items()}
            self._reading = replace(self._reading, sheet=self.sheet.with_values(written))
            return True
        self._read()
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
            if self._says_nothing(task):
                continue
            try:
                row, field = self.sheet.row_of(task), _status_field(task)
                value = self._status(self._db.table.get(task.task_id), row)
                if value is not None:
                    cells[self.sheet.address(row, field)] = (task, field, value)
                link = self._links.get(task.task_id)
                if link and not self._stands(task, "video_link", _link(task, link)):
                    cells[self.sheet.address(row, "video_link")] = (task, "video_link", _link(task, link))
            except (SheetLayoutError, RowNotFoundError, TaskError) as error:
                failures[task.task_id] = error
        return cells, failures

    def _status(self, task: TaskRecord, row: int) -> str | None:
        """The status to write, None where the cell is to be left as it is."""
        shown, wanted = self.sheet.text(row, _status_field(task)), task.status.value
        if shown == wanted or shown not in _OURS:
            return None
        noted = task.feishu.get("status_before")
        if noted is not None and shown != noted:  # written before, and changed by somebody since
            return None
        if task.status is WorkflowStatus.FAILED:
            return None if shown == WorkflowStatus.COMPLETED.value else wanted
        return wanted

    def _note_statuses(self, cells: Cells) -> None:
        """Note what each status cell shows before it is written: a person's edit after that is theirs to keep."""
        for task, field, _ in cells.values():
            if field != "video_link" and self._db.table.get(task.task_id).feishu.get("status_before") is None:
                shown = self.sheet.text(self.sheet.row_of(task), field)
                self._db.table.update(task.task_id, partial(TaskRecord.with_feishu, status_before=shown))

    def _stands(self, owner: TaskRecord | _Place, field: str, value: Any) -> bool:
        row = self._row_of(owner)
        return row is not None and self.sheet.text(row, field) == cell_text(value)

    def _restore(self, cells: Cells, earlier: _Reading) -> None:
        """Give other rows their own texts back, where ours went into them because rows moved in that very moment; and
        again, where rows moved under that as well."""
        written: Mapping[str, tuple[TaskRecord | _Place, str, Any]] = cells
        own: dict[tuple[_Place, str], str] = {}
        for _ in range(_REPAIR_ROUNDS):
            lost = self._displaced(written, earlier)
            known = {(place.key, field) for place, field in own}
            own.update({where: text for where, text in lost.items() if (where[0].key, where[1]) not in known})
            written = {
                self.sheet.address(row, field): (place, field, text)
                for (place, field), text in own.items()
                if (row := self._row_of(place)) and not self._stands(place, field, text)
            }
            if not written:
                return
            log.warning("[wfrecovery] rows moved under a write: %s get their own texts back", ", ".join(written))
            earlier = self._reading
            self._feishu.write_cells({address: text for address, (_, _, text) in written.items()})
            self._read()
        log.error("[wfrecovery] rows keep moving under the writes: please check %s", ", ".join(written))

    def _displaced(
        self, written: Mapping[str, tuple[TaskRecord | _Place, str, Any]], earlier: _Reading
    ) -> dict[tuple[_Place, str], str]:
        """The rows that got what is another's, with their own text by the reading before."""
        found = {}
        for address, (owner, field, value) in written.items():
            number = _row_number(address)
            shown = self.sheet.text(number, field)
            if shown != cell_text(value) or number not in self.sheet.row_numbers() or self._row_of(owner) == number:
                continue
            own = {cell_text(earlier.sheet.cell(row, field)) for row in self.sheet.same_rows(earlier.sheet, number)}
            if shown in own:
                continue
            if len(own) != 1:  # a row that no reading has seen is not done: rather nothing than a false word
                log.warning("[wfrecovery] rows moved under a write: please check cell %s", address)
            found[self._place(number), field] = own.pop() if len(own) == 1 else ""
        return found


def _to_check(places: Iterable[_Place]) -> RowNotFoundError:
    rows = ", ".join(" · ".join(filter(None, place.key[:2])) or str(place.row) for place in places)
    return RowNotFoundError(
        Wording(
            f"rows kept moving while pictures were written: check the pictures of {rows}, then push these again, too",
            f"写图片时一直有人移动行：请检查这些行的图片：{rows}，并把它们也重新推送",
        )
    )


def _sent_from(noted: Mapping[str, Any]) -> _Sent:
    """What a record notes; one of an earlier version lacks the hash."""
    cell, before = str(noted.get("cell") or ""), noted.get("before")
    return _Sent(cell, None if before is None else str(before), str(noted.get("sha256") or ""))


def _row_number(address: str) -> int:
    """The row of a cell's address, 0 where it names none."""
    digits = address.rpartition(":")[2].lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return int(digits) if digits.isdecimal() else 0


def _status_field(task: TaskRecord) -> str:
    return "video_status" if task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value else "image_status"


def _link(task: TaskRecord, address: str) -> dict[str, str]:
    """A cell with a link (Feishu: writing values, types)."""
    return {"type": "url", "text": Path(task.output_files[0]).name, "link": address}
