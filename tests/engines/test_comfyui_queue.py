"""What ComfyUI answers to GET /queue, and what some other server answers in its place."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from wfrecovery import bridge
from wfrecovery.bridge.engines.comfyui import ComfyUIUnreachableError
from wfrecovery.bridge.engines.history import Place

Answers = Callable[[bytes], bridge.ComfyUIClient]


@pytest.fixture
def answers() -> Iterator[Answers]:
    """A client of a server that answers everything with the same text."""
    said = bytearray()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

        def client(text: bytes) -> bridge.ComfyUIClient:
            said[:] = text
            return bridge.ComfyUIClient(f"http://127.0.0.1:{server.server_port}")

        yield client
        server.shutdown()


@pytest.mark.parametrize("more", [[], [["node"], {}]], ids=["5-tuples", "6-tuples and more"])
def test_what_waits_and_what_runs(answers: Answers, more: list[Any]) -> None:
    items = {name: [1, name, {}, {}, [], *more] for name in ("a", "b", "c")}
    queue = {"queue_running": [items["a"]], "queue_pending": [items["b"], items["c"]]}
    client = answers(json.dumps(queue).encode())
    assert asyncio.run(client.prompts_in_queue()) == {"a": Place.RUNNING, "b": Place.WAITING, "c": Place.WAITING}


@pytest.mark.parametrize(
    "text", [b"", b"<html>", b"null", b"[]", b"7", b'{"queue_pending": [[1]]}', b'{"queue_running": 7}']
)
def test_what_is_no_queue_is_no_answer(answers: Answers, text: bytes) -> None:
    client = answers(text)
    with pytest.raises(ComfyUIUnreachableError):
        asyncio.run(client.prompts_in_queue())
    assert asyncio.run(client.look_up("a")).place is Place.UNKNOWN
