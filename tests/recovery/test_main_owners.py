"""Several programs at once, and programs that die: real `main.py`s, real signals, and the stand-in of ComfyUI."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import preloaded
import pytest
import requests
from main_processes import PATIENCE, RENDER_NODES, ROOT, Main, Supervised, pictures, records, until

from wfrecovery.bridge.recovery.decisions import LOST_UNSUBMITTED
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.launch import ComfyProcess

GATE = ROOT / "tests" / "engines" / "gate_nodes"
KILLER = 2
#: Seconds that the row runs, and how many wait behind it. At 0 s it is over before anybody hears that it was taken.
KILLED_AFTER = ((0.3, 40), (0.0, 12))


# ------------------------------------------------------------------ a row that takes ComfyUI down


@pytest.mark.parametrize(("after", "behind"), KILLED_AFTER)
def test_main_py_lives_through_a_row_that_kills_comfyui(after: float, behind: int, tmp_path: Path) -> None:
    """ComfyUI has no plugin and counts nothing. The rows that waited behind it are not to blame."""
    output, rows = tmp_path / "output", range(KILLER, KILLER + behind + 1)
    with Supervised(tmp_path, after=after) as comfy, Main(comfy.url, output, rows, killer=KILLER) as main:
        assert main.ends() == list(rows)
        assert_only_the_killer_failed(comfy, output)


@pytest.mark.parametrize(("after", "behind"), KILLED_AFTER)
def test_main_py_dies_too_with_each_row_that_kills_comfyui(after: float, behind: int, tmp_path: Path) -> None:
    """As where both are on the computer that hangs then."""
    output, mains, rows = tmp_path / "output", list[Main](), range(KILLER, KILLER + behind + 1)

    def die_with_it() -> None:
        mains[-1].kill()

    with Supervised(tmp_path, before=die_with_it, after=after) as comfy:
        while True:
            known = comfy.killed()
            with Main(comfy.url, output, rows, killer=KILLER, steps="once" if mains else "") as main:
                mains.append(main)
                until(lambda: main.process.poll() is not None)
                if main.process.returncode == 0:
                    break
                assert comfy.killed() > known
                assert len(mains) < 12
        assert_only_the_killer_failed(comfy, output)


class DiesAtOnce(http.server.BaseHTTPRequestHandler):
    """A ComfyUI that goes down in the moment in which it is asked to render, and is back, with nothing in its queue,
    before anybody asks it anything else."""

    sent: ClassVar[list[str]] = []
    #: what a proxy before it answers in its place
    answers: ClassVar[int | None] = None

    def do_POST(self) -> None:
        self.sent.append(self.path)
        self.close_connection = True
        if self.answers is not None:
            self.send_error(self.answers)

    def do_GET(self) -> None:
        empty = {"queue_running": [], "queue_pending": []} if self.path.startswith("/queue") else {}
        body = json.dumps(empty).encode()
        known = self.path.startswith(("/queue", "/history"))
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("proxy", [None, 502], ids=["", "behind a proxy"])
def test_a_row_that_kills_comfyui_is_counted_although_that_is_back_before_anybody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: int | None
) -> None:
    DiesAtOnce.sent.clear()
    monkeypatch.setattr(DiesAtOnce, "answers", proxy)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), DiesAtOnce) as comfy:
        threading.Thread(target=comfy.serve_forever, daemon=True).start()
        with Main(f"http://127.0.0.1:{comfy.server_port}", tmp_path, range(2, 3)) as main:
            assert main.ends() == [2]
        comfy.shutdown()
    (task,) = records(tmp_path).values()
    assert (task.stage, task.attempts, DiesAtOnce.sent) == (Stage.FAILED, 3, ["/prompt"] * 3)


def assert_only_the_killer_failed(comfy: Supervised, output: Path) -> None:
    """A row may take the blame once, and come before the killer each time: rendered, and nobody had heard of that."""
    tasks = records(output)
    killer = tasks.pop(KILLER)
    assert (killer.stage, killer.attempts) == (Stage.FAILED, 3)
    assert "3 times" in (killer.error_message or "")
    for number in [number for number, task in tasks.items() if task.error_message == LOST_UNSUBMITTED.en]:
        assert pictures(comfy, number) == 0  # everything was over before it left; its cell says 否 for the next batch
        assert tasks.pop(number).feishu_state is FeishuState.OFF
    assert {task.stage for task in tasks.values()} <= {Stage.FINISHED}
    blamed = {number: task.attempts for number, task in tasks.items() if task.attempts}
    assert set(blamed.values()) <= {1}, blamed
    assert comfy.killed() == 3 + len(blamed)
    assert {pictures(comfy, number) for number in tasks} <= set(range(1, comfy.killed() + 1))


# ------------------------------------------------------------------ several at once


PLACES = ("plugin, one table", "plugin, two tables", "no plugin")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ComfyProcess, Path]]:
    """A ComfyUI, and the folder of the `main.py`s."""
    plugins = [RENDER_NODES, GATE, *([] if request.param == "no plugin" else [ROOT])]
    with ComfyProcess(tmp_path / "comfyui", plugins=plugins) as comfy:
        yield comfy, comfy.output if request.param == "plugin, one table" else tmp_path / "output"


def test_two_main_py_at_once(place: tuple[ComfyProcess, Path]) -> None:
    """On one table, and partly with the same rows: each row once, and nobody waits for the other's batch."""
    comfy, output = place
    with (
        Main(comfy.url, output, range(2, 8), steps="added,submitted") as slow,
        Main(comfy.url, output, range(5, 12)) as quick,
    ):
        slow.hears("added")
        rows = quick.ends()
        assert set(range(8, 12)) <= set(rows)
        slow.go_on("all")
        assert sorted({*rows, *slow.ends()}) == list(range(2, 12))
    assert {pictures(comfy, number) for number in range(2, 12)} == {1}
    assert {task.stage for task in records(output).values()} == {Stage.FINISHED}


def test_a_row_between_its_entry_and_its_submission_is_left_alone(place: tuple[ComfyProcess, Path]) -> None:
    """By a second `main.py`, and by the command line, which is content; then the first one goes on."""
    comfy, output = place
    with Main(comfy.url, output, range(2, 3), steps="added") as first:
        first.hears("added 2")
        with Main(comfy.url, output, range(0)) as second:
            assert second.ends() == []
        assert recover(comfy, output).returncode == 0
        (task,) = records(output).values()
        assert (task.stage, task.error_message) == (Stage.CREATED, None)
        first.go_on()
        assert first.ends() == [2]
    assert pictures(comfy, 2) == 1


def test_what_a_killed_main_py_had_entered_and_not_submitted_is_free(place: tuple[ComfyProcess, Path]) -> None:
    comfy, output = place
    with Main(comfy.url, output, range(2, 3), steps="added") as first:
        first.hears("added 2")
    # The plugin decides about what it renders alone. Where a busy machine has kept it from trying the folder's locks,
    # the owner is known to be dead only some time after its last beat.
    told = "the next main.py takes over" if output == comfy.output else "lost before it was submitted"
    until(lambda: told in recover(comfy, output).stdout)
    with Main(comfy.url, output, range(2, 3)) as again:
        assert set(again.ends()) == {2}
    assert pictures(comfy, 2) == 1


def recover(comfy: ComfyProcess, output: Path) -> subprocess.CompletedProcess[str]:
    """`wfrecovery recover` on that table."""
    env = {**os.environ, "COMFYUI_URL": comfy.url, "WFRECOVERY_OUTPUT": str(output), "LANG": "C.UTF-8"}
    command = [sys.executable, "-c", "from wfrecovery.bridge.cli.main import main; raise SystemExit(main())", "recover"]
    return preloaded.run(command, env=env, timeout=PATIENCE)


# ------------------------------------------------------------------ a menu, and Ctrl-C


@pytest.mark.parametrize(
    ("place", "step"),
    [(PLACES[0], "submitted"), (PLACES[1], "following"), (PLACES[2], "added"), (PLACES[2], "following")],
    indirect=["place"],
)
def test_ctrl_c_in_a_main_py_with_a_menu(place: tuple[ComfyProcess, Path], step: str) -> None:
    """A real SIGINT; the program goes back to its menu, and the next thing that it does is to recover."""
    comfy, output = place
    with none_begins(comfy) as go_on, Main(comfy.url, output, range(2, 5), steps=f"menu,{step}") as main:
        for number in (2, 3, 4):
            main.hears(f"{'submitted' if step == 'following' else step} {number}")
        main.process.send_signal(signal.SIGINT)
        main.hears("menu")
        main.go_on("all")
        until(lambda: sum(line.startswith("recovered") for line in main.said) == 2)
        go_on.touch()  # what ends before it follows again is not reported
        rows = main.ends()  # what was never submitted is 失败, and its row is taken again
        assert rows == ([2, 2, 3, 3, 4, 4] if step == "added" else [2, 3, 4])
    assert {pictures(comfy, number) for number in (2, 3, 4)} == {1}


@contextlib.contextmanager
def none_begins(comfy: ComfyProcess) -> Iterator[Path]:
    """What is sent waits in ComfyUI's queue until that file is there."""
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "TryGate", "inputs": {"image": ["1", 0], "gate": str(comfy.base / "end")}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "gate"}},
    }
    requests.post(f"{comfy.url}/prompt", json={"prompt": graph}, timeout=60).raise_for_status()
    yield comfy.base / "end"


def test_page_prompts_that_ask_are_the_page_s(tmp_path: Path) -> None:
    """ComfyUI went down with prompts in its queue that have no row. Beside them a batch begins, and ends."""
    with Supervised(tmp_path, plugin=True) as comfy:
        graph = {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
            "2": {"class_type": "WfrSleep", "inputs": {"image": ["1", 0], "seconds": 600.0}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "page"}},
        }
        for _ in range(9):
            requests.post(f"{comfy.url}/prompt", json={"prompt": graph}, timeout=60).raise_for_status()
        comfy.kill()
        until(lambda: asking(comfy) == 9)
        with Main(comfy.url, comfy.output, range(2, 5)) as main:
            assert main.ends() == [2, 3, 4]
        assert asking(comfy) == 9


def asking(comfy: ComfyProcess) -> int:
    """How many prompts wait for a person."""
    with contextlib.suppress(OSError):
        return int(comfy.get("/wfrecovery/status")["recovery"]["asking"])
    return -1
