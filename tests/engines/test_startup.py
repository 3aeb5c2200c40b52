"""What a start with many unfinished tasks costs: questions and writes are counted, seconds are in `benchmarks/`."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cloud_support import hurry

from wfrecovery import bridge
from wfrecovery.bridge.engines import in_use
from wfrecovery.bridge.engines.comfyui import ComfyUIUnreachableError
from wfrecovery.bridge.engines.history import ABSENT, Sighting
from wfrecovery.bridge.recovery import following, queue_looks
from wfrecovery.bridge.recovery.following import Following
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import QueuePlace

TASKS = 40


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked once a second is asked once; and what is followed afterwards costs nothing."""
    hurry(monkeypatch)
    monkeypatch.setattr(Following, "to_the_end", lambda *_: asyncio.sleep(3600))
    monkeypatch.setattr(in_use, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(in_use, "FRESH_SECONDS", 3600.0)
    monkeypatch.setattr(queue_looks, "FRESH_SECONDS", 3600.0)


class Asked(bridge.ComfyUIClient):
    """A ComfyUI without the plugin, by how it answers; counts what it is asked."""

    def __init__(self, how: str) -> None:
        super().__init__("http://127.0.0.1:9")
        self.how, self.asked = how, Counter[str]()
        self.sent: list[str] = []

    async def _get(self, path: str) -> Any:
        what = path.split("?", maxsplit=1)[0].split("/")[1]
        self.asked[what] += 1
        if self.how == "hung":
            await asyncio.sleep(3600)
        if self.how == "refused":
            raise ComfyUIUnreachableError("no answer") from ConnectionRefusedError()
        return {"queue": {"queue_running": [], "queue_pending": []}, "history": {}}.get(what)

    async def submit_workflow(self, workflow: Any, *, prompt_id: Any = None, task: Any = None) -> Any:
        self.sent.append(prompt_id)
        return prompt_id


class Cloud(bridge.Engine):
    """The same of a service that makes its own ids."""

    engine = "theirs"

    def __init__(self, how: str) -> None:
        self.how, self.asked = how, Counter[str]()

    def submit(self, workflow: Any, task: Any) -> Any:
        raise AssertionError("nothing is to be sent")

    async def look_up(self, job_id: str) -> Sighting:
        self.asked["look"] += 1
        if self.how == "hung":
            await asyncio.sleep(3600)
        if self.how == "refused":
            raise bridge.NotSentError("nobody listens") from ConnectionRefusedError()
        return ABSENT


def starts(folder: Path, client: Any) -> list[bridge.TaskRecord]:
    """The records after a start; before it, each was written once by a former run that saw no end."""
    db = bridge.DatabaseManager(folder)
    for number in range(TASKS):
        task_id = db.table.claim_id("图片合成")
        fields: dict[str, Any] = {"row_number": number + 2, "workflow_type": "图片合成", "engine": client.engine}
        queue = QueuePlace(queued_at=f"2026-11-28T10:00:00.{number:06}+00:00")
        task = new_task(task_id, Stage.QUEUED, comfyui_task_id=f"job-{number}", queue=queue, **fields)
        db.table.create(task, {"prompt_id": f"job-{number}", "prompt": {}})
    asyncio.run(bridge.TaskRecoveryManager(db, client, settings=bridge.Settings()).check_and_recover_tasks())
    return list(db.table.active())


@pytest.mark.parametrize("how", ["hung", "refused"])
@pytest.mark.parametrize("kind", [Asked, Cloud])
def test_who_is_out_of_reach_is_asked_once_and_nothing_is_written(kind: Any, how: str, tmp_path: Path) -> None:
    client = kind(how)
    assert {task.revision for task in starts(tmp_path, client)} == {1}
    assert sum(client.asked.values()) == 1


def test_a_comfyui_that_has_forgotten_them_is_asked_about_each_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Besides, about the first one that is judged, about the one to blame where that is another (which one comes first
    is the threads' affair), and about all that wait; and its plugin about itself."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 3.0)  # for two of them they are gathered, to be sent in their order
    client = Asked("forgotten")
    tasks = starts(tmp_path, client)
    assert client.sent == [f"job-{number}" for number in range(TASKS)]
    looks = 2 * TASKS + 2
    assert client.asked["history"] <= looks
    assert client.asked["queue"] <= looks + 1
    assert client.asked["wfrecovery"] <= 2 + 1  # its status, and its record of a task; once more a second later
    assert [task.attempts for task in tasks] == [1] + [0] * (TASKS - 1), "one count per start"
    assert max(task.revision for task in tasks) <= 6, "taken, lost its place, sending, sent, let go of as the loop ends"


def test_a_cloud_that_has_forgotten_them_is_asked_about_each_twice(tmp_path: Path) -> None:
    client = Cloud("forgotten")
    tasks = starts(tmp_path, client)
    assert {task.stage for task in tasks} == {Stage.ASKING}
    assert client.asked["look"] <= 2 * TASKS + 1
