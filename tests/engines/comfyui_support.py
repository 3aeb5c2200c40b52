"""A ComfyUI without the plugin as a test of the contract steers it: through a proxy that keeps the bill, and fails to
order."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from PIL import Image
from plugin_support import REAL, until

from wfrecovery import bridge
from wfrecovery.demo.launch import ComfyProcess
from wfrecovery.demo.serving.ports import free_port

GATE = Path(__file__).parent / "gate_nodes"


def comfyui(base: Path, host: str) -> ComfyProcess:
    """The process that all tests of a module share."""
    chosen: dict[str, Any] = {"real": REAL} if host == "real" else {"shape": int(host)}
    base.mkdir(parents=True, exist_ok=True)
    return ComfyProcess(base, plugins=[GATE], **chosen)


class ComfyService:
    """One test's: a bill of its own, and an idle ComfyUI at its beginning and end."""

    def __init__(self, comfy: ComfyProcess, folder: Path) -> None:
        self.comfy, self.folder, self.port = comfy, folder, free_port()
        self.bill: list[int] = []
        self.ids: list[str] = []
        #: what happens to the next `POST /prompt`s
        self.orders: list[str] = []
        self.silences = self.deafness = 0
        self.stopped: set[str] = set()
        self.silence_status = 502
        self.refuses = self.in_part = False
        self.http = requests.Session()
        self.http.trust_env = False
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> ComfyService:
        self.up()
        return self

    def __exit__(self, *error: object) -> None:
        self.forget()
        self.down()
        self.http.close()

    def client(self) -> bridge.ComfyUIClient:
        return bridge.ComfyUIClient(f"http://127.0.0.1:{self.port}", poll_seconds=0.02)

    def client_workflow(self, number: int) -> dict[str, Any]:
        picture = {"width": 16, "height": 16, "batch_size": 1, "color": number}
        graph: dict[str, Any] = {
            "1": {"class_type": "NoSuchNode" if self.refuses else "EmptyImage", "inputs": picture},
            "2": {"class_type": "TryGate", "inputs": {"image": ["1", 0], "gate": str(self.folder / "end")}},
            "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": f"row{number}"}},
        }
        if self.in_part:  # of two savers the last one, whose file is the row's, needs what is not there
            graph["20"] = {"class_type": "SaveImage", "inputs": {**graph["9"]["inputs"], "filename_prefix": "mask"}}
            graph["7"] = {"class_type": "LoadImage", "inputs": {"image": "gone.png"}}
            graph["9"] = graph.pop("9")
            graph["9"]["inputs"]["images"] = ["7", 0]
        return graph

    def paid(self, number: int) -> int:
        return Counter(self.bill)[number]

    def ids_there(self) -> list[str]:
        return self.ids

    def finish(self) -> None:
        self._end("")

    def fail(self, reason: str) -> None:
        self._end(reason)

    def _end(self, words: str) -> None:
        end = self.folder / "end"
        ready = self.folder / "ready"
        ready.write_text(words, "utf-8")
        ready.replace(end)
        until(self._is_idle, what="an idle ComfyUI")
        end.unlink()

    def forget(self) -> None:
        self._ask("POST", "/queue", json={"clear": True})
        until(self._is_interrupted, what="an idle ComfyUI")
        self._ask("POST", "/history", json={"clear": True})

    def busy(self, times: int) -> None:
        self.orders += ["busy"] * times

    def refuse(self) -> None:
        self.refuses = True

    def answer_lost(self, *, accepted: bool) -> None:
        self.orders.append("lost after" if accepted else "lost before")

    def down(self) -> None:
        self.proxy.shutdown()
        self.proxy.server_close()

    def up(self) -> None:
        service = self

        class Handler(_Handler):
            def do_GET(self) -> None:
                service.passes(self, b"")

            def do_POST(self) -> None:
                service.passes(self, self.rfile.read(int(self.headers["Content-Length"])))

        self.proxy = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.proxy.daemon_threads = True
        threading.Thread(target=self.proxy.serve_forever, args=(0.02,), daemon=True).start()

    def silent(self, times: int) -> None:
        self.silences += times

    def deaf(self, times: int) -> None:
        self.deafness += times

    def is_result(self, path: Path, number: int) -> bool:
        with Image.open(path) as picture:
            return picture.convert("RGB").getpixel((0, 0)) == (0, 0, number)

    def cancelled(self) -> int:
        until(self._is_idle, what="what was stopped to end")
        return len(self.stopped)

    # ------------------------------------------------------------------ ComfyUI behind the proxy

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(method, self.comfy.url + path, timeout=120, **options)

    def _is_idle(self) -> bool:
        queue = self._ask("GET", "/queue").json()
        return not (queue["queue_running"] or queue["queue_pending"])

    def _is_interrupted(self) -> bool:
        """Asked for again and again: what comes before a prompt has begun is forgotten when it begins."""
        self._ask("POST", "/interrupt", json={})
        return self._is_idle()

    def passes(self, request: _Handler, body: bytes) -> None:
        """A request goes on to ComfyUI, its answer back; unless something else was ordered."""
        sends = request.command == "POST" and request.path == "/prompt"
        order = self.orders.pop(0) if sends and self.orders else ""
        if order == "lost before":
            return request.hang_up()
        if order == "busy":
            return request.reply(429, b"{}", {"Retry-After": "0.01"})
        if self.silences and request.path.startswith(("/queue", "/history")):
            self.silences -= 1
            return request.reply(self.silence_status, b"{}", {})  # a proxy: ComfyUI was not asked
        if self.deafness and request.path == "/interrupt":
            self.deafness -= 1
            return request.reply(502, b"{}", {})
        kind = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        with requests.Session() as http:
            http.trust_env = False
            url = self.comfy.url + request.path
            answer = http.request(request.command, url, data=body, headers=kind, timeout=120)
            if sends and answer.status_code == 200:
                self.bill.append(json.loads(body)["prompt"]["1"]["inputs"]["color"])
                self.ids.append(answer.json()["prompt_id"])
            if request.path == "/interrupt":
                self.stopped.add(json.loads(body)["prompt_id"])
            return request.hang_up() if order else request.reply(answer.status_code, answer.content, {})


class _Handler(BaseHTTPRequestHandler):
    def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        """Answer; who has gone away meanwhile hears nothing."""
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def hang_up(self) -> None:
        """No answer."""
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def processes(folder: Path) -> Iterator[Any]:
    """One ComfyUI for each host, from when it is first asked for."""
    running: dict[str, ComfyProcess] = {}

    def of(host: str) -> ComfyProcess:
        if host not in running:
            running[host] = comfyui(folder / f"comfyui-{host}", host)
            running[host].start()
        return running[host]

    try:
        yield of
    finally:
        for comfy in running.values():
            comfy.kill()
