"""What a task is: its record, its stages, and the transitions between them."""

from __future__ import annotations

import dataclasses
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Final

from ..wording import Wording, wording_of
from .row_identity import RowIdentity, identity_in
from .values import FeishuState, NodeReport, Outbox, Owner, QueuePlace, Result, StoryLine

SCHEMA: Final = 2


class WorkflowType(str, Enum):
    """What is made of a row. The values are the team's own words, as they stand in the records."""

    #: product picture + model picture → one picture
    IMAGE_COMPOSITION = "图片合成"
    #: that picture → one video
    IMAGE_TO_VIDEO = "图生视频"


class WorkflowStatus(str, Enum):
    """The three states that the sheet and the records know."""

    IN_PROGRESS = "在处理中"
    COMPLETED = "已完成"
    FAILED = "失败"


class Stage(str, Enum):
    """Where exactly a task stands; kept in `metadata.stage`; `status` follows from it."""

    #: entered by main.py, not yet accepted by ComfyUI
    CREATED = "created"
    #: accepted by ComfyUI, waiting
    QUEUED = "queued"
    #: ComfyUI took it out of the queue; the attempt is counted
    RUNNING = "running"
    #: lost in a crash; a person decides whether it is queued again
    ASKING = "asking"
    #: all files are there and whole
    FINISHED = "finished"
    #: given up; `error_message` says why
    FAILED = "failed"
    #: the user deleted or interrupted it
    CANCELLED = "cancelled"

    @property
    def status(self) -> WorkflowStatus:
        return _STATUS_OF.get(self, WorkflowStatus.IN_PROGRESS)

    @property
    def final(self) -> bool:
        return self in _STATUS_OF


_STAGE_ZH: Final[Mapping[Stage, str]] = {
    Stage.CREATED: "已登记",
    Stage.QUEUED: "排队中",
    Stage.RUNNING: "运行中",
    Stage.ASKING: "等待决定",
    Stage.FINISHED: "已完成",
    Stage.FAILED: "已失败",
    Stage.CANCELLED: "已取消",
}


def stage_zh(stage: Stage) -> str:
    """The stage in a Chinese sentence."""
    return _STAGE_ZH[stage]


_STATUS_OF: Final = {
    Stage.FINISHED: WorkflowStatus.COMPLETED,
    Stage.FAILED: WorkflowStatus.FAILED,
    Stage.CANCELLED: WorkflowStatus.FAILED,
}

_OPEN: Final = frozenset({Stage.CREATED, Stage.QUEUED, Stage.RUNNING, Stage.ASKING})

#: From where a stage may be entered. What is finished stays finished; failed and cancelled tasks come back only by
#: an explicit retry, which goes through QUEUED.
ENTERED_FROM: Final[Mapping[Stage, frozenset[Stage]]] = {
    Stage.CREATED: frozenset({Stage.FAILED, Stage.CANCELLED}),
    Stage.QUEUED: _OPEN | {Stage.FAILED, Stage.CANCELLED},
    Stage.RUNNING: _OPEN,
    Stage.ASKING: _OPEN,
    Stage.FINISHED: _OPEN | {Stage.FAILED},
    Stage.FAILED: _OPEN,
    Stage.CANCELLED: _OPEN,
}


class TaskError(Exception):
    """Base of everything that goes wrong with one task. `wording`: the message, in two languages where it has both."""

    def __init__(self, what: Wording | str) -> None:
        self.wording = wording_of(what)
        super().__init__(self.wording.en)


class RecordError(TaskError, ValueError):
    """This is not a record that we can read."""


class NewerSchemaError(RecordError):
    """Written by a newer wfrecovery: left alone."""


class TransitionError(TaskError):
    """The task's stage does not allow this, for example finishing a task that was cancelled."""

    def __init__(self, task_id: str, current: Stage, wanted: Stage) -> None:
        self.task_id, self.current, self.wanted = task_id, current, wanted
        super().__init__(
            Wording(
                f"{task_id} is {current.value} and cannot become {wanted.value}",
                f"{task_id} {stage_zh(current)}，不能变为“{stage_zh(wanted)}”",
            )
        )


class RevisionConflictError(TaskError):
    """Somebody wrote the record behind the lock's back (a network drive, an old filelock): not overwritten."""

    def __init__(self, task_id: str, expected: int, found: int) -> None:
        self.task_id, self.expected, self.found = task_id, expected, found
        super().__init__(f"{task_id} has revision {found}, expected {expected}: the table's lock does not hold")


_ID: Final = re.compile(r"(img|vid|job)_([0-9]{8})_([0-9]{3,12})")
KINDS: Final[Mapping[str | None, str]] = {
    WorkflowType.IMAGE_COMPOSITION.value: "img",
    WorkflowType.IMAGE_TO_VIDEO.value: "vid",
    None: "job",
}


def is_task_id(text: object) -> bool:
    """Whether `text` is an id as the table makes them; nothing else may become a file name."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def id_sort_key(task_id: str) -> tuple[str, int, str]:
    """Orders ids by day, then number, so that 1000 comes after 999."""
    match = _ID.fullmatch(task_id)
    return (match[2], int(match[3]), match[1]) if match else ("", 0, task_id)


def now_text(now: datetime | None = None) -> str:
    """Local time with its offset, to the millisecond, as records carry it."""
    return (now or datetime.now(timezone.utc)).astimezone().isoformat(timespec="milliseconds")


def parse_time(text: str | None) -> float:
    """Seconds since the epoch of a record's time; 0.0 when there is none or it cannot be read."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0.0
    except (ValueError, TypeError, OverflowError, OSError):  # a record may have been edited by hand
        return 0.0


def canonical_uuid(value: object) -> str | None:
    """`value` as ComfyUI wants a prompt_id from 0.24.0 on (lower case, hyphens), or None if it is no UUID."""
    try:
        return str(uuid.UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def workflow_type_of(value: WorkflowType | str) -> WorkflowType:
    """The workflow type of `value`; raises ValueError that names the allowed ones."""
    try:
        return WorkflowType(getattr(value, "value", value))  # a team's own enum has the same values
    except ValueError:
        allowed = ", ".join(f"{item.value!r}" for item in WorkflowType)
        raise ValueError(f"unknown workflow type {value!r}; it is one of {allowed}") from None


@dataclass(frozen=True)
class TaskRecord:
    """One task, as `active/<task_id>.json` holds it. Changed by `dataclasses.replace` and the table's `update`."""

    task_id: str
    #: goes up by one with each write
    revision: int = 0
    #: None: a prompt without a row; recovered, not pushed
    row_number: int | None = None
    product_name: str = ""
    model_name: str = ""
    workflow_type: str | None = None
    created_at: str = ""
    updated_at: str = ""
    #: ComfyUI's prompt_id
    comfyui_task_id: str | None = None
    error_message: str | None = None
    stage: Stage = Stage.CREATED
    #: how often ComfyUI began to run it
    attempts: int = 0
    #: how often before a person asked for it anew, which lets `attempts` begin anew; and what was cut off since
    earlier_runs: int = 0
    #: how often since then its running was cut off by what is no fault of its own, and counts as no attempt
    cut_off: int = 0
    #: when it began the last time
    started_at: str | None = None
    finished_at: str | None = None
    #: `error_message` in Chinese, where that is our own words
    error_message_zh: str | None = None
    #: what tells a prompt without a row from the next
    title: str | None = None
    #: why a prompt that wanted a row has none
    problem: str | None = None
    #: its result was found on disk after a crash
    adopted: bool = False
    #: when the record was made anew from its graph
    rebuilt_at: str | None = None
    #: the row's cells, as they came with the task
    row_data: Mapping[str, Any] = field(default_factory=dict)
    #: what tells the row apart; None where an older program has entered it
    row: RowIdentity | None = None
    results: tuple[Result, ...] = ()
    #: how many more files it has than a record holds
    unlisted: int = 0
    outbox: Outbox = field(default_factory=Outbox)
    queue: QueuePlace | None = None
    #: who is at work on it now
    owner: Owner | None = None
    #: who renders it: `comfyui`, `comfyui:<address>`, a cloud by name and account; None where nobody has said so
    engine: str | None = None
    #: when a person asked for its end; nobody starts it after that
    cancel_requested: str | None = None
    #: since when a request to render it is on its way; stays where no answer came
    sending: str | None = None
    #: the run of a `main.py` that entered it, by that one's boot token
    batch: str | None = None
    #: the table, by its id, whose processes deliver its result; None where nobody has said so
    publisher: str | None = None
    #: where its row stands, by `Settings.document`
    document: str | None = None
    #: the sheet itself, by `Settings.sheet`: titles change hands; None where nobody knew it
    sheet: str | None = None
    #: the other table that has a record of its prompt: `main.py`'s, or the plugin's
    twin: str | None = None
    #: the ComfyUIs, by boot token, that cannot run its graph: a node or model is missing there
    refused_by: tuple[str, ...] = ()
    #: what ComfyUI has said of single nodes, by node id
    nodes: Mapping[str, NodeReport] = field(default_factory=dict)
    #: files on disk that carry its id, and of which nobody knows whether they are all
    found: tuple[str, ...] = ()
    story: tuple[StoryLine, ...] = ()
    #: what a newer program has written, under `metadata` and beside it
    more: Mapping[str, Any] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> WorkflowStatus:
        return self.stage.status

    @property
    def runs(self) -> int:
        """How often ComfyUI began to run it in all: what its files are told apart by."""
        return self.earlier_runs + self.attempts

    @property
    def output_files(self) -> tuple[str, ...]:
        """The paths of the results, relative to the output folder, with "/"."""
        return tuple(result.path for result in self.results)

    @property
    def identity(self) -> RowIdentity:
        """What tells the row apart."""
        return self.row or identity_in(self.product_name, self.model_name, self.row_data)

    @property
    def result_order(self) -> int:
        """Of two results of one row the newer one has the higher number."""
        return self.outbox.order or int(parse_time(self.finished_at) * 1000)

    def has_result_of(self, earlier: TaskRecord) -> bool:
        """Whether it still has the result that it had earlier: it may have been rendered, or pushed, again since."""
        same = (self.stage, self.runs, self.finished_at) == (earlier.stage, earlier.runs, earlier.finished_at)
        return same and earlier.outbox.order in (0, self.outbox.order)  # 0: by an older program, numbered since

    @property
    def feishu_state(self) -> FeishuState:
        return self.outbox.state

    @property
    def settled(self) -> bool:
        """Nothing is left to render or push: it belongs into `done/`."""
        return self.stage.final and self.feishu_state in (FeishuState.PUSHED, FeishuState.OFF)

    @property
    def reason(self) -> Wording | None:
        """Why it failed or was cancelled, in both languages where it has them."""
        message = self.error_message
        return Wording(message, self.error_message_zh or message) if message else None

    def with_results(self, results: tuple[Result, ...], unlisted: int = 0) -> TaskRecord:
        """A copy with other files."""
        return dataclasses.replace(self, results=results, unlisted=unlisted)

    def with_outbox(self, **changes: Any) -> TaskRecord:
        """A copy with some of the outbox entry changed."""
        return dataclasses.replace(self, outbox=dataclasses.replace(self.outbox, **changes))

    def entering(self, stage: Stage, **fields: Any) -> TaskRecord:
        """A copy in `stage`; raises TransitionError where the table of transitions does not allow it.

        Nobody is at work on what has ended, or waits for a person.
        """
        if self.stage not in ENTERED_FROM[stage]:
            raise TransitionError(self.task_id, self.stage, stage)
        owner = None if stage.final or stage is Stage.ASKING else self.owner
        sending = None if stage.final else self.sending
        return dataclasses.replace(self, **{"stage": stage, "owner": owner, "sending": sending, **fields})
