"""Whether main.py still writes into the sheet itself, which would bring every result there twice: seen in the cell
before it is written, and said once in a run, with what to delete."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from typing import Final

from ..table.cells import UNNAMED_PICTURE
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, WorkflowStatus
from ..wording import Wording
from .client import FeishuClient
from .look_back import picture_changed, text_before
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

    def __init__(self, feishu: FeishuClient) -> None:
        self._feishu, self._told = feishu, False

    def has_brought(self, task: TaskRecord, reader: SheetReader, row: int, contents: Collection[bytes]) -> bool:
        """Whether the picture of a task stands in its row, although nothing of it was ever sent from here. `contents`:
        the files that it may have been written as. Raises FeishuError."""
        self.look_at_status(task, reader, row)
        shown = reader.sheet.picture(row)
        if not _is_first(task) or shown is None or not picture_changed(task, reader.sheet, row):
            return False
        if UNNAMED_PICTURE in shown or "," in shown:
            return False
        there = self._digest(reader, shown)
        brought = any(hashlib.sha256(content).hexdigest() == there for content in contents)
        if brought:
            self._tell(task, Wording(f"row {row} shows its result", f"第 {row} 行已经显示它的结果"))
        return brought

    def is_a_person_s(self, task: TaskRecord, reader: SheetReader, row: int, db: DatabaseManager) -> bool:
        """Whether the cell of a task shows something else than when its row was entered, and nothing that any task of
        the table has made. Ask it after `has_brought`. Raises FeishuError."""
        if not _is_first(task):
            return False
        shown, text = reader.sheet.picture(row), reader.sheet.optional_text(row, "composite_image")
        if text and shown is None:
            return text_before(task, reader.sheet.columns.composite_image) not in (None, text)
        if shown is None or not picture_changed(task, reader.sheet, row):
            return False
        if UNNAMED_PICTURE in shown or "," in shown:
            return True
        there = self._digest(reader, shown)
        records = (db.table.look(entry.task_id) for entry in db.index.entries() if entry.stage.final)
        return not any(result.sha256 == there for record in records if record for result in record.results)

    def look_at_status(self, task: TaskRecord, reader: SheetReader, row: int) -> None:
        """Notice a status that nobody had written from here."""
        done, shown = WorkflowStatus.COMPLETED.value, reader.sheet.text(row, status_field(task.workflow_type))
        is_new = status_before(task) not in (None, done) and shown == done
        if is_new and _is_first(task) and task.outbox.status_before is None:
            self._tell(task, Wording(f"row {row} says {done}", f"第 {row} 行已经写着 {done}"))

    def _digest(self, reader: SheetReader, token: str) -> str:
        digests = reader.unseen.digests
        if token not in digests:
            digests[token] = hashlib.sha256(self._feishu.media(token)).hexdigest()
        return digests[token]

    def _tell(self, task: TaskRecord, what: Wording) -> None:
        if not self._told:
            self._told = True
            said = Wording(f"{task.task_id}: ", f"{task.task_id}：") + what + _DELETE
            log.warning("[wfrecovery] %s / %s", said.en, said.zh)


def _is_first(task: TaskRecord) -> bool:
    """Whether nothing of the task can be there from here."""
    outbox = task.outbox
    sent = outbox.writing is not None or outbox.sends > 0 or outbox.pushed_at is not None
    return not sent and outbox.asked_at is None and task.earlier_runs == 0
