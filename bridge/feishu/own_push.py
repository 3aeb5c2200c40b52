"""Whether main.py still writes into the sheet itself, which would bring every result there twice: seen in the cell
before it is written, and said once in a run, with what to delete."""

from __future__ import annotations

import logging
from typing import Final

from ..table.records import TaskRecord, WorkflowStatus
from ..wording import Wording
from .reading import SheetReader
from .status_column import status_before, status_field

log = logging.getLogger("wfrecovery")

_DELETE: Final = Wording(
    " already, and not from here: most likely main.py still writes into the sheet itself → delete that from main.py "
    "(in the specification's process_row it is `await self._update_table_status(row_data, output_files)`; else what "
    "writes pictures and statuses after a row). bridge delivers by itself: docs/main-py.md, Delete your own push",
    "，但不是从这里写入的：很可能 main.py 还在自己写表格 → 请从 main.py 里删掉"
    "（规格说明的 process_row 里是 `await self._update_table_status(row_data, output_files)`；"
    "否则就是每行之后写图片和状态的代码）。写入由 bridge 负责：docs/main-py.zh-CN.md，删掉你自己的推送",
)


class OwnPush:
    """Looks out for it, for one publisher."""

    def __init__(self) -> None:
        self._told = False

    def look_at_picture(self, task: TaskRecord, row: int) -> None:
        """Notice a result that stands in its row, although nothing of it was ever sent from here."""
        if _is_first(task):
            self._tell(task, Wording(f"row {row} shows its result", f"第 {row} 行已经显示它的结果"))

    def look_at_status(self, task: TaskRecord, reader: SheetReader, row: int) -> None:
        """Notice a status that nobody had written from here."""
        done, shown = WorkflowStatus.COMPLETED.value, reader.sheet.text(row, status_field(task.workflow_type))
        is_new = status_before(task) not in (None, done) and shown == done
        if is_new and _is_first(task) and task.outbox.status_before is None:
            self._tell(task, Wording(f"row {row} says {done}", f"第 {row} 行已经写着 {done}"))

    def _tell(self, task: TaskRecord, what: Wording) -> None:
        if not self._told:
            self._told = True
            said = Wording(f"{task.task_id}: ", f"{task.task_id}：") + what + _DELETE
            log.warning("[wfrecovery] %s / %s", said.en, said.zh)


def _is_first(task: TaskRecord) -> bool:
    """Whether nothing of the task can be there from here."""
    outbox = task.outbox
    return not outbox.sent and outbox.writing is None and outbox.pushed_at is None and outbox.asked_at is None
