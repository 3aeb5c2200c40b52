"""The stand-in cloud: faults to order. A fact, a test; real HTTP, no sleeps."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path

import pytest
import requests
import urllib3
from runninghub_caller import Caller, node_info, until

from wfrecovery.demo.runninghub_host import faults as module
from wfrecovery.demo.runninghub_host.faults import CODES
from wfrecovery.demo.runninghub_host.stand_in import BROKEN, BUSY, Fault, FaultPlan, RunningHubStandIn, shows

ABOUT = {"workflowId": "101", "nodeInfoList": node_info("row 7 杯子")}
#: the call was carried out all the same
AFTER = (Fault.HTML_502_AFTER, Fault.HTML_200_AFTER, Fault.RESET_AFTER, Fault.HALF_BODY, Fault.NULL_DATA)


def send(caller: Caller, call: str = "create", **body: object) -> requests.Response:
    return caller.post(f"/task/openapi/{call}", {"apiKey": caller.key, **ABOUT, **body})


def test_each_fault_is_told_from_the_others_and_explained() -> None:
    lines = Path(module.__file__).read_text("utf-8").splitlines()
    for kind in Fault:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"    {kind.name} ="))
        while lines[at - 1].strip().partition(" ")[0] in Fault.__members__:
            at -= 1
        assert lines[at - 1].startswith("    #:"), kind


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Fault.QUEUE_FULL_421, 421),
        (Fault.NO_MACHINE_415, 415),
        (Fault.RATE_1003, 1003),
        (Fault.BUSY_1011, 1011),
        (Fault.CONCURRENCY_1520, 1520),
        (Fault.PARAMS_301, 301),
        (Fault.WORKFLOW_380, 380),
        (Fault.VALIDATION_433, 433),
        (Fault.NODE_803, 803),
        (Fault.NOT_SAVED_810, 810),
        (Fault.WALLET_416, 416),
        (Fault.KEY_802, 802),
        (Fault.ERROR_500, 500),
    ],
)
def test_a_create_with_a_code_is_not_accepted(caller: Caller, cloud: RunningHubStandIn, kind: Fault, code: int) -> None:
    cloud.faults.add(kind)
    told = caller.ask("create", **ABOUT)
    assert (told["code"], told["data"]) == (code, None)
    assert cloud.tasks == []
    assert caller.code("create", **ABOUT) == 0
    assert (cloud.paid("row 7"), cloud.calls["create"], cloud.faults.struck) == (1, 2, {kind: 1})


def test_full_for_a_while_and_then_fine(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.faults.add(Fault.QUEUE_FULL_421, times=3, after=1)
    assert [caller.code("create", **ABOUT) for _ in range(5)] == [0, 421, 421, 421, 0]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (Fault.RUNNING_804, 804),
        (Fault.QUEUED_813, 813),
        (Fault.FAILED_805, 805),
        (Fault.UNKNOWN_807, 807),
        (Fault.UNKNOWN_423, 423),
    ],
)
def test_what_is_said_of_a_task_for_once(caller: Caller, cloud: RunningHubStandIn, kind: Fault, code: int) -> None:
    task_id = caller.create()
    cloud.finish(task_id)
    cloud.faults.add(kind, "outputs")
    told = caller.ask("outputs", taskId=task_id)
    assert told["code"] == code
    assert (told["data"] is not None) == (kind is Fault.FAILED_805)
    assert len(caller.outputs(task_id)) == 1


def test_an_upload_that_fails(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.faults.add(Fault.UPLOAD_808)
    assert [caller.upload(b"x")["code"] for _ in range(2)] == [808, 0]


@pytest.mark.parametrize("kind", [Fault.RESET_BEFORE, Fault.RESET_AFTER])
def test_a_lost_answer_before_and_after_acceptance(caller: Caller, cloud: RunningHubStandIn, kind: Fault) -> None:
    cloud.faults.add(kind, "create")
    with pytest.raises(requests.ConnectionError):
        send(caller)
    assert cloud.paid("row 7") == (kind is Fault.RESET_AFTER)
    assert [(call.name, call.status, call.code, call.fault) for call in cloud.log] == [("create", 0, None, kind.value)]


@pytest.mark.parametrize("kind", [Fault.HANG_BEFORE, Fault.HANG_AFTER])
def test_a_service_that_accepts_and_never_answers(caller: Caller, cloud: RunningHubStandIn, kind: Fault) -> None:
    cloud.faults.add(kind, "create")
    with pytest.raises(requests.ReadTimeout):
        caller.session.post(
            f"{cloud.url}/task/openapi/create", json={"apiKey": caller.key, **ABOUT}, timeout=(120, 0.3)
        )
    until(lambda: cloud.faults.struck and cloud.log[0].fault)
    assert cloud.paid("row 7") == (kind is Fault.HANG_AFTER)
    # Others are answered meanwhile.
    assert caller.code("create", **ABOUT) == 0


def test_who_hangs_is_let_go_when_the_stand_in_stops(cloud: RunningHubStandIn) -> None:
    cloud.faults.add(Fault.HANG_AFTER, "create")
    others = set(threading.enumerate())
    body = json.dumps({"apiKey": cloud.api_key, **ABOUT}).encode()
    host = cloud.url.removeprefix("http://")
    head = f"POST /task/openapi/create HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((host.partition(":")[0], int(host.partition(":")[2]))) as connection:
        connection.sendall(head.encode() + body)
        connection.settimeout(0.3)
        until(lambda: cloud.paid("row 7"))
        with pytest.raises(TimeoutError):
            connection.recv(1)
        hanging = [thread for thread in set(threading.enumerate()) - others if "process_request" in thread.name]
        cloud.stop()
        for thread in hanging:
            thread.join(120)
        assert [thread.is_alive() for thread in hanging] == [False]
        connection.settimeout(120)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


@pytest.mark.parametrize(("kind", "status"), [(Fault.HTML_502, 502), (Fault.HTML_200, 200), (Fault.HTTP_429, 429)])
def test_somebody_else_s_page_instead(caller: Caller, cloud: RunningHubStandIn, kind: Fault, status: int) -> None:
    cloud.faults.add(kind, "create")
    answer = send(caller)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html")
    assert "<html>" in answer.text
    assert cloud.tasks == []


@pytest.mark.parametrize(("kind", "status"), [(Fault.HTML_502_AFTER, 502), (Fault.HTML_200_AFTER, 200)])
def test_somebody_else_s_page_after_acceptance(
    caller: Caller, cloud: RunningHubStandIn, kind: Fault, status: int
) -> None:
    cloud.faults.add(kind, "create")
    answer = send(caller)
    assert (answer.status_code, "<html>" in answer.text, cloud.paid("row 7")) == (status, True, 1)


def test_accepted_without_an_id(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.faults.add(Fault.NULL_DATA, "create", times=2)
    assert caller.ask("create", **ABOUT) == {"code": 0, "msg": "success", "data": None}
    assert cloud.paid("row 7") == 1
    # A refusal stays one.
    assert caller.code("create", workflowId="999") == 380


def test_half_of_an_answer(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.faults.add(Fault.HALF_BODY, "create")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        send(caller)
    assert cloud.paid("row 7") == 1


def test_a_slow_answer_is_done_at_once(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.faults.add(Fault.SLOW, "create", seconds=3600)
    body = {"apiKey": caller.key, **ABOUT}
    with pytest.raises(requests.ReadTimeout):
        caller.session.post(f"{cloud.url}/task/openapi/create", json=body, timeout=(120, 0.3))
    until(lambda: cloud.paid("row 7") == 1)
    cloud.faults.add(Fault.SLOW, "create", seconds=0.01)
    assert caller.code("create", **ABOUT) == 0


def test_a_download_that_breaks_off(caller: Caller, cloud: RunningHubStandIn) -> None:
    (file,) = caller.finished()
    whole = caller.get(file["fileUrl"])
    cloud.faults.add(Fault.HALF_BODY, "download")
    with caller.session.get(file["fileUrl"], stream=True, timeout=120) as broken:
        assert broken.headers["Content-Length"] == str(len(whole.content))
        got = broken.raw.read(len(whole.content) // 2)
        assert got == whole.content[: len(got)]
        with pytest.raises(urllib3.exceptions.ProtocolError):
            broken.raw.read()
    assert caller.get(file["fileUrl"]).content == whole.content


def test_a_download_without_a_length_whole_and_not(caller: Caller, cloud: RunningHubStandIn) -> None:
    (file,) = caller.finished()
    whole = caller.get(file["fileUrl"]).content
    cloud.faults.add(Fault.NO_LENGTH)
    answer = caller.get(file["fileUrl"])
    assert "Content-Length" not in answer.headers
    assert answer.content == whole
    cloud.faults.add(Fault.NO_LENGTH_HALF)
    answer = caller.get(file["fileUrl"])
    assert "Content-Length" not in answer.headers
    assert answer.content == whole[: len(whole) // 2]


@pytest.mark.parametrize(
    ("kind", "status"), [(Fault.EXPIRED_403, 403), (Fault.GONE_404, 404), (Fault.HTML_200, 200), (Fault.HTML_502, 502)]
)
def test_a_page_instead_of_a_file(caller: Caller, cloud: RunningHubStandIn, kind: Fault, status: int) -> None:
    (file,) = caller.finished()
    cloud.faults.add(kind, "download")
    answer = caller.get(file["fileUrl"])
    assert (answer.status_code, "<html>" in answer.text) == (status, True)
    assert shows(caller.get(file["fileUrl"]).content, "row 7 杯子")


def test_faults_strike_only_where_they_can(caller: Caller, cloud: RunningHubStandIn) -> None:
    for kind in (Fault.EXPIRED_403, Fault.NO_LENGTH, Fault.UNKNOWN_807, Fault.RUNNING_804, Fault.UPLOAD_808):
        cloud.faults.add(kind)
    task_id = caller.create()
    cloud.finish(task_id)
    assert caller.ask("status", taskId=task_id)["code"] == 807
    assert [caller.code("outputs", taskId=task_id) for _ in range(2)] == [804, 0]
    cloud.faults.add(Fault.ERROR_500, "cancel")
    assert [caller.code(call, taskId=task_id) for call in ("outputs", "cancel")] == [0, 500]


def test_rules_are_taken_back_and_cleared(caller: Caller, cloud: RunningHubStandIn) -> None:
    rule = cloud.faults.add(Fault.ERROR_500, times=None)
    assert [caller.code("create", **ABOUT) for _ in range(2)] == [500, 500]
    cloud.faults.remove(rule)
    cloud.faults.remove(rule)
    assert caller.code("create", **ABOUT) == 0
    cloud.faults.random(1, share=1.0, kinds=[Fault.ERROR_500])
    assert caller.code("create", **ABOUT) == 500
    cloud.faults.clear()
    assert caller.code("create", **ABOUT) == 0


def struck(seed: int, call: str = "outputs", only: str = "") -> list[Fault | None]:
    plan = FaultPlan()
    plan.random(seed, 0.3, match=only)
    rules = [plan.pick(call) for _ in range(1000)]
    return [rule and rule.kind for rule in rules]


def test_faults_by_chance_are_the_same_for_the_same_seed() -> None:
    assert struck(1) == struck(1) != struck(2)
    assert 240 < sum(kind is not None for kind in struck(1)) < 360
    assert {kind for kind in struck(1, "create") if kind} == {*BUSY, *BROKEN}
    assert {kind for kind in struck(1) if kind} == {*BROKEN}
    assert {*struck(1, only="create")} == {None}


def test_what_breaks_is_either_done_or_not(caller: Caller, cloud: RunningHubStandIn) -> None:
    """Of each way to break a create it is known here, though not to the client, whether it was paid for."""
    for kind in BROKEN:
        before = cloud.paid("row 7")
        cloud.faults.add(kind, "create")
        with contextlib.suppress(requests.RequestException):
            send(caller)
        assert cloud.paid("row 7") - before == (kind in AFTER), kind


def test_a_code_is_what_its_name_ends_with() -> None:
    assert {kind.name.rpartition("_")[2] for kind in CODES} == {str(code) for code in CODES.values()}
    assert {kind for kind in Fault if kind.name[-1].isdigit()} - CODES.keys() == {
        Fault.HTML_502,
        Fault.HTML_200,
        Fault.HTTP_429,
        Fault.EXPIRED_403,
        Fault.GONE_404,
    }
