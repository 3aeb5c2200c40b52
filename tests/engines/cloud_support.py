"""What the tests of engines share: a `main.py` with its table, the stand-in cloud, and an engine that obeys."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from wfrecovery import bridge
from wfrecovery.bridge.engines import in_use
from wfrecovery.bridge.recovery import following, submitting
from wfrecovery.bridge.recovery import manager as recovering
from wfrecovery.bridge.table.changes import wished_away
from wfrecovery.demo.runninghub_host.stand_in import Fault, RunningHubStandIn, Switches, Workflow, shows

WORKFLOW = "101"


def hurry(monkeypatch: Any) -> None:
    """The pauses between two looks and two tries are short; answers are waited for."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(following, "SECOND_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(recovering, "_DOUBT_SECONDS", 0.02)
    monkeypatch.setattr(submitting, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(submitting, "_LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(in_use, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(in_use, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(in_use, "ASK_SECONDS", 120.0)  # what does not hang is only slow


def row(number: int) -> dict[str, Any]:
    """A row of the sheet."""
    return {"row_number": number, "product_name": f"产品{number}", "model_name": "模特", "prompt": f"row {number}"}


class Office:
    """A table, and one `main.py` after the other: each is another program as far as the table can tell."""

    def __init__(self, service: Any, folder: Path) -> None:
        self.service, self.folder = service, folder

    def main_py(self, **settings: Any) -> Run:
        """The next run."""
        return Run(self, bridge.load_settings(environ={f"WFRECOVERY_{k.upper()}": v for k, v in settings.items()}))

    def task(self, task_id: str) -> dict[str, Any]:
        """Its record."""
        found = bridge.DatabaseManager(self.folder).get_task(task_id)
        assert found is not None
        return found

    def wish_away(self, task_id: str) -> None:
        """A person wants its end."""
        bridge.DatabaseManager(self.folder).table.update(task_id, wished_away)


class Run:
    """One run of a `main.py`; it has ended when a method returns, and has let go of everything."""

    def __init__(self, office: Office, settings: bridge.Settings) -> None:
        self.office = office
        self.db = bridge.DatabaseManager(office.folder)
        self.recovery = bridge.TaskRecoveryManager(self.db, office.service.client(), settings=settings)

    def enters(self, number: int) -> str:
        """Enter a row and submit it; the run ends before it is rendered."""
        return self.submits(number)

    def submits(self, number: int) -> str:
        """The same."""

        async def story() -> str:
            task_id = self.db.add_workflow_task(row(number), "图片合成")
            await self.recovery.submit(task_id, self.office.service.client_workflow(number))
            return task_id

        with self._ending():
            return asyncio.run(story())

    def recovers(self) -> list[dict[str, Any]]:
        """Recover, to the end of what can end; nobody waits for what goes on rendering."""

        async def story() -> list[dict[str, Any]]:
            ended = await self.recovery.check_and_recover_tasks()
            with contextlib.suppress(asyncio.TimeoutError):
                ended += await asyncio.wait_for(self.recovery.wait_until_done(), 30)
            return ended

        with self._ending():
            return asyncio.run(story())

    def looks(self) -> None:
        """Recover, and end before anything has."""

        async def story() -> None:
            await self.recovery.check_and_recover_tasks()

        with self._ending():
            asyncio.run(story())

    @contextlib.contextmanager
    def _ending(self) -> Any:
        """As a program that ends in good order: it is at work on nothing any more."""
        yield
        for task_id in list(self.db.table.ids()):
            with contextlib.suppress(Exception):
                self.db.release_task(task_id)


class Cloud:
    """RunningHub's client on its stand-in."""

    def __init__(self, switches: Switches | None = None) -> None:
        workflow = Workflow(nodes={"6": ("text",), "10": ("image",)}, seconds=None)
        self.cloud = RunningHubStandIn({WORKFLOW: workflow}, switches=switches)

    def __enter__(self) -> Cloud:
        self.cloud.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.cloud.stop()

    def client(self) -> bridge.RunningHubClient:
        workflows = {"图片合成": bridge.CloudWorkflow(WORKFLOW, {"prompt": "6.text", "product_image": "10.image"})}
        return bridge.RunningHubClient(self.cloud.api_key, workflows, base_url=self.cloud.url, poll_seconds=0.02)

    def client_workflow(self, number: int) -> dict[str, Any]:
        info = {"nodeId": "6", "fieldName": "text", "fieldValue": f"row {number}"}
        return {"workflowId": WORKFLOW, "nodeInfoList": [info]}

    def paid(self, number: int) -> int:
        return self.cloud.paid(f"row {number}")

    def ids_there(self) -> list[str]:
        return [task.id for task in self.cloud.tasks]

    def _open(self) -> list[str]:
        return [task.id for task in self.cloud.tasks if task.state in ("QUEUED", "RUNNING")]

    def finish(self) -> None:
        for task_id in self._open():
            self.cloud.finish(task_id)

    def fail(self, reason: str) -> None:
        for task_id in self._open():
            self.cloud.fail(task_id, reason)

    def forget(self) -> None:
        for task in self.cloud.tasks:
            self.cloud.forget(task.id)

    def busy(self, times: int) -> None:
        self.cloud.faults.add(Fault.QUEUE_FULL_421, match="create", times=times)

    def refuse(self) -> None:
        self.cloud.faults.add(Fault.NODE_803, match="create", times=1)

    def answer_lost(self, *, accepted: bool) -> None:
        self.cloud.faults.add(Fault.RESET_AFTER if accepted else Fault.RESET_BEFORE, match="create", times=1)

    def down(self) -> None:
        self.cloud.stop()

    def up(self) -> None:
        self.cloud.start()

    def silent(self, times: int) -> None:
        self.cloud.faults.add(Fault.HTML_502, match="outputs", times=times)

    def deaf(self, times: int) -> None:
        self.cloud.faults.add(Fault.HTML_502, match="cancel", times=times)

    def is_result(self, path: Path, number: int) -> bool:
        return shows(path.read_bytes(), f"row {number}")

    def cancelled(self) -> int:
        return sum(task.state == "CANCELLED" for task in self.cloud.tasks)


class Scripted:
    """A service in the test's own process. Its client is an `Engine` of somebody's, asynchronous or plain, whose errors
    are its own."""

    def __init__(self, *, plain: bool) -> None:
        self.plain = plain
        self.jobs: dict[int, dict[str, Any]] = {}
        self.orders: list[str] = []
        self.is_up, self.silences, self.deafness, self.stopped = True, 0, 0, 0
        #: called while a task is being accepted
        self.on_create: Callable[[], object] = int
        self.ids = itertools.count(1_900_000_000_000_000_000)

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def client(self) -> Any:
        return (PlainEngine if self.plain else AsyncEngine)(self)

    def client_workflow(self, number: int) -> dict[str, Any]:
        return {"what": f"row {number}"}

    def paid(self, number: int) -> int:
        return Counter(job["what"] for job in self.jobs.values())[f"row {number}"]

    def ids_there(self) -> list[str]:
        return [str(number) for number in self.jobs]

    def _end(self, **end: Any) -> None:
        for job in self.jobs.values():
            if job["place"] == "running":
                job.update(end)

    def finish(self) -> None:
        self._end(place="succeeded")

    def fail(self, reason: str) -> None:
        self._end(place="failed", reason=reason)

    def forget(self) -> None:
        self._end(place="absent")

    def busy(self, times: int) -> None:
        self.orders += ["busy"] * times

    def refuse(self) -> None:
        self.orders.append("refuse")

    def answer_lost(self, *, accepted: bool) -> None:
        self.orders.append("lost after" if accepted else "lost before")

    def down(self) -> None:
        self.is_up = False

    def up(self) -> None:
        self.is_up = True

    def silent(self, times: int) -> None:
        self.silences += times

    def deaf(self, times: int) -> None:
        self.deafness += times

    def is_result(self, path: Path, number: int) -> bool:
        with Image.open(path) as picture:
            return picture.getpixel((0, 0))[0] == number

    def cancelled(self) -> int:
        return self.stopped

    # ------------------------------------------------------------------ what its client calls

    def create(self, workflow: Mapping[str, Any]) -> int:
        if not self.is_up:
            raise ConnectionRefusedError("nobody listens")
        order = self.orders.pop(0) if self.orders else ""
        if order == "busy":
            raise bridge.BusyError(retry_after=0.01)
        if order == "refuse":
            raise bridge.RefusedError("there is no such node")
        if order == "lost before":
            raise KeyError("answer")
        number = next(self.ids)
        self.on_create()
        self.jobs[number] = {"what": workflow["what"], "place": "running"}
        if order == "lost after":
            raise RuntimeError("the connection was reset")
        return number

    def where(self, job_id: str) -> bridge.Sighting:
        if not self.is_up:
            raise ConnectionRefusedError("nobody listens")
        if self.silences:
            self.silences -= 1
            raise ZeroDivisionError
        job = self.jobs[int(job_id)]
        if job.get("late"):  # it does not know yet what it has accepted
            job["late"] -= 1
            return bridge.Sighting(bridge.Place.ABSENT)
        place = bridge.Place(job["place"])
        files = (bridge.ResultFile(f"{job['what']}.png"),) if place is bridge.Place.SUCCEEDED else ()
        return bridge.Sighting(place, files, bridge.Wording(job["reason"], job["reason"]) if "reason" in job else None)

    def stop(self, job_id: str) -> None:
        if self.deafness or not self.is_up:
            self.deafness -= 1
            raise ConnectionResetError("nobody listens")
        self.stopped += 1
        self.jobs[int(job_id)]["place"] = "interrupted"

    def fetch(self, file: bridge.ResultFile, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (int(file.filename.split()[1].split(".")[0]), 0, 0)).save(target)


class PlainEngine(bridge.Engine):
    """As a team writes it that knows no `await`."""

    engine = "theirs"
    poll_seconds = 0.01

    def __init__(self, service: Scripted) -> None:
        self.service = service

    def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> Any:
        return self.service.create(workflow)

    def look_up(self, job_id: str) -> bridge.Sighting:
        return self.service.where(job_id)

    def cancel(self, job_id: str) -> None:
        self.service.stop(job_id)

    def download(self, file: bridge.ResultFile, target: Path) -> None:
        self.service.fetch(file, target)


class AsyncEngine(bridge.Engine):
    """The same, asynchronous."""

    engine = "theirs"
    poll_seconds = 0.01

    def __init__(self, service: Scripted) -> None:
        self.service = service

    async def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> Any:
        await asyncio.sleep(0)
        return self.service.create(workflow)

    async def look_up(self, job_id: str) -> bridge.Sighting:
        return self.service.where(job_id)

    async def cancel(self, job_id: str) -> None:
        self.service.stop(job_id)

    async def download(self, file: bridge.ResultFile, target: Path) -> None:
        self.service.fetch(file, target)
