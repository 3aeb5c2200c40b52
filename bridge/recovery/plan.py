"""A plan: what would happen to each task and row, why, and what that costs; and how a person reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..table.records import TaskRecord
from ..terminal import language_of, table
from ..wording import Wording
from .decisions import Action


@dataclass(frozen=True)
class PlannedTask:
    """What happens to one task, or to one row of a batch, and why."""

    #: None: a row of the batch that no task is at work on
    task_id: str | None
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

    @classmethod
    def of(cls, task: TaskRecord, action: Action, reason: Wording) -> PlannedTask:
        """What happens to this task."""
        names = task.product_name or "", task.model_name or ""
        return cls(task.task_id, task.row_number, task.workflow_type, *names, action, reason)

    @property
    def renders(self) -> int:
        """How many are paid for by that."""
        return int(self.action in (Action.REQUEUE, Action.RENDER))

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
    """Every unfinished task, oldest first; then the rows of the batch that have none, as the sheet has them."""

    tasks: tuple[PlannedTask, ...]
    #: as many renders a run sends at most (WFRECOVERY_MAX_RENDERS); 0: as many as there are
    limit: int = 0

    @property
    def renders(self) -> int:
        """How many renders will be paid for."""
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
        sums = {"renders": self.renders, "again": self.again, "asking": len(self.asking), "limit": self.limit}
        return {**sums, "tasks": tasks}

    def lines(self, language: str | None = None) -> list[str]:
        """For a person: a table with the reasons below each row, and the sum. `language`: "en" or "zh"; default is
        WFRECOVERY_LANGUAGE, else the system's."""
        language = language or language_of()
        return [*_table(language, self.tasks), self.summary.text(language)]

    @property
    def summary(self) -> Wording:
        """The sum, in one line."""
        if not self.tasks:
            return _NOTHING
        why = Counter(task.again for task in self.tasks if task.again is not None and task.renders)
        parts = [
            Wording(
                f"{self.renders} to be rendered, {self.again} of them perhaps for a second time",
                f"将生成 {self.renders} 个，其中 {self.again} 个可能是再次生成",
            ),
            *(Wording(f" ({number} × {reason.en})", f"（{number} × {reason.zh}）") for reason, number in why.items()),
            Wording(f"; {len(self.asking)} wait for a decision", f"；{len(self.asking)} 个等待决定"),
        ]
        if self.limit:
            parts.append(
                Wording(
                    f"; WFRECOVERY_MAX_RENDERS={self.limit} for one run",
                    f"；每次运行最多 WFRECOVERY_MAX_RENDERS={self.limit} 个",
                )
            )
        return sum(parts[1:], parts[0])


_NOTHING: Final = Wording(
    "nothing to render: no task is unfinished, and no row is open", "没有要生成的：没有未完成的任务，也没有待处理的行"
)
_TITLES: Final = (
    Wording("TASK", "任务"),
    Wording("ROW", "行"),
    Wording("WORKFLOW", "工作流"),
    Wording("PRODUCT", "产品"),
    Wording("MODEL", "模特"),
    Wording("WHAT HAPPENS", "将会"),
)
#: What happens, for people.
ACTIONS: Final = {
    Action.LEAVE: Wording("left as it is", "保持不变"),
    Action.FOLLOW: Wording("followed to its end", "等待它结束"),
    Action.COLLECT: Wording("its files are fetched", "取回结果"),
    Action.ADOPT: Wording("its files are taken", "采用已有结果"),
    Action.REQUEUE: Wording("rendered", "重新生成"),
    Action.RENDER: Wording("rendered", "生成"),
    Action.ASK: Wording("asks you", "等你决定"),
    Action.FAIL: Wording("失败", "失败"),
    Action.CANCEL: Wording("cancelled", "取消"),
}
#: What a decision costs, explained.
_NOTES: Final = {
    "again": Wording(" (a second time, if it was rendered)", "（如果已经生成过，就是第二次）"),
    "leave": Wording(" (by the next batch, if its cell says 否)", "（如果单元格是 否，由下一批生成）"),
    "arrived": Wording(" (--id ID: it is fetched)", "（--id ID：取回结果）"),
}


def _table(language: str, tasks: Sequence[PlannedTask]) -> Iterator[str]:
    """Below each task, why."""
    rows = [_cells(language, task) for task in tasks]
    titles, *lines = table([title.text(language) for title in _TITLES], rows)
    if tasks:
        yield titles
    for task, line in zip(tasks, lines, strict=True):
        yield line
        for reason in _reasons(task):
            yield f"    {reason.text(language)}"


def _cells(language: str, task: PlannedTask) -> list[str]:
    row = "–" if task.row_number is None else str(task.row_number)
    what = ACTIONS[task.action].text(language)
    names = (task.workflow_type, task.product_name, task.model_name)
    return [task.task_id or "–", row, *(name or "–" for name in names), what]


def _reasons(task: PlannedTask) -> Iterator[Wording]:
    yield task.reason
    if task.again is not None:
        yield Wording("paid for again? ", "再次计费？") + task.again
    if task.row_stays_open:
        yield Wording("the next batch renders its row", "下一批会生成该行")
    for decision, renders in (task.decisions or {}).items():
        yield Wording(f"decide {decision}: {renders} to pay for", f"decide {decision}：计费 {renders} 次") + _NOTES.get(
            decision, ""
        )
