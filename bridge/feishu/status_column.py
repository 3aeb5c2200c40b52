"""The column that says how far a row's workflow is."""

from __future__ import annotations

from ..table.records import TaskRecord, WorkflowType


def status_field(workflow_type: str | None) -> str:
    """The column of a workflow."""
    return "video_status" if workflow_type == WorkflowType.IMAGE_TO_VIDEO.value else "image_status"


def status_before(task: TaskRecord) -> object:
    """What a task's row said there when it was entered; None where that is not known."""
    return task.row_data.get("video_status" if status_field(task.workflow_type) == "video_status" else "status")
