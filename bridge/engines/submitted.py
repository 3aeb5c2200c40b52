"""What a client's own `submit_workflow` does and returns, where a program calls it itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from ..table.current import current_task

log = logging.getLogger("wfrecovery")


class SubmittedId(str):
    """The id under which the engine knows a task: a text that also answers to `.task_id`."""

    __slots__ = ()

    @property
    def task_id(self) -> str:
        """The same."""
        return str(self)


async def submit_for_current(engine: str, workflow: Mapping[str, Any]) -> SubmittedId | None:
    """Submit a workflow for the task that was entered last in this context, so that its id is on disk before the
    request leaves, or at once where the engine makes it; None where no task of this engine was entered, or several.

    What a former run has submitted, or has rendered and could not deliver yet, is not sent again: its id is returned.
    Raises EngineError, and TaskError where this program has submitted it already.
    """
    current = current_task()
    submits = None if current is None else current.submits
    if current is None or submits is None or submits[0] != engine:
        return None
    if await asyncio.to_thread(lambda: current.is_doubtful):
        log.warning(
            "[wfrecovery] %s and %s were entered, and nothing submitted for either: whose this workflow is cannot be "
            "told, and only the program can note its id → submit right after entering, or recovery.submit(task_id, …)",
            current.before,
            current.task_id,
        )
        current.tried = current.used = True
        return None
    current.tried = True
    job_id = await submits[1](current.task_id, workflow, current.used)
    current.used = True
    return None if job_id is None else SubmittedId(job_id)
