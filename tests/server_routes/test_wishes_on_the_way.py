"""A person cancels in the page what a `main.py` of the same table is just sending, elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wfrecovery import bridge
from wfrecovery.bridge.engines.engine import Engine
from wfrecovery.bridge.engines.errors import RefusedError
from wfrecovery.bridge.engines.history import ABSENT, Place, Sighting
from wfrecovery.bridge.recovery import following
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import OwnerKind
from wfrecovery.server_routes.queue.writing import Writer
from wfrecovery.server_routes.recovery.requests import Requests


class Elsewhere(Engine):
    """Another ComfyUI, or a cloud, which accepts all. The page's button is pressed while a request is on its way."""

    def __init__(self, page: bridge.DatabaseManager, *, own_ids: bool) -> None:
        self.engine, self.makes_own_ids = ("a cloud:1" if own_ids else "comfyui:http://there"), own_ids
        self.page, self.cancelled, self.known = page, [], dict[str, Sighting]()

    async def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> str:
        nobody: Any = SimpleNamespace(delete_pending=lambda _: False, interrupt=lambda _: False)
        told: dict[str, Any] = {"may_be_whole": lambda _: False, "on_change": lambda _: None}
        await Requests(nobody, self.page, Writer(), nobody, **told).cancel(task["task_id"])
        job_id = "own" if self.makes_own_ids else str(task["comfyui_task_id"])
        self.known[job_id] = Sighting(Place.RUNNING)
        return job_id

    async def look_up(self, job_id: str) -> Sighting:
        return self.known.get(job_id, ABSENT)

    async def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)
        self.known[job_id] = Sighting(Place.INTERRUPTED)


@pytest.mark.parametrize("own_ids", [True, False])
@pytest.mark.parametrize("theirs", [True, False], ids=["a program of theirs", "as documented"])
def test_what_is_accepted_after_the_wish_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_ids: bool, theirs: bool
) -> None:
    """It would be rendered, and paid for, and given to nobody."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    engine = Elsewhere(bridge.DatabaseManager(tmp_path, kind=OwnerKind.COMFYUI), own_ids=own_ids)
    db = bridge.DatabaseManager(tmp_path)
    recovery = bridge.TaskRecoveryManager(db, engine, settings=bridge.load_settings(environ={}))
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "产品", "model_name": "模特"}, "图片合成")

    async def program() -> None:
        if theirs:
            with pytest.raises(RefusedError):
                await db.submits[1](task_id, {"1": {}}, False)  # type: ignore[index]
            return
        assert await recovery.submit(task_id, {"1": {}})
        await recovery.finish(task_id)

    asyncio.run(program())
    assert db.table.get(task_id).stage is Stage.CANCELLED
    assert list(engine.known) == engine.cancelled
