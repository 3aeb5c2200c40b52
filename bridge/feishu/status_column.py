"""The columns that say how far a row's workflow is, and show what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..table.records import TaskRecord, WorkflowType

#: Column of the status → that of the result which it tells of.
RESULT_COLUMNS: Final[Mapping[str, str]] = {"image_status": "composite_image", "video_status": "video_link"}


def status_field(workflow_type: str | None) -> str:
    """The column of a workflow."""
    return "video_status" if workflow_type == WorkflowType.IMAGE_TO_VIDEO.value else "image_status"


def result_field(workflow_type: str | None) -> str:
    """The column that a workflow's result is shown in."""
    return RESULT_COLUMNS[status_field(workflow_type)]


def status_before(task: TaskRecord) -> object:
    """What a task's row said there when it was entered; None where that is not known."""
    return task.row_data.get("video_status" if status_field(task.workflow_type) == "video_status" else "status")
