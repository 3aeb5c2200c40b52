"""A state folder of schema 1, made by the version that wrote it, is read for ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from wfrecovery.bridge import DatabaseManager
from wfrecovery.bridge.results.whole import why_not_whole
from wfrecovery.bridge.table.record_json import record_to_json
from wfrecovery.bridge.table.records import RecordError, TaskRecord

HERE = Path(__file__).with_name("state_of_schema_1")
EXPECTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text("utf-8"))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A copy: looking at it sets what is damaged aside."""
    return Path(shutil.copytree(HERE / "output", tmp_path / "output"))


def told(record: TaskRecord) -> dict[str, Any]:
    data = record_to_json(record)
    return {
        "stage": record.stage.value,
        "feishu_state": record.feishu_state.value,
        "attempts": record.attempts,
        **{name: data[name] for name in ("status", "row_number", "workflow_type", "output_files", "product_name")},
        **{name: data[name] for name in ("comfyui_task_id", "error_message")},
    }


@pytest.mark.parametrize("task_id", EXPECTED["records"])
def test_every_record_says_what_it_said(task_id: str, output: Path) -> None:
    db = DatabaseManager(output)
    record = db.table.get(task_id)
    assert told(record) == EXPECTED["records"][task_id]
    assert all(why_not_whole(output / name) is None for name in record.output_files)


def test_every_task_is_listed(output: Path) -> None:
    db = DatabaseManager(output)
    assert set(db.table.ids()) == {*EXPECTED["records"], *EXPECTED["damaged"], *EXPECTED["newer"]}
    assert {entry.task_id for entry in db.index.entries()} == {*EXPECTED["records"], *EXPECTED["rebuilt_by_listing"]}


def test_what_was_damaged_is_set_aside_and_rebuilt(output: Path) -> None:
    db = DatabaseManager(output)
    (damaged,) = EXPECTED["damaged"]
    with pytest.raises(RecordError):
        db.table.get(damaged)
    rebuilt = {task.task_id: told(task) for task in db.table.active() if task.task_id == damaged}
    assert rebuilt == EXPECTED["rebuilt_by_listing"]
    corrupt = db.table.corrupt()
    aside = EXPECTED["corrupt_after_listing"]
    assert [name for name in corrupt if ":" not in name] == [name for name in aside if ":" not in name]
    assert any(name.startswith(f"active/{EXPECTED['newer'][0]}.json: left alone: schema 99") for name in corrupt)


def test_what_is_changed_stays_what_it_was_besides(output: Path) -> None:
    """A later program changes one thing of each record: the other fields survive its write."""
    db = DatabaseManager(output)
    for task_id, before in EXPECTED["records"].items():
        old = json.loads(record_file(output, task_id).read_text("utf-8"))
        db.table.update(task_id, lambda task: TaskRecord(**{**vars(task), "product_name": f"{task.product_name}!"}))
        new = json.loads(record_file(output, task_id).read_text("utf-8"))
        assert told(db.table.get(task_id)) == {**before, "product_name": f"{before['product_name']}!"}
        lost = old["metadata"].keys() - new["metadata"].keys()
        if "node_outputs" in lost:  # has another name now
            lost.remove("node_outputs")
            nodes = new["metadata"]["nodes"].items()
            assert all(report["done"] for _, report in nodes)
            files = {node: [result["path"] for result in report["results"]] for node, report in nodes}
            assert files == old["metadata"]["node_outputs"]
        assert not lost, (task_id, lost)


@pytest.mark.parametrize("task_id", sorted(path.stem for path in (HERE / "output/wfrecovery/graphs").glob("*.json")))
def test_every_graph_is_read(task_id: str, output: Path) -> None:
    graph = DatabaseManager(output).table.graph(task_id)
    assert graph is not None
    assert graph["prompt"]


def test_a_sweep_loses_no_record(output: Path) -> None:
    db = DatabaseManager(output)
    db.table.sweep()
    assert {*EXPECTED["records"], *EXPECTED["newer"]} <= set(db.table.ids())


def record_file(output: Path, task_id: str) -> Path:
    (path,) = (output / "wfrecovery").rglob(f"[ad]*/**/{task_id}.json")
    return path
