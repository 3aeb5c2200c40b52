"""A person cancels in the page what a `main.py` of the same table is just sending, elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from wfrecovery import bridge
from wfrecovery.bridge.engines.engine import Engine
from wfrecovery.bridge.engines.errors import RefusedError
from wfrecovery.bridge.engines.history import ABSENT, Place, Sighting
from wfrecovery.bridge.recovery import following, obeying
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import OwnerKind
from wfrecovery.server_routes.queue.writing import Writer
from wfrecovery.server_routes.recovery.requests import Requests


async def press_cancel(page: bridge.DatabaseManager, task_id: str) -> None:
    """The button in the page of a ComfyUI that knows nothing of the prompt."""
    nobody: Any = SimpleNamespace(delete_pending=lambda _: False, interrupt=lambda _: False)
    told: dict[str, Any] = {"may_be_whole": lambda _: False, "on_change": lambda _: None}
    requests = Requests(nobody, page, Writer(), nobody, **told)
    await requests.cancel(task_id, await requests.wish([task_id]))


class Elsewhere(Engine):
    """Another ComfyUI, or a cloud, which accepts all, unless there is an `error`. While `pressed`, the page's button
    is pressed while a request is on its way."""

    def __init__(self, folder: Path, *, own_ids: bool = True) -> None:
        self.engine, self.makes_own_ids = ("a cloud:1" if own_ids else "comfyui:http://there"), own_ids
        self.page = bridge.DatabaseManager(folder, kind=OwnerKind.COMFYUI)
        self.pressed = True
        self.error: Exception | None = None
        self.cancelled, self.known = list[str](), dict[str, Sighting]()

    async def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> str:
        if self.pressed:
            await press_cancel(self.page, task["task_id"])
        job_id = "own" if self.makes_own_ids else str(task["comfyui_task_id"])
        if self.error is not None:
            raise self.error
        self.known[job_id] = Sighting(Place.RUNNING)
        return job_id

    async def look_up(self, job_id: str) -> Sighting:
        return self.known.get(job_id, ABSENT)

    async def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)
        self.known[job_id] = Sighting(Place.INTERRUPTED)

    def download(self, file: bridge.ResultFile, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(target)


ROW = {"row_number": 2, "product_name": "产品", "model_name": "模特"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(obeying, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(following, "SECOND_LOOK_SECONDS", 0.0)


def main_py(folder: Path, engine: Elsewhere) -> tuple[bridge.DatabaseManager, bridge.TaskRecoveryManager]:
    """What a `main.py` makes at its beginning."""
    db = bridge.DatabaseManager(folder)
    return db, bridge.TaskRecoveryManager(db, engine, settings=bridge.load_settings(environ={}))


@pytest.mark.parametrize("own_ids", [True, False])
@pytest.mark.parametrize("theirs", [True, False], ids=["a program of theirs", "as documented"])
def test_what_is_accepted_after_the_wish_is_stopped(tmp_path: Path, own_ids: bool, theirs: bool) -> None:
    """It would be rendered, and paid for, and given to nobody."""
    engine = Elsewhere(tmp_path, own_ids=own_ids)
    db, recovery = main_py(tmp_path, engine)
    task_id = db.add_workflow_task(ROW, "图片合成")

    async def program() -> None:
        if theirs:
            with pytest.raises(RefusedError):
                await engine.submit_workflow({"1": {}})
            return
        assert await recovery.submit(task_id, {"1": {}})
        await recovery.finish(task_id)

    asyncio.run(program())
    assert db.table.get(task_id).stage is Stage.CANCELLED
    assert list(engine.known) == engine.cancelled


@pytest.mark.parametrize("own_ids", [True, False])
def test_what_a_program_of_theirs_waits_for_is_stopped(tmp_path: Path, own_ids: bool) -> None:
    """It knows nothing of wishes, and would put the picture into its row."""
    engine = Elsewhere(tmp_path, own_ids=own_ids)
    engine.pressed, engine.poll_seconds = False, 0.01
    db, _recovery = main_py(tmp_path, engine)
    task_id = db.add_workflow_task(ROW, "图片合成")

    async def program() -> None:
        job_id = await engine.submit_workflow({"1": {}})
        await press_cancel(engine.page, task_id)
        seen = await engine.wait_for_completion(job_id)
        assert seen.place is Place.INTERRUPTED
        db.mark_task_failed(task_id, "no picture came")

    asyncio.run(asyncio.wait_for(program(), 60))
    assert db.table.get(task_id).stage is Stage.CANCELLED
    assert list(engine.known) == engine.cancelled


@pytest.mark.parametrize("own_ids", [True, False])
def test_what_is_cancelled_before_a_program_of_theirs_submits_it_is_not_sent(tmp_path: Path, own_ids: bool) -> None:
    """Its pictures were being uploaded."""
    engine = Elsewhere(tmp_path, own_ids=own_ids)
    db, _recovery = main_py(tmp_path, engine)
    task_id = db.add_workflow_task(ROW, "图片合成")
    asyncio.run(press_cancel(engine.page, task_id))
    with pytest.raises(RefusedError):
        asyncio.run(engine.submit_workflow({"1": {}}))
    assert db.table.get(task_id).stage is Stage.CANCELLED
    assert not engine.known


@pytest.mark.parametrize("error", [RuntimeError("reset"), RefusedError("there is no such node")])
def test_what_is_not_accepted_after_the_wish_neither_asks_nor_fails(tmp_path: Path, error: Exception) -> None:
    """Who has cancelled it has nothing to decide, and no 失败 comes into the sheet."""
    engine = Elsewhere(tmp_path)
    engine.error = error
    db, recovery = main_py(tmp_path, engine)
    task_id = db.add_workflow_task(ROW, "图片合成")
    assert asyncio.run(recovery.submit(task_id, {"1": {}})) is None
    assert db.table.get(task_id).stage is Stage.CANCELLED


@pytest.mark.parametrize("own_ids", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_rendered_for_a_main_py_that_is_gone_is_stopped_by_the_next_run(
    tmp_path: Path, own_ids: bool, whole: bool
) -> None:
    """The page can ask nobody: it would be rendered to its end; and what is whole is the row's."""
    engine = Elsewhere(tmp_path, own_ids=own_ids)
    engine.pressed = False
    db, recovery = main_py(tmp_path, engine)
    task_id = db.add_workflow_task(ROW, "图片合成")
    job_id = asyncio.run(recovery.submit(task_id, {"1": {}})) or ""
    db.release_task(task_id)
    if whole:
        engine.known[job_id] = Sighting(Place.SUCCEEDED, (bridge.ResultFile("r.png", url="http://there/r.png"),))
    asyncio.run(press_cancel(engine.page, task_id))
    assert db.table.get(task_id).cancel_requested
    db, recovery = main_py(tmp_path, engine)
    asyncio.run(recovery.check_and_recover_tasks())
    assert db.table.get(task_id).stage is (Stage.FINISHED if whole else Stage.CANCELLED)
    assert engine.cancelled == ([] if whole else [job_id])


def test_what_was_asked_for_anew_is_not_ended_by_the_wish_before_that(tmp_path: Path) -> None:
    """The watch has seen the wish; until it comes to that, the task has ended and a person wants it once more."""
    db = bridge.DatabaseManager(tmp_path, kind=OwnerKind.COMFYUI)
    task_id = db.table.claim_id("图片合成")
    db.table.create(new_task(task_id, Stage.QUEUED, comfyui_task_id="p", owner=db.owners.me))
    stopped: list[Any] = []
    host: Any = SimpleNamespace(delete_pending=stopped.append, interrupt=stopped.append)
    nobody: Any = None
    told: dict[str, Any] = {"may_be_whole": lambda _: False, "on_change": lambda _: None}
    writer = Writer()
    asyncio.run(Requests(host, db, writer, nobody, **told).obey(task_id))
    asyncio.run(writer.written())
    assert (db.table.get(task_id).stage, stopped) == (Stage.QUEUED, [])
