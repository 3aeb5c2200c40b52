"""One message to the team's group when a batch or recovery is over: what is done, what failed, what needs a person."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ..settings import Settings
from ..table.database import WorkflowDatabase
from ..table.names import UnknownTaskError
from ..table.records import Stage, TaskError, TaskRecord
from ..table.values import FeishuState
from ..wording import Wording
from .client import FeishuClient
from .errors import FeishuError, Remedy
from .group_bot import cut, send_text

log = logging.getLogger("wfrecovery")

#: A batch is over when nothing has happened for so many seconds: main.py may send one row after the other.
QUIET: Final = 60.0
#: With these a message stays under what Feishu takes in any script.
MAX_LINES: Final = 10
MAX_NAME: Final = 60
MAX_REASON: Final = 120
#: Seconds between the tries to send a summary.
_WAITS: Final = (5.0, 30.0, 120.0)
#: So many tasks are remembered after their summary, so that hearing of them again starts no new one.
_REMEMBERED: Final = 10_000


@dataclass(frozen=True)
class Trouble:
    """A task that did not get through, and why."""

    row_number: int | None
    #: product · model
    name: str
    workflow_type: str
    reason: Wording
    task_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class Summary:
    """How a batch went."""

    #: results that are done, those of `recovered` among them
    finished: int = 0
    #: done although ComfyUI or main.py had died in between
    recovered: int = 0
    failed: tuple[Trouble, ...] = ()
    #: rendered, and not in the sheet until a person does something
    blocked: tuple[Trouble, ...] = ()
    #: from the first sign of the batch to the last
    seconds: float = 0.0
    #: where a person opens the sheet
    sheet_url: str = ""
    #: how many more are blocked, of which the group was told just before
    blocked_before: int = 0
    #: of which nobody knows whether they were rendered and paid for
    asking: tuple[Trouble, ...] = ()


def summary_text(summary: Summary, language: str) -> str:
    """The message, in `language` (zh or en). Bounded, however much there is to tell."""
    need_you = len(summary.blocked) + summary.blocked_before + len(summary.asking)
    heads = (
        Wording(f"wfrecovery: {summary.finished} done", f"wfrecovery：完成 {summary.finished} 个"),
        Wording(f" ({summary.recovered} of them recovered)", f"（其中恢复 {summary.recovered} 个）"),
        Wording(f", {len(summary.failed)} failed", f"，失败 {len(summary.failed)} 个"),
        Wording(f", {need_you} need you", f"，{need_you} 个需要处理"),
        Wording(f", in {_duration(summary.seconds).en}", f"，用时{_duration(summary.seconds).zh}"),
    )
    wanted = (True, summary.recovered, summary.failed, need_you, summary.seconds >= 1)
    head = "".join(part.text(language) for part, wants in zip(heads, wanted, strict=True) if wants)
    failed = Wording("Failed:", "失败：")
    blocked = Wording("Rendered, but not in the sheet:", "已生成，但没有写入表格：")
    asking = Wording("Waiting for your decision:", "等待你的决定：")
    lines = [head, *_listed(failed, summary.failed, language), *_listed(blocked, summary.blocked, language)]
    lines += _listed(asking, summary.asking, language)
    if summary.blocked_before:
        before = f"{summary.blocked_before} not in the sheet as told before"
        lines.append(Wording(before, f"{summary.blocked_before} 个没有写入表格，原因刚才已说明").text(language))
    if summary.sheet_url:
        lines.append(Wording(f"Sheet: {summary.sheet_url}", f"表格：{summary.sheet_url}").text(language))
    return "\n".join(lines)


def send_summary(settings: Settings, summary: Summary, *, clock: Callable[[], float] = time.time) -> bool:
    """Send it to the group's bot, once, as `send_text` does."""
    return send_text(settings, summary_text(summary, settings.language), clock=clock)


def tell_group(
    feishu: FeishuClient, summary: Summary, *, pause: Callable[[float], object] = time.sleep
) -> FeishuError | None:
    """Send a summary with the sheet's address, some minutes long again where that cannot tell the group twice.

    Returns why it was not sent, if it was not; raises nothing: nobody's work fails because of it.
    """
    with contextlib.suppress(FeishuError):
        if feishu.configured:
            summary = replace(summary, sheet_url=feishu.sheet_url())
    for wait in (*_WAITS, None):
        try:
            send_summary(feishu.settings, summary)
        except FeishuError as error:
            if wait is None or error.remedy is not Remedy.RETRY or error.outcome_unknown:
                log.warning("[wfrecovery] the group was not told: %s", error)
                return error
            pause(max(wait, min(error.wait or 0.0, _WAITS[-1])))
        else:
            return None
    raise AssertionError("unreachable")


class BatchWatch:
    """Hears of each change of a task, and tells once when a batch is over: nothing renders, nothing can be pushed.

    Only tasks with a row count; what waits for a person's decision holds nothing up. Safe to use from threads.
    `publishing` is False where nobody here pushes to the sheet: then a task is over when it is rendered.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, quiet: float = QUIET, publishing: bool = True
    ) -> None:
        self._clock, self._quiet, self._publishing = clock, quiet, publishing
        self._lock = threading.Lock()
        #: the newest record of each task of the batch
        self._batch: dict[str, TaskRecord] = {}
        self._open: set[str] = set()
        #: tasks of the batch that were seen before they were rendered
        self._rendered_here: set[str] = set()
        self._told: OrderedDict[str, TaskRecord] = OrderedDict()
        self._began = self._changed = 0.0

    def saw(self, task: TaskRecord) -> None:
        """A task entered, changed, finished or was pushed. Hearing the same again, or older news, changes nothing."""
        if task.row_number is None:
            return
        with self._lock:
            known = self._batch.get(task.task_id) or self._told.get(task.task_id)
            if known is not None and (_as_old(task, known) or self._nothing_new(task)):
                return
            self._changed = self._clock()
            if not self._batch:
                self._began = self._changed
            self._batch[task.task_id] = task
            (self._open.add if self._can_go_on(task) else self._open.discard)(task.task_id)
            if not task.stage.final:
                self._rendered_here.add(task.task_id)

    def gone(self, task_id: str) -> None:
        """Its record is gone: nothing more will be heard of it, and nobody waits for it."""
        with self._lock:
            self._batch.pop(task_id, None)
            self._open.discard(task_id)
            self._rendered_here.discard(task_id)

    def look_at(self, table: WorkflowDatabase) -> None:
        """See what became of the tasks that the batch waits for: another process may have settled them, or somebody
        taken their records away."""
        for task_id in self.open_tasks():
            try:
                self.saw(table.get(task_id))
            except UnknownTaskError:
                self.gone(task_id)
            except (TaskError, OSError) as error:
                log.warning("[wfrecovery] %s cannot be looked at: %s", task_id, error)

    def over(self, *, at_once: bool = False) -> Summary | None:
        """The summary of a batch that is over, exactly once; else None. `at_once` is for main.py when it ends: it
        waits for nothing, and what is still open is told of another time."""
        with self._lock:
            if not at_once and (self._open or self._clock() - self._changed < self._quiet):
                return None
            batch = {task_id: task for task_id, task in self._batch.items() if task_id not in self._open}
            seen = self._rendered_here & batch.keys()
            seconds = max(0.0, self._changed - self._began)
            self._batch = {task_id: self._batch[task_id] for task_id in self._open}
            self._rendered_here -= seen
            self._remember(batch)
        return _summary(batch.values(), seen, seconds)

    def open_tasks(self) -> frozenset[str]:
        """What the batch waits for."""
        with self._lock:
            return frozenset(self._open)

    def seconds_left(self) -> float | None:
        """When to ask again: seconds until the batch is over if nothing more happens; None while it goes on."""
        with self._lock:
            if not self._batch or self._open:
                return None
            return max(0.0, self._changed + self._quiet - self._clock())

    def _can_go_on(self, task: TaskRecord) -> bool:
        if not task.stage.final:
            return task.stage is not Stage.ASKING
        return self._publishing and task.feishu_state is FeishuState.PENDING

    def _nothing_new(self, task: TaskRecord) -> bool:
        """Whether this task was in a summary already, and stands as it did there."""
        told = self._told.get(task.task_id)
        return (
            task.task_id not in self._batch
            and told is not None
            and not self._can_go_on(task)
            and (task.stage, task.feishu_state) == (told.stage, told.feishu_state)
        )

    def _remember(self, batch: Mapping[str, TaskRecord]) -> None:
        self._told.update(batch)
        while len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)


def _as_old(task: TaskRecord, known: TaskRecord) -> bool:
    """Whether it tells nothing newer; a record that was rebuilt after damage counts from 1 again."""
    return task.revision <= known.revision and task.rebuilt_at == known.rebuilt_at


def _summary(tasks: Iterable[TaskRecord], rendered_here: set[str], seconds: float) -> Summary | None:
    """None where there is nothing that the group does not know: results that stay blocked at each start, cancelled
    tasks."""
    finished: list[TaskRecord] = []
    failed: list[TaskRecord] = []
    blocked: list[TaskRecord] = []
    asking: list[TaskRecord] = []
    for task in sorted(tasks, key=lambda task: (task.row_number or 0, task.task_id)):
        if task.stage is Stage.FAILED:
            failed.append(task)
        elif task.stage is Stage.ASKING and task.error_message:  # lost prompts are the page's to ask about
            asking.append(task)
        elif task.stage is Stage.FINISHED:
            (blocked if task.feishu_state is FeishuState.BLOCKED else finished).append(task)
    if not finished and not failed and not any(task.task_id in rendered_here for task in (*blocked, *asking)):
        return None
    return Summary(
        finished=len(finished),
        recovered=sum(map(was_recovered, finished)),
        failed=tuple(_trouble(task, _reason(task.error_message, task.error_message_zh)) for task in failed),
        blocked=tuple(_trouble(task, _reason(task.outbox.last_error, task.outbox.last_error_zh)) for task in blocked),
        asking=tuple(_trouble(task, _reason(task.error_message, task.error_message_zh)) for task in asking),
        seconds=seconds,
    )


def was_recovered(task: TaskRecord) -> bool:
    """Whether it was lost in a crash on its way, or its result was found afterwards; by its story."""
    recovered = task.adopted
    for line in task.story:
        recovered = line.what != "retried" and (recovered or line.what in ("lost", "queued_again", "adopted"))
    return recovered


def _trouble(task: TaskRecord, reason: Wording) -> Trouble:
    name = " · ".join(part for part in (task.product_name, task.model_name) if part)
    return Trouble(task.row_number, name, task.workflow_type or "", reason, task.task_id)


def _reason(en: Any, zh: Any = None) -> Wording:
    unknown = Wording("no reason was given", "没有给出原因")
    return Wording(str(en or unknown.en), str(zh or en or unknown.zh))


def _listed(title: Wording, troubles: Sequence[Trouble], language: str) -> list[str]:
    if not troubles:
        return []
    lines = [f"• {_line(trouble).text(language)}" for trouble in troubles[:MAX_LINES]]
    rest = len(troubles) - len(lines)
    if rest:
        lines.append(Wording(f"… and {rest} more", f"…… 还有 {rest} 个").text(language))
    return [title.text(language), *lines]


def _line(trouble: Trouble) -> Wording:
    about = " ".join(part for part in (cut(trouble.name, MAX_NAME), trouble.workflow_type) if part)
    row = Wording(f"row {trouble.row_number} ", f"第 {trouble.row_number} 行 ")
    reason = trouble.reason.changed(lambda text: cut(text, MAX_REASON))
    return row + about + Wording(": ", "：") + reason


def _duration(seconds: float) -> Wording:
    minutes = round(seconds / 60)
    if minutes < 1:
        return Wording(f"{round(seconds)} s", f" {round(seconds)} 秒")
    if minutes < 60:
        return Wording(f"{minutes} min", f" {minutes} 分钟")
    return Wording(f"{minutes // 60} h {minutes % 60} min", f" {minutes // 60} 小时 {minutes % 60} 分钟")
