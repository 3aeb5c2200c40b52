"""What a recovery and the batch after it would do now, row by row, and what that will cost: asks everybody, changes
nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from ..engines.history import ABSENT, Place
from ..settings import Settings
from ..table.index import TaskEntry, TaskIndex
from ..table.manager import DatabaseManager
from ..table.owners import OwnedError
from ..table.records import Stage, TaskError, TaskRecord, WorkflowType, id_sort_key, workflow_type_of
from ..table.rows import RowData, number_of
from ..table.values import Owner
from ..wording import Wording
from .batch_planning import planned_rows, refused_rows
from .decisions import Action, Decision
from .following import Following, Whose, gone_with_power
from .next_start import at_next_start, is_plugin_s
from .plan import PlannedTask, RecoveryPlan
from .starts import blamed, suspect
from .submitting import Submitting
from .turns import TOGETHER

log = logging.getLogger("wfrecovery")

_PLUGIN_S: Final = Wording("ComfyUI's plugin brings it to its end", "由 ComfyUI 的插件处理到结束")
_LIMIT: Final = Wording(
    "as many as WFRECOVERY_MAX_RENDERS allows are sent before it: the next run's",
    "在它之前已达到 WFRECOVERY_MAX_RENDERS 的上限：由下次运行提交",
)
#: The rows that a batch is to render, by workflow.
Batch = Mapping[WorkflowType | str, Sequence[RowData]]

#: Why a render is paid for again.
_NO_ANSWER: Final = Wording(
    "it was sent, and no answer came: it may have been accepted", "已发送但没有收到应答：可能已被接收"
)
_TAKEN: Final = Wording("it was taken, and is not known there any more", "曾被接收，但现在那里查不到")
_TRIED: Final = Wording("it was begun before", "之前已经开始过")


class Planning:
    """Looks at every unfinished task as the recovery would."""

    def __init__(
        self,
        db: DatabaseManager,
        submitting: Submitting,
        follow: Following,
        *,
        limits: Settings,
        to_sheet: bool,
    ) -> None:
        """`to_sheet`: whether results go into a sheet from here."""
        self._db, self._submitting, self._follow = db, submitting, follow
        self._limits, self._limit, self._to_sheet = limits, limits.max_renders, to_sheet
        #: every task as it lies there
        self._index = TaskIndex(db.table, look=self._as_it_lies)

    async def plan(self, batch: Batch) -> RecoveryPlan:
        """Row by row, a few at a time; then the rows of a batch, as the recovery leaves them."""
        tasks = await asyncio.to_thread(self._unfinished)
        to_blame = await self._to_blame(tasks)
        planned: list[PlannedTask] = []
        for start in range(0, len(tasks), TOGETHER):
            some = tasks[start : start + TOGETHER]
            planned += await asyncio.gather(*(self._planned(task, to_blame) for task in some))
        by_id = {task.task_id: task for task in planned if task.task_id is not None}
        for workflow_type, rows in batch.items():
            planned += await asyncio.to_thread(self._of_batch, self._index, rows, workflow_type, by_id)
        return RecoveryPlan(tuple(self._within_limit(planned)), self._limit)

    def rows_to_do(self, rows: Sequence[RowData], workflow_type: WorkflowType | str) -> list[RowData]:
        """The rows of a batch that begins now; how many are paid for is logged."""
        plan = RecoveryPlan(tuple(self._of_batch(self._db.index, rows, workflow_type, {})), self._limit)
        log.info("[wfrecovery] %s: %s", workflow_type_of(workflow_type).value, plan.summary)
        refused = self._refused(rows)
        for number, why in refused.items():
            log.warning("[wfrecovery] row %d is left out: %s", number, why)
        return [row for row in self._db.rows_without_task(rows, workflow_type) if number_of(row) not in refused]

    def _of_batch(
        self,
        index: TaskIndex,
        rows: Sequence[RowData],
        workflow_type: WorkflowType | str,
        recovery: Mapping[str, PlannedTask],
    ) -> list[PlannedTask]:
        told = self._to_sheet and self._limits.write_failed
        entries, refused = self._db.in_this_sheet(index.entries()), self._refused(rows)
        newer = self._db.in_this_sheet(TaskEntry.of(task) for task in self._db.table.newer(index.find))
        return planned_rows(entries, rows, workflow_type, recovery, refused, newer=newer, writes_failed=told)

    def _refused(self, rows: Sequence[RowData]) -> dict[int, Wording]:
        return refused_rows(rows) if self._to_sheet else {}

    def _unfinished(self) -> list[TaskRecord]:
        """Oldest first."""
        task_ids = sorted(self._db.table.files_in(self._db.table.active_folder), key=id_sort_key)
        return [task for task in map(self._as_it_lies, task_ids) if task is not None and not task.stage.final]

    def _as_it_lies(self, task_id: str) -> TaskRecord | None:
        """A record; what cannot be read is not set aside."""
        with contextlib.suppress(TaskError, OSError):
            return self._db.table.get(task_id)
        return None

    async def _to_blame(self, tasks: list[TaskRecord]) -> str | None:
        """Whose start is counted if the engine went down with all of them."""
        suspected = suspect(task for task in tasks if self._submitting.is_ours(task))
        return suspected.task_id if suspected is not None and await self._follow.losses.are_counted() else None

    def _within_limit(self, planned: list[PlannedTask]) -> list[PlannedTask]:
        sent, kept = 0, []
        for task in planned:
            sent += task.renders
            over = task.renders and 0 < self._limit < sent
            kept.append(dataclasses.replace(task, action=Action.LEAVE, reason=_LIMIT, again=None) if over else task)
        return kept

    async def _planned(self, task: TaskRecord, to_blame: str | None) -> PlannedTask:
        decision = await self._decision(task, blame=task.task_id == to_blame)
        left_to_plugin = is_plugin_s(task) and decision.action in (Action.LEAVE, Action.ASK)
        reason = await self._by_plugin(task, decision.reason) if left_to_plugin else decision.reason
        return dataclasses.replace(
            PlannedTask.of(task, decision.action, reason),
            row_stays_open=decision.row_stays_open,
            again=_why_again(task) if decision.action is Action.REQUEUE else None,
            decisions=self._costs(task) if decision.action is Action.ASK else None,
        )

    async def _by_plugin(self, task: TaskRecord, reason: Wording) -> Wording:
        graph, whole = await self._follow.at_hand(task, ABSENT)
        then = at_next_start(task, self._limits, on_disk=whole is not None, has_graph=graph is not None)
        return reason + Wording("; ", "；") + then if reason else then

    def _costs(self, task: TaskRecord) -> dict[str, int]:
        costs = {"again": 1, "leave": int(task.row_number is not None)}
        return {**costs, "arrived": 0} if self._submitting.makes_own_ids else costs

    async def _decision(self, task: TaskRecord, *, blame: bool) -> Decision:
        if not self._submitting.is_ours(task):
            return Decision(Action.LEAVE, Wording(f"{task.engine} renders it", f"由 {task.engine} 渲染"))
        owner = await self._follow.at_work(task)
        if owner is not None:
            return Decision(Action.LEAVE, self._owned(task, owner))
        if task.stage is Stage.ASKING:
            reason = Wording(task.error_message or "", task.error_message_zh or task.error_message or "")
            return Decision(Action.ASK, reason)
        if await self._follow.whose(task) is Whose.OTHERS:
            return Decision(Action.LEAVE, _PLUGIN_S)
        task = await asyncio.to_thread(self._db.settled, task)
        if await asyncio.to_thread(self._db.owners.lost_power, task.owner):
            task, blame = gone_with_power(task), False
        seen = await self._follow.look(task)
        graph, whole = await self._follow.at_hand(task, seen)
        if blame and seen.place is Place.ABSENT and whole is None:
            task = blamed(task)
        return self._follow.decided(task, seen, graph, whole)

    def _owned(self, task: TaskRecord, owner: Owner) -> Wording:
        return OwnedError(task.task_id, owner, self._db.owners.name_of(owner)).wording


def _why_again(task: TaskRecord) -> Wording | None:
    """What is only entered was never sent; of one with an id of ours, that id was looked up."""
    if task.sending is not None and task.comfyui_task_id is None:
        return _NO_ANSWER
    if task.stage is not Stage.CREATED:
        return _TAKEN
    return _TRIED if task.attempts else None
