"""Real `main.py` processes, each told by its arguments what to do; and a ComfyUI that is started again and again."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import preloaded

from wfrecovery import bridge
from wfrecovery.bridge.results.whole import why_not_whole
from wfrecovery.demo.launch import ComfyProcess

ROOT = Path(__file__).parents[2]
RENDER_NODES = ROOT / "demo" / "render_nodes"
#: Guards against hanging alone.
PATIENCE = 180.0

#: A node that takes its ComfyUI down.
KILLER = """
import os, signal, time

class KillComfyUI:
    CATEGORY, RETURN_TYPES, FUNCTION, WFRECOVERY_MAKES = "tests", ("IMAGE",), "kill", "same"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def kill(self, image):
        with open(os.environ["KILLS"], "a") as log:
            log.write("killed\\n")
        time.sleep(float(os.environ["KILL_AFTER"]))
        os.kill(os.getpid(), signal.SIGKILL)

NODE_CLASS_MAPPINGS = {"KillComfyUI": KillComfyUI}
"""

#: Recovers, then brings the rows of FIRST … LAST to their end; tells what it does. `steps` are waited for on its input.
MAIN = """
import asyncio, json, queue, sys, threading
from wfrecovery import bridge

url, output, first, last, killer, steps, seconds = sys.argv[1:]

def say(*words):
    print(*words, flush=True)

steps, lines = steps.split(","), queue.SimpleQueue()
threading.Thread(target=lambda: [lines.put(line) for line in sys.stdin], daemon=True).start()

async def step(name, number=0):
    say(name, number)
    while name in steps:
        try:
            if lines.get_nowait() == "all\\n":
                steps.clear()
            return
        except queue.Empty:
            await asyncio.sleep(0.02)

def workflow(number):
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": number}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"wf/row{number}"}},
    }
    if float(seconds):
        graph["2"] = {"class_type": "WfrSleep", "inputs": {"image": ["1", 0], "seconds": float(seconds)}}
        graph["3"]["inputs"]["images"] = ["2", 0]
    if number == int(killer):
        graph["2"] = {"class_type": "KillComfyUI", "inputs": {"image": ["1", 0]}}
        graph["3"]["inputs"]["images"] = ["2", 0]
    return graph

async def process_row(recovery, db, row):
    task_id = db.add_workflow_task(row, "图片合成")
    await step("added", row.row_number)
    try:
        await recovery.submit(task_id, workflow(row.row_number))
    except bridge.TaskError as error:
        say("refused", row.row_number)
        return None
    await step("submitted", row.row_number)
    return await recovery.finish(task_id)

db, comfy = bridge.DatabaseManager(output), bridge.ComfyUIClient(url)
recovery = bridge.TaskRecoveryManager(db, comfy)

async def main():
    await comfy.wait_until_reachable(150)
    ended = await recovery.check_and_recover_tasks()
    await step("recovered", len(ended))
    rows = [bridge.RowData(n, product_name=f"产品{n}", model_name="模特") for n in range(int(first), int(last))]
    rows = recovery.rows_to_do(rows, "图片合成")
    if any(True for _ in db.table.ids()) and "once" in steps:
        rows = []
    done = await asyncio.gather(*[process_row(recovery, db, row) for row in rows])
    say("batch", sum(task is not None for task in done))
    ended += await recovery.wait_until_done()
    say("end", json.dumps(sorted(task["row_number"] for task in [*ended, *done] if task)))

try:
    asyncio.run(main())
except KeyboardInterrupt:
    say("menu")
    lines.get()
    steps.clear()
    asyncio.run(main())
"""


class Main:
    """One `main.py`. At the end of the block it is killed, if it has not ended."""

    def __init__(
        self, url: str, output: Path, rows: range, *, killer: int = 0, steps: str = "", seconds: float = 0
    ) -> None:
        words = (url, output, rows.start, rows.stop, killer, steps, seconds)
        command = [sys.executable, "-c", MAIN, *map(str, words)]
        self.process = preloaded.talking(command, env={**os.environ, "PYTHONUTF8": "1"})
        self.said: list[str] = []
        self._heard = threading.Condition()
        self._ear = threading.Thread(target=self._listen, daemon=True)
        self._ear.start()

    def __enter__(self) -> Main:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self._ear.join()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self._heard:
                self.said.append(line.rstrip("\n"))
                self._heard.notify_all()

    def hears(self, *beginnings: str) -> str:
        """The first line with that beginning, when it has been said."""
        with self._heard:
            assert self._heard.wait_for(lambda: self._line(beginnings), PATIENCE), (beginnings, self.said)
            return self._line(beginnings)

    def _line(self, beginnings: tuple[str, ...]) -> str:
        return next((line for line in self.said if line.startswith(beginnings)), "")

    def go_on(self, how_far: str = "") -> None:
        """Take the next step, or "all"."""
        assert self.process.stdin
        self.process.stdin.write(how_far + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def ends(self) -> list[int]:
        """The rows that it reports at its end."""
        assert self.process.wait(PATIENCE) == 0, self.said
        self._ear.join()
        rows: list[int] = json.loads(self.hears("end").removeprefix("end "))
        return rows


class Supervised(ComfyProcess):
    """A ComfyUI that is started again whenever it goes down, as systemd does."""

    def __init__(
        self, base: Path, *, before: Callable[[], object] = int, after: float = 0.3, plugin: bool = False
    ) -> None:
        killer = base / "killer"
        killer.mkdir(parents=True)
        (killer / "__init__.py").write_text(KILLER)
        self.kills = base / "kills"
        plugins = [RENDER_NODES, killer, *([ROOT] if plugin else [])]
        super().__init__(base / "comfyui", plugins=plugins, env={"KILLS": str(self.kills), "KILL_AFTER": str(after)})
        self._before, self._over = before, threading.Event()
        self._supervisor = threading.Thread(target=self._supervise)

    def __enter__(self) -> Supervised:
        super().__enter__()
        self._supervisor.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._over.set()
        self.kill()
        self._supervisor.join()
        self.kill()

    def _supervise(self) -> None:
        while not self._over.is_set():
            self.wait(timeout=PATIENCE)
            if not self._over.is_set():
                self._before()
                self.start()

    def killed(self) -> int:
        """How often the node took it down."""
        return len(self.kills.read_text().splitlines()) if self.kills.exists() else 0


def records(output: Path) -> dict[int, bridge.TaskRecord]:
    """The table's rows; a row that has two tasks fails."""
    table = bridge.WorkflowDatabase(output)
    tasks = [table.get(task_id) for task_id in table.ids()]
    rows = {task.row_number: task for task in tasks if task.row_number is not None}
    assert len(rows) == len(tasks)
    return rows


def pictures(comfy: ComfyProcess, number: int) -> int:
    """How often ComfyUI has rendered a row."""
    return sum(why_not_whole(path) is None for path in (comfy.output / "wf").glob(f"row{number}_*.png"))


def until(condition: Callable[[], Any]) -> Any:
    """Its first true answer."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found
