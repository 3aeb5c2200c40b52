"""What a person asks for in the page about a cloud's task, which only `main.py` can send."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wfrecovery import bridge
from wfrecovery.bridge.recovery.decisions import UNANSWERED
from wfrecovery.bridge.table.changes import asking, failed, finished, new_task, pushed
from wfrecovery.bridge.table.content import taken
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.server_routes.recovery.requests import Requests
from wfrecovery.server_routes.recovery.requeueing import Requeued


@pytest.fixture
def db(tmp_path: Path) -> bridge.DatabaseManager:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    return bridge.DatabaseManager(tmp_path)


def entered(db: bridge.DatabaseManager, *, graph: bool = True, **fields: Any) -> str:
    task_id = db.table.claim_id("图片合成")
    db.table.create(new_task(task_id, bridge.Stage.QUEUED, row_number=2, workflow_type="图片合成", **fields))
    if graph:
        db.table.write_graph(task_id, {"prompt_id": "p", "prompt": {"workflowId": "101"}})
    return task_id


def retried(db: bridge.DatabaseManager, task_id: str) -> Any:
    """By the page. No ComfyUI is asked: none is there."""
    nobody: Any = None
    requests = Requests(nobody, db, nobody, nobody, may_be_whole=nobody, on_change=lambda _: None)
    return asyncio.run(requests.retry(task_id))


CLOUD = {"engine": "runninghub:abcdef12", "comfyui_task_id": "19"}


def test_what_asks_or_failed_is_main_py_s_to_send(db: bridge.DatabaseManager) -> None:
    for change in (lambda task: asking(task, UNANSWERED), lambda task: failed(task, "no room")):
        task_id = entered(db, **CLOUD)
        db.table.update(task_id, change)
        assert retried(db, task_id) is Requeued.ELSEWHERE
        task = db.table.get(task_id)
        assert (task.stage, task.comfyui_task_id, task.attempts) == (bridge.Stage.CREATED, None, 0)


def result_of(db: bridge.DatabaseManager, task: TaskRecord) -> TaskRecord:
    return pushed(finished(task, (taken(db.output_dir, "a.png"),)))


def test_what_is_rendered_is_not_paid_for_again_while_it_is_there(db: bridge.DatabaseManager) -> None:
    task_id = entered(db, **CLOUD)
    before = db.table.update(task_id, lambda task: result_of(db, task))
    with pytest.raises(bridge.TaskError):
        retried(db, task_id)
    assert db.table.get(task_id) == before
    (db.output_dir / "a.png").unlink()
    assert retried(db, task_id) is Requeued.ELSEWHERE


def test_what_runs_there_is_left_alone(db: bridge.DatabaseManager) -> None:
    task_id = entered(db, **CLOUD)
    with pytest.raises(bridge.TaskError):
        retried(db, task_id)
    assert db.table.get(task_id).comfyui_task_id == "19"


def test_without_its_workflow_it_cannot_be_sent(db: bridge.DatabaseManager) -> None:
    """It would be lost: the next run has nothing to send."""
    task_id = entered(db, graph=False, **CLOUD)
    db.table.update(task_id, lambda task: failed(task, "no room"))
    with pytest.raises(bridge.TaskError):
        retried(db, task_id)
    assert db.table.get(task_id).stage is bridge.Stage.FAILED


def test_what_finishes_while_a_person_asks_for_it_again_is_not_rendered_again(
    db: bridge.DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs when it is looked at, and is whole when that is written down."""
    task_id = entered(db, **CLOUD)
    read = db.table.graph

    def meanwhile(asked: str) -> Any:
        db.table.update(task_id, lambda task: result_of(db, task))
        return read(asked)

    monkeypatch.setattr(db.table, "graph", meanwhile)
    with pytest.raises(bridge.TaskError, match="is finished"):
        retried(db, task_id)
    assert db.table.get(task_id).stage is bridge.Stage.FINISHED
