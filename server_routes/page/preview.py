"""The prompts without a row that were lost and wait for a person: what each would make, before it is queued again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ...bridge.results.output_files import find_results
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import Stage, TaskRecord, parse_time

#: Shown at once; the rest follows when these are decided.
MAX_SHOWN: Final = 200
_MAX_TITLE: Final = 80
_TEXT_INPUTS: Final = ("text", "prompt", "positive", "positive_prompt", "text_g", "clip_l", "t5xxl")


def asking_tasks(db: DatabaseManager) -> list[dict[str, Any]]:
    """Records, oldest first, each with `title` and with `result_there`: a result of it lies in the output folder."""
    asking = [entry.task_id for entry in reversed(db.index.entries()) if entry.stage is Stage.ASKING]
    looked = (db.table.look(task_id) for task_id in asking[:MAX_SHOWN])
    records = [record for record in looked if record is not None and record.stage is Stage.ASKING]
    prompts = {record.task_id: record.comfyui_task_id for record in records if record.comfyui_task_id}
    since = min((parse_time(record.created_at) for record in records), default=0.0)
    results = find_results(db.output_dir, prompts, since)
    return [
        {**record.to_json(), "title": _title(db, record), "result_there": record.task_id in results}
        for record in records
    ]


def _title(db: DatabaseManager, record: TaskRecord) -> str:
    graph = db.table.graph(record.task_id)
    return title_of(graph["prompt"]) if graph else record.task_id


def title_of(prompt: Mapping[str, Any]) -> str:
    """What tells a prompt from its neighbours: its longest text, else the name of its files, else its nodes."""
    nodes = [node for node in prompt.values() if isinstance(node, Mapping)]
    inputs = [node["inputs"] for node in nodes if isinstance(node.get("inputs"), Mapping)]
    texts = max(_texts(inputs, _TEXT_INPUTS), key=len, default="")
    names = next(_texts(inputs, ("filename_prefix",)), "")
    classes = ", ".join(dict.fromkeys(str(node.get("class_type")) for node in nodes))
    title = " ".join((texts or names or classes).split())
    return title if len(title) <= _MAX_TITLE else f"{title[:_MAX_TITLE]}…"


def _texts(inputs: list[Mapping[str, Any]], names: tuple[str, ...]) -> Iterator[str]:
    for values in inputs:
        for name in names:
            value = values.get(name)
            if isinstance(value, str) and value.strip():
                yield value
