"""A picture that went into another cell, because rows or columns moved in that very moment: where it is, and how that
cell gets its own back."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from ..results.contents import ResultGoneError
from ..table.cells import UNNAMED_PICTURE, one_named, pictures_in
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord
from ..table.row_identity import short
from ..table.row_places import places_of
from ..table.values import Sent
from ..wording import Wording
from .astray import held, plain_text
from .cell_pictures import LARGEST_PICTURE, picture_for_cell
from .cell_writing import CellWriting
from .client import FeishuClient
from .deliverables import Deliverables
from .errors import FeishuError
from .finding import RowNotFoundError
from .reading import SheetReader
from .sheet import SheetTable, column_of, row_number_of
from .unseen import Owed, Place, Reading

log = logging.getLogger("wfrecovery")

#: How often what other rows lost is written back when rows keep moving under that as well.
_REPAIR_ROUNDS: Final = 10
#: So many pictures are looked at, once, for one that a former run may have sent into a row that has moved since.
_MOST_LOOKED_AT: Final = 200
_OWN_COLUMN: Final = "composite_image"

#: Name and bytes of a picture.
Picture = tuple[str, bytes]
#: The number of a row, and the name of a column.
_Cell = tuple[int, str]


class PicturesAstray:
    """Looks for the pictures of one flush."""

    def __init__(
        self, feishu: FeishuClient, db: DatabaseManager, reader: SheetReader, deliverables: Deliverables
    ) -> None:
        self._feishu, self._db, self._reader, self._deliverables = feishu, db, reader, deliverables
        self._sent: dict[tuple[str, str], frozenset[str]] = {}

    def take_back(self, task: TaskRecord, sent: Sent, earlier: Reading | None) -> bool:
        """Give another cell its own back, where ours went into it: its row's picture, or what a column held that stands
        now where ours stood. False where it is in no other cell. `earlier`: the reading by which it was sent, None
        after a restart. Raises RowNotFoundError for what a person has to put back."""
        found = self._where(task, sent, earlier)
        if found is None:
            return False
        row, name = found
        if row <= self._reader.sheet.header:
            self._leave(task, sent, row, name)
        elif name == _OWN_COLUMN:
            there = self._reader.earlier_rows(earlier, row) if earlier else ()
            if not earlier or len(there) != 1:
                self._leave(task, sent, row, name)
            else:
                self._give_back(row, self._own_picture(earlier, there[0]))
        else:
            text = self._text_before(earlier, row, name) if earlier else None
            if text is None:
                self._leave(task, sent, row, name)
            else:
                self._give_text_back(task, row, name, text)
        # It stands nowhere now: the next time it is sent at once.
        self._reader.seen(task)
        self._db.table.update(task.task_id, lambda record: record.with_outbox(writing=None))
        return True

    def is_ours(self, task: TaskRecord, token: str, sent: Sent, row: int, name: str = _OWN_COLUMN) -> bool:
        """Whether a cell shows what was sent of a task. Raises FeishuError, and RowNotFoundError where the answer does
        not say which picture it is."""
        if not one_named(token):
            raise _astray(row, name, self._reader)
        marks = self._reader.marks(token)
        return sent.sha256 in marks or not marks.isdisjoint(self._marks_of(task, sent))

    def _marks_of(self, task: TaskRecord, sent: Sent) -> frozenset[str]:
        """What was sent, if that is still the task's result, which is there."""
        key = task.task_id, sent.sha256
        if key not in self._sent:
            self._sent[key] = frozenset()
            with contextlib.suppress(FeishuError, ResultGoneError):
                marks = self._deliverables.marks(task)
                self._sent[key] = marks if sent.sha256 in marks else frozenset()
        return self._sent[key]

    def _leave(self, task: TaskRecord, sent: Sent, row: int, name: str) -> None:
        """To a person: as long as it stands there, it is not sent again."""
        known = replace(sent, astray=self._reader.sheet.picture(row, name) or "")
        self._db.table.update(task.task_id, lambda record: record.with_outbox(writing=known))
        self._reader.seen(task)
        raise _astray(row, name, self._reader)

    # ------------------------------------------------------------------ where it is

    def _where(self, task: TaskRecord, sent: Sent, earlier: Reading | None) -> _Cell | None:
        """The cell that shows what was sent, and is not its own: that of the address that it was sent to, or another
        one, where rows or columns have moved again since."""
        sheet, at = self._reader.sheet, row_number_of(sent.cell)
        if sent.astray:
            return next(((row, name) for row, name, token in _pictures(sheet) if token == sent.astray), None)
        shown = sheet.picture(at) if at in sheet.row_numbers() else None
        here = [at] if shown is not None and shown != sent.before else []
        own = self._reader.row_of(task)
        for row in (row for row in (*here, *self._new_pictures(at, earlier)) if row != own):
            if self.is_ours(task, sheet.picture(row) or "", sent, row) and not self._is_anothers(row, task, sent):
                return row, _OWN_COLUMN
        for row, name, token in self._in_other_columns(task, sent, earlier):
            if self.is_ours(task, token, sent, row, name):
                return row, name
        named = sheet.name_at(column_of(sent.cell))
        if earlier is not None and self._is_lost(earlier, at, named):
            raise _astray(at, named, self._reader)
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
        new = [row for row, token in shown.items() if one_named(token) and token not in known]
        new = [row for row in new if row not in self._reader.current.sent]
        return sorted(new, key=lambda row: abs(row - at))[: None if earlier else _MOST_LOOKED_AT]

    def _in_other_columns(self, task: TaskRecord, sent: Sent, earlier: Reading | None) -> list[tuple[int, str, str]]:
        """The same in all other columns, and above the header, without what the row was made with. After a restart only
        in its row, in that of the number that it was sent to, and in the column that stands there now."""
        sheet, at, own = self._reader.sheet, row_number_of(sent.cell), self._reader.row_of(task)
        if earlier:
            known = {token for _, _, token in _pictures(earlier.sheet)}
        else:
            known = {task.identity.product_image or "", task.identity.model_image or ""}
        named = sheet.name_at(column_of(sent.cell))
        new = [
            (row, name, token)
            for row, name, token in _pictures(sheet)
            if (name != _OWN_COLUMN or row <= sheet.header) and one_named(token) and token not in known
            if earlier or row in (at, own) or name == named
        ]
        return sorted(new, key=lambda cell: abs(cell[0] - at))[: None if earlier else _MOST_LOOKED_AT]

    def _is_lost(self, earlier: Reading, at: int, name: str) -> bool:
        """Whether the cell of another column, that stands now where ours was sent to, may show it without saying which
        picture that is, or nothing at all."""
        sheet = self._reader.sheet
        if at not in sheet.row_numbers() or name == _OWN_COLUMN or name not in sheet.names:
            return False
        if not sheet.has_moved(earlier.sheet):
            return False
        rows = self._reader.earlier_rows(earlier, at, {name}) if sheet.shares(name, earlier.sheet) else ()
        before, now = [earlier.sheet.shown(row, name) for row in rows], sheet.shown(at, name) or ""
        return now not in before and (UNNAMED_PICTURE in now or (not now and any(before)))

    # ------------------------------------------------------------------ what stood there

    def _text_before(self, earlier: Reading, row: int, name: str) -> str | None:
        """What a cell of another column held before, "" where that was nothing; None where it cannot be written again:
        of a picture only a copy could be, and what rows are known by would be another one."""
        rows = self._reader.earlier_rows(earlier, row, {name})
        text = plain_text([held(self._reader.sheet, earlier, number, name) for number in rows])
        return None if text is None or self._reader.has_formulas(name) else text

    def _give_text_back(self, task: TaskRecord, row: int, name: str, text: str) -> None:
        """Write it again: where Feishu refuses that for now, it stays owed."""
        unseen, sheet = self._reader.unseen, self._reader.sheet
        if (row, name) not in {(self._reader.row_of(debt.place), debt.field) for debt in unseen.owed}:
            place = self._reader.place(row, {name})
            unseen.owed.append(Owed(place, name, text, sheet.picture(row, name) or "", 0, task.task_id))
        CellWriting(self._feishu, self._reader).settle()

    def _own_picture(self, earlier: Reading, row: int) -> Picture | str:
        """What a row showed by an earlier reading, to be written again: a picture, or a text. Raises RowNotFoundError
        for what cannot be restored exactly."""
        if row in earlier.sent:
            return picture_for_cell(*self._deliverables.picture(earlier.sent[row]))
        cell = earlier.sheet.cell(row, _OWN_COLUMN)
        if cell is None or isinstance(cell, str):
            return cell or ""
        token = earlier.sheet.picture(row)
        if token is None or not one_named(token) or earlier.sheet.text(row, _OWN_COLUMN):
            raise _astray(row, _OWN_COLUMN, self._reader)
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
                address = self._reader.sheet.address(number, _OWN_COLUMN)
                self._write_own(address, own)
                self._reader.read()
                if column_of(address) != self._reader.sheet.place(_OWN_COLUMN):
                    raise _astray(number, self._reader.sheet.name_at(column_of(address)), self._reader)
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


def _pictures(sheet: SheetTable) -> Iterator[tuple[int, str, str]]:
    """All cells that show pictures: row, name of the column, tokens."""
    names = {index: name for name, index in sheet.names.items()}
    for number, cells in enumerate(sheet.values, 1):
        for index, cell in enumerate(cells):
            if isinstance(cell, list | Mapping) and (tokens := pictures_in(cell)):
                yield number, names[index], ",".join(tokens)


def _astray(row: int, name: str, reader: SheetReader) -> RowNotFoundError:
    if name != _OWN_COLUMN or row <= reader.sheet.header:
        cell = reader.place(row, {name}).cell(name)
        return RowNotFoundError(
            Wording(
                "rows or columns moved while the picture was on its way, and it was written over another cell, in row "
                f"{row}: {cell} → put back there what it held, which Feishu's version history (历史记录) has, then "
                "push again",
                f"发送图片时有人移动了行或列，图片覆盖了第 {row} 行的另一个单元格：{cell}"
                " → 请在飞书的历史记录里找到原内容并放回去，再重新推送",
            ),
            [row],
        )
    here = short([reader.sheet.optional_text(row, name) for name in ("product_name", "model_name")])
    return RowNotFoundError(
        Wording(
            f"rows moved while the picture was on its way, and it stands in row {row} ({here}) now: "
            "put that row's own picture back there, then push again",
            f"发送图片时有人移动了行，图片现在在第 {row} 行（{here}）：请把那一行自己的图片放回去，再重新推送",
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
