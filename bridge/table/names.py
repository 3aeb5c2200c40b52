"""What may become the name of a file of the table: a task id of our own form, and nothing else.

Ids come from clients, addresses, command lines, and other programs' records. Every path of the table is made here, so
that none of them leads elsewhere, whoever forgot to check it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..wording import Wording
from .records import TaskError, is_task_id

#: Letters of what is no id that are shown.
_SHOWN: Final = 80


class UnknownTaskError(TaskError, KeyError):
    """There is no such task."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(Wording(f"there is no task {task_id}", f"没有任务 {task_id}"))

    def __str__(self) -> str:
        return str(self.args[0])


def path_named(folder: Path, task_id: object, suffix: str = "") -> Path:
    """The file of a task in one of the table's folders; raises UnknownTaskError for what is no task id."""
    if not is_task_id(task_id):
        raise UnknownTaskError(repr(task_id)[:_SHOWN])
    return folder / f"{task_id}{suffix}"
