"""Two ComfyUIs and a main.py on one table, as processes, and what the group's bot hears of them; time runs faster."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import preloaded
import pytest
from plugin_support import PATIENCE, Comfy, picture, row, until
from publishing_support import rows

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the folders are shared by links")

#: What stands for how long, in seconds: enough for a busy machine to take over from a dead program.
GONE, STILL = 15.0, 24.0
FASTER = f"""
import sys, threading, time

def faster():
    for name, module in list(sys.modules.items()):
        if name.endswith(("bridge.standstill.watch", "publishing.standstill")):
            vars(module).update(GONE_SECONDS={GONE}, BLOCKED_SECONDS=2.0, MINUTE={STILL / 15}, MOVED_SECONDS=1.0)
            vars(module).update(LOOK_SECONDS=0.5)
"""
#: A plugin beside ours. Its node says nothing while it works.
QUIET = (
    FASTER
    + """
class Quiet:
    CATEGORY, RETURN_TYPES, FUNCTION, WFRECOVERY_MAKES = "tests", ("IMAGE",), "rest", "same"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "seconds": ("FLOAT", {"default": 1.0, "max": 3600.0})}}

    def rest(self, image, seconds):
        time.sleep(seconds)
        return (image,)

NODE_CLASS_MAPPINGS = {"Quiet": Quiet}

def once_loaded():
    while True:
        faster()
        time.sleep(0.1)

threading.Thread(target=once_loaded, daemon=True).start()
"""
)
#: Enters the rows FIRST … LAST, submits those that are to be, follows them to the end.
MAIN = (
    FASTER
    + """
import asyncio, json
from wfrecovery import bridge
from wfrecovery.bridge.standstill import watch

faster()
first, last, graph = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])

async def main():
    settings = bridge.load_settings()
    db = bridge.DatabaseManager(settings.output_dir)
    comfy, feishu = bridge.ComfyUIClient(settings.comfyui_url), bridge.FeishuClient(settings)
    recovery = bridge.TaskRecoveryManager(db, comfy, feishu)
    await comfy.wait_until_reachable(150)
    await recovery.check_and_recover_tasks()
    rows = [bridge.RowData(n, product_name=f"产品{n - 1}", model_name=f"模特{n - 1}") for n in range(first, last)]
    tasks = [db.add_workflow_task(row, "图片合成") for row in rows]
    print("entered", flush=True)
    if graph is None:
        await asyncio.sleep(3600)
    for task in tasks:
        await recovery.submit(task, graph)
    print("submitted", flush=True)
    await asyncio.gather(*map(recovery.finish, tasks))
    await recovery.wait_until_done()

asyncio.run(main())
print("done", flush=True)
"""
)


class Programs:
    """They share an output folder, the sheet and the group."""

    def __init__(self, base: Path, feishu: FeishuStandIn) -> None:
        self.feishu, self._ends = feishu, ExitStack()
        self.env = {**feishu.environment(), "FEISHU_WEBHOOK_URL": feishu.webhook_url}
        quiet = base / "quiet"
        quiet.mkdir()
        (quiet / "__init__.py").write_text(QUIET, "utf-8")
        output = base / "a" / "output"
        output.mkdir(parents=True)
        self.first, self.second = (Comfy(base / name, env=self.env, plugins=[quiet]) for name in ("a", "b"))
        (base / "b" / "output").symlink_to(output)
        for comfy in (self.first, self.second):
            self._ends.callback(comfy.kill)

    def close(self) -> None:
        self._ends.close()

    def main_py(self, first: int, last: int, graph: dict[str, Any] | None) -> Any:
        """A main.py of the first ComfyUI; it has entered its rows, and submitted them where there is a graph."""
        env = {**os.environ, **self.env, "COMFYUI_URL": self.first.url, "WFRECOVERY_OUTPUT": str(self.first.output)}
        words = [str(first), str(last), json.dumps(graph)]
        process = preloaded.talking([sys.executable, "-c", MAIN, *words], env=env)
        self._ends.callback(_end, process)
        assert process.stdout is not None
        assert process.stdout.readline() == "entered\n"
        if graph is not None:
            assert process.stdout.readline() == "submitted\n"
        return process

    def texts(self) -> list[str]:
        return [message["content"]["text"] for message in self.feishu.messages]

    def hears(self, number: int, *, seconds: float = 3.0) -> list[str]:
        """So many messages, and no more within some seconds."""
        until(lambda: len(self.texts()) >= number, what=f"{number} messages: {self.texts()}")
        time.sleep(seconds)
        assert len(self.texts()) == number, self.texts()
        return self.texts()


def _end(process: Any) -> None:
    process.kill()
    process.wait(PATIENCE)
    for pipe in (process.stdin, process.stdout):
        pipe.close()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    with FeishuStandIn(rows(9)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        started = Programs(tmp_path, feishu)
        try:
            yield started
        finally:
            started.close()


def quiet(prefix: str, seconds: float) -> dict[str, Any]:
    """A graph whose node reports no progress."""
    graph = picture(prefix)
    graph["2"] = {"class_type": "Quiet", "inputs": {"image": ["1", 0], "seconds": seconds}}
    graph["9"]["inputs"]["images"] = ["2", 0]
    return graph


def held(prefix: str, folder: Path) -> dict[str, Any]:
    """A graph whose node reports progress until there is a file `end` in that folder."""
    graph = picture(prefix)
    graph["2"] = {"class_type": "TryGate", "inputs": {"image": ["1", 0], "gate": str(folder / "end")}}
    graph["9"]["inputs"]["images"] = ["2", 0]
    return graph


def test_a_node_that_hangs_is_told_once_by_three_programs(programs: Programs) -> None:
    programs.first.start()
    programs.second.start()
    main = programs.main_py(2, 4, quiet("row", 600))
    texts = programs.hears(1)
    assert "自 " in texts[0]
    assert "1 个等待中，1 个运行中" in texts[0]
    assert "第 2 行 产品1" in texts[0]
    for comfy in (programs.first, programs.second):
        until(lambda comfy=comfy: (comfy.status()["standstill"] or {}).get("kind") == "still")
    programs.second.restart()
    until(lambda: programs.second.status()["standstill"], what="who starts again knows it")
    main.kill()
    assert programs.hears(1, seconds=GONE) == texts


def test_a_main_py_that_is_killed_is_told_once_by_two_comfyuis(programs: Programs) -> None:
    programs.first.start()
    programs.second.start()
    main = programs.main_py(2, 5, None)
    main.kill()
    main.wait()
    texts = programs.hears(1)
    assert "main.py" in texts[0]
    assert "3 个任务在等它" in texts[0]
    programs.first.restart()
    assert programs.hears(1, seconds=GONE) == texts


def test_a_comfyui_that_is_killed_is_told_by_main_py_which_goes_on_when_it_is_back(programs: Programs) -> None:
    programs.first.start()
    main = programs.main_py(2, 5, held("row", programs.first.base))
    programs.first.until_stage(_prompt(programs.first), "running")
    programs.first.kill()
    texts = programs.hears(1)
    assert f"ComfyUI（{programs.first.url}）没有响应，3 个任务在等它" in texts[0]
    (programs.first.base / "end").touch()
    programs.first.start()
    assert main.stdout is not None
    assert main.stdout.readline() == "done\n"
    until(lambda: {programs.feishu.sheet.row_texts(n)["图片是否已处理"] for n in (2, 3, 4)} == {"已完成"})
    assert [text for text in programs.texts() if "没有响应" in text] == texts


def _prompt(comfy: Comfy) -> str:
    return until(lambda: next((r["comfyui_task_id"] for r in comfy.records() if r["row_number"] == 2), None))


def test_a_comfyui_that_is_killed_beside_another_is_not_told(programs: Programs) -> None:
    """The other one takes over; what renders long, and reports progress, is no standstill for any of them."""
    programs.first.start()
    programs.second.start()
    long = programs.first.queue(picture("long", seconds=2 * STILL), row(2))
    programs.first.until_stage(long, "running")
    programs.first.kill()
    programs.second.finished(long)
    assert [text for text in programs.texts() if "完成" not in text] == []
