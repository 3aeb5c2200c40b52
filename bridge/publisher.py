"""From the outbox into the sheet: pictures and statuses, each into the row it was made for, once."""

from __future__ import annotations

import io
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from .database_manager import DatabaseManager
from .feishu_client import PICTURE_SUFFIXES, FeishuClient
from .feishu_errors import FeishuError, Remedy
from .output_files import why_not_whole
from .records import FeishuState, TaskRecord, WorkflowStatus, WorkflowType, now_text, parse_time
from .sheet import RowNotFoundError, SheetLayoutError, SheetTable, is_picture
from .workflow_database import FOLDER_NAME

log = logging.getLogger("wfrecovery")

#: Back-off: 2, 4, 8 … seconds, at most 5 minutes, each ±20 %.
_FIRST_WAIT, _LONGEST_WAIT, _JITTER = 2.0, 300.0, 0.2

#: What a status cell may say for us to write into it; anything else a person has written on purpose.
_OURS: Final = frozenset({"", "否", "处理中", "在处理中", "失败", "已完成"})


@dataclass
class FlushReport:
    """What one flush did, by task id; `waiting` maps to the reason."""

    pushed: list[str] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    #: another process is publishing
    busy: bool = False


def backoff(attempts: int, server_wait: float | None, random_unit: float) -> float:
    """Seconds until the next try after `attempts` failed ones; the server's own wait, up to 10 minutes, wins where it
    is longer."""
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(attempts - 1, 20))
    return max(wait * (1 + _JITTER * (2 * random_unit - 1)), min(server_wait or 0.0, 2 * _LONGEST_WAIT))


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
        self._lock = FileLock(db.output_dir / FOLDER_NAME / "publisher.lock", timeout=0)
        self.last_error: str | None = None

    def due(self) -> list[TaskRecord]:
        """The outbox without what waits for its next try."""
        now = self._clock()
        # A clock that was set back must not make an entry wait for ever.
        due = [task for task in self._db.unpushed() if not now < _next_try(task) <= now + 2 * _LONGEST_WAIT]
        # What was itself refused goes last: it must not hold up the others each time.
        return sorted(due, key=lambda task: int(task.feishu.get("refused", 0)))

    def unblock(self) -> None:
        """Give what is blocked another try: at each start, because somebody may have mended the sheet or a setting."""
        for task in self._db.table.active():
            if task.feishu_state is FeishuState.BLOCKED:
                self._db.push_again(task.task_id)

    def flush(self, leave: frozenset[str] = frozenset()) -> FlushReport:
        """Push what is due, apart from the tasks in `leave`.

        Never raises for Feishu's sake: what could not be pushed says why, and waits.
        """
        report = FlushReport()
        if not self._feishu.configured:
            return report
        tasks = [task for task in self.due() if task.task_id not in leave]
        if not tasks:
            return report
        try:
            with self._lock:
                self._flush(tasks, report)
        except Timeout:
            report.busy = True
        return report

    def _flush(self, tasks: list[TaskRecord], report: FlushReport) -> None:
        try:
            sheet = self._feishu.read_sheet()
        except (FeishuError, SheetLayoutError) as error:
            for task in tasks:
                self._put_off(task, error, report)
            return
        self.last_error = None
        # Read again under the publisher's lock: another process may have pushed some meanwhile.
        ready = [task for task in map(self._current, tasks) if task is not None]
        delivered: list[TaskRecord] = []
        for position, task in enumerate(ready):
            try:
                sheet = self._deliver(task, sheet, just_read=position == 0)
                delivered.append(task)
            except Exception as error:
                self._put_off(task, error, report, refused=True)
                if isinstance(error, FeishuError) and not _needs_person(error) and not error.outcome_unknown:
                    for later in ready[position + 1 :]:  # busy or limited: asking on would make it worse
                        self._put_off(later, error, report)
                    break
        self._write_statuses(self._statuses(delivered, sheet, report), report)

    def _current(self, task: TaskRecord) -> TaskRecord | None:
        record = self._db.table.get(task.task_id)
        return record if record.feishu_state is FeishuState.PENDING and record.stage.final else None

    def _deliver(self, task: TaskRecord, sheet: SheetTable, *, just_read: bool) -> SheetTable:
        """Put the task's picture into its cell; returns the sheet as it is now known.

        The row is looked at once more just before. Each write raises the sheet's revision by one; more than one means
        that somebody changed the sheet in that very moment, so it is checked where the picture went.
        """
        row = sheet.row_of(task)
        sheet.place(_status_field(task))
        if task.status is WorkflowStatus.FAILED:
            return sheet
        self._check_files(task)
        if task.workflow_type != WorkflowType.IMAGE_COMPOSITION.value:
            return sheet
        if not just_read:  # pictures take their time: rows may have moved since
            sheet = self._feishu.read_row_again(sheet, row)
            if not sheet.shows(task, row):
                sheet = self._feishu.read_sheet()
                row = sheet.row_of(task)
        if not self._needs_picture(task, sheet, row):
            return sheet
        revision = self._write_picture(task, sheet, row)
        if revision is not None and sheet.revision is not None and revision == sheet.revision + 1:
            return replace(sheet, revision=revision)
        now = self._feishu.read_sheet()
        if now.row_of(task) != row:
            raise RowNotFoundError(
                f"somebody moved rows while the picture was on its way: it may stand in row {row}, where "
                f"{now.text(row, 'product_name')!r} · {now.text(row, 'model_name')!r} is now; "
                f"the task's row is {now.row_of(task)}. Look at both, then push again"
            )
        return now

    def _statuses(
        self, tasks: list[TaskRecord], sheet: SheetTable, report: FlushReport
    ) -> list[tuple[TaskRecord, dict[str, str]]]:
        """The status cells to write, by the newest reading of the sheet; a success of a row outlasts its failures."""
        statuses = []
        for task in sorted(tasks, key=lambda task: task.status is not WorkflowStatus.FAILED):
            try:
                statuses.append((task, self._status_cell(task, sheet)))
            except (SheetLayoutError, RowNotFoundError) as error:
                self._put_off(task, error, report)
        return statuses

    def _status_cell(self, task: TaskRecord, sheet: SheetTable) -> dict[str, str]:
        row, field_name = sheet.row_of(task), _status_field(task)
        shown, address = sheet.text(row, field_name), sheet.address(row, field_name)
        if shown not in _OURS:
            return {}
        if task.status is not WorkflowStatus.FAILED:
            return {address: WorkflowStatus.COMPLETED.value}
        wanted = self._feishu.settings.write_failed and shown != WorkflowStatus.COMPLETED.value
        return {address: WorkflowStatus.FAILED.value} if wanted else {}

    def _check_files(self, task: TaskRecord) -> None:
        if not task.output_files:
            raise FeishuError("the task has no result file", remedy=Remedy.FINAL)
        for name in task.output_files:
            reason = why_not_whole(self._db.output_dir / name)
            if reason:
                raise FeishuError(f"the result {name} cannot be sent: {reason}", remedy=Remedy.FINAL)

    def _needs_picture(self, task: TaskRecord, sheet: SheetTable, row: int) -> bool:
        """False where it was sent before and the cell has changed since: it arrived, though we read no answer."""
        shown, tried = _shown_picture(sheet, row), task.feishu.get("writing")
        return tried is None or shown is None or shown == tried.get("before")

    def _write_picture(self, task: TaskRecord, sheet: SheetTable, row: int) -> int | None:
        address, shown = sheet.address(row, "composite_image"), _shown_picture(sheet, row)
        name, content = picture_for_cell(self._picture(task))
        self._db.table.update(
            task.task_id, lambda record: record.with_feishu(writing={"cell": address, "before": shown})
        )
        return self._feishu.write_picture(address, name, content)

    def _picture(self, task: TaskRecord) -> Path:
        return self._db.output_dir / task.output_files[0]

    def _write_statuses(self, statuses: list[tuple[TaskRecord, dict[str, str]]], report: FlushReport) -> None:
        if not statuses:
            return
        try:
            self._feishu.write_cells({address: text for _, cells in statuses for address, text in cells.items()})
        except FeishuError as error:
            if _needs_person(error) and len(statuses) > 1:  # one protected cell must not block them all
                for status in statuses:
                    self._write_statuses([status], report)
                return
            for task, _ in statuses:
                self._put_off(task, error, report)
            return
        for task, _ in statuses:
            self._store(task.task_id, _pushed)
            report.pushed.append(task.task_id)

    def _put_off(self, task: TaskRecord, error: Exception, report: FlushReport, *, refused: bool = False) -> None:
        """Note why it did not go, and when to try again; what needs a person is blocked."""
        self.last_error = reason = str(error)
        attempts = int(task.feishu.get("attempts", 0)) + 1
        if _needs_person(error):
            change: dict[str, Any] = {"state": FeishuState.BLOCKED.value}
            report.blocked[task.task_id] = reason
        else:
            server_wait = error.wait if isinstance(error, FeishuError) else None
            wait = backoff(attempts, server_wait, random.random())  # noqa: S311 - jitter, no secret
            change = {"next_try_at": now_text(datetime.fromtimestamp(self._clock() + wait, timezone.utc))}
            if refused:
                change["refused"] = int(task.feishu.get("refused", 0)) + 1
            report.waiting[task.task_id] = reason
        self._store(task.task_id, lambda record: record.with_feishu(**change, attempts=attempts, last_error=reason))
        log.warning("[wfrecovery] %s not pushed: %s", task.task_id, reason)

    def _store(self, task_id: str, change: Callable[[TaskRecord], TaskRecord]) -> None:
        record = self._db.table.update(task_id, change)
        if self._on_change is not None:
            self._on_change(record)


def _status_field(task: TaskRecord) -> str:
    return "video_status" if task.workflow_type == WorkflowType.IMAGE_TO_VIDEO.value else "image_status"


def _shown_picture(sheet: SheetTable, row: int) -> str | None:
    """The token of the picture that the row shows; tokens are never used twice."""
    cell = sheet.cell(row, "composite_image")
    return str(cell.get("fileToken")) if is_picture(cell) else None


def _needs_person(error: Exception) -> bool:
    """Whether waiting does not help; what is still too large after all splitting stays too large."""
    return not isinstance(error, FeishuError) or error.remedy in (Remedy.FINAL, Remedy.SPLIT)


def _pushed(task: TaskRecord) -> TaskRecord:
    outbox = {key: value for key, value in task.feishu.items() if key not in ("writing", "next_try_at", "refused")}
    outbox.update(
        state=FeishuState.PUSHED.value,
        pushed_at=now_text(),
        last_error=None,
        attempts=int(outbox.get("attempts", 0)) + 1,
    )
    return task.with_metadata(feishu=outbox)


def _next_try(task: TaskRecord) -> float:
    return parse_time(task.feishu.get("next_try_at"))


def picture_for_cell(path: Path) -> tuple[str, bytes]:
    """Name and bytes as Feishu takes them; another format is converted with Pillow where that is installed."""
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return path.name, path.read_bytes()
    try:
        from PIL import Image  # noqa: PLC0415 - ComfyUI brings it, main.py's environment may not
    except ImportError:
        raise FeishuError(
            f"Feishu takes no {path.suffix or 'nameless'} pictures; save PNG, or run: python -m pip install pillow",
            remedy=Remedy.FINAL,
        ) from None
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGBA").save(buffer, "PNG")
    return f"{path.stem}.png", buffer.getvalue()
