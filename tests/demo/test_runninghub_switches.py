"""The stand-in cloud: what nobody knows of the service, as switches. Real HTTP, no sleeps."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from feishu_caller import Clock
from runninghub_caller import Caller, node_info, picture

from wfrecovery.demo.runninghub_host import switches as module
from wfrecovery.demo.runninghub_host.stand_in import Limits, Output, RunningHubStandIn, Switches, Workflow, shows
from wfrecovery.demo.runninghub_host.switches import UNKNOWN, UNKNOWN_AND_HARSH

UNKNOWN_ID = "1234567890123456789"
THREE_FILES = Workflow((Output("9", count=2), Output("12", "mp4")))


def many(harsh: bool = False, **fixed: Any) -> list[Switches]:
    rng = random.Random(7)
    return [Switches.drawn(rng, harsh=harsh, **fixed) for _ in range(200)]


def test_what_is_misspelt_is_refused() -> None:
    with pytest.raises(AttributeError, match="number_id"):
        Switches().number_id = True  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="423"):
        Switches(unknown_task_code=404)  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="queue"):
        Limits().queue = 1  # type: ignore[attr-defined]


def test_each_switch_and_limit_says_in_a_sentence_what_it_is_for() -> None:
    lines = Path(module.__file__).read_text("utf-8").splitlines()
    for field in (*dataclasses.fields(Switches), *dataclasses.fields(Limits)):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"    {field.name}:"))
        assert lines[at - 1].startswith("    #:"), field.name


def test_every_switch_is_drawn_in_all_its_ways() -> None:
    everything = {**UNKNOWN, **UNKNOWN_AND_HARSH}
    assert {field.name for field in dataclasses.fields(Switches)} == everything.keys()
    for name, values in everything.items():
        assert {getattr(drawn, name) for drawn in many(harsh=True)} == set(values), name
    assert {getattr(drawn, name) for name in UNKNOWN_AND_HARSH for drawn in many()} == {805, 803, 433, "reason", True}
    assert {drawn.number_ids for drawn in many(number_ids=True)} == {True}


def test_ids_and_times_as_numbers(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.number_ids = cloud.switches.number_times = True
    task_id = caller.ask("create", workflowId="101", nodeInfoList=[])["data"]["taskId"]
    assert isinstance(task_id, int)
    assert task_id > 2**53
    cloud.finish(str(task_id))
    file = caller.ask("outputs", taskId=task_id)["data"][0]
    assert (file["nodeId"], file["taskCostTime"]) == (9, 0)


def test_status_in_an_object(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.status_data = "object"
    assert caller.ask("status", taskId=caller.create())["data"] == {"taskStatus": "RUNNING"}


def test_another_word_for_success(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.success = ""
    assert caller.ask("status", taskId=caller.create())["msg"] == ""


@pytest.mark.parametrize("call", ["status", "outputs", "cancel"])
def test_an_unknown_task_is_423(caller: Caller, cloud: RunningHubStandIn, call: str) -> None:
    cloud.switches.unknown_task_code = 423
    told = caller.ask(call, taskId=UNKNOWN_ID)
    assert (told["code"], told["msg"]) == (423, "TASK_NOT_FOUNED")


@pytest.mark.parametrize("code", [806, 811])
def test_a_wrong_key_in_other_codes(caller: Caller, cloud: RunningHubStandIn, code: Any) -> None:
    cloud.switches.wrong_key_code = code
    assert caller.code("status", apiKey="wrong", taskId=UNKNOWN_ID) == code


def test_a_wrong_workflow_and_a_wrong_node_in_other_codes(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.wrong_workflow_code, cloud.switches.wrong_node_code = 810, 433
    assert caller.code("create", workflowId="999", nodeInfoList=[]) == 810
    info = [{"nodeId": "77", "fieldName": "text", "fieldValue": "x"}]
    assert caller.code("create", workflowId="101", nodeInfoList=info) == 433


def test_a_wrong_node_that_is_accepted_and_fails_at_once(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.wrong_node_code = 0
    info = [{"nodeId": "77", "fieldName": "text", "fieldValue": "row 7"}]
    created = caller.ask("create", workflowId="101", nodeInfoList=info)
    assert (created["code"], created["data"]["taskStatus"]) == (0, "FAILED")
    assert list(json.loads(created["data"]["promptTips"])["node_errors"]) == ["77"]
    told = caller.ask("outputs", taskId=created["data"]["taskId"])
    assert (told["code"], told["data"]["failedReason"]["node_id"]) == (805, "77")
    assert cloud.paid("row 7") == 1


def test_a_late_cancellation_that_is_accepted_changes_nothing(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.late_cancel_code = 0
    task_id = caller.create()
    cloud.finish(task_id)
    assert caller.code("cancel", taskId=task_id) == 0
    assert len(caller.outputs(task_id)) == 1


def test_a_cancelled_task_is_not_known_any_more(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.cancelled_code = 807
    task_id = caller.create()
    caller.ask("cancel", taskId=task_id)
    assert caller.code("outputs", taskId=task_id) == 807


def test_a_failure_without_its_reason(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.failed_data = "null"
    task_id = caller.create()
    cloud.fail(task_id)
    told = caller.ask("outputs", taskId=task_id)
    assert (told["code"], told["data"]) == (805, None)


def test_a_success_that_names_no_file_yet(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.empty_polls = 1
    for nothing in ("list", "null"):
        cloud.switches.empty_data = nothing
        task_id = caller.create()
        cloud.finish(task_id)
        told = [caller.ask("outputs", taskId=task_id) for _ in range(2)]
        assert (told[0]["code"], told[0]["data"]) == (0, [] if nothing == "list" else None)
        assert len(told[1]["data"]) == 1


def test_files_the_other_way_round(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.outputs_order = "backward"
    assert [file["nodeId"] for file in caller.finished(workflow="102")] == ["12", "9", "9"]


def test_an_address_that_is_always_the_same_and_gone_for_good(
    caller: Caller, cloud: RunningHubStandIn, clock: Clock
) -> None:
    cloud.switches.fresh_addresses, cloud.switches.expired_status = False, 404
    cloud.limits.address_seconds = 60
    (file,) = caller.finished()
    clock.now += 30
    assert caller.outputs(cloud.tasks[0].id) == [file]
    assert caller.get(file["fileUrl"]).status_code == 200
    clock.now += 30
    assert caller.outputs(cloud.tasks[0].id) == [file]
    assert caller.get(file["fileUrl"]).status_code == 404


def test_a_chinese_name_in_the_address(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.chinese_names = True
    (file,) = caller.finished()
    assert file["fileUrl"].isascii()
    path = urlsplit(file["fileUrl"]).path
    assert " " not in path
    assert unquote(path).rpartition("/")[2].startswith("合成图 结果_00001_")
    assert caller.get(file["fileUrl"]).content[:4] == b"\x89PNG"


def test_an_address_without_a_query(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.signed_addresses = False
    (file,) = caller.finished()
    assert "?" not in file["fileUrl"]
    assert caller.get(file["fileUrl"]).status_code == 200


def test_an_upload_has_a_new_name_each_time(caller: Caller, cloud: RunningHubStandIn) -> None:
    cloud.switches.upload_names = "chance"
    red = picture((200, 10, 30))
    names = [caller.upload(red)["data"]["fileName"] for _ in range(2)]
    assert names[0] != names[1]
    for name in names:
        assert shows(caller.get(caller.finished(image=name)[0]["fileUrl"]).content, red)


@pytest.mark.parametrize("seed", range(8))
def test_with_any_cloud_that_could_be_a_task_comes_to_its_picture(seed: int) -> None:
    """As a client would do it: ask until there are files; take numbers for texts; fetch at once."""
    switches = Switches.drawn(random.Random(seed), harsh=True)
    with RunningHubStandIn({"101": THREE_FILES}, switches=switches) as cloud:
        caller = Caller(cloud)
        with caller.session:
            uploaded = caller.upload(picture((1, 2, 250)))["data"]["fileName"]
            created = caller.ask("create", workflowId="101", nodeInfoList=node_info("row 7", uploaded))
            files: list[dict[str, Any]] = []
            while not files:
                files = caller.ask("outputs", taskId=created["data"]["taskId"])["data"] or []
            assert [shows(caller.get(file["fileUrl"]).content, "row 7") for file in files] == [True] * 3
        assert cloud.paid("row 7") == 1
