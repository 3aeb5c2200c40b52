"""How long `main.py` takes to begin with 200 unfinished tasks: seconds, and as multiples of a start with an engine that
has them all in its queue.

    python -m benchmarks.startup [--tasks 200]     (from the project's folder)

The engine is an HTTP server in a process of its own that answers as ComfyUI does, and as RunningHub. Hung: it accepts
connections and never answers. Refused: nobody listens. Forgotten: it answers, and knows none of them. What importing
`bridge` takes is told apart, CPU beside seconds: a busy machine is slow with the same work. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import multiprocessing
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wfrecovery import bridge
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import QueuePlace

GRAPH = {"1": {"class_type": "SaveImage", "inputs": {}}}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200)
    tasks = parser.parse_args().tasks
    usual = None
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "from wfrecovery import bridge; import aiohttp"], check=True)
    print(f"Python and its imports{'':8}{time.monotonic() - began:10.1f}")
    print(f"{tasks} unfinished tasks{'':9}{'seconds':>10}{'CPU':>8}{'ratio':>8}{'questions':>12}{'submits':>10}")
    for kind, answers in itertools.product(("ComfyUI", "RunningHub"), ("queued", "hung", "refused", "forgotten")):
        with engine(answers, tasks) as (url, asked), tempfile.TemporaryDirectory() as folder:
            client: Any = (
                bridge.ComfyUIClient(url) if kind == "ComfyUI" else bridge.RunningHubClient("key", base_url=url)
            )
            taken, work = seconds(Path(folder), client, tasks)
            counts = asked()
        usual = usual or taken
        sent = sum(count for path, count in counts.items() if path in ("/prompt", "/task/openapi/create"))
        line = f"{taken:10.1f}{work:8.1f}{taken / usual:8.1f}{sum(counts.values()) - sent:12}{sent:10}"
        print(f"{kind:14}{answers:16}{line}", flush=True)
    return 0


def seconds(folder: Path, client: Any, number: int) -> tuple[float, float]:
    """Until what can be decided is decided, and the batch may begin; and how many of them this process has worked."""
    db = bridge.DatabaseManager(folder)
    for place in range(number):
        task_id = db.table.claim_id("图片合成")
        fields = {"row_number": place + 2, "workflow_type": "图片合成", "engine": client.engine}
        queue = QueuePlace(queued_at=f"2026-11-28T10:00:00.{place:06}+00:00")
        task = new_task(task_id, Stage.QUEUED, comfyui_task_id=f"job-{place}", queue=queue, **fields)
        db.table.create(task, {"prompt_id": f"job-{place}", "prompt": GRAPH})
    recovery = bridge.TaskRecoveryManager(db, client, settings=bridge.Settings())
    began, worked = time.monotonic(), time.process_time()

    async def start() -> tuple[float, float]:
        await recovery.check_and_recover_tasks()
        return time.monotonic() - began, time.process_time() - worked

    return asyncio.run(start())


@contextlib.contextmanager
def engine(answers: str, tasks: int) -> Iterator[tuple[str, Callable[[], dict[str, int]]]]:
    """Its address, and what tells how often each of its paths was asked for."""
    if answers in ("hung", "refused"):
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            if answers == "hung":
                listening.listen(1000)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", dict
        return
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(answers, tasks, theirs), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{ours.recv()}"

    def asked() -> dict[str, int]:
        ours.send("asked")
        counts: dict[str, int] = ours.recv()
        return counts

    try:
        yield url, asked
    finally:
        process.kill()
        process.join()


def serve(answers: str, tasks: int, pipe: Any) -> None:
    """The engine's process: tells its port, and whenever it is asked, its counts."""
    asked: dict[str, int] = {}
    queued = [[place, f"job-{place}", {}, {}, []] for place in range(tasks)] if answers == "queued" else []

    class Handler(BaseHTTPRequestHandler):
        """As much of both services as a start asks for."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body: Any) -> None:
            path = self.path.split("?")[0]
            path = "/history" if path.startswith("/history/") else path
            asked[path] = asked.get(path, 0) + 1
            if path == "/prompt":
                queued.append([len(queued), body["prompt_id"], {}, {}, []])
            told = {
                "/queue": {"queue_running": [], "queue_pending": queued},
                "/history": {},
                "/prompt": {"prompt_id": (body or {}).get("prompt_id")},
                "/task/openapi/outputs": {"code": 813 if answers == "queued" else 807, "msg": "", "data": None},
            }.get(path)
            self.send_response(404 if told is None else 200)
            data = json.dumps(told).encode()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.request_queue_size = 1000
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send(server.server_address[1])
    while pipe.recv():
        pipe.send(dict(asked))


if __name__ == "__main__":
    sys.exit(main())
