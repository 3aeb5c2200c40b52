"""Results that lie on disk although nobody has told of them, where `main.py` shares ComfyUI's output folder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..engines.in_use import OfLoop
from ..results.find import Found, find_results
from ..table.manager import DatabaseManager
from ..table.records import TaskRecord, parse_time


class Search:
    """Looks through the output folder, once for all who ask while it was looked through for others: what goes down
    takes many tasks with it. Each gets what lies there after he has asked, for before he may have been rendering."""

    def __init__(self, db: DatabaseManager) -> None:
        self._db = db
        self._turn = OfLoop(asyncio.Lock)
        self._wanted: dict[str, TaskRecord] = {}
        self._found: dict[str, Sequence[Found]] = {}

    async def of(self, task: TaskRecord) -> Sequence[Found]:
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
