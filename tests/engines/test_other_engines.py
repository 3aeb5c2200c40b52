"""A recovery leaves alone what another engine renders: it neither asks there nor sends it here."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_support import Cloud, Office, hurry, row

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
