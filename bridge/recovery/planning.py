"""What a recovery would do now, row by row, and what that will cost: asks everybody, changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..engines.history import Place
from ..results.find import Found
from ..table.manager import DatabaseManager
from ..table.owners import OwnedError
from ..table.records import Stage, TaskError, TaskRecord, id_sort_key
from ..table.values import Owner
from ..wording import Wording
from .decisions import Action, Decision
from .following import Following, gone_with_power
from .starts import blamed, suspect
from .submitting import Submitting
from .turns import TOGETHER

#: Results that lie in the output folder already, by task.
OnDisk = Callable[[Sequence[TaskRecord]], Mapping[str, Sequence[Found]]]

_PLUGIN_S: Final = Wording("ComfyUI's plugin brings it to its end", "由 ComfyUI 的插件处理到结束")
_LIMIT: Final = Wording(
    "as many as WFRECOVERY_MAX_RENDERS allows are sent before it: the next run's",
    "在它之前已达到 WFRECOVERY_MAX_RENDERS 的上限：由下次运行提交",
)
#: Why a render is paid for again.
_NO_ANSWER: Final = Wording(
    "it was sent, and no answer came: it may have been accepted", "已发送但没有收到应答：可能已被接收"
)
_TAKEN: Final = Wording("it was taken, and is not known there any more", "曾被接收，但现在那里查不到")
_TRIED: Final = Wording("it was begun before", "之前已经开始过")


@dataclass(frozen=True)
class PlannedTask:
    """What happens to one task, and why."""

    task_id: str
    row_number: int | None
    workflow_type: str | None
    product_name: str
    model_name: str
    action: Action
    reason: Wording
    #: it ends as lost, and its cell stays 否: the next batch renders the row
    row_stays_open: bool = False
    #: why it may have been rendered before; None where it surely was not, or is not sent
    again: Wording | None = None
    #: what waits for a person: how many renders each decision costs. "leave" costs the one of the next batch
    decisions: Mapping[str, int] | None = None

    @property
    def renders(self) -> int:
        """How many are paid for by that."""
        return int(self.action is Action.REQUEUE)

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            **{name: getattr(self, name) for name in ("task_id", "row_number", "workflow_type")},
            **{name: getattr(self, name) for name in ("product_name", "model_name")},
            "action": self.action.value,
            "reason": self.reason.en,
            "reason_zh": self.reason.zh,
            "renders": self.renders,
            "again": None if self.again is None else self.again.en,
            "row_stays_open": self.row_stays_open,
            "decisions": None if self.decisions is None else dict(self.decisions),
        }


@dataclass(frozen=True)
class RecoveryPlan:
    """Every unfinished task, oldest first."""

    tasks: tuple[PlannedTask, ...]

    @property
    def renders(self) -> int:
        """How many renders the recovery will pay for."""
        return sum(task.renders for task in self.tasks)

    @property
    def again(self) -> int:
        """How many of these may have been paid for before."""
        return sum(task.renders for task in self.tasks if task.again is not None)

    @property
    def asking(self) -> tuple[PlannedTask, ...]:
        """What waits for a person."""
        return tuple(task for task in self.tasks if task.decisions is not None)

    def to_json(self) -> dict[str, Any]:
        """For scripts."""
        tasks = [task.to_json() for task in self.tasks]
        return {"renders": self.renders, "again": self.again, "asking": len(self.asking), "tasks": tasks}


class Planning:
    """Looks at every unfinished task as the recovery would."""

    def __init__(
        self, db: DatabaseManager, submitting: Submitting, follow: Following, limit: int, on_disk: OnDisk
    ) -> None:
        self._db, self._submitting, self._follow, self._limit, self._on_disk = db, submitting, follow, limit, on_disk

    async def plan(self) -> RecoveryPlan:
        """Row by row, a few at a time."""
        tasks = await asyncio.to_thread(self._unfinished)
        self._follow.on_disk = await asyncio.to_thread(self._on_disk, tasks)
        to_blame = await self._to_blame(tasks)
        planned: list[PlannedTask] = []
        for start in range(0, len(tasks), TOGETHER):
            batch = tasks[start : start + TOGETHER]
            planned += await asyncio.gather(*(self._planned(task, to_blame) for task in batch))
        return RecoveryPlan(tuple(self._within_limit(planned)))

    def _unfinished(self) -> list[TaskRecord]:
        """Read as they lie there: nothing is set aside."""
        found: list[TaskRecord] = []
        for task_id in sorted(self._db.table.files_in(self._db.table.active_folder), key=id_sort_key):
            with contextlib.suppress(TaskError, OSError):
                task = self._db.table.get(task_id)
                found += [] if task.stage.final else [task]
        return found

    async def _to_blame(self, tasks: list[TaskRecord]) -> str | None:
        """Whose start is counted if the engine went down with all of them."""
        suspected = suspect(task for task in tasks if self._submitting.is_ours(task))
        return suspected.task_id if suspected is not None and await self._follow.counts_losses() else None

    def _within_limit(self, planned: list[PlannedTask]) -> list[PlannedTask]:
        sent, kept = 0, []
        for task in planned:
            sent += task.renders
            over = task.renders and 0 < self._limit < sent
            kept.append(dataclasses.replace(task, action=Action.LEAVE, reason=_LIMIT, again=None) if over else task)
        return kept

    async def _planned(self, task: TaskRecord, to_blame: str | None) -> PlannedTask:
        decision = await self._decision(task, blame=task.task_id == to_blame)
        waits = decision.action is Action.ASK
        return PlannedTask(
            task.task_id,
            task.row_number,
            task.workflow_type,
            task.product_name or "",
            task.model_name or "",
            decision.action,
            decision.reason,
            row_stays_open=decision.row_stays_open,
            again=_why_again(task) if decision.action is Action.REQUEUE else None,
            decisions=self._costs(task) if waits else None,
        )

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
        if await self._follow.is_others(task):
            return Decision(Action.LEAVE, _PLUGIN_S)
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
