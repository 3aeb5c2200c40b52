"""The changes of a record that have a name: each makes a new record of the old one, and is carried out by the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from ..redact import redact
from ..wording import Wording, wording_of
from .records import Stage, TaskError, TaskRecord, TransitionError, WorkflowStatus, now_text, stage_zh
from .row_identity import RowIdentity
from .rows import RowData
from .values import FeishuState, Outbox, Owner, OwnerKind, QueuePlace, Result

CANCELLED: Final = Wording("cancelled by the user", "已由用户取消")
#: Of what has left for its row so much is remembered.
_MOST_SENT: Final = 20


def new_task(task_id: str, stage: Stage, *, row_number: int | None = None, **fields: Any) -> TaskRecord:
    """A task at its beginning, with the other fields of a record; one with a row has an outbox entry from the start."""
    state = FeishuState.OFF if row_number is None else FeishuState.PENDING
    return TaskRecord(task_id, row_number=row_number, stage=stage, outbox=Outbox(state), **fields)


def taken_up(owner: Owner, task: TaskRecord) -> TaskRecord:
    """`task` with `owner` at work on it; what has ended, or waits for a person, needs nobody."""
    if task.stage.final or task.stage is Stage.ASKING:
        return task
    batch = owner.boot if task.stage is Stage.CREATED else task.batch
    return dataclasses.replace(task, owner=owner, batch=batch)


def taken_over(me: Owner, boot: str, task: TaskRecord) -> TaskRecord:
    """`task` in the hands of `me`, where `boot` had it. What a ComfyUI was never sent, or another engine renders, it
    cannot bring to its end: the next `main.py` takes it up."""
    if task.owner is None or task.owner.boot != boot:
        return task
    elsewhere = task.stage is Stage.CREATED or task.engine not in (None, OwnerKind.COMFYUI.value)
    return dataclasses.replace(task, owner=None) if me.kind == OwnerKind.COMFYUI and elsewhere else taken_up(me, task)


def job_id_in(value: object) -> str | None:
    """The id of a task where it is rendered, as records hold it; None for what is none."""
    known = isinstance(value, str | int | UUID) and not isinstance(value, bool)
    return (str(value) or None) if known else None


def with_job_id(value: object, task: TaskRecord) -> TaskRecord:
    """`task` with that id. Raises TaskError for what is none: the one that it has stays."""
    job_id = job_id_in(value)
    if job_id is None:
        shown = redact(repr(value))
        raise TaskError(Wording(f"{task.task_id}: {shown} is no id", f"{task.task_id}：{shown} 不是任务 ID"))
    return dataclasses.replace(task, comfyui_task_id=job_id)


def let_go(owner: Owner, task: TaskRecord) -> TaskRecord:
    """`task` without `owner`, where that still is at work on it."""
    return dataclasses.replace(task, owner=None) if task.owner == owner else task


def wished_away(task: TaskRecord) -> TaskRecord:
    """`task` with a person's wish that it end; the first one stays. What has ended has nothing left to wish for."""
    if task.stage.final or task.cancel_requested:
        return task
    return dataclasses.replace(task, cancel_requested=now_text())


def sent_off(task: TaskRecord) -> TaskRecord:
    """`task` as the request to render it leaves for an engine that makes its own ids. What was sent before, or taken
    and forgotten, may have been rendered: each time is an attempt."""
    before = task.sending is not None or (task.comfyui_task_id is not None and task.stage is not Stage.RUNNING)
    attempts = task.attempts + before
    sent: dict[str, Any] = {"sending": now_text(), "comfyui_task_id": None, "queue": None}
    return dataclasses.replace(task, stage=Stage.CREATED, attempts=attempts, **sent)


def asking(task: TaskRecord, reason: Wording) -> TaskRecord:
    """`task` as it waits for a person, who decides whether it is paid for once more; unless he wants its end."""
    if task.cancel_requested:
        return cancelled(task, CANCELLED)
    return task.entering(Stage.ASKING, error_message=reason.en, error_message_zh=reason.zh)


def sent_once_more(task: TaskRecord) -> TaskRecord:
    """`task`, of an engine that makes its own ids, as one that nobody has sent, because a person says so: the next run
    of `main.py` sends it, and it may be paid for another time. Raises TaskError where it does not wait for anybody."""
    if not task.stage.final and task.stage is not Stage.ASKING:
        raise TaskError(
            Wording(
                f"{task.task_id} is {task.stage.value}: nobody has to decide about it",
                f"{task.task_id} {stage_zh(task.stage)}，不需要决定",
            )
        )
    fresh: dict[str, Any] = {"comfyui_task_id": None, "cancel_requested": None, "finished_at": None}
    before = counted_anew(answered(task).with_results(()))
    anew = dataclasses.replace(before, stage=Stage.CREATED, owner=None, queue=None, **fresh)
    state = FeishuState.OFF if task.row_number is None else FeishuState.PENDING
    return dataclasses.replace(anew, outbox=Outbox(state, sent=task.outbox.sent))


def has_arrived(task: TaskRecord, job_id: str) -> TaskRecord:
    """`task`, of which no answer came, as its engine has it: a person has found it there. Raises TaskError."""
    if task.stage is not Stage.ASKING:
        raise TaskError(
            Wording(
                f"{task.task_id} is {task.stage.value}: only what waits for a decision can be named an id",
                f"{task.task_id} {stage_zh(task.stage)}；只有等待决定的任务可以指定云端任务 ID",
            )
        )
    return dataclasses.replace(answered(task), stage=Stage.QUEUED, comfyui_task_id=job_id, owner=None)


def answered(task: TaskRecord) -> TaskRecord:
    """`task` whose request surely has ended, one way or the other."""
    return dataclasses.replace(task, sending=None, error_message=None, error_message_zh=None)


def followed_again(revision: int, task: TaskRecord) -> TaskRecord:
    """`task` as one that waits in its engine, where a person has had it queued again; unless somebody has changed the
    record of that revision since."""
    if task.revision != revision or task.status is not WorkflowStatus.FAILED:
        return task
    fresh: dict[str, Any] = {"cancel_requested": None, "finished_at": None, "queue": None}
    again = counted_anew(task).entering(Stage.QUEUED, error_message=None, error_message_zh=None, **fresh)
    return again.with_outbox(state=FeishuState.PENDING, last_error=None, last_error_zh=None, status_before=None)


def counted_anew(task: TaskRecord) -> TaskRecord:
    """`task` as a person asks for it anew: nothing counts that was before."""
    return dataclasses.replace(task, attempts=0, cut_off=0, earlier_runs=task.runs)


def started(task: TaskRecord) -> TaskRecord:
    """`task` as ComfyUI begins to run it: one attempt more."""
    return task.entering(Stage.RUNNING, attempts=task.attempts + 1, started_at=now_text())


def blameless(task: TaskRecord) -> TaskRecord:
    """`task` whose last start does not count: what ended it was no crash of its making. Its files keep their run."""
    if task.stage is not Stage.RUNNING or task.attempts < 1:
        return task
    earlier, cut_off = task.earlier_runs + 1, task.cut_off + 1
    return dataclasses.replace(task, attempts=task.attempts - 1, earlier_runs=earlier, cut_off=cut_off)


def start_settled(task: TaskRecord, *, counts: bool) -> TaskRecord:
    """`task`, lost by the ComfyUI in which it had begun, with that start settled once and for all: it may be taken over
    several times before it begins again, and each who had it may end in good order."""
    if task.queue is None or task.queue.started_by is None:
        return task
    task = task if counts else blameless(task)
    return dataclasses.replace(task, queue=dataclasses.replace(task.queue or QueuePlace(), started_by=None))


def submitted(owner: Owner, task: TaskRecord, at: str | None = None) -> TaskRecord:
    """`task` as its prompt waits in a ComfyUI without the plugin; the plugin, where there is one, has taken it over."""
    if task.owner != owner or task.stage.final:
        return task
    return task.entering(Stage.QUEUED, queue=QueuePlace(queued_at=at or now_text()))


def finished(task: TaskRecord, results: tuple[Result, ...] | None = None, unlisted: int = 0) -> TaskRecord:
    """`task` as 已完成 with its files, and how many more it has; finishing what is finished changes nothing."""
    if task.stage is Stage.FINISHED:
        return task
    if results is not None:
        task = task.with_results(results, unlisted + _of_parts_unlisted(task))
    record = task.entering(Stage.FINISHED, error_message=None, finished_at=now_text())
    record = record.with_outbox(order=0, sends=0, status_sends=0, status_before=None, writing=None, spoiled=False)
    told = task.stage is Stage.FAILED and task.row_number is not None and not task.outbox.declined
    if told:  # what the sheet heard was the failure
        record = record.with_outbox(state=FeishuState.PENDING)
    return record


def _of_parts_unlisted(task: TaskRecord) -> int:
    """How many files of a prompt in parts nobody names any more at its end: only its record knew them."""
    in_parts = task.queue is not None and task.queue.parts
    return sum(report.unlisted for report in task.nodes.values()) if in_parts else 0


def given(task: TaskRecord, result: Result) -> TaskRecord:
    """`task` as 已完成 with the one file that a person has named, which is written whatever stands in its row. Raises
    TaskError for what is under way: it may still get one of its own; and for what was cancelled."""
    if task.stage is Stage.CANCELLED or not (task.stage.final or task.stage is Stage.ASKING):
        raise TransitionError(task.task_id, task.stage, Stage.FINISHED)
    record = dataclasses.replace(
        task,
        stage=Stage.FINISHED,
        results=(dataclasses.replace(result, given=True),),
        unlisted=0,
        error_message=None,
        error_message_zh=None,
        finished_at=now_text(),
        adopted=False,
        found=(),
    )
    return record.with_outbox(file=result.path, writing=None, upload=None, asked_at=now_text())


def failed(task: TaskRecord, reason: Wording | str) -> TaskRecord:
    """`task` as 失败; the first reason stays. What a person wants to end has ended by that, whatever it is called."""
    if task.stage is Stage.FAILED:
        return task
    if task.cancel_requested and not task.stage.final:
        return cancelled(task, CANCELLED)
    return _ended(task, Stage.FAILED, reason)


def failed_by_program(reason: Wording | str, task: TaskRecord) -> TaskRecord:
    """The same where a program says so that cannot know it: raises TaskError of what waits for a person."""
    if task.stage is Stage.ASKING:
        raise TaskError(
            Wording(
                f"{task.task_id} waits for a decision, and is not failed: {task.error_message}",
                f"{task.task_id} 等待决定，不标记为失败：{task.error_message_zh}",
            )
        )
    return failed(task, reason)


def unsubmitted(reason: Wording | str, task: TaskRecord) -> TaskRecord:
    """`task` as 失败 without a word to the sheet: nothing was rendered, its cell stays 否 for the next batch."""
    return failed(task, reason).with_outbox(state=FeishuState.OFF)


def cancelled(task: TaskRecord, reason: Wording | str) -> TaskRecord:
    """`task` as cancelled by the user; its row's cell is left as it is."""
    if task.stage is Stage.CANCELLED:
        return task
    return _ended(task, Stage.CANCELLED, reason).with_outbox(state=FeishuState.OFF)


def _ended(task: TaskRecord, stage: Stage, reason: Wording | str) -> TaskRecord:
    reason = wording_of(reason)
    chinese = None if reason.zh == reason.en else reason.zh
    return task.entering(stage, error_message=reason.en, error_message_zh=chinese, finished_at=now_text())


def pushed_again(task: TaskRecord) -> TaskRecord:
    """`task` with its result in the outbox again because a person says so: it is sent whatever was tried before, and is
    the newest of its row. Raises TaskError where there is none."""
    return pending_again(task).with_outbox(sends=0, status_sends=0, order=0, superseded_by=None, asked_at=now_text())


def meant_for(task: TaskRecord, row: RowData, identity: RowIdentity, shown: Mapping[str, Any]) -> TaskRecord:
    """`task` with its result in the outbox for a row that a person has named. `shown`: what that row shows now, see
    `shown_by`: what somebody puts there later is told from that. Raises TaskError where there is no result."""
    named: dict[str, Any] = {name: getattr(row, name) for name in ("row_number", "product_name", "model_name")}
    record = dataclasses.replace(pushed_again(task), row=identity, row_data={**task.row_data, **shown}, **named)
    return record.with_outbox(writing=None, row_named=True)


def leaving(content: str, task: TaskRecord) -> TaskRecord:
    """`task` as something of it leaves for its row: see `Outbox.sent`."""
    others = [one for one in task.outbox.sent if one != content]
    return task.with_outbox(sent=(*others, content)[-_MOST_SENT:])


def left(task: TaskRecord) -> TaskRecord:
    """`task` whose result a person does not want delivered. Raises TaskError where there is none that waits."""
    if not task.stage.final or task.feishu_state not in (FeishuState.PENDING, FeishuState.BLOCKED):
        raise TaskError(
            Wording(
                f"{task.task_id} has no result that waits to be delivered",
                f"{task.task_id} 没有等待写入的结果",
            )
        )
    return task.with_outbox(state=FeishuState.OFF, last_error=None, last_error_zh=None, next_try_at=None, spoiled=False)


def pending_again(task: TaskRecord) -> TaskRecord:
    """`task` with its result in the outbox again; raises TaskError where there is none."""
    if not task.stage.final or task.stage is Stage.CANCELLED:
        raise TaskError(
            Wording(
                f"{task.task_id} is {task.stage.value}: there is no result to push",
                f"{task.task_id} {stage_zh(task.stage)}，没有可以推送的结果",
            )
        )
    if task.row_number is None:
        raise TaskError(
            Wording(
                f"{task.task_id} has no row in a sheet: there is nothing to push",
                f"{task.task_id} 不属于表格的任何一行，没有可以推送的内容",
            )
        )
    # What a status cell showed at the last try no longer matters: whoever pushes again wants it written.
    fresh = dict.fromkeys(("last_error", "last_error_zh", "next_try_at", "wait_until", "status_before"))
    return task.with_outbox(state=FeishuState.PENDING, spoiled=False, **fresh)


def _delivered(task: TaskRecord, **changes: Any) -> TaskRecord:
    """What an outbox entry carries only until it is delivered goes."""
    passing = ("writing", "status_before", "next_try_at", "wait_until", "last_error", "last_error_zh", "asked_at")
    return task.with_outbox(refused=0, spoiled=False, row_named=False, **dict.fromkeys(passing), **changes)


def pushed(task: TaskRecord, by: str | None = None) -> TaskRecord:
    """`task` as one that stands in the sheet; `by`: the other table that has brought it there."""
    done = _delivered(task, state=FeishuState.PUSHED, pushed_at=now_text(), attempts=task.outbox.attempts + 1, by=by)
    return done if by is None else dataclasses.replace(done, publisher=by)


def superseded(task: TaskRecord, by: str) -> TaskRecord:
    return _delivered(task, state=FeishuState.OFF, superseded_by=by)
