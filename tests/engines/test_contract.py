"""What any engine keeps: each end of `submit` and each place of `look_up`, seen from a `main.py` with its table.

Run on the client of a ComfyUI, on that of the cloud, and on a hostile scripted one; judged by the services' own counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import itertools
import random
import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
from cloud_support import Cloud, Office, Scripted, hurry, row
from comfyui_support import ComfyService, processes
from plugin_support import NO_REAL, REAL

from wfrecovery import bridge
from wfrecovery.bridge.engines import runninghub
from wfrecovery.bridge.recovery import following, submitting
from wfrecovery.bridge.recovery.decisions import ID_GIVEN_AWAY, UNANSWERED
from wfrecovery.bridge.table import owners
from wfrecovery.bridge.table.changes import asking
from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.demo.runninghub_host.stand_in import Fault, Output, Switches

#: whose lost answers a person is asked about; and who takes our id, so that it is looked up
ASKING = ["scripted", "scripted, plain", "cloud"]
LOOKED_UP = [
    pytest.param("5", id="ComfyUI 5-tuples"),
    pytest.param("6", id="ComfyUI 6-tuples"),
    pytest.param("real", id="real ComfyUI", marks=pytest.mark.skipif(REAL is None, reason=NO_REAL)),
]
ENGINES = [*ASKING, *LOOKED_UP]
asking_ones = pytest.mark.parametrize("service", ASKING, indirect=True)
looked_up_ones = pytest.mark.parametrize("service", LOOKED_UP, indirect=True)


class Service(Protocol):
    """Who renders, as a test steers it."""

    def client(self) -> Any: ...
    def paid(self, number: int) -> int: ...
    def finish(self) -> None: ...
    def fail(self, reason: str) -> None: ...
    def forget(self) -> None: ...
    def busy(self, times: int) -> None: ...
    def refuse(self) -> None: ...
    def answer_lost(self, *, accepted: bool) -> None: ...
    def down(self) -> None: ...
    def up(self) -> None: ...
    def silent(self, times: int) -> None: ...
    def deaf(self, times: int) -> None: ...
    def is_result(self, path: Path, number: int) -> bool: ...
    def client_workflow(self, number: int) -> Any: ...
    def ids_there(self) -> list[str]: ...
    def cancelled(self) -> int: ...


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with processes(tmp_path_factory.mktemp("contract")) as of:
        yield of


@pytest.fixture(params=ENGINES)
def service(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, comfyui: Any
) -> Iterator[Any]:
    hurry(monkeypatch)
    kinds = {"cloud": Cloud, "scripted": lambda: Scripted(plain=False), "scripted, plain": lambda: Scripted(plain=True)}
    made = kinds.get(request.param) or (lambda: ComfyService(comfyui(request.param), tmp_path / "gate"))
    with made() as found:
        yield found


@pytest.fixture
def office(service: Service, tmp_path: Path) -> Office:
    return Office(service, tmp_path / "output")


def test_accepted_rendered_and_fetched(office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    assert office.task(task_id)["comfyui_task_id"]
    service.finish()
    done = office.main_py().recovers()
    assert [task["status"] for task in done] == ["已完成"]
    (name,) = office.task(task_id)["output_files"]
    assert service.is_result(office.folder / name, 2)
    assert service.paid(2) == 1


def test_an_id_is_on_disk_as_soon_as_there_is_one_and_each_run_takes_it_up(office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    first = office.task(task_id)["comfyui_task_id"]
    for _ in range(3):
        office.main_py().looks()
    assert (office.task(task_id)["comfyui_task_id"], service.paid(2)) == (first, 1)
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"


def test_refused_is_failed_with_its_words_and_never_sent_again(office: Office, service: Service) -> None:
    service.refuse()
    task_id = office.main_py().enters(2)
    assert (office.task(task_id)["status"], service.paid(2)) == ("失败", 0)
    assert office.task(task_id)["error_message"]
    assert office.main_py().recovers() == []


@looked_up_ones
def test_accepted_in_part_is_refused_and_what_else_it_makes_is_stopped(office: Office, service: ComfyService) -> None:
    service.in_part = True
    task_id = office.main_py().enters(2)
    assert office.task(task_id)["status"] == "失败"
    assert "LoadImage (node 7)" in office.task(task_id)["error_message"]
    assert service.cancelled() == 1
    assert office.main_py().recovers() == []


@looked_up_ones
def test_accepted_in_part_without_an_answer_makes_no_result(office: Office, service: ComfyService) -> None:
    service.in_part = True
    service.answer_lost(accepted=True)
    task_id = office.main_py().enters(2)
    office.main_py().looks()
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "失败"
    assert "node 9" in office.task(task_id)["error_message"]
    assert service.paid(2) == 1


def test_busy_is_waited_for_and_counts_for_nothing(office: Office, service: Service) -> None:
    service.busy(3)
    task_id = office.main_py().enters(2)
    assert (office.task(task_id)["metadata"]["attempts"], service.paid(2)) == (0, 1)
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"


@asking_ones
@pytest.mark.parametrize("accepted", [True, False])
def test_no_answer_waits_for_a_person_and_is_not_paid_for_again(
    accepted: bool, office: Office, service: Service
) -> None:
    service.answer_lost(accepted=accepted)
    task_id = office.main_py().enters(2)
    for _ in range(3):
        assert office.task(task_id)["metadata"]["stage"] == "asking"
        office.main_py().recovers()
        office.main_py().enters(2)
    assert service.paid(2) == accepted
    assert "wfrecovery decide" in office.task(task_id)["error_message"]


@looked_up_ones
@pytest.mark.parametrize("accepted", [True, False])
def test_no_answer_is_looked_up_and_paid_for_once(accepted: bool, office: Office, service: Service) -> None:
    service.answer_lost(accepted=accepted)
    task_id = office.main_py().enters(2)
    assert (office.task(task_id)["comfyui_task_id"] is not None, service.paid(2)) == (True, accepted)
    assert office.task(task_id)["metadata"]["sending"], "noted before it left: it may take ComfyUI and main.py down"
    for _ in range(2):
        office.main_py().looks()
    assert service.ids_there() == [office.task(task_id)["comfyui_task_id"]]
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"
    assert service.is_result(office.folder / office.task(task_id)["output_files"][0], 2)
    assert service.paid(2) == 1
    # who sent it is gone: as far as the next run can tell, ComfyUI may have gone down with it
    assert office.task(task_id)["metadata"]["attempts"] <= (not accepted)


@asking_ones
@pytest.mark.parametrize("accepted", [True, False])
def test_no_answer_and_the_setting_says_again(accepted: bool, office: Office, service: Service) -> None:
    service.answer_lost(accepted=accepted)
    task_id = office.main_py(unknown="again").enters(2)
    office.main_py(unknown="again").looks()
    assert service.paid(2) == 1 + accepted
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"
    assert office.task(task_id)["metadata"]["attempts"] >= 1


def test_a_service_that_is_down_was_never_asked(office: Office, service: Service) -> None:
    """There was no connection: surely nothing is paid for, and the next run sends it."""
    service.down()
    task_id = office.main_py().submits(2)
    assert office.task(task_id)["metadata"]["stage"] == "created"
    service.up()
    office.main_py().looks()
    assert service.paid(2) == 1
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"


def test_failed_there_is_failed_here_with_its_words(office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    service.fail("no room in memory")
    assert office.main_py().recovers()[0]["status"] == "失败"
    assert "no room in memory" in office.task(task_id)["error_message"]
    assert service.paid(2) == 1


@asking_ones
def test_what_the_service_has_forgotten_waits_for_a_person(office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    service.forget()
    for _ in range(2):
        office.main_py().recovers()
    assert (office.task(task_id)["metadata"]["stage"], service.paid(2)) == ("asking", 1)


@looked_up_ones
def test_what_comfyui_has_forgotten_is_rendered_again_under_the_same_id(office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    job_id = office.task(task_id)["comfyui_task_id"]
    service.forget()
    office.main_py().looks()
    assert (service.ids_there(), service.paid(2)) == ([job_id, job_id], 2)
    assert office.task(task_id)["metadata"]["attempts"] == 1
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"
    assert service.paid(2) == 2


@looked_up_ones
def test_what_comfyui_forgets_again_and_again_is_given_up(office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    for _ in range(3):
        service.forget()
        office.main_py(max_attempts="2").looks()
    assert (office.task(task_id)["status"], service.paid(2)) == ("失败", 2)
    assert "2 times" in office.task(task_id)["error_message"]


def test_what_is_not_answered_concludes_nothing(office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    service.down()
    assert office.main_py().recovers() == []
    assert office.task(task_id)["status"] == "在处理中"
    service.up()
    service.silent(2)
    office.main_py().looks()
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"
    assert service.paid(2) == 1


def test_a_person_s_wish_is_carried_out_there(office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    office.wish_away(task_id)
    office.main_py().recovers()
    assert (office.task(task_id)["metadata"]["stage"], service.cancelled()) == ("cancelled", 1)


def test_a_wish_is_told_until_it_is_heard(office: Office, service: Service) -> None:
    """What its service does not hear of just then would be rendered to its end, and paid for."""
    task_id = office.main_py().enters(2)
    office.wish_away(task_id)
    service.down()
    office.main_py().looks()
    assert office.task(task_id)["status"] == "在处理中"
    service.up()
    service.deaf(1)
    office.main_py().recovers()
    assert (office.task(task_id)["metadata"]["stage"], service.cancelled()) == ("cancelled", 1)


def test_rows_keep_apart(office: Office, service: Service) -> None:
    tasks = {number: office.main_py().enters(number) for number in range(2, 8)}
    service.finish()
    office.main_py().recovers()
    for number, task_id in tasks.items():
        (name,) = office.task(task_id)["output_files"]
        assert service.is_result(office.folder / name, number)
        assert service.paid(number) == 1


@looked_up_ones
@pytest.mark.parametrize("status", [404, 502])
def test_what_a_proxy_answers_in_comfyui_s_place_concludes_nothing(
    status: int, office: Office, service: ComfyService
) -> None:
    office.main_py().enters(2)
    service.silences, service.silence_status = 99, status
    office.main_py().looks()
    service.silences = 0
    assert service.paid(2) == 1


@looked_up_ones
def test_what_waits_behind_another_one_is_there(office: Office, service: Service) -> None:
    for number in (2, 3):
        office.main_py().enters(number)
    office.main_py().looks()
    assert (service.paid(2), service.paid(3)) == (1, 1)


def test_two_at_once_submit_a_task_once(office: Office, service: Service) -> None:
    main = office.main_py()
    task_id = main.db.add_workflow_task(row(2), "图片合成")

    async def both() -> Any:
        workflow = service.client_workflow(2)
        return await asyncio.gather(*[main.recovery.submit(task_id, workflow) for _ in range(3)])

    ids = asyncio.run(both())
    assert len(set(ids)) == 1
    assert service.paid(2) == 1


@pytest.mark.parametrize("several", ["finish", "recover", "recover in two managers", "finish and submit"])
@pytest.mark.parametrize("service", ENGINES[:2], indirect=True)
def test_several_at_once_that_find_it_unsent_send_it_once(several: str, office: Office, service: Scripted) -> None:
    service.down()
    task_id = office.main_py().enters(2)
    service.up()
    main = office.main_py()
    one, other = main.recovery, bridge.TaskRecoveryManager(main.db, service.client(), settings=bridge.Settings())

    def begin() -> list[Any]:
        if several == "finish":
            return [one.finish(task_id) for _ in range(3)]
        if several == "recover":
            return [one.check_and_recover_tasks() for _ in range(3)]
        if several == "finish and submit":
            return [one.finish(task_id), one.submit(task_id, service.client_workflow(2))]
        return [one.check_and_recover_tasks(), other.check_and_recover_tasks()]

    async def program() -> None:
        await asyncio.gather(*begin())
        await asyncio.gather(one.wait_until_done(), other.wait_until_done())
        await one.finish(task_id)

    async def story() -> None:
        running = asyncio.create_task(program())
        while not running.done():
            await asyncio.wait({running}, timeout=0.01)
            service.finish()
        await running

    asyncio.run(story())
    assert service.paid(2) == 1
    task = office.task(task_id)
    assert task["status"] == "已完成"
    assert service.is_result(office.folder / task["output_files"][0], 2)
    assert task["metadata"]["results"][0]["kind"] == "picture"


@pytest.mark.parametrize("service", ENGINES[:1], indirect=True)
def test_who_is_not_at_work_on_it_does_not_fail_it(
    office: Office, service: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, other = office.main_py(), office.main_py()

    async def story() -> dict[str, Any]:
        task_id = main.db.add_workflow_task(row(2), "图片合成")
        await main.recovery.submit(task_id, service.client_workflow(2))
        finishing = asyncio.create_task(main.recovery.finish(task_id))
        with monkeypatch.context() as patch:
            patch.setattr(owners, "_here", {})  # another program, which has no other owners
            assert other.db.add_workflow_task(row(2), "图片合成") == task_id
            assert not await asyncio.to_thread(other.db.mark_task_failed, task_id, "there was nothing to wait for")
        service.finish()
        return await finishing

    assert asyncio.run(story())["status"] == "已完成"
    assert service.paid(2) == 1


@pytest.mark.parametrize("service", ENGINES[:1], indirect=True)
def test_a_program_with_several_managers_may_fail_by_one_what_another_one_has_entered(office: Office) -> None:
    one, other = office.main_py(), office.main_py()
    task_id = one.db.add_workflow_task(row(2), "图片合成")
    assert other.db.mark_task_failed(task_id, "there is no picture of the model")
    assert office.task(task_id)["status"] == "失败"


@pytest.mark.parametrize("method", ["create", "where", "fetch"])
@pytest.mark.parametrize("service", ENGINES[:2], indirect=True)
def test_what_is_cancelled_within_a_client_costs_its_own_row_at_most(
    method: str, office: Office, service: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it awaits a task of its own that somebody has stopped. Nobody has stopped the batch."""
    errors = [asyncio.CancelledError()]
    does = getattr(service, method)

    def stopped(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return does(*arguments)

    monkeypatch.setattr(service, method, stopped)
    main = office.main_py()

    async def process(number: int) -> dict[str, Any]:
        task_id = main.db.add_workflow_task(row(number), "图片合成")
        await main.recovery.submit(task_id, service.client_workflow(number))
        service.finish()
        return await main.recovery.finish(task_id)

    async def story() -> list[dict[str, Any]]:
        return [await process(number) for number in (2, 3)]

    first, second = asyncio.run(story())
    assert first["metadata"]["stage"] == ("asking" if method == "create" else "finished")
    assert second["status"] == "已完成"
    assert service.paid(3) == 1


@pytest.mark.parametrize("answer", [7, uuid.UUID(int=7), None, "", ["7"], 7.5])
@pytest.mark.parametrize("service", ENGINES[:1], indirect=True)
def test_an_id_of_any_kind_that_a_program_notes_costs_no_record(answer: Any, office: Office, service: Scripted) -> None:
    """What its service has answered it hands on as it is."""
    main = office.main_py()
    task_id = main.enters(2)
    (job_id,) = service.ids_there()
    is_id = isinstance(answer, int | uuid.UUID)
    assert main.db.update_task_comfyui_id(task_id, answer) is is_id
    assert office.task(task_id)["comfyui_task_id"] == (str(answer) if is_id else job_id)
    assert main.db.get_incomplete_tasks()
    entered = main.db.add_workflow_task(row(3), "图片合成", answer)
    assert office.task(entered)["comfyui_task_id"] == (str(answer) if is_id else None)


@pytest.mark.parametrize("service", ENGINES[:1], indirect=True)
def test_what_was_sent_is_what_is_sent_again(office: Office, service: Scripted) -> None:
    """Not what a former run could not send: its program, or its row, said something else then."""
    service.down()
    task_id = office.main_py().enters(2)
    service.up()
    main = office.main_py()
    asyncio.run(main.recovery.submit(task_id, service.client_workflow(3)))
    main.db.release_task(task_id)
    service.forget()
    office.main_py(unknown="again").looks()
    assert (service.paid(2), service.paid(3)) == (0, 2)


def test_another_engine_s_recovery_leaves_it_alone(office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    before = office.task(task_id)
    other = bridge.TaskRecoveryManager(
        bridge.DatabaseManager(office.folder), bridge.ComfyUIClient("http://127.0.0.1:9"), settings=bridge.Settings()
    )
    asyncio.run(other.check_and_recover_tasks())
    after = office.task(task_id)
    assert {key: after[key] for key in ("status", "comfyui_task_id")} == {
        key: before[key] for key in ("status", "comfyui_task_id")
    }


@pytest.mark.parametrize("service", LOOKED_UP[1:2], indirect=True)
def test_a_comfyui_on_this_computer_is_asked_without_the_environment_s_proxy(
    office: Office, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    office.main_py().enters(2)
    assert service.paid(2) == 1


# ------------------------------------------------------------------ what a person decides


def decide(office: Office, *words: str) -> int:
    """`wfrecovery decide`, on main.py's table."""
    from wfrecovery.bridge.cli.main import main  # noqa: PLC0415 - its settings are this test's

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WFRECOVERY_OUTPUT", str(office.folder))
        return main(["decide", *words, "--local"])


@asking_ones
def test_it_was_never_accepted_and_a_person_says_again(office: Office, service: Service) -> None:
    service.answer_lost(accepted=False)
    task_id = office.main_py().enters(2)
    assert decide(office, task_id, "again") == 0
    assert service.paid(2) == 0
    office.main_py().looks()
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"
    assert service.paid(2) == 1
    assert office.task(task_id)["error_message"] is None


@asking_ones
def test_it_was_accepted_and_a_person_names_its_id(office: Office, service: Service) -> None:
    service.answer_lost(accepted=True)
    task_id = office.main_py().enters(2)
    assert decide(office, task_id, "arrived", "--id", service.ids_there()[0]) == 0
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"
    assert service.paid(2) == 1


@asking_ones
@pytest.mark.parametrize("named", ["", " ", "another's"])
def test_an_id_that_cannot_be_its_own_is_not_taken(named: str, office: Office, service: Service) -> None:
    """Two rows would get one picture."""
    other = office.main_py().enters(3)
    service.answer_lost(accepted=True)
    task_id = office.main_py().enters(2)
    job_id = office.task(other)["comfyui_task_id"] if named == "another's" else named
    assert decide(office, task_id, "arrived", "--id", job_id) == 2
    assert office.task(task_id)["metadata"]["stage"] == "asking"
    assert decide(office, task_id, "arrived", "--id", f" {service.ids_there()[-1]} ") == 0
    service.finish()
    office.main_py().recovers()
    for number, ended in ((2, task_id), (3, other)):
        assert service.is_result(office.folder / office.task(ended)["output_files"][0], number)


@asking_ones
def test_a_person_leaves_it_and_the_next_batch_takes_the_row(office: Office, service: Service) -> None:
    service.answer_lost(accepted=True)
    first = office.main_py().enters(2)
    assert decide(office, first, "leave") == 0
    assert office.task(first)["metadata"]["feishu"]["state"] == "off"
    second = office.main_py().enters(2)
    assert (second != first, service.paid(2)) == (True, 2)


@pytest.mark.parametrize("words", [("arrived",), ("write",), ("arrived", "--id", "7")])
def test_what_makes_no_sense_changes_nothing(words: tuple[str, ...], office: Office, service: Service) -> None:
    task_id = office.main_py().enters(2)
    before = office.task(task_id)
    assert decide(office, task_id, *words) == 2
    assert office.task(task_id) == before


# ------------------------------------------------------------------ what only the cloud can do


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    hurry(monkeypatch)
    with Cloud() as found:
        yield found


@pytest.mark.parametrize(
    "fault", ["EXPIRED_403", "GONE_404", "HALF_BODY", "NO_LENGTH_HALF", "HTML_502", "RESET_AFTER", "HTML_200"]
)
def test_a_download_that_fails_is_tried_again_and_nothing_is_paid_for(fault: str, cloud: Cloud, tmp_path: Path) -> None:
    office = Office(cloud, tmp_path)
    task_id = office.main_py().enters(2)
    cloud.finish()
    cloud.cloud.faults.add(Fault[fault], match="download", times=2)
    assert office.main_py().recovers()[0]["status"] == "已完成"
    (name,) = office.task(task_id)["output_files"]
    assert cloud.is_result(tmp_path / name, 2)
    assert cloud.paid(2) == 1
    assert not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize(("gone", "status"), [("row 9.png", "已完成"), ("row 2.png", "失败")])
def test_no_other_file_takes_the_place_of_the_one_that_is_gone(gone: str, status: str, tmp_path: Path) -> None:
    """A mask, or a preview, would stand in the row as its picture."""
    service = Scripted(plain=True)
    office = Office(service, tmp_path)
    task_id = office.main_py().enters(2)
    service.finish()
    where, fetch = service.where, service.fetch
    files = tuple(map(bridge.ResultFile, ("row 9.png", "row 2.png")))

    def fetched(file: bridge.ResultFile, target: Path) -> None:
        if file.filename == gone:
            raise bridge.FileUnavailableError(f"there is no file {gone}")
        fetch(file, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "where", lambda job_id: dataclasses.replace(where(job_id), files=files))
        patch.setattr(service, "fetch", fetched)
        office.main_py().recovers()
    task = office.task(task_id)
    assert task["status"] == status
    assert [service.is_result(tmp_path / name, 2) for name in task["output_files"]] == [True] * (status == "已完成")
    assert status == "已完成" or gone in task["error_message"]


@pytest.mark.parametrize("fetched", [None, b"", b"<html>please log in</html>"], ids=["nothing", "empty", "a page"])
def test_what_their_own_way_of_fetching_does_not_bring_whole_is_fetched_again(
    fetched: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It returned, as if all were well. The address lives for a day only: later there is nothing to be had."""
    hurry(monkeypatch)
    service = Scripted(plain=True)
    office = Office(service, tmp_path)
    task_id = office.main_py().enters(2)
    service.finish()
    fetch, tries = service.fetch, iter([fetched, fetched])

    def fetches(file: bridge.ResultFile, target: Path) -> None:
        for content in tries:
            if content is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            return
        fetch(file, target)

    monkeypatch.setattr(service, "fetch", fetches)
    assert office.main_py().recovers()[0]["status"] == "已完成"
    (name,) = office.task(task_id)["output_files"]
    assert service.is_result(tmp_path / name, 2)


def test_a_login_page_is_no_film(cloud: Cloud, tmp_path: Path) -> None:
    """With 200, from a proxy before the service's files. The film was paid for, and is fetched."""
    films = dataclasses.replace(cloud.cloud.workflows["101"], outputs=(Output(kind="mp4"),))
    cloud.cloud.workflows["101"] = films
    office = Office(cloud, tmp_path)
    task_id = office.main_py().enters(2)
    cloud.finish()
    cloud.cloud.faults.add(Fault.HTML_200, match="download", times=2)
    assert office.main_py().recovers()[0]["status"] == "已完成"
    assert [result["kind"] for result in office.task(task_id)["metadata"]["results"]] == ["video"]


@pytest.mark.parametrize("fault", ["KEY_802", "WALLET_416", "NOT_SAVED_810", "WORKFLOW_380"])
def test_what_a_person_has_to_mend_for_all_leaves_the_rows_open(fault: str, cloud: Cloud, tmp_path: Path) -> None:
    """800 rows must not be 失败 because of one wrong key."""
    office = Office(cloud, tmp_path)
    rule = cloud.cloud.faults.add(Fault[fault], match="create", times=None)
    main = office.main_py()
    task_id = main.submits(2)
    record = office.main_py().recovers()[0]
    assert (record["task_id"], record["metadata"]["feishu"]["state"]) == (task_id, "off")
    assert "→" in record["error_message"]
    assert record["metadata"]["error_message_zh"] != record["error_message"]
    cloud.cloud.faults.remove(rule)
    office.main_py().enters(2)
    assert cloud.paid(2) == 1


@pytest.mark.parametrize("seed", range(8))
def test_any_cloud_that_could_be(seed: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever nobody knows of the service is as it may be; each row is rendered once all the same."""
    hurry(monkeypatch)
    with Cloud(Switches.drawn(random.Random(seed))) as cloud:
        office = Office(cloud, tmp_path)
        tasks = {number: office.main_py().enters(number) for number in (2, 3, 4)}
        cloud.finish()
        office.main_py().recovers()
        for number, task_id in tasks.items():
            record = office.task(task_id)
            assert (record["status"], cloud.paid(number)) == ("已完成", 1), (seed, vars(cloud.cloud.switches))
            assert cloud.is_result(tmp_path / record["output_files"][0], number)


# ------------------------------------------------------------------ a program that submits by itself


def test_entering_all_rows_first_brings_no_picture_into_another_s_row(cloud: Cloud, tmp_path: Path) -> None:
    """Nobody says whose the first workflow is: only the program knows, and notes the id."""
    office = Office(cloud, tmp_path)
    main = office.main_py()
    client, tasks = main.recovery.comfyui_client, {}

    async def story() -> None:
        for number in (2, 3, 4):
            tasks[number] = main.db.add_workflow_task(row(number), "图片合成")
        for number, task_id in tasks.items():
            main.db.update_task_comfyui_id(task_id, await client.submit_workflow(cloud.client_workflow(number)))
        cloud.finish()
        await asyncio.gather(*map(main.recovery.finish, tasks.values()))

    asyncio.run(story())
    for number, task_id in tasks.items():
        assert cloud.is_result(tmp_path / office.task(task_id)["output_files"][0], number)
        assert cloud.paid(number) == 1


def test_a_row_that_failed_before_it_was_submitted_makes_nobody_doubt(cloud: Cloud, tmp_path: Path) -> None:
    office = Office(cloud, tmp_path)
    main = office.main_py()

    async def story() -> str:
        main.db.mark_task_failed(main.db.add_workflow_task(row(2), "图片合成"), "its picture is gone")
        task_id = main.db.add_workflow_task(row(3), "图片合成")
        await main.recovery.comfyui_client.submit_workflow(cloud.client_workflow(3))
        return task_id

    task_id = asyncio.run(story())
    assert (office.task(task_id)["comfyui_task_id"], cloud.paid(3)) == (cloud.ids_there()[0], 1)


@pytest.mark.skipif(sys.platform != "linux", reason="a full queue of connections drops others only there")
def test_a_connection_that_is_not_made_in_time_was_no_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As behind a firewall that drops everything: 800 rows must not ask a person each."""
    monkeypatch.setattr(runninghub, "_TIMEOUT", aiohttp.ClientTimeout(connect=0.2))
    hurry(monkeypatch)
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):  # nobody accepts them: there is no room for a third
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        client = bridge.RunningHubClient("key", base_url=f"http://127.0.0.1:{full.getsockname()[1]}")
        db = bridge.DatabaseManager(tmp_path)
        recovery = bridge.TaskRecoveryManager(db, client, settings=bridge.Settings())
        task_id = db.add_workflow_task(row(2), "图片合成")
        asyncio.run(recovery.submit(task_id, {"workflowId": "1", "nodeInfoList": []}))
    task = db.table.get(task_id)
    assert (task.stage, task.sending) == (bridge.Stage.CREATED, None)


@pytest.mark.parametrize("service", ["scripted", "scripted, plain"], indirect=True)
def test_an_answer_that_comes_late_is_the_answer_all_the_same(service: Scripted, office: Office) -> None:
    """Its program was suspended; another one has taken the task over, and asks a person about it."""

    def taken_over() -> None:
        table = bridge.DatabaseManager(office.folder).table
        (task_id,) = table.ids()
        table.update(task_id, lambda task: asking(task, UNANSWERED))

    service.on_create = taken_over
    task_id = office.main_py().enters(2)
    assert office.task(task_id)["metadata"]["stage"] == "queued"
    assert office.task(task_id)["error_message"] is None
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"
    assert service.paid(2) == 1


@pytest.mark.parametrize("service", ["scripted"], indirect=True)
def test_an_answer_to_what_was_sent_before_is_no_answer_to_what_was_sent_since(
    service: Scripted, office: Office
) -> None:
    def sent_again() -> None:
        table = bridge.DatabaseManager(office.folder).table
        (task_id,) = table.ids()
        later = "2099-01-01T00:00:00+08:00"
        table.update(task_id, lambda task: dataclasses.replace(asking(task, UNANSWERED), sending=later))

    service.on_create = sent_again
    task = office.task(office.main_py().enters(2))
    assert (task["metadata"]["stage"], task["comfyui_task_id"]) == ("asking", None)


@pytest.mark.parametrize("service", ["scripted"], indirect=True)
def test_what_may_have_been_accepted_counts_against_the_cap(service: Scripted, office: Office) -> None:
    """Also where the setting says again: that is another render."""
    service.answer_lost(accepted=True)
    run = office.main_py(unknown="again", max_renders="1")
    run.enters(2)
    run.looks()
    assert service.paid(2) == 1


@pytest.mark.parametrize("service", ENGINES[:1], indirect=True)
def test_what_the_disk_does_not_let_be_sent_costs_nothing_of_the_cap(
    service: Scripted, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [2, 3]
    update = WorkflowDatabase.update

    def refuses(table: WorkflowDatabase, task_id: str, change: Any) -> TaskRecord:
        record = change(table.get(task_id))
        if record.sending and record.row_number in refused:
            refused.remove(record.row_number)
            raise OSError(errno.ENOSPC, "the disk is full")
        return update(table, task_id, change)

    monkeypatch.setattr(WorkflowDatabase, "update", refuses)
    run = office.main_py(max_renders="2")
    for number in (2, 3):
        with pytest.raises(OSError, match="full"):
            run.enters(number)
    for number in (4, 5):
        run.enters(number)
    with pytest.raises(bridge.EngineError, match="WFRECOVERY_MAX_RENDERS"):
        run.enters(6)
    assert [service.paid(number) for number in range(2, 7)] == [0, 0, 1, 1, 0]


@pytest.mark.parametrize("service", ["scripted", "scripted, plain"], indirect=True)
@pytest.mark.parametrize("followed", [False, True])
def test_an_id_that_the_service_uses_again_is_the_later_task_s_alone(
    followed: bool, service: Scripted, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has forgotten the first one: whose picture is there under that id, the later one's order tells."""
    service.ids = itertools.repeat(7)
    run, where, looked = office.main_py(), service.where, threading.Event()
    monkeypatch.setattr(service, "where", lambda job_id: (looked.set(), where(job_id))[1])

    async def story() -> tuple[str, str]:
        first, second = (run.db.add_workflow_task(row(number), "图片合成") for number in (2, 3))
        await run.recovery.submit(first, service.client_workflow(2))
        following = asyncio.ensure_future(run.recovery.finish(first)) if followed else None
        assert following is None or await asyncio.to_thread(looked.wait, 60)
        await run.recovery.submit(second, service.client_workflow(3))
        service.finish()
        await run.recovery.finish(second)
        if following is not None:
            await following
        return first, second

    first, second = (office.task(task_id) for task_id in asyncio.run(story()))
    assert (first["metadata"]["stage"], first["output_files"], first["comfyui_task_id"]) == ("asking", [], None)
    assert "later task" in first["error_message"]
    (name,) = second["output_files"]
    assert service.is_result(office.folder / name, 3)
    office.main_py().recovers()
    assert office.task(first["task_id"])["metadata"]["stage"] == "asking"
    assert list(service.jobs) == [7]


@pytest.mark.parametrize("service", ["scripted"], indirect=True)
def test_an_id_that_goes_to_another_task_while_its_files_are_fetched(
    service: Scripted, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = office.main_py().enters(2)
    fetch = service.fetch

    def fetched(*arguments: Any) -> None:
        table = bridge.DatabaseManager(office.folder).table
        table.update(task_id, lambda task: dataclasses.replace(asking(task, ID_GIVEN_AWAY), comfyui_task_id=None))
        fetch(*arguments)

    monkeypatch.setattr(service, "fetch", fetched)
    service.finish()
    office.main_py().recovers()
    task = office.task(task_id)
    assert (task["metadata"]["stage"], task["output_files"]) == ("asking", [])


def test_what_waits_there_is_told_from_what_runs(cloud: Cloud) -> None:
    cloud.cloud.limits.running = 1
    client = cloud.client()

    async def story() -> list[bridge.Place]:
        ids = [await client.submit(cloud.client_workflow(number), row(number)) for number in (2, 3)]
        return [(await client.look_up(str(job_id))).place for job_id in ids]

    assert asyncio.run(story()) == [bridge.Place.RUNNING, bridge.Place.WAITING]


@pytest.mark.parametrize("service", ["scripted"], indirect=True)
@pytest.mark.parametrize("waits", ["while the service is busy", "for its turn"])
@pytest.mark.parametrize("answered", [True, False])
def test_what_another_has_sent_meanwhile_is_not_sent_again(
    answered: bool, waits: str, service: Scripted, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person has given it to another `main.py`, which has sent it and gone down."""
    busy = waits == "while the service is busy"
    pauses = submitting._FIRST_PAUSE if busy else 2 * following.LOOK_SECONDS
    if not busy:
        service.down()
        office.main_py().enters(2)
        service.up()
    service.busy(1 if busy else 0)
    first, second = office.main_py(), office.main_py()
    sleep = asyncio.sleep

    def sent_by_the_second() -> None:
        second.db.take_over(first.db.owners.me.boot)
        if not answered:
            service.answer_lost(accepted=True)
        second.submits(2)

    async def pausing(seconds: float) -> None:
        if seconds == pauses and not service.orders:
            monkeypatch.setattr(asyncio, "sleep", sleep)
            await asyncio.to_thread(sent_by_the_second)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", pausing)
    if busy:
        first.enters(2)
    else:
        first.looks()
    (task,) = first.db.get_incomplete_tasks()
    assert service.paid(2) == 1
    assert (task["metadata"]["stage"] == "asking") is not answered


@pytest.mark.parametrize("service", ["scripted"], indirect=True)
def test_an_id_that_was_answered_is_on_disk_although_the_program_stops_in_that_moment(
    service: Scripted, office: Office
) -> None:
    run = office.main_py()

    async def story() -> str:
        task_id = run.db.add_workflow_task(row(2), "图片合成")
        sending = asyncio.ensure_future(run.recovery.submit(task_id, service.client_workflow(2)))
        loop, free = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))

        def stop_it() -> None:
            """While the one thread that writes has something else to do."""
            loop.run_in_executor(None, free.wait)
            loop.call_later(0.3, free.set)
            loop.call_soon(sending.cancel)

        service.on_create = stop_it
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        assert sending.cancelled()
        return task_id

    task = office.task(asyncio.run(story()))
    assert [task["comfyui_task_id"]] == service.ids_there()
    assert "owner" not in task["metadata"], "who is stopped lets go"
    service.finish()
    assert office.main_py().recovers()[0]["status"] == "已完成"


@pytest.mark.parametrize("service", ["scripted"], indirect=True)
def test_an_id_that_two_tasks_are_given_at_once_is_one_s(service: Scripted, office: Office) -> None:
    service.ids = itertools.repeat(7)
    run = office.main_py()

    async def story() -> list[str]:
        task_ids = [run.db.add_workflow_task(row(number), "图片合成") for number in (2, 3)]
        await asyncio.gather(*(run.recovery.submit(task_id, service.client_workflow(2)) for task_id in task_ids))
        return task_ids

    tasks = [office.task(task_id) for task_id in asyncio.run(story())]
    assert sorted(task["metadata"]["stage"] for task in tasks) == ["asking", "queued"]
