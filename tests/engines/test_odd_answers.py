"""What RunningHub's client makes of answers that are none: of a proxy before it, or of a service that has changed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cloud_support import Office, hurry

from wfrecovery import bridge


class Proxy:
    """What lies before the service, or in its place."""

    def __init__(self, url: str) -> None:
        self.url = url

    def client(self) -> bridge.RunningHubClient:
        return bridge.RunningHubClient("a" * 32, base_url=self.url, poll_seconds=0.01)

    def client_workflow(self, number: int) -> dict[str, Any]:
        return {
            "workflowId": "1",
            "nodeInfoList": [{"nodeId": "6", "fieldName": "text", "fieldValue": f"row {number}"}],
        }


@contextmanager
def answering(status: int, headers: dict[str, str], body: bytes) -> Iterator[tuple[str, list[str]]]:
    """Its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def submitted(url: str, folder: Path) -> dict[str, Any]:
    office = Office(Proxy(url), folder)
    return office.task(office.main_py().enters(2))


@pytest.mark.parametrize("task_id", [["5"], {"id": "5"}, 1.9e18, True, None, "", 0])
def test_what_is_no_id_is_no_answer(task_id: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be followed for ever, under a name that nobody knows there."""
    hurry(monkeypatch)
    body = json.dumps({"code": 0, "msg": "success", "data": {"taskId": task_id}}).encode()
    with answering(200, {}, body) as (url, _):
        task = submitted(url, tmp_path)
    assert (task["metadata"]["stage"], task["comfyui_task_id"]) == ("asking", None)


@pytest.mark.parametrize(("status", "stage"), [(301, "asking"), (302, "asking"), (307, "created"), (308, "created")])
def test_a_key_does_not_follow_to_another_address(
    status: int, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's login, or what somebody has put in the service's place: it is asked nothing, and told nothing."""
    hurry(monkeypatch)
    with (
        answering(200, {}, b'{"code": 0, "data": {"taskId": "5"}}') as (other, asked_there),
        answering(status, {"Location": f"{other}/task/openapi/create"}, b"") as (url, asked),
    ):
        task = submitted(url, tmp_path)
    assert (asked_there, len(asked)) == ([], 1)
    assert (task["metadata"]["stage"], task["comfyui_task_id"]) == (stage, None)


@pytest.mark.parametrize("address", ["http://[files/a.png", "no address", "/a.png", ""])
def test_a_result_at_no_address_is_not_followed_for_ever(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run looks again: it was paid for."""
    hurry(monkeypatch)
    body = json.dumps({"code": 0, "data": [{"fileUrl": address}]}).encode()
    with answering(200, {}, b'{"code": 0, "data": {"taskId": "5"}}') as (url, _):
        task_id = submitted(url, tmp_path)["task_id"]
    with answering(200, {}, body) as (url, _):
        run = Office(Proxy(url), tmp_path).main_py()

        async def story() -> dict[str, Any]:
            return await asyncio.wait_for(run.recovery.finish(task_id), 60)

        assert asyncio.run(story())["status"] != "已完成"
