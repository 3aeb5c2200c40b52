"""A recovery leaves alone what another engine renders: it neither asks there nor sends it here."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_support import Cloud, Office, PlainEngine, Scripted, hurry, row

from wfrecovery import bridge
from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.demo.launch import ComfyProcess


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    hurry(monkeypatch)
    with Cloud() as cloud:
        yield Office(cloud, tmp_path / "output")


def recover(folder: Path, client: Any) -> None:
    async def story() -> None:
        recovery = bridge.TaskRecoveryManager(bridge.DatabaseManager(folder), client, settings=bridge.Settings())
        await recovery.check_and_recover_tasks()
        await recovery.wait_until_done()

    asyncio.run(story())


def test_what_died_before_it_was_sent_to_a_cloud_is_not_sent_to_a_comfyui(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(Exception):
        pass

    def last_words(table: WorkflowDatabase, task_id: str, graph: Any, **options: Any) -> None:
        write(table, task_id, graph, **options)
        raise PowerCutError

    write = WorkflowDatabase.write_graph
    with monkeypatch.context() as patch:
        patch.setattr(WorkflowDatabase, "write_graph", last_words)
        with pytest.raises(PowerCutError):
            office.main_py().submits(2)
    (task_id,) = bridge.DatabaseManager(office.folder).table.ids()
    with ComfyProcess(tmp_path / "comfyui") as comfy:
        recover(office.folder, bridge.ComfyUIClient(comfy.url))
    assert office.task(task_id)["metadata"]["stage"] == "created"
    office.service.cloud.workflows["101"] = dataclasses.replace(office.service.cloud.workflows["101"], seconds=0.0)
    recover(office.folder, office.service.client())
    assert office.task(task_id)["status"] == "已完成"
    assert office.service.paid(2) == 1


def test_a_cloud_is_not_asked_about_what_a_plugin_has_recorded(office: Office) -> None:
    db = bridge.DatabaseManager(office.folder)
    task_id = db.add_workflow_task(row(2), "图片合成")

    def queued(task: TaskRecord) -> TaskRecord:
        return dataclasses.replace(task, stage=Stage.QUEUED, engine="comfyui", comfyui_task_id="a" * 36, owner=None)

    db.table.update(task_id, queued)
    recover(office.folder, office.service.client())
    assert office.task(task_id)["metadata"]["stage"] == "queued"
    assert sum(office.service.cloud.calls.values()) == 0


class Elsewhere(PlainEngine):
    """Another service, which takes our ids."""

    engine = "elsewhere"
    makes_own_ids = False

    def submit(self, workflow: Any, task: Any) -> str:
        self.service.create(workflow)
        return str(task["comfyui_task_id"])


@pytest.mark.parametrize("answered", [True, False])
def test_what_one_engine_was_sent_is_neither_sent_to_another_nor_followed_there(
    answered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a program that takes all rows that say 否, without `rows_to_do`, and has another engine today."""
    hurry(monkeypatch)
    first, second = Scripted(plain=True), Scripted(plain=True)
    office = Office(first, tmp_path)
    if not answered:
        first.answer_lost(accepted=True)
    task_id = office.main_py().enters(2)
    db = bridge.DatabaseManager(tmp_path)
    if not answered:  # killed before it could note even that

        def killed(task: TaskRecord) -> TaskRecord:
            return dataclasses.replace(task, stage=Stage.CREATED, error_message=None, error_message_zh=None)

        db.table.update(task_id, killed)
    recovery = bridge.TaskRecoveryManager(db, Elsewhere(second), settings=bridge.Settings())

    async def story() -> dict[str, Any]:
        await recovery.check_and_recover_tasks()
        assert db.add_workflow_task(row(2), "图片合成") == task_id
        with pytest.raises(bridge.TaskError, match="theirs"):
            await recovery.submit(task_id, {"what": "row 2"})
        db.mark_task_failed(task_id, "it could not be sent")
        return await asyncio.wait_for(recovery.finish(task_id), 60)

    assert asyncio.run(story())["status"] == "在处理中"
    assert (first.paid(2), second.paid(2)) == (1, 0)
    db.release_task(task_id)
    first.finish()
    office.main_py().recovers()
    task = office.task(task_id)
    assert (task["status"], task["metadata"]["stage"]) == (
        ("已完成", "finished") if answered else ("在处理中", "asking")
    )
    assert (first.paid(2), second.paid(2)) == (1, 0)
