"""A team's own client that is no Engine: what is submitted with it is on disk before, and is never sent twice."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cloud_support import Scripted, hurry, row

from wfrecovery import bridge

IMAGE = "图片合成"


class TheirError(Exception):
    """Their own."""


@dataclass
class TheirAnswer:
    """What theirs returns, with more in it than an id."""

    task_id: str
    machine: str = "a"


class TheirClient:
    """As the specification has it: it says nowhere which task is meant."""

    name = "ours"

    def __init__(self, service: Scripted, before: Callable[[], object] = int) -> None:
        self.service, self.before = service, before

    async def submit_workflow(self, prompt: str, *, picture: Any = None, api_key: str = "") -> TheirAnswer:
        await asyncio.sleep(0)
        self.before()
        return TheirAnswer(str(self.service.create({"what": prompt})))

    async def wait_for_completion(self, task_id: str) -> list[str]:
        return [f"{task_id}.png"]


class TheirPlainClient(TheirClient):
    """The same, that knows no `await`."""

    def submit_workflow(self, prompt: str) -> TheirAnswer:  # type: ignore[override]
        return TheirAnswer(str(self.service.create({"what": prompt})))


class TakesAGraph(TheirClient):
    """Nothing else."""

    async def submit_workflow(self, workflow: dict[str, Any]) -> TheirAnswer:  # type: ignore[override]
        return TheirAnswer(str(self.service.create(workflow)))


class TheirLookingClient(TheirClient):
    """It can be asked as well."""

    def look_up(self, job_id: str) -> bridge.Sighting:
        return self.service.where(job_id)

    def download(self, file: bridge.ResultFile, target: Path) -> None:
        self.service.fetch(file, target)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    hurry(monkeypatch)
    return Scripted(plain=True)


class Program:
    """One run, in the shape of 3.3.1."""

    def __init__(self, folder: Path, client: Any, **settings: str) -> None:
        self.db = bridge.DatabaseManager(folder)
        self.client = bridge.recorded(client)
        limits = bridge.load_settings(environ={f"WFRECOVERY_{k.upper()}": v for k, v in settings.items()})
        self.recovery = bridge.TaskRecoveryManager(self.db, self.client, settings=limits)
        self.answers: list[Any] = []
        self.errors: list[str] = []

    async def process_row(self, number: int, **arguments: Any) -> str:
        task_id = self.db.add_workflow_task(row(number), IMAGE)
        try:
            answer = await self.client.submit_workflow(f"row {number}", **arguments)
            self.db.update_task_comfyui_id(task_id, answer.task_id)
            self.answers.append(answer)
        except Exception as error:
            self.errors.append(str(error))
            self.db.mark_task_failed(task_id, str(error))
        return task_id

    def runs(self, *numbers: int, **arguments: Any) -> list[str]:
        """Recover, then the rows; it ends in good order."""

        async def story() -> list[str]:
            await self.recovery.check_and_recover_tasks()
            return [await self.process_row(number, **arguments) for number in numbers]

        tasks = asyncio.run(story())
        for task_id in tasks:
            self.db.release_task(task_id)
        return tasks

    def task(self, task_id: str) -> dict[str, Any]:
        found = self.db.get_task(task_id)
        assert found is not None
        return found


def test_the_record_says_sending_before_the_request_leaves(service: Scripted, tmp_path: Path) -> None:
    seen: list[Any] = []

    def look() -> None:
        (task,) = bridge.DatabaseManager(tmp_path).get_incomplete_tasks()
        seen.append((task["metadata"].get("sending") is not None, task["comfyui_task_id"]))

    program = Program(tmp_path, TheirClient(service, look))
    (task_id,) = program.runs(2)
    assert seen == [(True, None)]
    assert program.answers == [TheirAnswer(service.ids_there()[0])]
    assert program.task(task_id)["comfyui_task_id"] == service.ids_there()[0]
    assert program.task(task_id)["metadata"]["engine"] == "TheirClient"


def test_what_a_former_run_has_sent_is_not_sent_again(service: Scripted, tmp_path: Path) -> None:
    (task_id,) = Program(tmp_path, TheirClient(service)).runs(2)
    later = Program(tmp_path, TheirClient(service))
    assert later.runs(2) == [task_id]
    assert [answer.task_id for answer in later.answers] == service.ids_there()
    assert service.paid(2) == 1


def test_their_exception_is_named_and_costs_its_row_only(
    service: Scripted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def raises() -> None:
        if not service.jobs:
            service.create({"what": "row 2"})
            raise TheirError("the answer made no sense")

    program = Program(tmp_path, TheirClient(service, raises))
    with caplog.at_level(logging.WARNING, "wfrecovery"):
        tasks = program.runs(2, 3)
    assert "TheirClient: TheirError: the answer made no sense" in caplog.text
    stages = [program.task(task_id)["metadata"]["stage"] for task_id in tasks]
    assert stages == ["asking", "queued"]
    Program(tmp_path, TheirClient(service)).runs(2, 3)
    assert (service.paid(2), service.paid(3)) == (1, 1)


def test_what_was_surely_not_sent_is_sent_with_the_same_arguments(service: Scripted, tmp_path: Path) -> None:
    service.down()
    first = Program(tmp_path, TheirClient(service))
    (task_id,) = first.runs(2, picture={"fileToken": "a"})
    assert first.task(task_id)["metadata"]["stage"] == "created"
    service.up()
    seen: list[Any] = []

    class Looks(TheirClient):
        async def submit_workflow(self, prompt: str, **named: Any) -> TheirAnswer:  # type: ignore[override]
            seen.append((prompt, named))
            return await super().submit_workflow(prompt, **named)

    later = Program(tmp_path, Looks(service))
    later.client.engine = "TheirClient"
    later.recovery = bridge.TaskRecoveryManager(later.db, later.client, settings=bridge.Settings())
    asyncio.run(later.recovery.check_and_recover_tasks())
    assert seen == [("row 2", {"picture": {"fileToken": "a"}})]
    assert later.task(task_id)["comfyui_task_id"] == service.ids_there()[0]


@pytest.mark.parametrize("arguments", [{"picture": Path("a.png")}, {"api_key": "sk-abcdefghijklmnop"}])
def test_what_cannot_be_kept_is_the_next_batch_s(service: Scripted, tmp_path: Path, arguments: dict[str, Any]) -> None:
    service.down()
    (lost,) = Program(tmp_path, TheirClient(service)).runs(2, **arguments)
    written = [path.read_text("utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("sk-abcdefghijklmnop" in text for text in written)
    service.up()
    later = Program(tmp_path, TheirClient(service))
    (task_id,) = later.runs(2, **arguments)
    assert later.task(lost)["error_message"] == "lost before it was submitted"
    assert later.task(task_id)["metadata"]["stage"] == "queued"
    assert service.paid(2) == 1


def test_a_plain_client_stays_plain(service: Scripted, tmp_path: Path) -> None:
    program = Program(tmp_path, TheirPlainClient(service))
    client = program.client
    assert not inspect.iscoroutinefunction(client.submit_workflow)
    first = program.db.add_workflow_task(row(2), IMAGE)
    assert client.submit_workflow("row 2").machine == "a"

    async def asynchronous_all_the_same() -> str:
        task_id = program.db.add_workflow_task(row(3), IMAGE)
        assert client.submit_workflow("row 3").machine == "a"
        return task_id

    second = asyncio.run(asynchronous_all_the_same())
    assert [program.task(task_id)["comfyui_task_id"] for task_id in (first, second)] == service.ids_there()
    assert isinstance(bridge.run(client.wait_for_completion("7")), list)


def test_without_a_task_it_is_theirs_alone(service: Scripted) -> None:
    client = bridge.recorded(TheirClient(service), engine="theirs:account")
    assert asyncio.run(client.submit_workflow("row 2")) == TheirAnswer(service.ids_there()[0])
    assert (client.name, client.engine) == ("ours", "theirs:account")
    with pytest.raises(AttributeError):
        _ = client.nothing


def test_with_a_look_up_the_recovery_fetches_by_itself(service: Scripted, tmp_path: Path) -> None:
    (task_id,) = Program(tmp_path, TheirLookingClient(service)).runs(2)
    service.finish()
    later = Program(tmp_path, TheirLookingClient(service))
    (ended,) = asyncio.run(later.recovery.check_and_recover_tasks())
    assert (ended["task_id"], ended["status"]) == (task_id, "已完成")
    assert service.is_result(tmp_path / ended["output_files"][0], 2)


def test_an_engine_is_returned_as_it_is(service: Scripted) -> None:
    engine = service.client()
    assert bridge.recorded(engine) is engine
    comfy = bridge.ComfyUIClient()
    assert bridge.recorded(comfy) is comfy


def test_the_recovery_gives_a_client_no_arguments_that_it_does_not_know(service: Scripted, tmp_path: Path) -> None:
    """Also without `recorded`, where the program submits through the recovery."""
    db = bridge.DatabaseManager(tmp_path)
    recovery = bridge.TaskRecoveryManager(db, TakesAGraph(service), settings=bridge.Settings())

    async def story() -> str | None:
        return await recovery.submit(db.add_workflow_task(row(2), IMAGE), {"what": "row 2"})

    assert asyncio.run(story()) == service.ids_there()[0]
