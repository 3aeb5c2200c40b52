"""Results that lie on disk although nobody has told of them, where `main.py` shares ComfyUI's output folder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from ..engines.in_use import EngineInUse
from ..of_loop import Lock, OfLoop
from ..results.contents import Contents
from ..results.expected import NodeClass, expected_files
from ..results.find import Found, find_results
from ..results.whole_result import whole_result
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, parse_time
from ..table.values import Result


class Search:
    """Looks through the output folder, once for all who ask while it was looked through for others: what goes down
    takes many tasks with it. Each gets what lies there after he has asked, for before he may have been rendering."""

    def __init__(self, db: DatabaseManager, engine: EngineInUse) -> None:
        self._db, self._engine = db, engine
        self._turn = OfLoop(Lock)
        self._wanted: dict[str, TaskRecord] = {}
        self._found: dict[str, Sequence[Found]] = {}

    async def whole(self, task: TaskRecord, graph: Mapping[str, Any]) -> tuple[Result, ...] | None:
        """All files of a prompt that was cut off, where they lie in our folder; how many it makes is asked of ComfyUI
        where the plugin has not noted it."""
        found = await self._of(task)
        if not found and not task.nodes:
            return None
        if not graph.get("outputs_to_execute"):
            graph = {**graph, **await self._expected(graph["prompt"])}
        return await asyncio.to_thread(
            whole_result, task, graph, found, Contents(self._db.table.files, self._db.output_dir)
        )

    async def _expected(self, prompt: Mapping[str, Any]) -> dict[str, Any]:
        """For which nodes a prompt runs, and how many files each makes; nothing where the client cannot tell."""
        classes = await self._engine.node_classes(prompt)
        if classes is None:
            return {}
        outputs = [node for node, inner in prompt.items() if _is_output(inner, classes)]
        return {"outputs_to_execute": outputs, "files": expected_files(prompt, outputs, classes)}

    async def _of(self, task: TaskRecord) -> Sequence[Found]:
        """The whole files that carry the task's id and its prompt's."""
        self._wanted[task.task_id] = task
        async with self._turn.one:
            if task.task_id in self._wanted:
                wanted = dict(self._wanted)
                found = await asyncio.to_thread(self._results_of, list(wanted.values()))
                for task_id in wanted:  # only now: who searches may be stopped, and then the next one does
                    del self._wanted[task_id]
                    self._found[task_id] = found.get(task_id, ())
            return self._found.pop(task.task_id, ())

    def _results_of(self, tasks: Sequence[TaskRecord]) -> dict[str, list[Found]]:
        prompts = {task.task_id: task.comfyui_task_id for task in tasks if task.comfyui_task_id}
        since = min((parse_time(task.created_at) for task in tasks), default=0.0)
        return find_results(self._db.output_dir, prompts, since)


def _is_output(node: Any, classes: Mapping[str, NodeClass]) -> bool:
    known = classes.get(str(node.get("class_type"))) if isinstance(node, Mapping) else None
    return known is not None and known.output_node
