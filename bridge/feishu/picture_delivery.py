"""A picture into the cell of its row, and back out of another one where rows moved in that very moment."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from typing import Final

from ..table.manager import DatabaseManager
from ..table.records import TaskRecord
from ..table.values import Sent
from ..wording import Wording
from .cell_pictures import LARGEST_PICTURE, picture_for_cell
from .client import FeishuClient
from .deliverables import Deliverables
from .errors import FeishuError, Remedy
from .reading import Place, Reading, SheetReader, row_number_of
from .sheet import RowNotFoundError

log = logging.getLogger("wfrecovery")

#: How often what other rows lost is written back when rows keep moving under that as well.
_REPAIR_ROUNDS: Final = 10
#: A picture that Feishu calls too large is halved so often.
_HALVINGS: Final = 5
_SMALLEST_PICTURE: Final = 16 * 1024

#: Name and bytes of a picture.
Picture = tuple[str, bytes]


class PictureDelivery:
    """Puts the pictures of one flush."""

    def __init__(
        self, feishu: FeishuClient, db: DatabaseManager, reader: SheetReader, deliverables: Deliverables
    ) -> None:
        self._feishu, self._db, self._reader, self._deliverables = feishu, db, reader, deliverables

    def put(self, task: TaskRecord) -> None:
        """Bring the task's picture into its cell. Raises FeishuError, SheetLayoutError, RowNotFoundError,
        ResultGoneError."""
        noted = task.outbox.writing
        if noted is not None and self._arrived(task, noted, None):
            return
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

    def _send_picture(self, task: TaskRecord, name: str, content: bytes) -> None:
        self._reader.look_again()
        row = self._reader.sheet.row_of(task)
        address, shown = self._reader.sheet.address(row, "composite_image"), self._reader.sheet.picture(row)
        sent = Sent(address, shown, hashlib.sha256(content).hexdigest())
        self._db.table.update(task.task_id, lambda record: record.with_outbox(writing=sent))
        earlier = self._reader.current
        try:
            if self._reader.confirm(self._feishu.write_picture(address, name, content)):
                self._reader.note_picture(row, task)
                return
        except FeishuError as error:
            if not error.outcome_unknown or error.slow:  # slow: it may arrive yet, the next flush looks
                raise
            self._reader.read()
            if not self._arrived(task, sent, earlier):
                raise
        else:
            self._reader.read()
            if not self._arrived(task, sent, earlier):
                raise FeishuError(
                    Wording(
                        "rows moved while the picture was on its way; it is sent again",
                        "发送图片时有人移动了行；会重新发送",
                    )
                )

    def _arrived(self, task: TaskRecord, sent: Sent, earlier: Reading | None) -> bool:
        """Whether a picture that was sent stands in its row, by the current reading; one that went astray is taken
        back. `earlier` is the reading by which it was sent, None after a restart."""
        try:
            row = self._reader.sheet.row_of(task)
        except RowNotFoundError:
            self._take_back(sent, earlier)
            raise
        shown = self._reader.sheet.picture(row)
        if shown is not None and shown != sent.before:
            return True
        if row != row_number_of(sent.cell):
            self._take_back(sent, earlier)
        return False

    def _take_back(self, sent: Sent, earlier: Reading | None) -> None:
        """Give another row its own picture back, where ours went into it because rows moved in that very moment."""
        row = row_number_of(sent.cell)
        shown = self._reader.sheet.picture(row) if row in self._reader.sheet.row_numbers() else None
        if (
            shown is None
            or shown == sent.before
            or hashlib.sha256(self._feishu.media(shown)).hexdigest() != sent.sha256
        ):
            return
        there = self._reader.sheet.same_rows(earlier.sheet, row) if earlier else ()
        if not earlier or len(there) != 1:
            here = " · ".join(filter(None, self._reader.sheet.key(row)[:2]))
            raise RowNotFoundError(
                Wording(
                    f"rows moved while the picture was on its way, and it stands in row {row} ({here}) now: "
                    "take it out there, then push again",
                    f"发送图片时有人移动了行，图片现在在第 {row} 行（{here}）：请在那里删掉它，再重新推送",
                )
            )
        self._give_back(row, self._own_picture(earlier, there[0]))

    def _own_picture(self, earlier: Reading, row: int) -> Picture | None:
        """What a row showed by an earlier reading."""
        if row in earlier.sent:
            return picture_for_cell(*self._deliverables.picture(earlier.sent[row]))
        token = earlier.sheet.picture(row)
        return ("picture.png", self._feishu.media(token)) if token else None

    def _give_back(self, row: int, own: Picture | None) -> None:
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
                now, there = self._reader.row_of(place), self._reader.sheet.same_rows(earlier.sheet, number)
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

    def _write_own(self, cell: str, own: Picture | None) -> None:
        try:
            if own:
                self._feishu.write_picture(cell, *own)
            else:
                self._feishu.write_cells({cell: ""})
        except FeishuError as error:  # where nobody knows, reading tells
            if not error.outcome_unknown or error.slow:
                raise


def _to_check(places: Iterable[Place]) -> RowNotFoundError:
    rows = ", ".join(" · ".join(filter(None, place.key[:2])) or str(place.row) for place in places)
    return RowNotFoundError(
        Wording(
            f"rows kept moving while pictures were written: check the pictures of {rows}, then push these again, too",
            f"写图片时一直有人移动行：请检查这些行的图片：{rows}，并把它们也重新推送",
        )
    )
