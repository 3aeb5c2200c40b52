"""How often a ComfyUI without the plugin began a prompt before it went down: nobody there counts, so `main.py` does.

What was seen running was counted then. Where nothing was seen, of all that went down together the oldest one is to
blame, for ComfyUI runs one after the other; and it alone: forty rows that waited behind it have not been started.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..table.records import Stage, TaskRecord

#: A task, and which time it was submitted.
Submission = tuple[str, str | None]


class Starts:
    """Judges one crash after the other. Who is not to blame for one is remembered until his turn to be judged comes."""

    def __init__(self) -> None:
        self._judged: dict[Submission, bool] = {}

    def counts(self, lost: TaskRecord, ours: Iterable[TaskRecord]) -> bool:
        """Whether the loss of `lost` counts one start more; `ours` are all tasks of ours that have not ended."""
        if _submission(lost) not in self._judged:
            together = [task for task in (*ours, lost) if task.stage in (Stage.QUEUED, Stage.RUNNING)]
            fresh = {_submission(task): task for task in together if _submission(task) not in self._judged}
            blamed = None
            if not any(task.stage is Stage.RUNNING for task in fresh.values()):
                blamed = min(fresh, key=lambda submission: (submission[1] or "", submission[0]), default=None)
            self._judged.update({submission: submission == blamed for submission in fresh})
        return self._judged.pop(_submission(lost), False)

    def excuse(self, task: TaskRecord) -> None:
        """What is known to have ended for another reason counts nothing."""
        self._judged[_submission(task)] = False


def _submission(task: TaskRecord) -> Submission:
    return task.task_id, task.queue.queued_at if task.queue is not None else None
