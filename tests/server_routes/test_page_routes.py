"""What the page asks and what it is told: routes and websocket events, on the stand-in in both shapes and for real."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image
from plugin_support import (
    GATE_TICKS,
    PATIENCE,
    Comfy,
    Shared,
    Start,
    failing,
    newer_stand_in,
    one_host,
    picture,
    row,
    slow_save,
    until,
)

from wfrecovery.bridge import DatabaseManager, TaskRecord
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import FeishuState, Result
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.server_routes.page.events import STATUS_PAUSE
from wfrecovery.server_routes.page.preview import asking_tasks

WRITES = (
    "/wfrecovery/recover",
    "/wfrecovery/settings",
    "/wfrecovery/tasks/retry",
    "/wfrecovery/tasks/push",
    "/wfrecovery/tasks/cancel",
    "/wfrecovery/tasks/img_20200101_001/retry",
    "/wfrecovery/tasks/img_20200101_001/push",
    "/wfrecovery/tasks/img_20200101_001/cancel",
    "/wfrecovery/tasks/img_20200101_001/write",
    "/wfrecovery/tasks/img_20200101_001/adopt",
)


@pytest.fixture
def comfy(host: Any, shared: Shared) -> Comfy:
    return shared(host)


def get(comfy: Comfy, path: str, **query: Any) -> Any:
    answer = comfy.call("GET", f"/wfrecovery/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(comfy: Comfy, path: str, body: Any, status: int = 202) -> Any:
    answer = comfy.call("POST", f"/wfrecovery/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def refused(answer: Any, status: int, kind: str) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"type", "message"}
    assert error["type"] == kind
    assert error["message"]
    return str(error["message"])


class Listener:
    """A page's websocket: every message that arrives."""

    def __init__(self, comfy: Comfy) -> None:
        self.messages: list[tuple[str, Any]] = []
        self._url = comfy.url.replace("http", "ws", 1) + "/ws?clientId=page"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._listen()))
        self._connected = threading.Event()

    async def _listen(self) -> None:
        self._stop = asyncio.Event()
        async with aiohttp.ClientSession() as session, session.ws_connect(self._url, max_msg_size=0) as socket:
            self._connected.set()
            reading = asyncio.create_task(self._read(socket))
            await self._stop.wait()
            reading.cancel()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                data = json.loads(message.data)
                self.messages.append((data["type"], data.get("data")))

    def __enter__(self) -> Listener:
        self._thread.start()
        assert self._connected.wait(PATIENCE)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def of(self, kind: str) -> list[Any]:
        return [data for event, data in list(self.messages) if event == kind]

    def stages(self, task_id: str) -> list[str]:
        """The stages in which a task was shown."""
        records = [record for data in self.of("wfrecovery.task") for record in data["tasks"]]
        return [record["metadata"]["stage"] for record in records if record["task_id"] == task_id]


# ------------------------------------------------------------------ the list


@one_host
def test_tasks_are_filtered_counted_and_read_from_anywhere(host: Any, start: Start) -> None:
    comfy = start(host)
    rows = [comfy.queue(picture("list", color=n), row(n, feishu_row_data={"prompt": f"白底{n}"})) for n in range(2, 7)]
    video = comfy.queue(picture("list", color=50), row(50, workflow_type="图生视频"))
    other = comfy.queue(picture("list", color=60))
    bad = comfy.queue(failing("list", "no such light"), row(70))
    running = comfy.queue(picture("list", seconds=600, color=80), row(80))
    waiting = comfy.queue(picture("list", seconds=600, color=90))
    comfy.until_stage(running, "running")

    def found(**query: Any) -> list[str]:
        answer = get(comfy, "tasks", **query)
        assert answer["total"] == len(answer["tasks"])
        return sorted(task["comfyui_task_id"] for task in answer["tasks"])

    assert found(stage="running") == [running]
    assert found(stage="queued") == [waiting]
    assert found(status="失败") == [bad]
    assert found(status="失败", stage="running") == []
    assert found(workflow_type="other") == sorted([other, waiting])
    assert found(workflow_type="other", q="list") == sorted([other, waiting]), "known by what they make"
    assert found(workflow_type="图生视频") == [video]
    assert found(feishu="pending") == sorted([*rows, video, bad]), "what still renders has nothing to deliver"
    assert found(feishu="blocked") == []
    assert found(q="白底4") == [rows[2]]
    assert found(q="LIGHT no") == [bad]
    assert found(q="产品5 模特a") == sorted([rows[3], video]), "产品5, 产品50"
    assert found(comfyui_task_id=video) == [video]

    everything = [task["task_id"] for task in get(comfy, "tasks")["tasks"]]
    page = get(comfy, "tasks", limit=3, offset=4)
    assert ([task["task_id"] for task in page["tasks"]], page["total"]) == (everything[4:7], 10)
    assert page["next_cursor"] == everything[6]
    after = get(comfy, "tasks", limit=5, cursor=everything[6])
    assert ([task["task_id"] for task in after["tasks"]], after["next_cursor"]) == (everything[7:], None)
    assert get(comfy, "tasks", offset=100)["tasks"] == []
    status = get(comfy, "status")
    assert status["stages"] == {"running": 1, "queued": 1}
    assert status["attention"] == 1
    assert status["settings_error"] is None
    assert status["last_error"] is None
    assert status["comfyui"]["worker_alive"] is True


@newer_stand_in
@pytest.mark.parametrize(
    "query",
    [
        *("stage=x", "feishu=x", "offset=-1", "offset=x", "offset=%C2%B2", "offset=99999999999"),
        *("cursor=img_20261123_001&offset=5", "q=" + "x" * 201),
    ],
)
def test_bad_queries_say_what_is_allowed(comfy: Comfy, query: str) -> None:
    answer = comfy.call("GET", f"/wfrecovery/tasks?{query}")
    refused(answer, 400, answer.json()["error"]["type"])


# ------------------------------------------------------------------ one task


@one_host
def test_the_graph_and_the_workflow_that_came_with_it(comfy: Comfy) -> None:
    workflow = {"id": "w1", "nodes": [{"id": 1, "type": "EmptyImage"}], "links": []}
    drawn = comfy.queue(picture("drawn"), row(2), extra_data={"extra_pnginfo": {"workflow": workflow}})
    bare = comfy.queue(picture("bare"), row(3))
    comfy.finished(drawn)
    comfy.finished(bare)
    answer = get(comfy, f"tasks/{comfy.record(drawn)['task_id']}/graph")
    assert set(answer) == {"prompt", "workflow"}
    assert answer["workflow"] == workflow
    assert answer["prompt"]["9"]["inputs"]["filename_prefix"] == "drawn"
    assert get(comfy, f"tasks/{comfy.record(bare)['task_id']}/graph")["workflow"] is None
    comfy.graph_file(bare).unlink()
    refused(comfy.call("GET", f"/wfrecovery/tasks/{comfy.record(bare)['task_id']}/graph"), 404, "no_graph")
    refused(comfy.call("GET", "/wfrecovery/tasks/img_20200101_001/graph"), 404, "unknown_task")
    # the page says which language it speaks, whatever the browser's is
    for language, words in (("zh", "没有记录"), ("en", "was not recorded")):
        path = f"/wfrecovery/tasks/{comfy.record(bare)['task_id']}/graph"
        assert words in comfy.call("GET", path, headers={"Accept-Language": language}).json()["error"]["message"]


def _big_picture(prefix: str, width: int, height: int) -> dict[str, Any]:
    graph = picture(prefix, color=0x3366CC)
    graph["1"]["inputs"].update(width=width, height=height)
    return graph


@one_host
def test_browsers_ask_for_newer_modules_of_the_page(comfy: Comfy) -> None:
    scripts = [path for path in comfy.call("GET", "/extensions").json() if path.endswith("/wfrecovery.js")]
    assert len(scripts) == 1, "only the entry is an extension of its own"
    module = comfy.call("GET", scripts[0].replace("wfrecovery.js", "wfrecovery/page.mjs"))
    assert (module.status_code, module.headers["Cache-Control"]) == (200, "no-cache")
    assert "javascript" in module.headers["Content-Type"], "browsers refuse a module of any other type"


@one_host
def test_the_thumbnail_is_small_and_asked_for_only_once(comfy: Comfy) -> None:
    task_id = comfy.finished(comfy.queue(_big_picture("thumb", 640, 320), row(2)))["task_id"]
    answer = comfy.call("GET", f"/wfrecovery/tasks/{task_id}/thumbnail")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/webp")
    with Image.open(io.BytesIO(answer.content)) as small:
        assert small.size == (192, 96)
        red, _, blue = small.convert("RGB").getpixel((50, 50))
        assert blue > red
    again = comfy.call(
        "GET", f"/api/wfrecovery/tasks/{task_id}/thumbnail", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert "no-cache" in answer.headers["Cache-Control"]


@one_host
def test_the_thumbnail_of_a_video_is_its_first_frame(comfy: Comfy) -> None:
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 320, "height": 320, "batch_size": 4, "color": 0xFF0000}},
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8}},
        "3": {
            "class_type": "SaveVideo",
            "inputs": {"video": ["2", 0], "filename_prefix": "video/t", "format": "mp4", "codec": "h264"},
        },
    }
    task_id = comfy.finished(comfy.queue(graph, row(2, workflow_type="图生视频")))["task_id"]
    answer = comfy.call("GET", f"/wfrecovery/tasks/{task_id}/thumbnail")
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as small:
        assert small.size == (192, 192)
        assert small.convert("RGB").getpixel((96, 96))[0] > 200


@newer_stand_in
def test_there_is_no_thumbnail_of_what_is_not_there_or_lies_elsewhere(comfy: Comfy) -> None:
    secret = comfy.base / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    failed = comfy.until_stage(comfy.queue(failing("thumb", "x")), "failed")["task_id"]
    done = comfy.finished(comfy.queue(picture("thumb"), row(2)))
    task_id = done["task_id"]
    refused(comfy.call("GET", f"/wfrecovery/tasks/{failed}/thumbnail"), 404, "no_thumbnail")
    refused(comfy.call("GET", "/wfrecovery/tasks/img_20200101_001/thumbnail"), 404, "unknown_task")
    db = DatabaseManager(comfy.output)
    for name in ("../secret.png", str(secret), "a/../../secret.png", "gone.png", "notes.txt"):
        results = (Result(name),)
        db.table.update(task_id, lambda task, results=results: dataclasses.replace(task, results=results))
        refused(comfy.call("GET", f"/wfrecovery/tasks/{task_id}/thumbnail"), 404, "no_thumbnail")
    (comfy.output / "gone.png").write_bytes(b"\x89PNG no picture at all")
    db.table.update(task_id, lambda task: dataclasses.replace(task, results=(Result("gone.png"),)))
    refused(comfy.call("GET", f"/wfrecovery/tasks/{task_id}/thumbnail"), 404, "no_thumbnail")


@one_host
def test_the_story_names_the_node_that_failed(comfy: Comfy) -> None:
    record = comfy.until_stage(comfy.queue(failing("story", "no such light"), row(2)), "failed")
    assert "WfrFail (node 2): no such light" in record["error_message"]
    story = record["metadata"]["story"]
    assert [line["what"] for line in story] == ["queued", "started", "failed"]
    assert (story[2]["node"], story[2]["text"]) == ("WfrFail (node 2)", "no such light")


# ------------------------------------------------------------------ many at once


@one_host
def test_all_that_failed_is_retried_in_its_order_and_cancelled_stays_cancelled(host: Any, start: Start) -> None:
    comfy = start(host)
    bad = [comfy.queue(failing(f"bad{n}", "x"), row(n)) for n in (2, 3, 4)]
    for prompt in bad:
        comfy.until_stage(prompt, "failed")
    blocker = comfy.queue(picture("blocker", seconds=600))
    comfy.until_stage(blocker, "running")
    gone = comfy.queue(failing("gone", "x"), row(5))
    post(comfy, f"tasks/{comfy.record(gone)['task_id']}/cancel", {})
    comfy.until_stage(gone, "cancelled")
    ids = {prompt: comfy.record(prompt)["task_id"] for prompt in (*bad, gone, blocker)}

    answer = post(comfy, "tasks/retry", {"filter": {"status": "失败"}})
    assert answer == {"done": [ids[prompt] for prompt in bad], "refused": {}, "left": 0}
    assert comfy.pending() == [blocker, *bad]
    assert comfy.stage(gone) == "cancelled"

    chosen = [ids[bad[0]], ids[gone], ids[bad[0]], "img_20200101_001", "../../etc/passwd"]
    answer = post(comfy, "tasks/cancel", {"task_ids": chosen})
    assert answer["done"] == [ids[bad[0]]]
    assert set(answer["refused"]) == {ids[gone], "img_20200101_001", "../../etc/passwd"}
    assert all(answer["refused"].values())
    answer = post(comfy, "tasks/cancel", {"filter": {"stage": "queued"}})
    assert sorted(answer["done"]) == sorted([ids[bad[1]], ids[bad[2]]])
    assert {comfy.stage(prompt) for prompt in bad} == {"cancelled"}
    assert comfy.pending() == [blocker]
    answer = post(comfy, "tasks/retry", {"filter": {"stage": "cancelled", "q": ids[gone]}})
    assert answer["done"] == [ids[gone]], "asked for by name"
    assert comfy.pending() == [blocker, gone]


@newer_stand_in
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "bad_selection"),
        ({"task_ids": [], "filter": {"q": "x"}}, "bad_selection"),
        ({"task_ids": [], "force": True}, "bad_selection"),
        ({"task_ids": "img_20261123_001"}, "bad_task_ids"),
        ({"task_ids": [1]}, "bad_task_ids"),
        ({"task_ids": ["x"] * 1001}, "bad_task_ids"),
        ({"filter": {}}, "bad_filter"),
        ({"filter": {"q": ""}}, "bad_filter"),
        ({"filter": []}, "bad_filter"),
        ({"filter": {"colour": "red"}}, "bad_filter"),
        ({"filter": {"status": ["失败"]}}, "bad_status"),
        ({"filter": {"status": "x"}}, "bad_status"),
        ({"filter": {"q": 5}}, "bad_q"),
    ],
)
def test_a_selection_that_is_not_clear_does_nothing(comfy: Comfy, body: Any, kind: str) -> None:
    for action in ("retry", "push", "cancel"):
        refused(comfy.call("POST", f"/wfrecovery/tasks/{action}", json=body), 400, kind)
    refused(comfy.call("POST", "/wfrecovery/tasks/explode", json=body), 404, "unknown_action")


@newer_stand_in
def test_what_is_blocked_is_pushed_again_all_at_once(host: Any, start: Start) -> None:
    comfy = start(host)
    prompts = [comfy.queue(picture(f"push{n}"), row(n)) for n in (2, 3, 4)]
    ids = [comfy.finished(prompt)["task_id"] for prompt in prompts]
    db = DatabaseManager(comfy.output)
    blocked = {"state": FeishuState.BLOCKED, "last_error": "row 2 is another product"}
    for task_id in ids[:2]:
        db.table.update(task_id, lambda task: task.with_outbox(**blocked))
    assert get(comfy, "status")["attention"] == 2
    answer = post(comfy, "tasks/push", {"filter": {"feishu": "blocked"}})
    assert answer == {"done": ids[:2], "refused": {}, "left": 0}
    assert {record["metadata"]["feishu"]["state"] for record in comfy.records()} == {"pending"}
    assert get(comfy, "status")["attention"] == 0


@newer_stand_in
def test_a_refusal_is_explained_in_the_language_of_the_page(comfy: Comfy) -> None:
    task_id = comfy.finished(comfy.queue(picture("language", color=77)))["task_id"]
    chinese = {"Accept-Language": "zh-CN,zh;q=0.9"}
    for action, english, words in (
        ("retry", "finished", "已完成"),
        ("push", "no row", "不属于"),
        ("cancel", "already", "取消"),
    ):
        path = f"/wfrecovery/tasks/{task_id}/{action}"
        assert english in refused(comfy.call("POST", path, json={}), 409, "not_possible")
        assert words in refused(comfy.call("POST", path, json={}, headers=chinese), 409, "not_possible")
        assert words in refused(comfy.call("POST", f"{path}?lang=zh", json={}), 409, "not_possible")
    many = comfy.call("POST", "/wfrecovery/tasks/retry", json={"task_ids": ["img_20200101_001"]}, headers=chinese)
    assert many.json()["refused"] == {"img_20200101_001": "没有任务 img_20200101_001"}


# ------------------------------------------------------------------ after a crash


def test_the_title_of_what_is_shown_has_no_secret(tmp_path: Path) -> None:
    db, graph = DatabaseManager(tmp_path), picture("https://a.com/x?api_key=abcdefgh12")
    db.table.create(TaskRecord("job_20261123_001", stage=Stage.ASKING), {"prompt": graph})
    (shown,) = asking_tasks(db)
    assert "https://a.com/x?api_key=" in shown["title"]
    assert "abcdefgh12" not in json.dumps(shown)


@one_host
def test_prompts_without_a_row_are_shown_and_a_person_decides(host: Any, start: Start) -> None:
    comfy = start(host)
    blocker = comfy.queue(slow_save("blocker", batch=1))
    until(lambda: comfy.pictures("blocker*") and comfy.stage(blocker) == "running")
    spoken = picture("spoken")
    spoken["5"] = {"class_type": "WfrComposite", "inputs": {"product": ["1", 0], "model": ["1", 0]}}
    spoken["5"]["inputs"].update(prompt="a red  cup\non snow", seconds=0.0)
    spoken["9"]["inputs"]["images"] = ["5", 0]
    prompts = [comfy.queue(spoken), comfy.queue(picture("second", color=2)), comfy.queue(picture("third", color=3))]
    comfy.pictures("blocker*")[0].unlink()
    comfy.crash()
    answer = get(comfy, "preview")
    assert answer["boot_id"] == comfy.status()["boot_id"]
    shown = {task["comfyui_task_id"]: task for task in answer["tasks"]}
    assert list(shown) == [blocker, *prompts]
    assert [shown[prompt]["title"] for prompt in prompts] == ["a red cup on snow", "second", "third"]
    assert {task["result_there"] for task in shown.values()} == {False}
    assert {task["metadata"]["stage"] for task in shown.values()} == {"asking"}
    assert comfy.status()["attention"] == 4
    ids = [shown[prompt]["task_id"] for prompt in prompts]
    assert post(comfy, "tasks/retry", {"task_ids": [ids[1], ids[0]]})["done"] == ids[:2], "in the queue's order"
    assert post(comfy, "tasks/cancel", {"task_ids": [shown[blocker]["task_id"], ids[2]]})["refused"] == {}
    for prompt in prompts[:2]:
        comfy.finished(prompt)
    assert comfy.stage(prompts[2]) == "cancelled"
    assert get(comfy, "preview")["tasks"] == []
    story = [line["what"] for line in comfy.record(prompts[0])["metadata"]["story"]]
    assert story == ["queued", "lost", "retried", "started", "finished"]


# ------------------------------------------------------------------ settings


@one_host
def test_settings_of_the_page_count_at_once_and_after_a_restart(host: Any, start: Start) -> None:
    comfy = start(host)
    default = {
        "lost_prompts": "ask",
        "max_attempts": 3,
        "record_other_prompts": True,
        "write_failed": True,
        "keep_days": 0,
        "standstill_minutes": 15,
    }
    assert get(comfy, "settings") == {"settings": default, "fixed": {}, "feishu_configured": False}
    changed = post(comfy, "settings", {"record_other_prompts": False, "keep_days": 90}, 200)
    assert changed["settings"] == {**default, "record_other_prompts": False, "keep_days": 90}
    comfy.queue(picture("unrecorded"))
    recorded = comfy.queue(picture("recorded"), row(2))
    comfy.finished(recorded)
    assert [record["comfyui_task_id"] for record in comfy.records()] == [recorded]
    post(comfy, "settings", {"record_other_prompts": True, "lost_prompts": "auto"}, 200)
    lost = comfy.queue(picture("lost", gate="lost"))
    comfy.until_stage(lost, "running")
    comfy.crash()
    comfy.open_gate("lost")
    comfy.finished(lost)  # without asking
    assert get(comfy, "settings")["settings"] == {**default, "lost_prompts": "auto", "keep_days": 90}
    (stored,) = comfy.base.glob("user/**/page_settings.json")
    assert stored.parent.name == "__wfrecovery"
    assert comfy.output not in stored.parents


@newer_stand_in
def test_what_is_decided_elsewhere_cannot_be_changed_in_the_page(host: Any, start: Start) -> None:
    comfy = start(host, env={"WFRECOVERY_MAX_ATTEMPTS": "5"})
    folder = next(iter(comfy.base.glob("user/**/__wfrecovery")), comfy.base / "user" / "__wfrecovery")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text("write_failed = false\n", "utf-8")
    comfy.restart()
    answer = get(comfy, "settings")
    assert answer["fixed"] == {"max_attempts": "environment", "write_failed": "config.toml"}
    assert (answer["settings"]["max_attempts"], answer["settings"]["write_failed"]) == (5, False)
    call = comfy.call("POST", "/wfrecovery/settings", json={"max_attempts": 4, "keep_days": 1})
    assert "environment" in refused(call, 409, "fixed_setting")
    assert get(comfy, "settings") == answer, "nothing of it was stored"
    post(comfy, "settings", {"max_attempts": 5, "keep_days": 7}, 200)
    (folder / "page_settings.json").write_text("{damaged", "utf-8")
    comfy.restart()
    assert get(comfy, "settings")["settings"]["keep_days"] == 0
    assert "page_settings.json" in comfy.status()["settings_error"]
    assert (folder / "page_settings.json.damaged").exists()


@newer_stand_in
@pytest.mark.parametrize(
    "body",
    [
        {"lost_prompts": "never"},
        {"max_attempts": 0},
        {"max_attempts": True},
        {"keep_days": -1},
        {"keep_days": 1.5},
        {"write_failed": "perhaps"},
        {"feishu_app_secret": "x"},
    ],
)
def test_bad_settings_change_nothing(comfy: Comfy, body: Any) -> None:
    before = get(comfy, "settings")
    refused(comfy.call("POST", "/wfrecovery/settings", json={"keep_days": 3, **body}), 400, "bad_setting")
    assert get(comfy, "settings") == before


# ------------------------------------------------------------------ Feishu and the doctor


@newer_stand_in
def test_the_address_of_the_sheet(host: Any, start: Start) -> None:
    comfy = start(host)
    assert "FEISHU_APP_ID" in refused(comfy.call("GET", "/wfrecovery/sheet"), 409, "not_configured")
    assert "没有设置" in refused(comfy.call("GET", "/wfrecovery/sheet?lang=zh"), 409, "not_configured")
    comfy.kill()
    with FeishuStandIn([{"产品名": "产品2", "模特名": "模特A"}]) as feishu:
        comfy.env.update(
            FEISHU_APP_ID=feishu.app_id,
            FEISHU_APP_SECRET=feishu.app_secret,
            FEISHU_SPREADSHEET_TOKEN=feishu.spreadsheet_token,
            FEISHU_SHEET_NAME=feishu.sheet_title,
            FEISHU_DOMAIN=feishu.url,
        )
        comfy.start()
        url = get(comfy, "sheet")["url"]
        assert url.startswith("http")
        assert feishu.spreadsheet_token in url
        assert get(comfy, "settings")["feishu_configured"] is True
        comfy.kill()
        comfy.env["FEISHU_APP_SECRET"] = "wrong-0123456789"
        comfy.start()
        message = refused(comfy.call("GET", "/wfrecovery/sheet"), 502, "feishu")
        assert "wrong-0123456789" not in message


@newer_stand_in
def test_the_doctor_looks_from_inside(comfy: Comfy) -> None:
    english, chinese = get(comfy, "doctor"), get(comfy, "doctor", lang="zh")
    assert [check["id"] for check in english["checks"]] == [check["id"] for check in chinese["checks"]]
    for check in (*english["checks"], *chinese["checks"]):
        assert set(check) == {"id", "ok", "title", "detail", "advice"}
        assert check["title"]
    assert english["ok"] is all(check["ok"] is not False for check in english["checks"])
    assert [check["title"] for check in english["checks"]] != [check["title"] for check in chinese["checks"]]


@one_host
def test_what_the_doctor_says_of_view_is_so(comfy: Comfy) -> None:
    task_id = comfy.finished(comfy.queue(picture("view"), row(2)))["task_id"]
    seen = comfy.call("GET", f"/view?filename={task_id}.json&subfolder=wfrecovery/graphs&type=output")
    assert seen.status_code == 200
    assert seen.json()["prompt"] == picture("view")
    checks = {check["id"]: check for check in get(comfy, "doctor")["checks"]}
    assert checks["reach"]["ok"] is True
    assert "wfrecovery/" in checks["reach"]["detail"]


# ------------------------------------------------------------------ who may write


@one_host
def test_a_foreign_page_cannot_write(comfy: Comfy) -> None:
    comfy.recovered()
    before = (get(comfy, "settings"), comfy.status()["recovery"]["started_at"])
    foreign = {"Origin": "http://evil.example:8188"}
    for path in WRITES:
        for prefix in ("", "/api"):
            assert comfy.call("POST", prefix + path, json={}, headers=foreign).status_code == 403, path
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            refused(comfy.call("POST", path, data="{}", headers={"Content-Type": kind}), 415, "content_type")
        refused(comfy.call("POST", path), 415, "content_type")
        for body in ("", "{", "[]", "null", '"x"', "[" * 100_000):
            answer = comfy.call("POST", path, data=body, headers={"Content-Type": "application/json"})
            refused(answer, 400, "bad_json")
    assert (get(comfy, "settings"), comfy.status()["recovery"]["started_at"]) == before
    own = {"Origin": comfy.url}
    assert comfy.call("POST", "/wfrecovery/settings", json={}, headers=own).status_code == 200


# ------------------------------------------------------------------ websocket


@one_host
def test_pages_are_told_what_happens_without_asking(comfy: Comfy) -> None:
    with Listener(comfy) as page:
        prompt = comfy.queue(picture("told", gate="told", color=7), row(7))  # no client_id: from main.py
        task_id = comfy.record(prompt)["task_id"]

        def progress() -> list[dict[str, Any]]:
            return [data for data in page.of("wfrecovery.progress") if data["task_id"] == task_id]

        until(lambda: len({data["value"] for data in progress() if data["node"] == "2"}) > 1)
        until(lambda: "running" in page.stages(task_id))
        comfy.open_gate("told")
        until(lambda: "finished" in page.stages(task_id))
        ticks = [data["value"] for data in progress() if data["node"] == "2"]
        assert ticks == sorted(ticks)
        assert all(set(data) == {"task_id", "value", "max", "node"} for data in progress())
        assert {data["max"] for data in progress() if data["node"] == "2"} <= {1, GATE_TICKS}
        last = page.of("wfrecovery.status")[-1]
        assert set(last) == set(comfy.status())
    assert comfy.status()["last_error"] is None


@newer_stand_in
def test_what_other_programs_write_is_told_too(comfy: Comfy) -> None:
    db = DatabaseManager(comfy.output)
    with Listener(comfy) as page:
        task_id = db.add_workflow_task({"row_number": 41, "product_name": "杯", "model_name": "M"}, "图片合成")
        until(lambda: "created" in page.stages(task_id))
        db.cancel_task(task_id, "not wanted")
        until(lambda: "cancelled" in page.stages(task_id))


@pytest.mark.parametrize("host", [6])
def test_a_burst_of_changes_is_told_in_few_messages(comfy: Comfy) -> None:
    db = DatabaseManager(comfy.output)
    began = time.monotonic()
    with Listener(comfy) as page:
        ids = [f"job_20260101_{number:03}" for number in range(1, 151)]
        for task_id in ids:
            db.table.create(TaskRecord(task_id, stage=Stage.CANCELLED))
        until(lambda: {task["task_id"] for data in page.of("wfrecovery.task") for task in data["tasks"]} >= set(ids))
        messages = page.of("wfrecovery.task")
        assert len(messages) <= 1 + (time.monotonic() - began) / STATUS_PAUSE
        assert max(len(data["tasks"]) for data in messages) <= 100


# ------------------------------------------------------------------ how long records are kept


def _old_task(db: DatabaseManager, number: int, days: int, state: str) -> str:
    """A finished task as it was written `days` ago."""
    record = new_task(f"img_20260101_{number:03}", Stage.QUEUED, row_number=number, workflow_type="图片合成")
    db.table.create(record, {"prompt": {}, "task": {}})
    db.complete_task(record.task_id, [f"old{number}.png"])
    db.table.update(record.task_id, lambda task: task.with_outbox(state=FeishuState(state)))
    then = time.strftime("%Y-%m-%dT%H:%M:%S.000+00:00", time.gmtime(time.time() - days * 86_400))
    for path in (db.table.folder / "active", db.table.folder / "done" / "2026-01"):
        file = path / f"{record.task_id}.json"
        if file.exists():
            data = json.loads(file.read_text("utf-8"))
            data["updated_at"] = data["metadata"]["finished_at"] = then
            file.write_text(json.dumps(data), "utf-8")
    return record.task_id


@newer_stand_in
def test_old_records_leave_with_their_graphs_and_results_stay(host: Any, start: Start) -> None:
    comfy = start(host)
    db = DatabaseManager(comfy.output)
    old, young, blocked = (
        _old_task(db, 1, 40, "pushed"),
        _old_task(db, 2, 10, "pushed"),
        _old_task(db, 3, 40, "blocked"),
    )
    result = comfy.output / "old1.png"
    result.write_bytes(b"a result")
    comfy.restart()
    comfy.recovered()
    assert {task["task_id"] for task in get(comfy, "tasks")["tasks"]} == {old, young, blocked}, "0 days: for ever"
    post(comfy, "settings", {"keep_days": 30}, 200)
    until(lambda: {task["task_id"] for task in get(comfy, "tasks")["tasks"]} == {young, blocked})
    until(lambda: {path.stem for path in (comfy.table / "graphs").iterdir()} == {young, blocked})
    assert result.read_bytes() == b"a result"
    another = _old_task(db, 4, 40, "off")
    comfy.restart()
    until(lambda: another not in {task["task_id"] for task in get(comfy, "tasks")["tasks"]})
