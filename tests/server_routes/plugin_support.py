"""What the suite of the plugin needs: prompts, rows, and a ComfyUI process to send them to."""

from __future__ import annotations

import copy
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
from filelock import FileLock
from PIL import Image

from wfrecovery.bridge.results.whole import why_not_whole
from wfrecovery.demo.launch import ComfyProcess, find_comfyui

ROOT = Path(__file__).resolve().parents[2]
RENDER_NODES = ROOT / "demo" / "render_nodes"
GATE_NODES = ROOT / "tests" / "engines" / "gate_nodes"
#: as many as its bar has
GATE_TICKS = 1_000_000
SHAPES = (5, 6)
REAL = find_comfyui()
NO_REAL = "no real ComfyUI: neither COMFYUI_PATH nor ~/comfy/ComfyUI"
#: Seconds until something is taken to hang: a busy machine is slow, not wrong.
PATIENCE = 180.0

#: After so long a file that is written has another time: clocks of disks tick every few milliseconds, or seconds.
_SETTLED_NS = 2_000_000_000

Found = TypeVar("Found")
#: those that tests have started: of a test that fails the report shows what they have printed
RUNNING: set[Comfy] = set()


def until(condition: Callable[[], Found], timeout: float = PATIENCE, what: str = "") -> Found:
    """The first true answer of `condition`; an AssertionError when there is none in time. What takes long is asked less
    often: to be asked costs who is waited for."""
    began = time.monotonic()
    while not (found := condition()):
        passed = time.monotonic() - began
        assert passed < timeout, f"not within {timeout:g} s: {what or condition}"
        time.sleep(min(0.02 + passed / 50, 0.1))
    return found


def row(number: int, **more: Any) -> dict[str, Any]:
    """`extra_data.wfrecovery` for a row."""
    tag = {"row_number": number, "product_name": f"产品{number}", "model_name": "模特A", "workflow_type": "图片合成"}
    return {**tag, **more}


def picture(
    prefix: str, *, seconds: float = 0.0, gate: str | None = None, color: int = 1, batch: int = 1
) -> dict[str, Any]:
    """A graph: an image, a wait where wanted (for so long, or until the test opens that gate), SaveImage."""
    graph: dict[str, Any] = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": batch, "color": color}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }
    if seconds:
        graph["2"] = {"class_type": "WfrSleep", "inputs": {"image": ["1", 0], "seconds": seconds}}
        graph["9"]["inputs"]["images"] = ["2", 0]
    return graph if gate is None else gated(graph, gate)


def gated(graph: dict[str, Any], gate: str) -> dict[str, Any]:
    """The same, which saves only when the test opens that gate: it runs for as long as it is looked at, however long
    that takes."""
    graph = {**graph, "2": {"class_type": "TryGate", "inputs": {"image": ["1", 0], "gate": f"{gate}.open"}}}
    graph["9"]["inputs"]["images"] = ["2", 0]
    return graph


def slow_save(prefix: str, seconds: float = 600.0, batch: int = 1) -> dict[str, Any]:
    """A graph whose file is whole long before ComfyUI says so."""
    graph = picture(prefix, batch=batch)
    graph["9"] = {
        "class_type": "WfrSlowSave",
        "inputs": {"images": ["1", 0], "filename_prefix": prefix, "seconds": seconds},
    }
    return graph


def failing(prefix: str, message: str) -> dict[str, Any]:
    """A graph whose node raises."""
    graph = picture(prefix)
    graph["2"] = {"class_type": "WfrFail", "inputs": {"image": ["1", 0], "message": message}}
    graph["9"]["inputs"]["images"] = ["2", 0]
    return graph


class AtOnce(Executor):
    """In the place of the writing thread: what is written is seen before anything else happens."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class Comfy(ComfyProcess):
    """A ComfyUI with our plugin and the demo's nodes, and what the tests ask of it."""

    def __init__(self, base: Path, host: str | int = 6, **options: Any) -> None:
        plugins = [ROOT, RENDER_NODES, GATE_NODES, *options.pop("plugins", ())]
        chosen: dict[str, Any] = {"real": REAL} if host == "real" else {"shape": int(host)}
        base.mkdir(parents=True, exist_ok=True)
        super().__init__(base, plugins=plugins, **chosen, **options)
        self.http = requests.Session()
        self.http.trust_env = False
        self._read_so_far: dict[Path, tuple[tuple[int, int, int], dict[str, Any]]] = {}
        RUNNING.add(self)

    def __exit__(self, *error: Any) -> None:
        RUNNING.discard(self)
        self.http.close()
        super().__exit__(*error)

    # ------------------------------------------------------------------ HTTP

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Any request."""
        return self.http.request(method, self.url + path, timeout=PATIENCE, **options)

    def post(self, graph: Mapping[str, Any], tag: Any = None, **body: Any) -> requests.Response:
        """`POST /prompt`."""
        extra_data = {**body.pop("extra_data", {}), **({} if tag is None else {"wfrecovery": tag})}
        return self.call("POST", "/prompt", json={"prompt": graph, "extra_data": extra_data, **body})

    def queue(self, graph: Mapping[str, Any], tag: Any = None, **body: Any) -> str:
        """`POST /prompt` that must be accepted; the prompt_id."""
        answer = self.post(graph, tag, **body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prompt_id"])

    def status(self) -> dict[str, Any]:
        """Our status."""
        return self.call("GET", "/wfrecovery/status").json()

    def tasks(self, **query: Any) -> list[dict[str, Any]]:
        """One page of tasks."""
        return self.call("GET", "/wfrecovery/tasks", params=query).json()["tasks"]

    def act(self, task_id: str, action: str) -> requests.Response:
        """Retry, push or cancel."""
        return self.call("POST", f"/wfrecovery/tasks/{task_id}/{action}", json={})

    def pending(self) -> list[str]:
        """The prompts in the queue: the running one, then those that wait, in their order."""
        queue = self.get("/queue")
        return [item[1] for item in (*queue["queue_running"], *sorted(queue["queue_pending"], key=lambda i: i[0]))]

    def open_gate(self, gate: str) -> None:
        """Let go on what waits there, now or later, also after a restart."""
        (self.base / "input" / f"{gate}.open").touch()

    def until_at_gate(self, gate: str) -> None:
        """Wait until a prompt has come there; it computes no more then."""
        reached = self.base / "input" / f"{gate}.reached"
        until(reached.exists, what=f"a prompt at the gate {gate}")
        reached.unlink()

    def idle(self) -> None:
        """Clear the queue and interrupt what runs; returns when nothing does."""
        self.call("POST", "/queue", json={"clear": True})
        self.interrupt()
        until(lambda: not self.pending(), what="an idle ComfyUI")

    def interrupt(self) -> None:
        """End what runs; asked for again and again, as without the plugin it is forgotten when a prompt just begins."""
        running = self.pending()[:1]

        def ended() -> bool:
            self.call("POST", "/interrupt", json={})
            return self.pending()[:1] != running

        if running:
            until(ended, what="the end of what was interrupted")

    # ------------------------------------------------------------------ the table on disk

    @property
    def table(self) -> Path:
        """The folder of the task table."""
        return self.output / "wfrecovery"

    def records(self) -> list[dict[str, Any]]:
        """Every record on disk, in the order of the ids."""
        found = {}
        for file in [*self.table.glob("active/*.json"), *self.table.glob("done/*/*.json")]:
            try:
                record = self._record_in(file)
            except FileNotFoundError:
                return self.records()  # moved to done/ meanwhile: it may be in neither list
            except json.JSONDecodeError:
                continue  # damaged by the test
            found[record["task_id"]] = record
        return [found[task_id] for task_id in sorted(found)]

    def _record_in(self, file: Path) -> dict[str, Any]:
        """Read again when it is another file, or was changed: tests ask again and again, of hundreds of records."""
        stat = file.stat()
        stamp = stat.st_ino, stat.st_mtime_ns, stat.st_size
        known = self._read_so_far.get(file)
        if known is not None and known[0] == stamp:
            return known[1]
        record: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:  # else it may be written once more under the same stamp
            self._read_so_far[file] = stamp, record
        return record

    def record(self, prompt_id: str) -> dict[str, Any]:
        """The one record of a prompt, from disk."""
        found = [record for record in self.records() if record["comfyui_task_id"] == prompt_id]
        assert len(found) == 1, f"{len(found)} records for {prompt_id}"
        return copy.deepcopy(found[0])

    def texts(self, folder: Path | None = None, pattern: str = "*.json") -> dict[Path, bytes]:
        """What stands in the files of a folder, the table's where none is named. One that is replaced or moved while
        it is read is looked for once more."""
        try:
            return {file: file.read_bytes() for file in (folder or self.table).rglob(pattern) if not file.is_dir()}
        except FileNotFoundError:
            return self.texts(folder, pattern)

    @contextmanager
    def table_locked(self) -> Iterator[None]:
        """Nobody else can write the table meanwhile."""
        with FileLock(self.table / "table.lock"):
            yield

    def graph_file(self, prompt_id: str) -> Path:
        """The file of a prompt's graph."""
        return self.table / "graphs" / f"{self.record(prompt_id)['task_id']}.json"

    def stage(self, prompt_id: str) -> str:
        """The finer stage of a prompt's task."""
        return str(self.record(prompt_id)["metadata"]["stage"])

    def times(self, prompt_id: str, what: str) -> int:
        """How often the story of a prompt's task tells this."""
        return [entry["what"] for entry in self.record(prompt_id)["metadata"]["story"]].count(what)

    def until_stage(self, prompt_id: str, *stages: str) -> dict[str, Any]:
        """Wait for the task to come to one of these stages; its record."""

        def has_come() -> bool:
            """It may have no record yet: while nothing can be written, `POST /prompt` answers all the same."""
            of_it = (record for record in self.records() if record["comfyui_task_id"] == prompt_id)
            return any(record["metadata"]["stage"] in stages for record in of_it)

        until(has_come, what=f"{prompt_id} is {stages}\n{self.log()[-3000:]}")
        return self.record(prompt_id)

    def finished(self, prompt_id: str) -> dict[str, Any]:
        """Wait for the end of a task; its record, which is 已完成."""
        record = self.until_stage(prompt_id, "finished", "failed", "cancelled")
        assert record["status"] == "已完成", record
        return record

    def recovered(self) -> dict[str, Any]:
        """Wait for the recovery of this start; its state."""

        def ended() -> dict[str, Any] | None:
            state = self.status()["recovery"]
            return state if state["state"] == "idle" and state["finished_at"] else None

        return until(ended, what="the recovery")

    def crash(self) -> dict[str, Any]:
        """SIGKILL, start again, wait for the recovery."""
        self.restart()
        return self.recovered()

    # ------------------------------------------------------------------ results

    def pictures(self, pattern: str = "*.png") -> list[Path]:
        """The result files."""
        return sorted(self.output.rglob(pattern))

    def whole_pictures(self, pattern: str = "*.png") -> list[Path]:
        """Those of the result files that are written to their end."""
        return [path for path in self.pictures(pattern) if why_not_whole(path) is None]


def embedded(file: Path) -> dict[str, Any]:
    """What the PNG's own metadata says of its task."""
    with Image.open(file) as image:
        image.load()
        return json.loads(image.info["wfrecovery"])


def _shape_of(comfyui: Path) -> int:
    """How many elements a ComfyUI's queue items have: six from 0.3.67 on."""
    version = re.search(r'__version__ = "([\d.]+)"', (comfyui / "comfyui_version.py").read_text("utf-8"))
    assert version, f"{comfyui} tells no version"
    return 6 if tuple(map(int, version[1].split("."))) >= (0, 3, 67) else 5


#: What the real one shows need not be seen on the stand-in of its shape as well; with this switch it is.
EVERYWHERE = bool(os.environ.get("WFRECOVERY_EVERYWHERE"))
REAL_SHAPE = _shape_of(REAL) if REAL and not EVERYWHERE else None
_STAND_INS = [pytest.param(shape, id=f"stand-in {shape}-tuples") for shape in SHAPES]
_REAL = pytest.param("real", id="real ComfyUI", marks=pytest.mark.skipif(REAL is None, reason=NO_REAL))
stand_ins = pytest.mark.parametrize("host", _STAND_INS)
newer_stand_in = pytest.mark.parametrize("host", _STAND_INS[1:])
real_only = pytest.mark.parametrize("host", [_REAL])
HOSTS = [*(host for host in _STAND_INS if host.values != (REAL_SHAPE,)), _REAL]
all_hosts = pytest.mark.parametrize("host", HOSTS)
#: For what has nothing to do with the shape of a queue's items: the real one, where there is one.
ONE_HOST = HOSTS if EVERYWHERE else [_REAL] if REAL else _STAND_INS[1:]
one_host = pytest.mark.parametrize("host", ONE_HOST)

#: a running process by its host · a new one, with options of `ComfyProcess`
Shared = Callable[[Any], Comfy]
Start = Callable[..., Comfy]
