"""A task goes through ComfyUI's own `POST /prompt` again, under its old prompt_id."""

from __future__ import annotations

import dataclasses
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, Final

from ...bridge.apart import apart
from ...bridge.engines.refusals import refusal_text
from ...bridge.table.changes import CANCELLED, failed, let_go
from ...bridge.table.lives import Life
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import TaskRecord
from ...bridge.table.values import Owner, OwnerKind
from ...bridge.wording import Wording
from ..host import Host
from ..queue.intake import Intake
from ..queue.keeping import ended_by_wish
from ..queue.writing import Writer

log = logging.getLogger("wfrecovery")

#: An input that no class has.
_PAST_CACHE: Final = "wfrecovery_run"


class Requeued(Enum):
    """What became of it."""

    YES = "yes"
    #: not here, but perhaps in another ComfyUI of this table: it is left to that
    ELSEWHERE = "elsewhere"
    REFUSED = "refused"


class Requeueing:
    """Queues tasks again. `on_change` gets the record of one that is refused.

    `undone`: something went wrong after a task had become this process's own. Nobody else takes it then, so that the
    watch has it decided again.
    """

    def __init__(
        self,
        host: Host,
        db: DatabaseManager,
        intake: Intake,
        writer: Writer,
        on_change: Callable[[TaskRecord], None],
    ) -> None:
        self._host, self._db, self._intake, self._writer, self._on_change = host, db, intake, writer, on_change
        self.undone = False
        self._under_way: set[str] = set()

    async def requeue(self, task: TaskRecord, graph: Mapping[str, Any], *, anew: bool = False) -> Requeued:
        """Submit a task again under its prompt_id, for all outputs that it had, or not at all; what ComfyUI refuses is
        失败 with its reason, unless another ComfyUI of this table may be able to run it.

        `anew`: not to be answered from ComfyUI's cache, whose file is gone.
        """
        if task.task_id in self._under_way or self._intake.has_task(task.task_id):
            return Requeued.YES  # a person and the recovery at once
        self._under_way.add(task.task_id)
        try:
            return await self._submitted(task, graph, anew)
        finally:
            self._under_way.discard(task.task_id)

    async def _submitted(self, task: TaskRecord, graph: Mapping[str, Any], anew: bool) -> Requeued:
        prompt = past_the_cache(graph["prompt"], graph.get("outputs_to_execute")) if anew else graph["prompt"]
        body = {"prompt": prompt, "prompt_id": task.comfyui_task_id, "extra_data": _extra_data(task, graph)}
        if graph.get("outputs_to_execute"):
            body["partial_execution_targets"] = graph["outputs_to_execute"]
        with self._intake.post(whole=graph.get("outputs_to_execute") or ()) as post:
            answer = await self._host.submit(body)
            await self._writer.wait(post.writes)
        if answer.status == 200:
            return Requeued.YES
        reason = Wording("it cannot be queued again: ", "无法重新排队：") + refusal_text(answer.body)
        if await apart(self.others_may, task):
            log.warning("[wfrecovery] %s waits for another ComfyUI of this table: %s", task.task_id, reason)
            me = self._db.owners.me
            await apart(self._db.table.update, task.task_id, partial(refused_here, me))
            return Requeued.ELSEWHERE
        self._on_change(await apart(self._db.table.update, task.task_id, partial(_refused, reason)))
        return Requeued.REFUSED

    def others_may(self, task: TaskRecord) -> bool:
        """Whether another ComfyUI lives, or may be starting again, that has not refused its graph."""
        owners = self._db.owners
        others = [
            (told, life)
            for told, life in owners.known()
            if told.kind == OwnerKind.COMFYUI and told.boot not in task.refused_by
        ]
        return any(life in (Life.ALIVE, Life.DOUBT) or owners.may_come_back(told) for told, life in others)


def _refused(reason: Wording, task: TaskRecord) -> TaskRecord:
    over = task.stage.final or task.cancel_requested
    return ended_by_wish(task, CANCELLED) if over else failed(task, reason)


def refused_here(me: Owner, task: TaskRecord) -> TaskRecord:
    """`task` as one that waits for another ComfyUI."""
    return dataclasses.replace(let_go(me, task), refused_by=(*task.refused_by, me.boot))


def past_the_cache(prompt: Mapping[str, Any], outputs: Sequence[str] | None) -> dict[str, Any]:
    """`prompt` with a value in its output nodes that no prompt before had: they run again, while what comes before them
    may still be answered from ComfyUI's cache. ComfyUI hands no node a value that its class does not ask for."""
    changed = dict(prompt)
    for node_id in outputs or ():
        node = changed.get(node_id)
        if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping):
            changed[node_id] = {**node, "inputs": {**node["inputs"], _PAST_CACHE: str(uuid.uuid4())}}
    return changed


def _extra_data(task: TaskRecord, graph: Mapping[str, Any]) -> dict[str, Any]:
    """As it was sent, with this task's id in place; a graph that main.py wrote has none."""
    extra_data = dict(graph.get("extra_data") or {})
    png_info = extra_data.get("extra_pnginfo")
    tag = {"task_id": task.task_id, "prompt_id": task.comfyui_task_id}
    extra_data["extra_pnginfo"] = {**(png_info if isinstance(png_info, dict) else {}), "wfrecovery": tag}
    if task.row_number is not None:
        row = extra_data.get("wfrecovery")
        extra_data["wfrecovery"] = {
            "row_number": task.row_number,
            "product_name": task.product_name,
            "model_name": task.model_name,
            "workflow_type": task.workflow_type,
            "feishu_row_data": dict(task.row_data),
            **(row if isinstance(row, dict) else {}),
            "task_id": task.task_id,
        }
    return extra_data
