"""An engine in the test's own process, whose prompts wait, run and end as the test says; and tasks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from wfrecovery import bridge
from wfrecovery.bridge.engines import in_use
from wfrecovery.bridge.engines.comfyui import ComfyUIUnreachableError
from wfrecovery.bridge.engines.history import ABSENT, UNKNOWN, Place, ResultFile, Sighting
from wfrecovery.bridge.recovery import following, queue_looks
from wfrecovery.bridge.recovery import manager as recovering

GRAPH: dict[str, Any] = {"1": {"class_type": "SaveImage", "inputs": {}}}
DONE = Sighting(Place.SUCCEEDED, (ResultFile("r.png"),))


class Engine:
    """A ComfyUI without the plugin, as `main.py` sees it."""

    def __init__(self, name: str = "comfyui:http://here") -> None:
        self.engine = name
        #: what was sent, in order
        self.sent: list[str] = []
        self.cancelled: list[str] = []
        #: what it knows of prompts
        self.known: dict[str, Sighting] = {}
        #: what becomes of a prompt as it comes in
        self.at_first = Sighting(Place.WAITING)
        self.reachable = True
        #: called while a prompt is on its way
        self.on_the_way: Callable[[str], Any] = lambda _: None
        #: it gives prompts an id of its own
        self.own_ids = False
        self.makes_own_ids = False

    async def submit_workflow(
        self, workflow: Mapping[str, Any], *, prompt_id: str | None = None, task: Mapping[str, Any] | None = None
    ) -> str:
        assert prompt_id
        if not self.reachable:
            raise ComfyUIUnreachableError("no answer")
        sent = f"own-{len(self.sent)}" if self.own_ids else prompt_id
        self.sent.append(sent)
        self.known[sent] = self.at_first
        on_the_way = self.on_the_way(sent)
        if on_the_way is not None:
            await on_the_way
        return sent

    async def look_up(self, prompt_id: str) -> Sighting:
        return self.known.get(prompt_id, ABSENT) if self.reachable else UNKNOWN

    async def prompts_in_queue(self) -> dict[str, Place]:
        if not self.reachable:
            raise ComfyUIUnreachableError("no answer")
        return {sent: seen.place for sent, seen in self.known.items() if seen.place in (Place.WAITING, Place.RUNNING)}

    async def wait_for_completion(self, prompt_id: str, *, on_progress: Any = None) -> Sighting:
        going_on = (Place.WAITING, Place.RUNNING, Place.UNKNOWN)
        while (seen := await self.look_up(prompt_id)).place in going_on:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return seen

    async def cancel(self, prompt_id: str) -> None:
        self.cancelled.append(prompt_id)
        self.known.pop(prompt_id, None)

    async def download(self, file: ResultFile, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(target)

    async def plugin_status(self) -> Any:
        return None

    async def plugin_task(self, prompt_id: str) -> Any:
        return None

    def end_all(self, seen: Sighting = DONE) -> None:
        """Whatever it knows of has ended."""
        self.known = dict.fromkeys(self.known, seen)
        self.at_first = seen

    def crash(self) -> None:
        """It starts again, and knows nothing."""
        self.known = {}


def main_py(folder: Path, engine: Any, **options: Any) -> tuple[bridge.DatabaseManager, bridge.TaskRecoveryManager]:
    """What a `main.py` makes at its beginning."""
    db = bridge.DatabaseManager(folder, **options)
    settings = bridge.load_settings(environ={})
    return db, bridge.TaskRecoveryManager(db, engine, settings=settings)


def enter(db: bridge.DatabaseManager, number: int) -> str:
    """A row's task."""
    row = {"row_number": number, "product_name": f"产品{number}", "model_name": "模特"}
    return db.add_workflow_task(row, "图片合成")


async def process_row(db: bridge.DatabaseManager, recovery: bridge.TaskRecoveryManager, number: int) -> dict[str, Any]:
    """What a `main.py` does with a row."""
    task_id = enter(db, number)
    await recovery.submit(task_id, GRAPH)
    return await recovery.finish(task_id)


async def recovered(recovery: bridge.TaskRecoveryManager) -> list[dict[str, Any]]:
    """What a `main.py` does first."""
    found = await recovery.check_and_recover_tasks()
    return found + await recovery.wait_until_done()


async def until(condition: Callable[[], Any]) -> None:
    """Returns when it is so."""

    async def wait() -> None:
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    await asyncio.wait_for(wait(), 120)


def hurry(monkeypatch: Any) -> None:
    """The pauses between two looks are short; answers are waited for."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(following, "SECOND_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(recovering, "_DOUBT_SECONDS", 0.02)
    monkeypatch.setattr(queue_looks, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(in_use, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(in_use, "ASK_SECONDS", 120.0)  # what does not hang is only slow
