"""Which row of a read sheet a task belongs to, or that nobody can tell: then nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ..table.cells import addresses_in, agree, cell_text, one_named
from ..table.index import TaskEntry
from ..table.records import TaskRecord, WorkflowStatus, WorkflowType
from ..table.row_identity import (
    RowIdentity,
    Verdict,
    compare,
    interchangeable,
    pictures_differ,
    short,
    shows_its_pictures,
)
from ..table.row_places import Known, Places, RowOwner, is_numbered, made_of_its_row, places_of
from ..table.values import FeishuState
from ..wording import Wording
from .sheet import SheetTable, row_number_of
from .status_column import status_before, status_field

_DONE: Final = WorkflowStatus.COMPLETED.value
_VIDEO: Final = WorkflowType.IMAGE_TO_VIDEO.value


class RowNotFoundError(LookupError):
    """The row of a task cannot be told for sure: nothing is written. `rows`: the numbers of those that it may be."""

    def __init__(self, wording: Wording, rows: Iterable[int] = ()) -> None:
        self.wording, self.rows = wording, tuple(rows)
        super().__init__(wording.en)


@dataclass(frozen=True)
class Claim:
    """A task whose result waits for its row. Of rows that look the same each may have one result."""

    task_id: str
    workflow_type: str | None
    row_number: int | None
    identity: RowIdentity
    #: the row that its picture has left for
    sent_to: int | None = None
    #: its row may say 已完成 for its sake: it was entered so, or was delivered before, or a person wants it written
    may_be_done: bool = True
    #: its pictures, or links of its films, that stand, or have stood, in its row: where that is, they tell. None where
    #: the number does
    delivered: Set[str] | None = None

    @classmethod
    def of(cls, task: TaskRecord) -> Claim:
        """What a task wants."""
        outbox = task.outbox
        sent_to = row_number_of(outbox.writing.cell) if outbox.writing is not None else None
        delivered = outbox.pushed_at or outbox.asked_at or outbox.status_before is not None or outbox.sent
        may_be_done = bool(delivered) or status_before(task) in (None, _DONE)
        by_content = outbox.sent and sent_to is None and not outbox.row_named
        sent = frozenset(outbox.sent) if by_content else None
        return cls(task.task_id, task.workflow_type, task.row_number, task.identity, sent_to, may_be_done, sent)


class RowFinder:
    """Finds rows in one reading of the sheet. Not for several threads."""

    def __init__(
        self,
        sheet: SheetTable,
        claims: Sequence[Claim] = (),
        known: Known = lambda _: None,
        tasks: Callable[[], Iterable[TaskEntry]] = tuple,
        marks: Callable[[str], Set[str]] = lambda _: frozenset(),
    ) -> None:
        """`known`: see `places_of`. `tasks`: all of the table, asked where a row's pictures are other ones. `marks`: by
        what a picture is known, asked where rows look the same; may raise FeishuError."""
        self.sheet = sheet
        self._claims, self._known, self._tasks, self._marks = claims, known, tasks, marks
        #: rows that look the same, and for which workflow → task id → its row
        self._shared: dict[tuple[str | None, tuple[int, ...]], Mapping[str, int]] = {}

    def row_of(self, task: RowOwner) -> int:
        """The row that a task was made for. Raises RowNotFoundError that names what was looked for and what was found,
        SheetLayoutError where the columns for that are missing, and FeishuError where pictures cannot be looked at."""
        wanted = task.identity
        if not wanted.named:
            raise RowNotFoundError(_nameless(task))
        for field in ("product_name", "model_name"):
            if getattr(self.sheet.columns, field):  # else the sheet has no such column, which is said so
                self.sheet.place(field)
        where = self._places(task)
        if where.numbered:
            raise RowNotFoundError(self._changed(task, where) + _decide(task), (*where.numbered, *where.elsewhere))
        if not where.rows:
            raise RowNotFoundError(self._not_found(task) + _decide(task), made_of_its_row(task, self.sheet.index))
        if len(where.rows) > 1:
            return self._of_several(task, where.rows)
        (row,) = where.rows
        if self._is_anothers(task, row):
            raise RowNotFoundError(self._taken(task, row) + _decide(task), where.rows)
        return row

    def looks_like(self, task: RowOwner) -> tuple[int, ...]:
        """All rows that may be its own; they look the same where there are several."""
        return self._places(task).rows

    def _places(self, task: RowOwner) -> Places:
        return places_of(task, self.sheet.index, self._known)

    # ------------------------------------------------------------------ a row that was changed

    def _changed(self, task: RowOwner, where: Places) -> Wording:
        """Why the row that carries its number is not taken for its row."""
        number = where.numbered[0]
        mine, theirs = task.identity.prompt, self.sheet.identity(number).prompt
        if where.elsewhere or mine is None or theirs is None or agree(mine, theirs):
            return self._number_stands(task, number, where.elsewhere)
        title = self.sheet.columns.prompt
        return Wording(
            f"row {number} was changed: {title} was {short([mine])}, and now is {short([theirs])}",
            f"第 {number} 行已被修改：{title}原来是 {short([mine])}，现在是 {short([theirs])}",
        )

    def _number_stands(self, task: RowOwner, number: int, elsewhere: Sequence[int]) -> Wording:
        looked_for, there = self._looked_for(task), self.sheet.identity(number)
        now = short([there.product_name, there.model_name])
        rows = ", ".join(map(str, elsewhere[:10]))
        return Wording(
            f"row {number} carries the task's number, but has {now or 'nothing'}; "
            f"{looked_for} stands in {f'row {rows}' if rows else 'no row'}",
            f"第 {number} 行写着这个任务的任务号，但内容是 {now or '空'}；"
            f"{f'{looked_for} 在第 {rows} 行' if rows else f'哪一行都没有 {looked_for}'}",
        )

    # ------------------------------------------------------------------ the only row that is left

    def _is_anothers(self, task: RowOwner, row: int) -> bool:
        """Whether the only row with its texts is another one: its own was deleted. That is so where the row shows other
        pictures, unless a person has replaced one, or is done although nobody has delivered this task; and something
        tells whose it is."""
        there = self.sheet.identity(row)
        others, done = pictures_differ(task.identity, there), self._is_done_by_others(task, row)
        carried = [other for other in self.sheet.index.numbers.get(row, ()) if other[:3] == task.task_id[:3]]
        if not (others or done) or task.task_id in carried:
            return False
        its_number_is_gone = is_numbered(task) and "task_id" in self.sheet.places
        if its_number_is_gone or (others and (carried or done)):
            return True
        return any(
            (shows_its_pictures(other.identity, there) if others else _is_delivered_beside(other, task))
            for other in self._tasks()
            if other.task_id != task.task_id
            and other.workflow_type == task.workflow_type
            and other.identity.product_name == there.product_name  # most are others: a table may have 100,000
            and compare(other.identity, there) is not Verdict.DIFFERENT
        )

    def _is_done_by_others(self, task: RowOwner, row: int) -> bool:
        may_be_done = any(claim.may_be_done for claim in self._claims if claim.task_id == task.task_id)
        return not may_be_done and self._done(row, task.workflow_type)

    def _taken(self, task: RowOwner, row: int) -> Wording:
        looked_for, others = self._looked_for(task), pictures_differ(task.identity, self.sheet.identity(row))
        but = Wording("with other pictures", "但图片不同") if others else Wording("done already", "但已完成")
        return Wording(
            f"{looked_for} stands in row {row}, but {but.en}, and that row is another one's: "
            "its own seems to be deleted",
            f"第 {row} 行有 {looked_for}，{but.zh}，而且那一行属于别的任务：它自己的行似乎已被删除",
        )

    # ------------------------------------------------------------------ rows that look the same

    def _of_several(self, task: RowOwner, rows: tuple[int, ...]) -> int:
        identities = [self.sheet.identity(number) for number in rows]
        # Of one row a person may have replaced the picture; of several that show another one it is none's for sure.
        if not interchangeable(identities) or pictures_differ(task.identity, identities[0]):
            raise RowNotFoundError(self._ambiguous(task, rows), rows)
        if task.row_number in rows and not any(claim.task_id == task.task_id for claim in self._claims):
            return int(task.row_number or 0)
        key = task.workflow_type, rows
        if key not in self._shared:
            self._shared[key] = self._share_out(task.workflow_type, rows)
        row = self._shared[key].get(task.task_id)
        if row is None:
            raise RowNotFoundError(self._ambiguous(task, rows), rows)
        return row

    def _share_out(self, workflow_type: str | None, rows: tuple[int, ...]) -> Mapping[str, int]:
        """Rows that look the same among the tasks for them: what was delivered already where that stands, who has sent
        his picture one that shows it, each other one that of its number, if that has no result yet; the others what is
        left. Rows move, and what has its result was another's."""
        claims = [
            claim
            for claim in self._claims
            if claim.workflow_type == workflow_type
            and self._places(claim).rows == rows
            and not pictures_differ(claim.identity, self.sheet.identity(rows[0]))
        ]
        empty = {number for number in rows if not self._has_result(number, workflow_type)}
        by_content = [claim for claim in claims if claim.delivered and self._shows_results_of(workflow_type)]
        shares = self._standing(by_content, rows, empty)
        claims = [claim for claim in claims if claim not in by_content]
        for claim in claims:
            number = claim.sent_to if claim.sent_to in rows else claim.row_number
            own = number in empty or number == claim.sent_to or claim.may_be_done
            if own and number in rows and number not in shares.values():
                shares[claim.task_id] = int(number or 0)
        for claim in (claim for claim in claims if claim.task_id not in shares):
            free = [
                number for number in rows if number not in shares.values() and not self._done(number, workflow_type)
            ]
            shown = [number for number in free if self.sheet.picture(number) is not None]
            mine = [number for number in rows if number == claim.row_number and number not in shares.values()]
            unused = (
                [number for number in free if number not in shown] or [n for n in free if n in mine] or free or mine
            )
            fitting = shown if claim.sent_to is not None and shown else unused
            if fitting:
                shares[claim.task_id] = fitting[0]
        return shares

    def _standing(self, claims: Sequence[Claim], rows: Sequence[int], empty: Collection[int]) -> dict[str, int]:
        """The rows that show what was delivered of a task before. What stands nowhere was taken out, and also what
        several show where its number's is empty, as they are of the very same content: then its row is that one; else
        nobody can tell it, for rows move."""
        found: dict[str, int] = {}
        for claim in claims:
            # one after the other, its number's first: to look at a picture is a call
            wanted: Iterable[int] = (number for number in _first(claim.row_number, rows) if self._shows(number, claim))
            if claim.row_number in empty:
                shown = list(islice(wanted, 2))
                wanted = shown if len(shown) == 1 else [claim.row_number or 0]
            number = next((number for number in wanted if number not in found.values()), None)
            if number is not None:
                found[claim.task_id] = number
        return found

    def _shows_results_of(self, workflow_type: str | None) -> bool:
        return workflow_type != _VIDEO or "video_link" in self.sheet.places

    def _has_result(self, number: int, workflow_type: str | None) -> bool:
        if workflow_type == _VIDEO:
            return self._done(number, workflow_type) or bool(self.sheet.optional_text(number, "video_link"))
        return self._done(number, workflow_type) or self.sheet.picture(number) is not None

    def _shows(self, number: int, claim: Claim) -> bool:
        """Whether a row shows what was delivered of a task. Raises FeishuError."""
        if claim.workflow_type == _VIDEO:
            cell = self.sheet.cell(number, "video_link")
            there: Set[str] = {cell_text(cell).strip(), *addresses_in(cell)}
        else:
            token = self.sheet.picture(number)
            there = self._marks(token) if token is not None and one_named(token) else frozenset()
        return not there.isdisjoint(claim.delivered or ())

    def _done(self, number: int, workflow_type: str | None) -> bool:
        return self.sheet.optional_text(number, status_field(workflow_type)) == _DONE

    # ------------------------------------------------------------------ what to say

    def _looked_for(self, task: RowOwner) -> str:
        titles, wanted = self.sheet.columns, task.identity
        parts = {name: getattr(wanted, name) for name in ("product_name", "model_name", "prompt")}
        return " · ".join(f"{getattr(titles, name)} {short([text])}" for name, text in parts.items() if text)

    def _ambiguous(self, task: RowOwner, rows: Sequence[int]) -> Wording:
        looked_for = self._looked_for(task)
        named = ", ".join(map(str, rows[:10])) + (" …" if len(rows) > 10 else "")
        return Wording(
            f"{looked_for} stands in several rows ({named}), and nothing tells which is the task's",
            f"{looked_for} 出现在好几行（{named}），无法判断哪一行属于这个任务",
        ) + _decide(task)

    def _not_found(self, task: RowOwner) -> Wording:
        looked_for, number = self._looked_for(task), task.row_number or 0
        if number in self.sheet.row_numbers():
            there = self.sheet.identity(number)
            now = short([there.product_name, there.model_name, there.prompt if task.identity.prompt else None])
            return Wording(
                f"{looked_for} stands in no row; row {number} now has {now or 'nothing'}",
                f"哪一行都没有 {looked_for}；第 {number} 行现在是 {now or '空'}",
            )
        return Wording(
            f"{looked_for} stands in no row; the sheet has no row {number}",
            f"哪一行都没有 {looked_for}；表格里也没有第 {number} 行",
        )


def _first(number: int | None, rows: Sequence[int]) -> list[int]:
    """`rows` with this one, if it is among them, as the first to be looked at."""
    return sorted(rows, key=lambda row: row != number)


def _is_delivered_beside(other: TaskEntry, task: RowOwner) -> bool:
    """Whether a result is in the sheet that was for another row than the task, as both were entered: of one row the
    newer result takes the place of the older."""
    return other.feishu_state is FeishuState.PUSHED and other.row_number != task.row_number


def _nameless(task: RowOwner) -> Wording:
    return Wording(
        f"the task names no product and no model, so row {task.row_number} cannot be checked "
        "→ put the result in by hand, and have tasks name them (main.py, or the Row Task node)",
        f"任务没有产品名和模特名，无法核对第 {task.row_number} 行"
        " → 请手动放入结果，并让任务带上这两项（main.py 或 Row Task 节点）",
    )


def _decide(task: RowOwner) -> Wording:
    command = f"wfrecovery decide {task.task_id} write"
    return Wording(
        f" → put that right in the sheet and push again, or decide: {command} (or leave)",
        f" → 请在表格里改好再重新推送，或自己决定：{command}（或 leave）",
    )
