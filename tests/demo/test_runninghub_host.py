"""The stand-in cloud: what is documented of RunningHub, a fact, a test; and what it counts. Real HTTP, no sleeps."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from feishu_caller import Clock
from runninghub_caller import Caller, node_info, picture

from wfrecovery.demo.runninghub_host.stand_in import RunningHubStandIn, Workflow, run_of, shows

RED, BLUE = picture((200, 10, 30)), picture((10, 30, 200))


def test_a_task_from_its_inputs_to_its_picture(caller: Caller, cloud: RunningHubStandIn) -> None:
    uploaded = caller.upload(RED)
    assert (uploaded["code"], uploaded["data"]["fileType"]) == (0, "input")
    name = uploaded["data"]["fileName"]
    assert name.startswith("api/")
    assert name.endswith(".png")
    created = caller.ask("create", workflowId="101", nodeInfoList=node_info("row 7 杯子", name))
    assert created["data"].keys() == {"netWssUrl", "taskId", "clientId", "taskStatus", "promptTips"}
    assert json.loads(created["data"]["promptTips"])["outputs_to_execute"] == ["9"]
    task_id = created["data"]["taskId"]
    assert (len(task_id), created["data"]["taskStatus"]) == (19, "RUNNING")
    assert (caller.ask("status", taskId=task_id)["data"], caller.code("outputs", taskId=task_id)) == ("RUNNING", 804)
    cloud.finish(task_id)
    assert caller.ask("status", taskId=task_id)["data"] == "SUCCESS"
    (file,) = caller.outputs(task_id)
    assert file.keys() == {"fileUrl", "fileType", "taskCostTime", "nodeId"}
    assert (file["fileType"], file["nodeId"], file["taskCostTime"]) == ("png", "9", "0")
    fetched = caller.get(file["fileUrl"])
    assert (fetched.status_code, fetched.headers["Content-Type"]) == (200, "image/png")
    assert shows(fetched.content, "row 7 杯子")
    assert shows(fetched.content, RED)


def test_whose_a_picture_is_can_be_told(caller: Caller) -> None:
    names = {data: caller.upload(data)["data"]["fileName"] for data in (RED, BLUE)}
    for text, data in (("row 7 杯子", RED), ("row 8 帽子", BLUE)):
        for file in caller.finished(text, "102", image=names[data]):
            made = caller.get(file["fileUrl"]).content
            seen = [shows(made, other) for other in ("row 7 杯子", "row 8 帽子", "row 7", RED, BLUE)]
            assert seen == [text == "row 7 杯子", text == "row 8 帽子", False, data is RED, data is BLUE]


def test_several_files_of_several_kinds(caller: Caller) -> None:
    files = caller.finished(workflow="102")
    assert [(file["nodeId"], file["fileType"]) for file in files] == [("9", "png"), ("9", "png"), ("12", "mp4")]
    contents = [caller.get(file["fileUrl"]).content for file in files]
    assert [content[:4] for content in contents[:2]] == [b"\x89PNG"] * 2
    assert contents[2][4:8] == b"ftyp"
    assert len({run_of(content) for content in contents}) == 3


def test_a_run_with_the_same_inputs_gives_another_picture_unless_the_seed_is_given(caller: Caller) -> None:
    def made(seed: int | None) -> bytes:
        return caller.get(caller.finished(seed=seed)[0]["fileUrl"]).content

    assert made(None) != made(None)
    assert made(5) == made(5)
    assert made(5) != made(6)


def test_the_same_file_of_a_run_is_always_the_same(caller: Caller, cloud: RunningHubStandIn) -> None:
    (file,) = caller.finished()
    (again,) = caller.outputs(cloud.tasks[0].id)
    assert file["fileUrl"] != again["fileUrl"]
    assert caller.get(file["fileUrl"]).content == caller.get(again["fileUrl"]).content


def test_a_workflow_takes_its_time(caller: Caller, clock: Clock) -> None:
    task_id = caller.create(workflow="103")
    clock.now += 9.9
    assert caller.code("outputs", taskId=task_id) == 804
    clock.now += 0.1
    assert caller.outputs(task_id)[0]["taskCostTime"] == "10"


def test_what_an_account_may_not_run_yet_waits(caller: Caller, cloud: RunningHubStandIn, clock: Clock) -> None:
    cloud.limits.running = 1
    first, second = caller.create(workflow="103"), caller.create(workflow="103")
    clock.now += 5
    assert (caller.code("outputs", taskId=second), caller.ask("status", taskId=second)["data"]) == (813, "QUEUED")
    clock.now += 10
    # The second began when the first had ended, not when somebody looked.
    assert (caller.code("outputs", taskId=first), caller.code("outputs", taskId=second)) == (0, 804)
    clock.now += 5
    assert caller.code("outputs", taskId=second) == 0


def test_of_those_that_wait_only_so_many_start(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.limits.running = 0
    waiting = [caller.create() for _ in range(3)]
    cloud.limits.running = 2
    assert [caller.code("outputs", taskId=task_id) for task_id in waiting] == [804, 804, 813]


def test_the_queue_is_full_and_then_has_room_again(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.limits.unfinished = 2
    first = caller.create("row 1")
    caller.create("row 2")
    refused = caller.ask("create", workflowId="101", nodeInfoList=node_info("row 3"))
    assert (refused["code"], refused["msg"], refused["data"]) == (421, "TASK_QUEUE_MAXED", None)
    cloud.finish(first)
    caller.create("row 3")
    assert (cloud.paid("row 3"), cloud.calls["create"]) == (1, 4)


def test_machines_are_for_all_accounts_and_a_queue_for_one(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.accounts.add("another key")
    other = Caller(cloud, "another key")
    with other.session:
        cloud.limits.unfinished = 1
        mine = caller.create()
        theirs = other.create()
        cloud.limits.unfinished, cloud.limits.machines = None, 2
        assert caller.code("create", workflowId="101", nodeInfoList=[]) == 415
        cloud.finish(theirs)
        caller.create()
        assert other.code("outputs", taskId=mine) == 807
        assert caller.code("outputs", taskId=mine) == 804


def test_a_failure_says_where_and_why(caller: Caller, cloud: RunningHubStandIn) -> None:
    task_id = caller.create()
    cloud.fail(task_id, "显存不足", node="KSampler")
    assert caller.ask("status", taskId=task_id)["data"] == "FAILED"
    told = caller.ask("outputs", taskId=task_id)
    assert (told["code"], told["msg"]) == (805, "APIKEY_TASK_STATUS_ERROR")
    reason = told["data"]["failedReason"]
    assert (reason["node_name"], reason["exception_message"]) == ("KSampler", "显存不足")
    with pytest.raises(ValueError, match="FAILED"):
        cloud.finish(task_id)


def test_cancelled_in_time_and_too_late(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.limits.running = 1
    running, waiting, late = caller.create(), caller.create(), caller.create()
    for task_id in (running, waiting):
        assert caller.ask("cancel", taskId=task_id) == {"code": 0, "msg": "success", "data": None}
        assert caller.ask("status", taskId=task_id)["data"] == "FAILED"
        assert caller.ask("outputs", taskId=task_id)["code"] == 805
    assert cloud.task(late).state == "RUNNING"
    cloud.finish(late)
    assert caller.ask("cancel", taskId=late)["code"] == 817
    assert caller.code("outputs", taskId=late) == 0
    assert [task.state for task in cloud.tasks] == ["CANCELLED", "CANCELLED", "SUCCESS"]


def test_an_unknown_task(caller: Caller, cloud: RunningHubStandIn) -> None:
    known = caller.create()
    cloud.forget(known)
    for call in ("status", "outputs", "cancel"):
        assert [caller.code(call, taskId=task_id) for task_id in (known, "1234567890123456789")] == [807, 807]
        assert [caller.code(call, taskId=task_id) for task_id in ("", "0", "abc")] == [301] * 3
    # It runs on and is paid for.
    assert (cloud.task(known).state, cloud.paid("row 7")) == ("RUNNING", 1)


def test_a_task_is_forgotten_after_a_while(caller: Caller, cloud: RunningHubStandIn, clock: Clock) -> None:
    cloud.limits.remember_seconds = 60
    task_id = caller.create()
    clock.now += 3600
    assert caller.code("outputs", taskId=task_id) == 804
    cloud.finish(task_id)
    clock.now += 59
    assert caller.code("outputs", taskId=task_id) == 0
    clock.now += 1
    assert caller.code("outputs", taskId=task_id) == 807


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"apiKey": "wrong"}, 802),
        ({"apiKey": None}, 802),
        ({"workflowId": ""}, 301),
        ({"workflowId": "999"}, 380),
        ({"nodeInfoList": "6"}, 301),
        ({"nodeInfoList": [{"nodeId": "6", "fieldName": "text"}]}, 301),
        ({"nodeInfoList": [{"nodeId": "77", "fieldName": "text", "fieldValue": "x"}]}, 803),
        ({"nodeInfoList": [{"nodeId": "6", "fieldName": "words", "fieldValue": "x"}]}, 803),
        ({"nodeInfoList": [{"nodeId": "10", "fieldName": "image", "fieldValue": "api/gone.png"}]}, 433),
    ],
)
def test_what_is_refused_costs_nothing(
    caller: Caller, cloud: RunningHubStandIn, body: dict[str, object], code: int
) -> None:
    refused = caller.ask("create", **{"workflowId": "101", "nodeInfoList": node_info("row 7"), **body})
    assert (refused["code"], refused["data"]) == (code, None)
    assert refused["msg"]
    assert (cloud.tasks, cloud.bill()) == ([], {})


def test_a_node_may_be_given_as_a_number_and_a_value_as_anything(caller: Caller, cloud: RunningHubStandIn) -> None:
    info = [{"nodeId": 6, "fieldName": "text", "fieldValue": 7}]
    assert caller.code("create", workflowId=101, nodeInfoList=info) == 0
    assert cloud.paid("7") == 1


def test_an_empty_wallet(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.limits.runs = 1
    caller.create()
    assert caller.code("create", workflowId="101", nodeInfoList=[]) == 416


def test_a_wrong_key_learns_nothing(caller: Caller, cloud: RunningHubStandIn) -> None:
    task_id = caller.create()
    stranger = Caller(cloud, "wrong")
    with stranger.session:
        assert [stranger.code(call, taskId=task_id) for call in ("status", "outputs", "cancel")] == [802] * 3
        assert stranger.upload(RED)["code"] == 802
    assert cloud.task(task_id).state == "RUNNING"


def test_a_wrong_address_in_three_ways(caller: Caller, cloud: RunningHubStandIn) -> None:
    assert caller.ask("creat")["code"] == 412
    body = {"apiKey": caller.key, "workflowId": "101"}
    assert caller.post("/task/openapi/create", body, headers={"Host": "www.elsewhere.cn"}).status_code == 404
    assert cloud.tasks == []
    assert caller.post("/task/openapi/create", body, headers={"Host": "www.runninghub.cn"}).json()["code"] == 0


def test_uploads(caller: Caller, cloud: RunningHubStandIn) -> None:
    assert caller.upload(RED)["data"] == caller.upload(RED, "other.png")["data"] != caller.upload(BLUE)["data"]
    cloud.limits.upload_bytes = len(RED)
    assert caller.upload(RED)["code"] == 0
    cloud.limits.upload_bytes = len(RED) - 1
    assert caller.upload(RED)["code"] == 809
    assert caller.ask("upload")["code"] == 802
    form = {"apiKey": (None, caller.key), "fileType": (None, "image")}
    url = f"{cloud.url}/task/openapi/upload"
    assert caller.session.post(url, files=form, timeout=120).json()["code"] == 301


def test_an_address_leads_nowhere_without_its_query_and_not_for_ever(
    caller: Caller, cloud: RunningHubStandIn, clock: Clock
) -> None:
    cloud.limits.address_seconds = 600
    (file,) = caller.finished()
    parts = urlsplit(file["fileUrl"])
    assert parts.query
    assert parts.path.endswith(".png")
    assert caller.get(file["fileUrl"].partition("?")[0]).status_code == 403
    clock.now += 599
    assert caller.get(file["fileUrl"]).status_code == 200
    clock.now += 1
    assert caller.get(file["fileUrl"]).status_code == 403
    # Asked again, the service gives a new one.
    assert caller.get(caller.outputs(cloud.tasks[0].id)[0]["fileUrl"]).status_code == 200
    assert caller.get(f"{cloud.url}/rh-images/none/output/a.png").status_code == 404


def test_an_address_for_so_many_times(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.limits.address_fetches = 2
    (file,) = caller.finished()
    assert [caller.get(file["fileUrl"]).status_code for _ in range(3)] == [200, 200, 403]


def test_what_a_doctor_asks(caller: Caller, cloud: RunningHubStandIn) -> None:
    caller.create()
    account = caller.post("/uc/openapi/accountStatus", {"apikey": caller.key}).json()
    assert (account["code"], account["data"]["currentTaskCounts"]) == (0, "1")
    for runs, coins in ((None, "1000"), (3, "2"), (1, "0")):
        cloud.limits.runs = runs
        told = caller.post("/uc/openapi/accountStatus", {"apikey": caller.key}).json()
        assert told["data"]["remainCoins"] == coins
    assert caller.post("/uc/openapi/accountStatus", {"apiKey": caller.key}).json()["code"] == 802
    body = {"apiKey": caller.key, "workflowId": "101"}
    prompt = json.loads(caller.post("/api/openapi/getJsonApiFormat", body).json()["data"]["prompt"])
    assert [(node, sorted(prompt[node]["inputs"])) for node in ("6", "10", "9")] == [
        ("6", ["text"]),
        ("10", ["image"]),
        ("9", []),
    ]
    assert caller.post("/api/openapi/getJsonApiFormat", {**body, "workflowId": "9"}).json()["code"] == 380


def test_the_bill(caller: Caller, cloud: RunningHubStandIn) -> None:
    names = [caller.upload(data)["data"]["fileName"] for data in (RED, BLUE)]
    caller.create("row 1", image=names[0], seed=5)
    caller.create("row 1", image=names[0], seed=6)
    caller.create("row 1", image=names[1])
    caller.create("row 12 of 杯子1号", image=names[1])
    assert [cloud.paid(mark) for mark in ("row 1", "row 12", "row 2", "row", "杯子1", "杯子")] == [3, 1, 0, 4, 1, 1]
    assert [cloud.paid(mark) for mark in (RED, BLUE, b"", "")] == [2, 2, 0, 0]
    assert sorted(cloud.bill().values()) == [1, 1, 2]
    assert cloud.calls == {"upload": 2, "create": 4}


def test_the_service_goes_on_while_it_cannot_be_reached(caller: Caller, cloud: RunningHubStandIn, clock: Clock) -> None:
    url, task_id = cloud.url, caller.create(workflow="103")
    cloud.stop()
    with pytest.raises(requests.ConnectionError):
        caller.ask("outputs", taskId=task_id)
    clock.now += 10
    cloud.start()
    assert cloud.url == url
    (file,) = caller.outputs(task_id)
    cloud.stop()
    cloud.start()
    assert shows(caller.get(file["fileUrl"]).content, "row 7 杯子")
    assert cloud.paid("row 7") == 1


@pytest.mark.usefixtures("threads_that_switch_all_the_time")
def test_many_at_once(cloud: RunningHubStandIn) -> None:
    cloud.limits.unfinished = 12

    def batch(number: int) -> list[int]:
        caller = Caller(cloud)
        with caller.session:
            return [caller.code("create", workflowId="101", nodeInfoList=node_info("row 7")) for _ in range(5)]

    with ThreadPoolExecutor(8) as threads:
        codes = [code for codes in threads.map(batch, range(8)) for code in codes]
    assert (codes.count(0), codes.count(421)) == (12, 28)
    assert (cloud.paid("row 7"), len({task.id for task in cloud.tasks}), cloud.calls["create"]) == (12, 12, 40)


def test_without_a_list_of_nodes_anything_is_taken() -> None:
    with RunningHubStandIn({"5": Workflow()}) as cloud:
        caller = Caller(cloud)
        with caller.session:
            task_id = caller.create(workflow="5")
            assert shows(caller.get(caller.outputs(task_id)[0]["fileUrl"]).content, "row 7 杯子")


def test_as_a_process(tmp_path: Path) -> None:
    workflows = tmp_path / "workflows.json"
    workflows.write_text(json.dumps({"7": {"outputs": [{"node": "4", "kind": "mp4"}], "seconds": None}}), "utf-8")
    command = [sys.executable, "-m", "wfrecovery.demo.runninghub_host", "--workflows", str(workflows)]
    with (
        subprocess.Popen([*command, "--api-key", "k"], stdout=subprocess.PIPE) as process,
        requests.Session() as session,
    ):
        session.trust_env = False

        def post(path: str, **body: object) -> dict[str, object]:
            answer: dict[str, object] = session.post(ready["url"] + path, json=body, timeout=120).json()
            return answer

        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert ready.keys() == {"url", "api_key"}
            about = {"apiKey": "k", "workflowId": "7", "nodeInfoList": node_info("row 7")}
            post("/_standin", faults={"add": [{"kind": "QUEUE_FULL_421"}]})
            assert [post("/task/openapi/create", **about)["code"] for _ in range(2)] == [421, 0]
            told = session.get(f"{ready['url']}/_standin", timeout=120).json()["data"]
            assert (told["bill"], told["calls"]) == ({"7 · row 7": 1}, {"create": 2})
            assert told["tasks"][0]["node_info"] == node_info("row 7")
            task_id = told["tasks"][0]["id"]
            post("/_standin", finish=task_id, switches={"number_ids": True}, limits={"running": 1})
            files = post("/task/openapi/outputs", apiKey="k", taskId=task_id)["data"]
            assert isinstance(files, list)
            assert (files[0]["nodeId"], files[0]["fileType"]) == (4, "mp4")
            for wrong in ({"switches": {"number_id": True}}, {"finish": "5"}, {"nonsense": 1}, {"limits": {"x": 1}}):
                assert post("/_standin", **wrong)["code"] == 1
        finally:
            process.kill()
