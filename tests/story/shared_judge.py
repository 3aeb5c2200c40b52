"""What must be true of a table that several work in; told by the marks, at any time and at the end."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from shared_world import SharedWorld

Record = dict[str, Any]


def always(world: SharedWorld) -> None:
    """Nobody has seen anything that must not happen, and every file of the table can be read."""
    assert not world.marks.wrongs, world.marks.wrongs
    for output in (world.output, world.far):
        for path in (output / "wfrecovery").rglob("*.json"):
            json.loads(path.read_bytes())
        corrupt = output / "wfrecovery" / "corrupt"
        assert not corrupt.exists(), [path.name for path in corrupt.iterdir()]
    for path, content in world.newest.items():
        assert path.read_bytes() == content, f"{path.name} is a newer program's, and was changed"


def healed(world: SharedWorld) -> None:
    """All faults have ended, and everybody had time."""
    always(world)
    began = Counter(start.task_id for start in world.marks.starts)
    here, far = world.records(), world.records(world.far)
    for record in here.values():
        _settled(world, record, began)
    for record in far.values():
        stage = record["metadata"]["stage"]
        assert stage in ("finished", "failed", "cancelled", "asking"), f"far, stuck: {_told(record)}"
        assert stage != "failed" or record["error_message"], _told(record)
    # A beat that was cut off is removed when its owner is known to be dead.
    litter = [path.name for path in world.base.rglob("*.tmp") if path.parent.name != "owners"]
    assert not litter or world.marks.deleted, litter
    names = [start.graph for start in world.marks.starts if start.whole]
    if not world.marks.deleted:
        again = [graph for graph, times in Counter(names).items() if times > 1 and world.marks.row(graph).whole]
        finished = Counter(_graph_of(record) for record in here.values() if record["metadata"]["stage"] == "finished")
        assert all(finished[graph] >= 1 for graph in again), again


def _settled(world: SharedWorld, record: Record, began: Counter[str]) -> None:
    metadata, task_id = record["metadata"], record["task_id"]
    stage, told = metadata["stage"], _told(record)
    assert stage in ("finished", "failed", "cancelled", "asking"), f"stuck: {told}"
    if stage == "failed":
        assert record["error_message"], told
        crashes = world.marks.crashes[task_id] + world.marks.unbegun
        # Entered, and its program ended before it had anything to submit: the next batch takes the row.
        unsubmitted = began[task_id] == 0 and metadata["feishu"]["state"] == "off"
        excused = unsubmitted or world.marks.deleted or world.marks.row(_graph_of(record)).doubtful
        assert crashes >= 3 or excused, f"failed without need: {told}"
    if stage == "finished" and not world.marks.deleted:
        assert any(start.whole for start in world.marks.starts if start.graph == _graph_of(record)), told
    if stage == "cancelled":
        assert task_id in world.marks.wished or world.marks.deleted, f"nobody has cancelled it: {told}"
    if task_id in world.marks.cancelled and stage not in ("cancelled", "finished"):
        raise AssertionError(f"cancelled, and {told}")
    if not world.marks.deleted and not world.marks.row(_graph_of(record)).doubtful:
        most = began[task_id] + world.marks.unbegun + world.marks.before[task_id]
        assert metadata["attempts"] <= most, f"{metadata['attempts']} attempts are counted for {most} starts: {told}"


def _graph_of(record: Record) -> int:
    if record["row_number"] is not None:
        return record["row_number"] - 1
    return int.from_bytes(bytes.fromhex(record["comfyui_task_id"].replace("-", ""))[-2:], "big")


def _told(record: Record) -> str:
    metadata = record["metadata"]
    owner, error = metadata.get("owner"), record["error_message"]
    return f"{record['task_id']} (row {record['row_number']}) is {metadata['stage']}, of {owner}: {error}"
