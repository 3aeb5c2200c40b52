"""A picture into the cell of its row, and back out of another one where rows moved in that very moment."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Final

from ..results.contents import ResultGoneError
from ..table.cells import UNNAMED_PICTURE
from ..table.changes import leaving
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, now_text, parse_time
from ..table.row_identity import short
from ..table.row_places import places_of
from ..table.values import Sent
from ..wording import Wording
from .cell_pictures import LARGEST_PICTURE, picture_for_cell
from .client import FeishuClient
from .deliverables import Deliverables
from .errors import FeishuError, Remedy
from .finding import RowNotFoundError
from .own_push import OwnPush
from .reading import Place, Reading, SheetReader, Write
from .sheet import row_number_of
from .shown import Shown, Whose

log = logging.getLogger("wfrecovery")

#: How often what other rows lost is written back when rows keep moving under that as well.
_REPAIR_ROUNDS: Final = 10
#: A picture that Feishu calls too large is halved so often.
_HALVINGS: Final = 5
_SMALLEST_PICTURE: Final = 16 * 1024
#: A picture that was sent so often and never showed is a person's to look after.
MOST_SENDS: Final = 4
#: Seconds for which a picture that was sent is only looked for.
_SEEN_WITHIN: Final = 20.0

#: So many pictures are looked at, once, for one that a former run may have sent into a row that has moved since.
_MOST_LOOKED_AT: Final = 200

#: Name and bytes of a picture.
Picture = tuple[str, bytes]


class _Found(Enum):
    """Where a picture is that was sent."""

    THERE = "in its row"
    #: it went into another row, which has its own back
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
            self._take_back(task, task.outbox.writing, self._reader.unseen.pictures.get(task.task_id))

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
        noted = self._db.table.update(task.task_id, partial(_leaving, task, sent))
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
                    "rows moved while the picture was on its way; it is sent again",
                    "发送图片时有人移动了行；会重新发送",
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
        self._db.table.update(
            task.task_id, lambda record: record.with_outbox(writing=None, sends=max(0, record.outbox.sends - 1))
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
        try:
            row = self._reader.row(task)
        except RowNotFoundError:
            self._take_back(task, sent, earlier)
            raise
        if self._stands_in(row, task, sent, answered):
            self._reader.seen(task)
            return _Found.THERE
        return _Found.TAKEN_BACK if self._take_back(task, sent, earlier) else _Found.NOWHERE

    def _stands_in(self, row: int, task: TaskRecord, sent: Sent, answered: bool) -> bool:
        shown = self._reader.sheet.picture(row)
        changed = shown is not None and shown != sent.before
        if self._reader.has_picture(task, row) or (changed and (answered or not sent.sha256)):
            return True
        moved = row != row_number_of(sent.cell)
        # it may have stood there before already; and a person may have put another one there since
        return (changed or not moved) and _one_named(shown) and self._is_ours(shown or "", sent, row)

    def _take_back(self, task: TaskRecord, sent: Sent, earlier: Reading | None) -> bool:
        """Give another row its own picture back, where ours went into it because rows moved in that very moment."""
        row = self._astray_in(task, sent, earlier)
        if row is None:
            return False
        there = self._reader.earlier_rows(earlier, row) if earlier else ()
        if not earlier or len(there) != 1:
            known = replace(sent, astray=self._reader.sheet.picture(row) or "")
            self._db.table.update(task.task_id, lambda record: record.with_outbox(writing=known))
            self._reader.seen(task)
            raise _astray(row, self._reader)
        self._give_back(row, self._own_picture(earlier, there[0]))
        # It stands nowhere now: the next time it is sent at once.
        self._reader.seen(task)
        self._db.table.update(task.task_id, lambda record: record.with_outbox(writing=None))
        return True

    def _astray_in(self, task: TaskRecord, sent: Sent, earlier: Reading | None) -> int | None:
        """The row that shows what was sent, and is not its own: that of the number that it was sent to, or another
        one, where rows have moved again since."""
        sheet, at = self._reader.sheet, row_number_of(sent.cell)
        if sent.astray:
            return next((row for row in sheet.row_numbers() if sheet.picture(row) == sent.astray), None)
        shown = sheet.picture(at) if at in sheet.row_numbers() else None
        here = [at] if shown is not None and shown != sent.before else []
        own = self._reader.row_of(task)
        for row in (row for row in (*here, *self._new_pictures(at, earlier)) if row != own):
            if self._is_ours(sheet.picture(row) or "", sent, row) and not self._is_anothers(row, task, sent):
                return row
        return None

    def _is_anothers(self, row: int, task: TaskRecord, sent: Sent) -> bool:
        """Whether another task has brought the very same bytes there, where they belong: what ComfyUI answers from its
        cache is one file for several rows."""
        rows = self._reader.sheet.index
        for entry in self._db.index.entries():
            if entry.task_id == task.task_id or entry.workflow_type != task.workflow_type:
                continue
            if row not in places_of(entry, rows, self._db.index.find).rows:
                continue
            other = self._db.table.look(entry.task_id)
            if other is not None and (other.outbox.sends or other.outbox.pushed_at) and self._has_sent(other, sent):
                return True
        return False

    def _has_sent(self, other: TaskRecord, sent: Sent) -> bool:
        """Whether the picture of another task, as it goes into a cell, is the same."""
        with contextlib.suppress(FeishuError, ResultGoneError):
            _, content = picture_for_cell(*self._deliverables.picture(other), LARGEST_PICTURE)
            return hashlib.sha256(content).hexdigest() == sent.sha256
        return False

    def _new_pictures(self, at: int, earlier: Reading | None) -> list[int]:
        """The other rows whose picture is not one of an earlier reading, the nearest first; after a restart nobody
        knows which these are, and no more than a few are looked at."""
        known = {earlier.sheet.picture(row) for row in earlier.sheet.row_numbers()} if earlier else set()
        shown = {row: self._reader.sheet.picture(row) for row in self._reader.sheet.row_numbers() if row != at}
        new = [row for row, token in shown.items() if _one_named(token) and token not in known]
        new = [row for row in new if row not in self._reader.current.sent]
        return sorted(new, key=lambda row: abs(row - at))[: None if earlier else _MOST_LOOKED_AT]

    def _is_ours(self, token: str, sent: Sent, row: int) -> bool:
        """Whether a row shows the very bytes that were sent."""
        if not _one_named(token):
            raise _astray(row, self._reader)  # the answer does not say which picture it is
        digests = self._reader.unseen.digests
        if token not in digests:
            digests[token] = hashlib.sha256(self._feishu.media(token)).hexdigest()
        return digests[token] == sent.sha256

    def _own_picture(self, earlier: Reading, row: int) -> Picture | str:
        """What a row showed by an earlier reading, to be written again: a picture, or a text. Raises RowNotFoundError
        for what cannot be restored exactly."""
        if row in earlier.sent:
            return picture_for_cell(*self._deliverables.picture(earlier.sent[row]))
        cell = earlier.sheet.cell(row, "composite_image")
        if cell is None or isinstance(cell, str):
            return cell or ""
        token = earlier.sheet.picture(row)
        if token is None or not _one_named(token) or earlier.sheet.text(row, "composite_image"):
            raise _astray(row, self._reader)
        return ("picture.png", self._feishu.media(token))

    def _give_back(self, row: int, own: Picture | str) -> None:
        """Write a row's own picture into it again. Rows may move under that too: it is looked for where it went, until
        all have their own."""
        waiting = [(self._reader.place(row), own)]
        strangers: list[Place] = []
        try:
            for _ in range(_REPAIR_ROUNDS):
                place, own = waiting[-1]
                number, earlier = self._reader.row_of(place), self._reader.current
                if number is None:
                    break
                log.warning("[wfrecovery] rows moved under a write: row %d gets its own picture back", number)
                self._write_own(self._reader.sheet.address(number, "composite_image"), own)
                self._reader.read()
                now, there = self._reader.row_of(place), self._reader.earlier_rows(earlier, number)
                if now and self._reader.sheet.picture(now) != earlier.sheet.picture(number):
                    waiting.pop()
                elif len(there) != 1:  # a row that no reading has seen has it now
                    strangers.append(self._reader.place(number))
                elif self._reader.sheet.picture(number) != earlier.sheet.picture(there[0]):
                    waiting.append((self._reader.place(number), self._own_picture(earlier, there[0])))
                if not waiting:
                    break
        except FeishuError as error:
            raise _to_check([*strangers, *(place for place, _ in waiting)]) from error
        if waiting or strangers:
            raise _to_check([*strangers, *(place for place, _ in waiting)])

    def _write_own(self, cell: str, own: Picture | str) -> None:
        try:
            if isinstance(own, str):
                self._feishu.write_cells({cell: own})
            else:
                self._feishu.write_picture(cell, *own)
        except FeishuError as error:  # where nobody knows, reading tells
            if not error.outcome_unknown or error.slow:
                raise


def _leaving(task: TaskRecord, sent: Sent, now: TaskRecord) -> TaskRecord:
    """The record with what leaves for the sheet, unless the task has another result by now: this one would pass for
    that. Raises FeishuError."""
    if not now.has_result_of(task):
        raise FeishuError(
            Wording(
                f"{task.task_id} has got another result meanwhile; that one is delivered",
                f"{task.task_id} 在此期间有了新的结果；将写入新的结果",
            )
        )
    return leaving(sent.sha256, now).with_outbox(writing=sent, sends=now.outbox.sends + 1)


def _one_named(shown: str | None) -> bool:
    """Whether a cell shows one picture, of which the answer says which."""
    return shown is not None and UNNAMED_PICTURE not in shown and "," not in shown


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


def _astray(row: int, reader: SheetReader) -> RowNotFoundError:
    here = short([reader.sheet.optional_text(row, name) for name in ("product_name", "model_name")])
    return RowNotFoundError(
        Wording(
            f"rows moved while the picture was on its way, and it stands in row {row} ({here}) now: "
            "put that row's own picture back there, then push again",
            f"发送图片时有人移动了行，图片现在在第 {row} 行（{here}）：请把那一行自己的图片放回去，再重新推送",
        ),
        [row],
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


def _to_check(places: Iterable[Place]) -> RowNotFoundError:
    rows = ", ".join(
        short([place.identity.product_name, place.identity.model_name]) or str(place.row) for place in places
    )
    return RowNotFoundError(
        Wording(
            f"rows kept moving while pictures were written: check the pictures of {rows}, then push these again, too",
            f"写图片时一直有人移动行：请检查这些行的图片：{rows}，并把它们也重新推送",
        )
    )
