"""Somebody empties the output folder in the moment in which a prompt is accepted: it is recorded all the same."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wfrecovery import bridge

GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
ROW = {"row_number": 2, "product_name": "杯", "model_name": "甲", "prompt": "白"}


@pytest.mark.parametrize("emptied", ["output", "table", "record"])
def test_what_was_accepted_is_recorded_all_the_same(emptied: str, tmp_path: Path) -> None:
    output = tmp_path / "output"
    sent: list[str] = []

    class Emptied(bridge.ComfyUIClient):
        async def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> str:
            sent.append(str(task["comfyui_task_id"]))
            if emptied == "record":
                (output / "wfrecovery" / "active" / f"{task['task_id']}.json").unlink()
            else:
                shutil.rmtree(output if emptied == "output" else output / "wfrecovery", ignore_errors=True)
            return str(task["comfyui_task_id"])

    db = bridge.DatabaseManager(output)
    recovery = bridge.TaskRecoveryManager(db, Emptied("http://127.0.0.1:9"))
    task_id = db.add_workflow_task(ROW, "图片合成")
    prompt_id = asyncio.run(recovery.submit(task_id, GRAPH))
    assert [prompt_id] == sent
    task = bridge.DatabaseManager(output).table.get(task_id)
    assert (task.stage, task.comfyui_task_id, task.row_number) == (bridge.Stage.QUEUED, prompt_id, 2)
    assert (db.table.graph(task_id) or {})["prompt"] == GRAPH
    assert db.add_workflow_task(ROW, "图片合成") == task_id, "its row is not entered a second time"
