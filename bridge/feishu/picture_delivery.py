"""A picture into the cell of its row, and whether it came there."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Set
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Final

from ..table.cells import one_named
from ..table.changes import leaving
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, now_text, parse_time
from ..table.values import Sent
from ..wording import Wording
from .cell_pictures import LARGEST_PICTURE, marks_of, picture_for_cell
from .cell_writing import give_titles_back
from .client import FeishuClient
from .deliverables import Deliverables
from .errors import FeishuError, Remedy
from .finding import RowNotFoundError
from .own_push import OwnPush
from .pictures_astray import PicturesAstray
from .reading import SheetReader, Write
from .sheet import row_number_of
from .shown import Shown, Whose
from .unseen import Reading

log = logging.getLogger("wfrecovery")

#: A picture that Feishu calls too large is halved so often.
_HALVINGS: Final = 5
_SMALLEST_PICTURE: Final = 16 * 1024
#: A picture that was sent so often and never showed is a person's to look after.
MOST_SENDS: Final = 4
#: Seconds for which a picture that was sent is only looked for.
_SEEN_WITHIN: Final = 20.0


class _Found(Enum):
    """Where a picture is that was sent."""

    THERE = "in its row"
    #: it went into another cell, which has its own back
    TAKEN_BACK = "taken back"
    NOWHERE = "nowhere"


class PictureDelivery:
    """Puts the pictures of one flush."""

    def __init__(
        self,
        feishu: FeishuClient,
        db: DatabaseManager,
        reader: SheetReader,
        deliverables: Deliverables,
        shown: Shown,
        *,
        own_push: OwnPush,
    ) -> None:
        self._feishu, self._db, self._reader, self._deliverables = feishu, db, reader, deliverables
        self._shown, self._own_push = shown, own_push
        self._astray = PicturesAstray(feishu, db, reader, deliverables)

    def put(self, task: TaskRecord) -> None:
        """Bring the task's picture into its cell. Raises FeishuError, SheetLayoutError, RowNotFoundError,
        ResultGoneError."""
        noted = task.outbox.writing
        if noted is not None:
            if self._found(task, noted, self._reader.unseen.pictures.get(task.task_id)) is _Found.THERE:
                return
            _wait_to_see(noted)
            self._check_sends(task)
        original, limit = self._deliverables.picture(task), LARGEST_PICTURE
        for halving in range(_HALVINGS + 1):
            name, content = picture_for_cell(*original, limit)
            try:
                self._send_picture(task, name, content)
            except FeishuError as error:
                limit = min(limit, len(content)) // 2
                if error.remedy is not Remedy.SPLIT or halving == _HALVINGS or limit < _SMALLEST_PICTURE:
                    raise
                log.info("[wfrecovery] %s: %s is too large for Feishu, trying a smaller copy", task.task_id, name)
            else:
                return

    def withdraw(self, task: TaskRecord) -> None:
        """Take what was sent for a row that is not there any more, or has a newer result, out of another one that got
        it. Raises FeishuError, ResultGoneError, and RowNotFoundError for what a person has to look after."""
        if task.outbox.writing is not None:
            self._astray.take_back(task, task.outbox.writing, self._reader.unseen.pictures.get(task.task_id))

    def _send_picture(self, task: TaskRecord, name: str, content: bytes) -> None:
        self._reader.look_again()
        row = self._reader.row(task)
        self._own_push.look_at_status(task, self._reader, row)
        whose = self._shown.picture(task, row)
        if whose is Whose.ITS:
            self._own_push.look_at_picture(task, row)
            self._shown.note_brought(task, row)
            return
        if whose is Whose.A_PERSONS:
            raise _somebodys(task, row)
        address, shown = self._reader.sheet.address(row, "composite_image"), self._reader.sheet.picture(row)
        sent = Sent(address, shown, hashlib.sha256(content).hexdigest())
        # of rows that look the same its own is found by it, also where Feishu has saved the picture anew
        marks = marks_of(content) if len(self._reader.rows_alike(task)) > 1 else frozenset()
        noted = self._db.table.update(task.task_id, partial(_leaving, task, sent, marks))
        self._reader.sent(noted)
        earlier = self._reader.current
        revision, unanswered = self._write(task, address, name, content)
        if self._reader.confirm(Write.PICTURE, revision):
            self._reader.note_picture(row, task)
            return
        self._reader.read_after(revision, [(row, "composite_image")])
        found = self._found(task, sent, earlier, answered=unanswered is None)
        if found is _Found.THERE:
            self._reader.learn(Write.PICTURE, earlier, revision, [(row, "composite_image")])
            return
        if found is _Found.TAKEN_BACK:
            raise FeishuError(
                Wording(
                    "rows or columns moved while the picture was on its way; it is sent again",
                    "发送图片时有人移动了行或列；会重新发送",
                )
            )
        if unanswered is not None:
            raise unanswered
        seen = replace(sent, answered_at=now_text())
        self._db.table.update(task.task_id, lambda record: record.with_outbox(writing=seen))
        raise _not_seen(sent)

    def _write(
        self, task: TaskRecord, address: str, name: str, content: bytes
    ) -> tuple[int | None, FeishuError | None]:
        """The revision after it; and the error after which nobody knows whether it was written."""
        try:
            return self._feishu.write_picture(address, name, content), None
        except FeishuError as error:
            if not error.outcome_unknown:
                self._not_sent(task)
                raise
            self._reader.doubt()
            if error.slow:  # it may arrive yet, the next flush looks
                raise
            return None, error

    def _not_sent(self, task: TaskRecord) -> None:
        """It was refused: nothing of it can be in the sheet."""
        self._reader.seen(task)
        before = task.outbox.sent
        self._db.table.update(
            task.task_id,
            lambda record: record.with_outbox(writing=None, sends=max(0, record.outbox.sends - 1), sent=before),
        )

    def _check_sends(self, task: TaskRecord) -> None:
        """Each picture that was sent stays in the spreadsheet for ever, shown or not: there is room for 4,000."""
        if task.outbox.sends < MOST_SENDS:
            return
        row = self._reader.row(task)
        raise RowNotFoundError(
            Wording(
                f"the picture was sent {task.outbox.sends} times, and row {row} does not show it → look at the sheet, "
                "then push again, or decide: wfrecovery decide",
                f"图片已发送 {task.outbox.sends} 次，第 {row} 行仍未显示 → 请查看表格，再重新推送，"
                "或自己决定：wfrecovery decide",
            ),
            [row],
        )

    def _found(self, task: TaskRecord, sent: Sent, earlier: Reading | None, *, answered: bool = False) -> _Found:
        """Where a picture that was sent is, by the current reading; one that went astray is taken back. `earlier` is
        the reading by which it was sent, None after a restart. `answered`: Feishu has said just now that it is there.
        """
        if earlier is not None:
            give_titles_back(self._feishu, self._reader, earlier, {sent.cell: ""})
        row = self._reader.row_of(task)
        if row is not None and self._stands_in(row, task, sent, answered):
            self._reader.seen(task)
            return _Found.THERE
        taken_back = self._astray.take_back(task, sent, earlier)
        self._reader.row(task)  # what tells its row may be there again; what has none says so
        return _Found.TAKEN_BACK if taken_back else _Found.NOWHERE

    def _stands_in(self, row: int, task: TaskRecord, sent: Sent, answered: bool) -> bool:
        shown = self._reader.sheet.picture(row)
        changed = shown is not None and shown != sent.before
        if self._reader.has_picture(task, row) or (changed and (answered or not sent.sha256)):
            return True
        moved = row != row_number_of(sent.cell)
        # it may have stood there before already; and a person may have put another one there since
        return (changed or not moved) and one_named(shown) and self._astray.is_ours(task, shown or "", sent, row)


def _leaving(task: TaskRecord, sent: Sent, marks: Set[str], now: TaskRecord) -> TaskRecord:
    """The record with what leaves for the sheet (`marks`: by what else it is known), unless the task has another result
    by now: this one would pass for that. Raises FeishuError."""
    if not now.has_result_of(task):
        raise FeishuError(
            Wording(
                f"{task.task_id} has got another result meanwhile; that one is delivered",
                f"{task.task_id} 在此期间有了新的结果；将写入新的结果",
            )
        )
    for content in (*sorted(marks - {sent.sha256}), sent.sha256):
        now = leaving(content, now)
    return now.with_outbox(writing=sent, sends=now.outbox.sends + 1)


def _wait_to_see(sent: Sent) -> None:
    """What was written just now may be shown a little later: it is not sent again at once."""
    if 0 <= time.time() - parse_time(sent.answered_at) < _SEEN_WITHIN:
        raise _not_seen(sent)


def _not_seen(sent: Sent) -> FeishuError:
    cell = sent.cell.partition(":")[2]
    return FeishuError(
        Wording(
            f"the picture was sent to {cell}, and does not show there yet; it is looked for again",
            f"图片已发送到 {cell}，但还没有显示；会再次查看",
        )
    )


def _somebodys(task: TaskRecord, row: int) -> RowNotFoundError:
    return RowNotFoundError(
        Wording(
            f"row {row} shows another picture or text than when {task.task_id} was entered, and not from here: "
            f"it is not written over → decide: wfrecovery decide {task.task_id} write (or leave)",
            f"第 {row} 行现在的图片或文字与录入 {task.task_id} 时不同，而且不是从这里写入的：不会覆盖"
            f" → 请决定：wfrecovery decide {task.task_id} write（或 leave）",
        ),
        [row],
    )
