"""The prompts without a row that were lost and wait for a person: what each would make, before it is queued again."""

from __future__ import annotations

from typing import Any, Final

from ...bridge.redact import redact
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.record_json import record_to_json
from ...bridge.table.records import Stage, TaskRecord
from ..queue.title import title_of

#: Shown at once; the rest follows when these are decided.
MAX_SHOWN: Final = 200


def asking_tasks(db: DatabaseManager) -> list[dict[str, Any]]:
    """Records, oldest first, each with `title` and with `result_there`: files that it made lie in the output folder."""
    asking = [entry.task_id for entry in reversed(db.index.entries()) if entry.stage is Stage.ASKING]
    looked = (db.table.look(task_id) for task_id in asking[:MAX_SHOWN])
    records = [record for record in looked if record is not None and record.stage is Stage.ASKING]
    return [
        {**record_to_json(record), "title": _title(db, record), "result_there": bool(record.found)}
        for record in records
    ]


def _title(db: DatabaseManager, record: TaskRecord) -> str:
    graph = db.table.graph(record.task_id)
    return redact(title_of(graph["prompt"])) if graph else record.task_id
