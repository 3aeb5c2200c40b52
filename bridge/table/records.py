"""What a task is: its record, its stages, the transitions between them, and a row of the sheet."""

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

SCHEMA: Final = 1


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
    """Where exactly a task stands; kept in `metadata.stage`, and `status` follows from it."""

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


class FeishuState(str, Enum):
    """Whether a result still has to reach the sheet; kept in `metadata.feishu.state`."""

    PENDING = "pending"
    PUSHED = "pushed"
    #: needs a person: the reason is in `last_error`
    BLOCKED = "blocked"
    #: nothing to push: no row, or cancelled
    OFF = "off"


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
        return WorkflowType(value)
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
    #: relative to the output folder, with "/"
    output_files: tuple[str, ...] = ()
    error_message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stage(self) -> Stage:
        return Stage(self.metadata.get("stage", Stage.CREATED.value))

    @property
    def status(self) -> WorkflowStatus:
        return self.stage.status

    @property
    def attempts(self) -> int:
        """How often ComfyUI began to run it."""
        return int(self.metadata.get("attempts", 0))

    @property
    def prompt(self) -> str:
        """The text of the row's 提示词, which tells rows of one product and model apart."""
        row = self.metadata.get("feishu_row_data")
        return str(row.get("prompt") or "") if isinstance(row, Mapping) else ""

    @property
    def feishu(self) -> Mapping[str, Any]:
        return self.metadata.get("feishu") or {"state": FeishuState.OFF.value}

    @property
    def feishu_state(self) -> FeishuState:
        return FeishuState(self.feishu.get("state", FeishuState.OFF.value))

    @property
    def settled(self) -> bool:
        """Nothing is left to render or push: it belongs into `done/`."""
        return self.stage.final and self.feishu_state in (FeishuState.PUSHED, FeishuState.OFF)

    @property
    def error_message_zh(self) -> str | None:
        """`error_message` in Chinese, where it is our own words."""
        text = self.metadata.get("error_message_zh")
        return text if isinstance(text, str) and self.error_message else None

    def with_metadata(self, **changes: Any) -> TaskRecord:
        """A copy with some metadata changed."""
        return dataclasses.replace(self, metadata={**self.metadata, **changes})

    def with_feishu(self, **changes: Any) -> TaskRecord:
        """A copy with some of `metadata.feishu` changed."""
        return self.with_metadata(feishu={**self.feishu, **changes})

    def entering(self, stage: Stage, **fields: Any) -> TaskRecord:
        """A copy in `stage`; raises TransitionError where the table of transitions does not allow it."""
        if self.stage not in ENTERED_FROM[stage]:
            raise TransitionError(self.task_id, self.stage, stage)
        return dataclasses.replace(self, **fields).with_metadata(stage=stage.value)

    def to_json(self) -> dict[str, Any]:
        """The fields in the order of the specification."""
        return {
            "schema": SCHEMA,
            "revision": self.revision,
            "task_id": self.task_id,
            "row_number": self.row_number,
            "product_name": self.product_name,
            "model_name": self.model_name,
            "workflow_type": self.workflow_type,
            "status": self.status.value,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "comfyui_task_id": self.comfyui_task_id,
            "output_files": list(self.output_files),
            "error_message": self.error_message,
            "metadata": dict(self.metadata),
        }


#: Made once: thousands of records are read when a program starts.
_KINDS: Final = tuple(KINDS)
_STATUSES: Final = tuple(item.value for item in WorkflowStatus)
_STAGES: Final = tuple(item.value for item in Stage)
_STATES: Final = tuple(item.value for item in FeishuState)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise RecordError(what)


def record_from_json(data: Any, task_id: str) -> TaskRecord:
    """The record in `data`, read from the file of `task_id`; raises RecordError that says what is wrong."""
    _require(isinstance(data, dict), "not a JSON object")
    schema = data.get("schema")
    _require(isinstance(schema, int) and not isinstance(schema, bool) and schema >= 1, f"schema is {schema!r}")
    if schema > SCHEMA:
        raise NewerSchemaError(f"schema {schema} is newer than this wfrecovery (it knows {SCHEMA})")
    _require(data.get("task_id") == task_id, f"it names task {data.get('task_id')!r}")
    _require(type(data.get("revision")) is int, "revision is not a number")
    row = data.get("row_number")
    _require(row is None or (type(row) is int and row > 0), f"row_number is {row!r}")
    _require(data.get("workflow_type") in _KINDS, f"workflow_type is {data.get('workflow_type')!r}")
    _require(data.get("status") in _STATUSES, f"status is {data.get('status')!r}")
    files = data.get("output_files")
    _require(
        isinstance(files, list) and all(isinstance(name, str) for name in files), "output_files is not a list of paths"
    )
    metadata = data.get("metadata")
    _require(isinstance(metadata, dict), "metadata is not an object")
    for name in ("product_name", "model_name", "created_at", "updated_at"):
        _require(isinstance(data.get(name), str), f"{name} is not a text")
    for name in ("comfyui_task_id", "error_message"):
        _require(data.get(name) is None or isinstance(data.get(name), str), f"{name} is not a text")
    return TaskRecord(
        task_id=task_id,
        revision=data["revision"],
        row_number=row,
        product_name=data["product_name"],
        model_name=data["model_name"],
        workflow_type=data.get("workflow_type"),
        created_at=data["created_at"],
        updated_at=data["updated_at"],
        comfyui_task_id=data.get("comfyui_task_id"),
        output_files=tuple(data["output_files"]),
        error_message=data.get("error_message"),
        metadata=_checked_metadata(metadata, WorkflowStatus(data["status"])),
    )


def _checked_metadata(metadata: dict[str, Any], status: WorkflowStatus) -> dict[str, Any]:
    """Metadata whose stage agrees with `status`: a person who edits a record edits the status."""
    _require(type(metadata.get("attempts", 0)) is int, "metadata.attempts is not a number")
    feishu = metadata.get("feishu", {})
    _require(
        isinstance(feishu, dict) and feishu.get("state", "off") in _STATES,
        "metadata.feishu is not an outbox entry",
    )
    stage = metadata.get("stage")
    if stage not in _STAGES or Stage(stage).status is not status:
        metadata = {**metadata, "stage": _STAGE_OF_STATUS[status].value}
    return metadata


_STAGE_OF_STATUS: Final = {
    WorkflowStatus.IN_PROGRESS: Stage.QUEUED,
    WorkflowStatus.COMPLETED: Stage.FINISHED,
    WorkflowStatus.FAILED: Stage.FAILED,
}
