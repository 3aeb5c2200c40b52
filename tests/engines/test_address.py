"""A ComfyUI's address: what is secret in it is sent along and shown nowhere; and this computer has several names."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wfrecovery import bridge
from wfrecovery.bridge.engines.address import engine_at, login_in, same_engine, without_login

SECRET = "p:w d@/1"
LOGIN = "admin:p%3Aw%20d%40%2F1@"
HEADER = "Basic " + base64.b64encode(f"admin:{SECRET}".encode()).decode()


@pytest.mark.parametrize("host", ["comfy.example", "comfy.example:8188", "[::1]:8188", "127.0.0.1:8188"])
@pytest.mark.parametrize("path", ["", "/", "/comfy/"])
def test_a_login_is_no_part_of_what_is_shown(host: str, path: str) -> None:
    given = f"https://{LOGIN}{host}{path}"
    assert without_login(given) == f"https://{host}{path}".rstrip("/")
    assert "admin" not in engine_at(given)
    assert engine_at(given) == engine_at(f"https://{host}{path}")
    assert login_in(given) == {"Authorization": HEADER}
    assert login_in(f"https://{host}{path}") == {}


def test_this_computer_is_one_engine_by_whatever_name() -> None:
    names = ("localhost", "127.0.0.1", "127.0.0.2", "[::1]")
    assert len({engine_at(f"http://{name}:8188") for name in names}) == 1
    assert engine_at("http://localhost:8188") != engine_at("http://localhost:8189")
    assert engine_at("http://localhost:8188") != engine_at("http://comfy.example:8188")


def test_what_an_older_program_has_called_it_is_still_the_same() -> None:
    now = engine_at("http://127.0.0.1:8188")
    for older in ("comfyui:http://localhost:8188", f"comfyui:http://{LOGIN}127.0.0.1:8188", now):
        assert same_engine(older, now)
    for other in ("comfyui", "comfyui:http://127.0.0.1:8189", "runninghub:abcdef12"):
        assert not same_engine(other, now)


class Guarded(BaseHTTPRequestHandler):
    """Lets nobody in without the login, and is no ComfyUI."""

    def do_GET(self) -> None:
        self.send_response(200 if self.headers.get("Authorization") == HEADER else 401)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nowhere."""


def test_it_is_sent_along_and_stands_in_no_record_and_no_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        comfy = bridge.ComfyUIClient(f"http://{LOGIN}127.0.0.1:{server.server_port}")
        assert asyncio.run(comfy._get("/queue")) == {}
    finally:
        server.shutdown()
        server.server_close()
    db = bridge.DatabaseManager(tmp_path)
    recovery = bridge.TaskRecoveryManager(db, comfy)
    task_id = db.add_workflow_task(bridge.RowData(row_number=2, product_name="a", model_name="b"), "图片合成")
    asyncio.run(recovery.submit(task_id, {"1": {"class_type": "EmptyImage", "inputs": {}}}))
    assert f"no answer from ComfyUI at http://127.0.0.1:{server.server_port}" in caplog.text
    kept = "".join(path.read_text("utf-8") for path in tmp_path.rglob("*.json"))
    for text in (kept, caplog.text, comfy.base_url, comfy.engine):
        assert "p%3Aw" not in text
        assert SECRET not in text
        assert "admin" not in text
    assert f"127.0.0.1:{server.server_port}" in kept
