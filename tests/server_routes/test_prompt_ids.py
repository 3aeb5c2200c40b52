"""Ids and whatever else a client sends: each prompt is a task with one end, and what is told of it can be read."""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from PIL import Image
from plugin_support import PATIENCE, Comfy, all_hosts, gated, picture, stand_ins, until
from saver_support import Shop, Shops, readable, same_mark, saved, strict

from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.server_routes.queue.intake import Intake, Post, awaited
from wfrecovery.server_routes.queue.prompts import Prompts
from wfrecovery.server_routes.queue.writing import Writer


def send(comfy: Comfy, graph: Mapping[str, Any], tag: Any = None, **body: Any) -> requests.Response:
    """`POST /prompt`, also with numbers that JSON does not know."""
    extra_data = {**body.pop("extra_data", {}), **({} if tag is None else {"wfrecovery": tag})}
    text = json.dumps({"prompt": graph, "extra_data": extra_data, **body})
    return comfy.call("POST", "/prompt", data=text, headers={"Content-Type": "application/json"})


def accepted(answer: requests.Response) -> str:
    """The prompt_id of a prompt that was taken."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["prompt_id"])


def of_prompt(comfy: Comfy, prompt: str) -> list[dict[str, Any]]:
    """All tasks that ran under that id."""
    return [record for record in comfy.records() if record["comfyui_task_id"] == prompt]


def at_rest(comfy: Comfy) -> None:
    """The queue is empty; then nothing is 在处理中."""
    until(lambda: not comfy.pending(), what="an empty queue")
    open_ones = [record["task_id"] for record in comfy.records() if record["status"] == "在处理中"]
    until(lambda: not any(r["status"] == "在处理中" for r in comfy.records()), what=f"none is under way: {open_ones}")


def own_pictures(shop: Shop, tags: list[dict[str, Any]], marks: list[int]) -> None:
    """Each row has its own."""
    for tag, mark in zip(tags, marks, strict=True):
        number = tag["row_number"]  # of two results of one row the older one may be seen there first
        until(lambda n=number, m=mark: _shows(shop.shown(n), m), what=f"its picture in row {number}")


def _shows(picture: bytes | None, mark: int) -> bool:
    return picture is not None and same_mark(picture, mark)


# ------------------------------------------------------------------ a request that is over


def test_what_a_request_has_started_leaves_nothing_with_it_once_it_is_answered(tmp_path: Path) -> None:
    """A plugin's scheduler, say, that queues prompts for days: ComfyUI would grow with each of them."""
    intake = Intake(DatabaseManager(tmp_path), Writer(), Prompts(), lambda: True)

    async def play() -> Post:
        answered = asyncio.Event()

        async def schedule() -> None:
            await answered.wait()
            intake.on_prompt({"prompt": picture("later")})
            awaited(Future())

        with intake.post() as post:
            later = asyncio.create_task(schedule())
            intake.on_prompt({"prompt": picture("now")})
            awaited(Future())
            assert (len(post.claimed), len(post.writes)) == (1, 1)
        answered.set()
        await later
        return post

    post = asyncio.run(play())
    assert (len(post.claimed), len(post.writes)) == (1, 1)


# ------------------------------------------------------------------ one id, several prompts


@all_hosts
@pytest.mark.parametrize("moment", ["waits", "runs", "has ended"])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_second_prompt_with_the_same_id_is_a_task_of_its_own(host: Any, moment: str, rows: int, shops: Shops) -> None:
    shop = shops(host)
    comfy, prompt, marks = shop.comfy, str(uuid.uuid4()), [shop.mark(), shop.mark()]
    tags = [shop.row()] * 2 if rows == 1 else [shop.row(), shop.row()]
    gate, blocked, own = shop.name(), saved("plain", shop.name(), shop.mark()), saved("plain", shop.name(), marks[0])
    blocker = comfy.queue(gated(blocked, gate)) if moment == "waits" else None
    comfy.queue(gated(own, gate) if moment == "runs" else own, tags[0], prompt_id=prompt)
    if moment == "runs":
        comfy.until_stage(prompt, "running")
    elif moment == "has ended":
        comfy.finished(prompt)
    assert accepted(send(comfy, saved("plain", shop.name(), marks[1]), tags[1], prompt_id=prompt)) == prompt
    assert len(of_prompt(comfy, prompt)) == 2
    comfy.open_gate(gate)
    at_rest(comfy)
    first, second = of_prompt(comfy, prompt)
    assert (first["status"], second["status"]) == ("已完成", "已完成")
    for record, mark in ((first, marks[0]), (second, marks[1])):
        (name,) = record["output_files"]
        assert same_mark(comfy.output / name, mark)
    own_pictures(shop, tags[-rows:], marks[-rows:])
    assert blocker is None or comfy.finished(blocker)


@all_hosts
def test_a_prompt_that_cannot_be_queued_twice_leaves_nothing_behind(host: Any, shops: Shops) -> None:
    """Of two with the same id and number ComfyUI takes the second and answers with an error."""
    shop = shops(host)
    comfy, prompt, mark, tag, gate = shop.comfy, str(uuid.uuid4()), shop.mark(), shop.row(), shop.name()
    blocker = comfy.queue(gated(saved("plain", shop.name(), shop.mark()), gate))
    comfy.until_stage(blocker, "running")
    comfy.queue(saved("plain", shop.name(), mark), tag, prompt_id=prompt, number=5)
    send(comfy, saved("plain", shop.name(), mark), tag, prompt_id=prompt, number=5)
    comfy.open_gate(gate)
    at_rest(comfy)
    own_pictures(shop, [tag], [mark])
    assert {record["status"] for record in of_prompt(comfy, prompt)} == {"已完成"}
    comfy.finished(comfy.queue(saved("plain", shop.name(), shop.mark())))


@stand_ins
def test_a_prompt_that_is_sent_again_after_a_time_out_ends(host: Any, shops: Shops) -> None:
    shop = shops(host)
    comfy, prompt, mark, tag = shop.comfy, str(uuid.uuid4()), shop.mark(), shop.row(task_id=f"img_20200202_{host}01")
    gate = shop.name()
    graph = gated(saved("plain", shop.name(), mark), gate)
    body = {"prompt": graph, "prompt_id": prompt, "extra_data": {"wfrecovery": tag}}
    with comfy.table_locked(), pytest.raises(requests.Timeout):
        requests.post(f"{comfy.url}/prompt", json=body, timeout=0.3)
    accepted(comfy.call("POST", "/prompt", json=body))
    comfy.open_gate(gate)
    at_rest(comfy)
    assert {record["status"] for record in of_prompt(comfy, prompt)} == {"已完成"}
    own_pictures(shop, [tag], [mark])


@stand_ins
def test_two_rows_with_one_id_each_get_their_own_after_a_kill(host: Any, shops: Shops) -> None:
    shop = shops(host)
    comfy, prompt, marks, tags = shop.comfy, str(uuid.uuid4()), [shop.mark() for _ in "ab"], [shop.row() for _ in "ab"]
    blocker = comfy.queue(gated(saved("plain", shop.name(), shop.mark()), "shut"), shop.row())
    comfy.until_stage(blocker, "running")
    for mark, tag in zip(marks, tags, strict=True):
        comfy.queue(saved("plain", shop.name(), mark), tag, prompt_id=prompt)
    comfy.crash()
    assert comfy.act(comfy.record(blocker)["task_id"], "cancel").status_code == 202
    at_rest(comfy)
    assert [record["status"] for record in of_prompt(comfy, prompt)] == ["已完成"] * 2
    own_pictures(shop, tags, marks)


@all_hosts
def test_the_id_of_a_task_that_is_another_s_is_not_taken(host: Any, shops: Shops) -> None:
    shop = shops(host)
    comfy, marks, tags = shop.comfy, [shop.mark(), shop.mark()], [shop.row(), shop.row()]
    gate = shop.name()
    first = comfy.queue(gated(saved("plain", shop.name(), marks[0]), gate), tags[0])
    theirs = comfy.record(first)["task_id"]
    in_files = {"extra_pnginfo": {"wfrecovery": {"task_id": theirs, "prompt_id": first}}}
    second = comfy.queue(saved("plain", shop.name(), marks[1]), {**tags[1], "task_id": theirs}, extra_data=in_files)
    third = comfy.queue(saved("plain", shop.name(), shop.mark()), extra_data=in_files)
    comfy.open_gate(gate)
    tasks = [comfy.finished(prompt)["task_id"] for prompt in (first, second, third)]
    assert len(set(tasks)) == 3
    own_pictures(shop, tags, marks)


# ------------------------------------------------------------------ a node that queues its own prompt again


def in_parts(shop: Shop, parts: int, *, each: bool = True, seconds: float = 0.0) -> tuple[str, int, dict[str, Any]]:
    """Prefix, mark and graph of a prompt that is queued again until its last part."""
    prefix, mark = shop.name(), shop.mark()
    graph = saved("plain", prefix, mark)
    own = {"parts": parts, "each": each, "seconds": seconds, "filename_prefix": prefix, "mark": mark}
    graph["9"] = {"class_type": "TryMetaBatch", "inputs": {"images": ["1", 0], **own}}
    return prefix, mark, graph


@all_hosts
@pytest.mark.parametrize("each", [True, False])
def test_a_prompt_in_parts_is_one_task_with_one_end(host: Any, each: bool, shops: Shops) -> None:
    shop = shops(host)
    tag, (prefix, mark, graph) = shop.row(), in_parts(shop, 5, each=each, seconds=0.1)
    before = len(shop.comfy.records())
    prompt = shop.comfy.queue(graph, tag)
    until(lambda: shop.runs(prefix) >= 2)
    # by hand, while it is under way
    assert shop.comfy.call("POST", "/wfrecovery/recover", json={}).status_code == 202
    at_rest(shop.comfy)
    assert len(shop.comfy.records()) == before + 1
    record = shop.pushed(prompt)
    parts = range(1, 6) if each else (1,)
    assert record["output_files"] == [f"{prefix}_{number:05}.png" for number in parts]
    assert record["metadata"]["attempts"] == 1
    told = [line["what"] for line in record["metadata"]["story"]]
    assert told.count("finished") == 1
    assert "failed" not in told
    own_pictures(shop, [tag], [mark])
    assert shop.runs(prefix) == 5


@all_hosts
@pytest.mark.parametrize("by", ["our button", "ComfyUI's"])
def test_a_prompt_in_parts_is_cancelled_as_one(host: Any, by: str, shops: Shops) -> None:
    shop = shops(host)
    prefix, _, graph = in_parts(shop, 50, seconds=0.4)
    prompt = shop.comfy.queue(graph, shop.row())
    until(lambda: shop.runs(prefix) >= 2)
    if by == "our button":
        assert shop.comfy.act(shop.comfy.record(prompt)["task_id"], "cancel").status_code == 202
    else:
        until(lambda: _interrupted(shop.comfy, prompt), what="a part that runs")
    so_far = shop.runs(prefix)
    at_rest(shop.comfy)
    assert shop.runs(prefix) <= min(so_far + 1, 49)
    assert shop.comfy.stage(prompt) == "cancelled"
    assert shop.comfy.status()["last_error"] is None


def _interrupted(comfy: Comfy, prompt: str) -> bool:
    """Whether an interruption is meant for that prompt: between two of its parts there is none that hears it."""
    assert comfy.call("POST", "/interrupt", json={}).status_code == 200
    return "cancel_requested" in comfy.record(prompt)["metadata"] or comfy.stage(prompt) == "cancelled"


@stand_ins
def test_parts_are_no_attempts(host: Any, shops: Shops) -> None:
    """A kill in the fifth part is one kill; what the parts before it wrote is not the whole."""
    shop = shops(host)
    tag, (prefix, mark, graph) = shop.row(), in_parts(shop, 6)
    shop.stop_after(prefix, 5)
    prompt = shop.comfy.queue(graph, tag)
    assert shop.kill_when_stopped(prompt)["requeued"] == 1
    record = shop.pushed(prompt)
    assert record["metadata"]["attempts"] == 2
    assert record["output_files"] == [f"{prefix}_{number:05}.png" for number in range(6, 12)]
    own_pictures(shop, [tag], [mark])
    assert shop.runs(prefix) == 11


@all_hosts
def test_a_prompt_that_another_thread_queues_is_a_task_of_its_own(host: Any, shops: Shops) -> None:
    shop = shops(host)
    prefix, marks = shop.name(), [shop.mark(), shop.mark()]
    node = {"class_type": "TryQueuesLater", "inputs": {"filename_prefix": prefix, "mark": marks[0], "again": marks[1]}}
    before = {record["task_id"] for record in shop.comfy.records()}
    shop.comfy.queue({"9": node})
    at_rest(shop.comfy)
    records = [record for record in shop.comfy.records() if record["task_id"] not in before]
    assert [record["status"] for record in records] == ["已完成"] * 2
    assert sorted(name for record in records for name in record["output_files"]) == [
        f"{prefix}_00001.png",
        f"{prefix}_00002.png",
    ]


# ------------------------------------------------------------------ numbers that JSON does not know


async def heard(url: str, until_event: str, then: Any) -> list[Any]:
    """What a page is told until that event, each strictly read when it is ours."""
    found = []
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws?clientId=a-page") as socket:
        sending = asyncio.get_running_loop().run_in_executor(None, then)
        async with asyncio.timeout(PATIENCE):
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    event = json.loads(message.data)
                    if event["type"].startswith("wfrecovery."):
                        found.append(strict(message.data))
                    if event["type"] == until_event:
                        tasks = event["data"].get("tasks", [{}])
                        if any(task.get("status") == "已完成" for task in tasks):
                            break
        await sending
    return found


@all_hosts
@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_does_not_know_leave_what_is_told_readable(host: Any, number: float, shops: Shops) -> None:
    shop = shops(host)
    comfy, mark, tag = shop.comfy, shop.mark(), shop.row(feishu_row_data={"价格": number, "list": [number]})
    graph = saved("plain", shop.name(), mark, strength=number)
    events = asyncio.run(
        heard(comfy.url, "wfrecovery.task", lambda: accepted(send(comfy, graph, tag, number=number, note=number)))
    )
    assert {event["type"] for event in events} >= {"wfrecovery.task"}
    record = next(record for record in comfy.records() if record["row_number"] == tag["row_number"])
    prompt = record["comfyui_task_id"]
    shop.pushed(prompt)
    own_pictures(shop, [tag], [mark])
    for path in ("status", "tasks", "preview", f"tasks/{record['task_id']}", f"tasks/{record['task_id']}/graph"):
        strict(comfy.call("GET", f"/wfrecovery/{path}").text)
    for text in comfy.texts().values():
        strict(text.decode())


@stand_ins
def test_a_prompt_that_is_queued_again_has_its_numbers_back(host: Any, shops: Shops) -> None:
    shop = shops(host)
    comfy = shop.comfy
    blocker = comfy.queue(gated(saved("plain", shop.name(), shop.mark()), "shut"), shop.row())
    comfy.until_stage(blocker, "running")
    graph = gated(saved("plain", shop.name(), shop.mark(), strength=math.nan), "shut")
    waiting = accepted(send(comfy, graph, shop.row(), number=math.inf))
    comfy.crash()
    queue = comfy.get("/queue")
    (item,) = (item for item in (*queue["queue_running"], *queue["queue_pending"]) if item[1] == waiting)
    assert math.isnan(item[2]["9"]["inputs"]["strength"])
    comfy.idle()
    at_rest(comfy)


# ------------------------------------------------------------------ what is too large, or no id


def _nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


_LARGE: Mapping[str, Mapping[str, Any]] = {
    "a large row": {"feishu_row_data": {"提示词": "红" * 1_500_000, "product_name": "p"}},
    "a long name": {"product_name": "名" * 500_000},
    "a deep row": {"feishu_row_data": {"x": _nested(900)}},
    "a deep row of objects": {"feishu_row_data": {"x": json.loads('{"a":' * 900 + "1" + "}" * 900)}},
    "a deep name": {"model_name": _nested(900)},
    "something deep of their own": {"mine": _nested(900)},
    "a long task id": {"task_id": f"img_20200101_{'1' * 100_000}"},
    "a path for a task id": {"task_id": "../../somewhere"},
}


@all_hosts
@pytest.mark.parametrize("what", list(_LARGE))
def test_what_is_too_large_is_left_out_and_the_prompt_recorded(host: Any, what: str, shops: Shops) -> None:
    shop = shops(host)
    comfy, mark, tag = shop.comfy, shop.mark(), shop.row(**_LARGE[what])
    prompt = accepted(send(comfy, saved("plain", shop.name(), mark), tag))
    record = comfy.finished(prompt)
    assert record["row_number"] == tag["row_number"]
    sizes = until(lambda: [len(text) for text in comfy.texts(pattern=f"[ad]*/**/{record['task_id']}.json").values()])
    assert max(sizes) < 400_000
    for _ in range(20):
        strict(comfy.call("GET", "/wfrecovery/tasks", params={"limit": "5"}).text)
    strict(comfy.call("GET", f"/wfrecovery/tasks/{record['task_id']}/graph").text)
    assert comfy.status()["corrupt"] == 0
    assert not list((comfy.table / "corrupt").glob("*"))
    comfy.finished(comfy.queue(saved("plain", shop.name(), shop.mark())))


@all_hosts
@pytest.mark.parametrize("row_number", ["9" * 3000, 10**200, "x" * 200_000, {"a": 1}, [1]])
def test_a_row_that_is_no_row_is_told_in_few_words(host: Any, row_number: Any, shops: Shops) -> None:
    shop = shops(host)
    record = shop.comfy.finished(
        accepted(send(shop.comfy, saved("plain", shop.name(), shop.mark()), {**shop.row(), "row_number": row_number}))
    )
    assert record["row_number"] is None
    assert len(readable(record["metadata"]["error_message"])) < 300
    assert shop.comfy.status()["corrupt"] == 0


def _outside_the_table(comfy: Comfy) -> set[Path]:
    return {path for path in (*comfy.base.rglob("*"), *comfy.base.parent.glob("*")) if comfy.table not in path.parents}


def embedded(file: Path) -> str | None:
    """What a picture says of its task."""
    with Image.open(file) as image:
        return image.info.get("wfrecovery")


@all_hosts
def test_a_client_s_own_number_is_not_what_the_next_ids_are_counted_from(host: Any, shops: Shops) -> None:
    """Else all prompts after it find no number that is free, for the rest of the day."""
    shop = shops(host)
    today, after = time.strftime("%Y%m%d"), []
    for number in ("999999999999", "999999999998", "12345678"):
        sent = f"img_{today}_{number}"
        for tag in (shop.row(task_id=sent), shop.row()):
            after.append(
                shop.comfy.finished(shop.comfy.queue(saved("plain", shop.name(), shop.mark()), tag))["task_id"]
            )
    assert len({*after}) == 6
    assert all(len(task_id) <= len(f"img_{today}_00000") for task_id in after)


@all_hosts
@pytest.mark.parametrize("name", ["/some/where_else", "../up", "img_20260101_001/../../x", "a" * 5000, 5, ["x"]])
def test_a_client_s_own_task_id_becomes_no_file(host: Any, name: Any, shops: Shops) -> None:
    shop = shops(host)
    comfy = shop.comfy
    comfy.recovered()  # before that, the output folder's locks are tried with files of its own
    assert comfy.call("POST", "/wfrecovery/settings", json={"record_other_prompts": False}).status_code == 200
    try:
        outside = _outside_the_table(comfy)
        prefix, in_files = shop.name(), {"wfrecovery": {"task_id": name, "prompt_id": "x"}}
        graph = saved("plain", prefix, shop.mark())
        prompt = accepted(send(comfy, graph, extra_data={"extra_pnginfo": in_files}))
        until(lambda: prompt in comfy.get("/history"))
        (picture,) = comfy.pictures(f"{prefix}*")
        comfy.finished(comfy.queue(saved("plain", prefix, shop.mark()), shop.row()))
        assert of_prompt(comfy, prompt) == []
        assert embedded(picture) is None
        ids = {record["task_id"] for record in comfy.records()}
        named_by_ids = (file for name in ("active", "done", "graphs") for file in (comfy.table / name).rglob("*.json"))
        assert {file.stem for file in named_by_ids} == ids
        assert {path.name for path in _outside_the_table(comfy) - outside} == {picture.name, f"{prefix}_00002.png"}
    finally:
        comfy.call("POST", "/wfrecovery/settings", json={"record_other_prompts": True})
