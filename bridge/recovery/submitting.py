"""How `main.py` submits a task: its prompt_id and graph are on disk before the request leaves."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from ..engines.comfyui import ComfyUIError, PromptRefusedError, WorkflowClient
from ..table.changes import cancelled, failed, submitted, taken_up
from ..table.database import Change
from ..table.manager import DatabaseManager
from ..table.record_json import record_to_json
from ..table.records import Stage, TaskRecord, now_text
from ..wording import Wording
from .decisions import CANCELLED
from .delivering import RunDelivery
from .writing import written

log = logging.getLogger("wfrecovery")

#: What a ComfyUI that shares our table writes as the engine of its tasks.
SHARED_ENGINE = "comfyui"


class Submitting:
    """Sends prompts to the engine, each for a task that this process is at work on."""

    def __init__(self, db: DatabaseManager, comfy: WorkflowClient, delivery: RunDelivery) -> None:
        self._db, self._comfy = db, comfy
        #: who delivers is named with each submission
        self.naming = delivery.naming
        #: by which records name the engine; None where the client does not say
        self.engine: str | None = getattr(comfy, "engine", None)

    def is_ours(self, task: TaskRecord) -> bool:
        """Whether our engine renders it."""
        return None in (task.engine, self.engine) or task.engine in (self.engine, SHARED_ENGINE)

    def taking(self, task: TaskRecord) -> TaskRecord:
        """The change with which this process begins to work on a task. Raises OwnedError where another is at it."""
        self._db.owners.check(task)
        if task.cancel_requested and not task.comfyui_task_id:
            return cancelled(task, CANCELLED)
        return taken_up(self._db.owners.me, task)

    def beginning(self, task: TaskRecord) -> TaskRecord:
        """The same for one that may be submitted already: whoever is at work on that, it stays as it is."""
        return task if is_submitted(task) else self.taking(task)

    def submitting(self, prompt_id: str, naming: Change, task: TaskRecord) -> TaskRecord:
        """The same for one that is about to be submitted: with its prompt_id, and who delivers it, unless it has these
        already."""
        taken = self.taking(task)
        if taken.stage.final:
            return taken
        if taken.cancel_requested:
            return cancelled(taken, CANCELLED)
        submitted_as = taken.comfyui_task_id or prompt_id
        return dataclasses.replace(naming(taken), comfyui_task_id=submitted_as, engine=taken.engine or self.engine)

    async def send(self, task: TaskRecord, workflow: Mapping[str, Any]) -> str | None:
        """Submit it. The prompt_id, whether or not an answer came, or None where ComfyUI refuses the graph, which makes
        the task 失败."""
        try:
            sent_from = await asyncio.to_thread(lambda: self._db.table.table_id)
            told = {**record_to_json(task), "table_id": sent_from}
            prompt_id = await self._comfy.submit_workflow(workflow, prompt_id=task.comfyui_task_id, task=told)
        except PromptRefusedError as error:
            reason = Wording(error.reason, error.reason)
            await written(self._db, task.task_id, self._if_ours(lambda record: failed(record, reason)))
            return None
        except ComfyUIError as error:
            log.warning("[wfrecovery] %s: %s", task.task_id, error)
            return task.comfyui_task_id
        at = now_text()  # before others are waited for: that is the order in which ComfyUI runs them
        await written(self._db, task.task_id, self._if_ours(partial(_accepted, self._db, prompt_id, at)))
        return prompt_id

    def _if_ours(self, change: Change) -> Change:
        """The change that an answer brings, unless the plugin, or who has taken the task meanwhile, knows better."""
        return lambda record: change(record) if self._db.owners.is_me(record.owner) else record

    async def graph(self, task_id: str) -> dict[str, Any] | None:
        """What can be submitted again."""
        return await asyncio.to_thread(self._db.table.graph, task_id)


def is_submitted(task: TaskRecord) -> bool:
    """Whether an engine has its prompt. What only carries a prompt_id has perhaps never arrived."""
    return task.comfyui_task_id is not None and task.stage is not Stage.CREATED


def _accepted(db: DatabaseManager, prompt_id: str, at: str, task: TaskRecord) -> TaskRecord:
    return submitted(db.owners.me, dataclasses.replace(task, comfyui_task_id=prompt_id), at)
