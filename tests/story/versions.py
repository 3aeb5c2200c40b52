"""What programs of other versions leave in a table: written by hand, since they are not here."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

DAY = "20261120"
#: In which stages a program of the first version leaves a task: its ComfyUI is gone, and no owner is named.
OLDER = ("queued", "running", "created")


def older(number: int, stage: str, graph: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A record of schema 1, and its graph. `created`: a row that main.py entered, and never submitted."""
    prompt_id = None if stage == "created" else str(uuid.UUID(int=number, version=4))
    record = _record(number, 1, prompt_id, stage, attempts=int(stage == "running"))
    if stage == "created":
        row = {"row_number": number + 1, "product_name": "木梳", "model_name": "阿哲", "workflow_type": "图片合成"}
        record |= {**row, "task_id": f"img_{DAY}_{number}"}
        record["metadata"]["feishu"]["state"] = "pending"
        return record, None
    record["metadata"]["queue"] = {
        "boot": "2026-11-20T09:00:00+08:00/5d0e",
        "number": 0,
        "queued_at": record["created_at"],
    }
    return record, {**_graph(record, graph), "schema": 1}


def newer(number: int, graph: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A record of schema 3, and its graph: of words that are ours not all is meant as we mean it."""
    record = _record(number, 3, str(uuid.UUID(int=number, version=4)), "queued", attempts=0)
    record["metadata"] |= {"stage": "paused", "owner": {"kind": "swarm", "boot": ["a", "b"]}, "attempts": "none"}
    return record, {**_graph(record, graph), "schema": 3}


def write(output: Path, record: dict[str, Any], graph: dict[str, Any] | None, where: str = "active") -> list[Path]:
    """Bring them to the disk; which files those are."""
    table, name = output / "wfrecovery", f"{record['task_id']}.json"
    folder = table / "active" if where == "active" else table / "done" / f"{DAY[:4]}-{DAY[4:6]}"
    contents = {folder / name: record} | ({} if graph is None else {table / "graphs" / name: graph})
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    return list(contents)


def _record(number: int, schema: int, prompt_id: str | None, stage: str, *, attempts: int) -> dict[str, Any]:
    at = "2026-11-20T09:00:00.000+08:00"
    return {
        "schema": schema,
        "revision": 1,
        "task_id": f"job_{DAY}_{number}",
        "row_number": None,
        "product_name": "",
        "model_name": "",
        "workflow_type": None,
        "status": "在处理中",
        "created_at": at,
        "updated_at": at,
        "comfyui_task_id": prompt_id,
        "output_files": [],
        "error_message": None,
        "metadata": {
            "feishu_row_data": {},
            "processing_start_time": None,
            "attempts": attempts,
            "stage": stage,
            "feishu": {"state": "off", "attempts": 0, "last_error": None, "pushed_at": None},
        },
    }


def _graph(record: dict[str, Any], prompt: dict[str, Any]) -> dict[str, Any]:
    tag = {"task_id": record["task_id"], "prompt_id": record["comfyui_task_id"]}
    outputs = [node for node, inner in prompt.items() if inner["class_type"].startswith("Save")]
    return {
        "prompt_id": record["comfyui_task_id"],
        "prompt": prompt,
        "extra_data": {"extra_pnginfo": {"wfrecovery": tag}},
        "outputs_to_execute": outputs,
    }
