"""``python benchmarks/page.py``: how the page's panel feels with a long table, against one that fits on the screen.

Milliseconds, as the browser itself measures them, from what a person does to the painted answer; medians of several
runs. Searching waits for 120 ms of quiet first, which is part of the number. Needs what ``pip install -e '.[test]'``
installs, and a Chromium.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser

from wfrecovery.bridge.table.record_json import record_to_json
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import FeishuState, Outbox, Result
from wfrecovery.demo.launch import ComfyProcess
from wfrecovery.demo.screenshots.browser import BrowserMissingError, ComfyPage, browser, page_settings
from wfrecovery.demo.screenshots.front_end import NEWEST, FrontEndMissingError, front_end

PACKAGE: Final = Path(__file__).resolve().parent.parent
SCREENFUL: Final = 12
#: What the page is meant to keep to, in the units of the numbers.
LIMITS: Final[Mapping[str, float]] = {
    "opened first": 300,
    "opened again": 300,
    "filter": 100,
    "search": 220,
    "rows in the document": 200,
}

_HELPERS: Final = """() => {
window.wfrFrame = () => new Promise(requestAnimationFrame);
window.wfrHook = name => document.querySelector(`[data-wfr="${name}"]`);
window.wfrSize = () => Number(wfrHook("task")?.getAttribute("aria-setsize") ?? 0);
window.wfrUntil = async condition => {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > 20000) throw new Error("not within 20 s: " + condition);
    await wfrFrame();
  }
  await wfrFrame();  // painted
};
}"""
_FIRST_PAINT: Final = """async tab => {
  const button = document.querySelector(tab);
  const start = performance.now();
  button.click();
  await wfrUntil(() => wfrHook("task"));
  return performance.now() - start;
}"""
_CHOOSE: Final = """async ([hook, value, event, size]) => {
  const box = wfrHook(hook);
  box.focus();
  const start = performance.now();
  box.value = value;
  box.dispatchEvent(new Event(event, { bubbles: true }));
  await wfrUntil(() => wfrSize() === size);
  return performance.now() - start;
}"""
_MOST_ROWS: Final = """async () => {
  const list = wfrHook("list");
  let most = 0;
  for (let step = 0; step <= 60; step++) {
    list.scrollTop = (list.scrollHeight - list.clientHeight) * step / 60;
    for (let frame = 0; frame < 3; frame++) {
      await wfrFrame();
      most = Math.max(most, list.querySelectorAll('[role="option"]').length);
    }
  }
  list.scrollTop = 0;
  return most;
}"""


def measure(chromium: Browser, static: Path, tasks: int, runs: int) -> dict[str, float]:
    """The numbers of one table."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        base = Path(folder).resolve() / "comfyui"
        page_settings(base)
        _fill(base / "output", tasks)
        comfy = stack.enter_context(ComfyProcess(base, plugins=[PACKAGE], args=["--front-end-root", str(static)]))
        comfy.get("/wfrecovery/tasks?limit=1")  # the first question reads the table
        page = stack.enter_context(ComfyPage(chromium, comfy.url))
        page.page.evaluate(_HELPERS)
        page.tab().wait_for()
        failed = len(range(0, tasks, 4))
        found: dict[str, list[float]] = {name: [] for name in LIMITS if name != "rows in the document"}
        for run in range(runs + 1):
            tab = ".wfrecovery-tab-button, [data-testid='wfrecovery-tab-button']"
            found["opened again" if run else "opened first"].append(page.page.evaluate(_FIRST_PAINT, tab))
            found["filter"].append(_choose(page, "filter-status", "失败", "change", failed))
            _choose(page, "filter-status", "", "change", tasks)
            found["search"].append(_choose(page, "search", "产品7号", "input", 1))
            _choose(page, "search", "", "input", tasks)
            most = page.page.evaluate(_MOST_ROWS)
            page.close_panel()
    return {**{name: statistics.median(times) for name, times in found.items()}, "rows in the document": most}


def _choose(page: ComfyPage, hook: str, value: str, event: str, size: int) -> float:
    took: float = page.page.evaluate(_CHOOSE, [hook, value, event, size])
    return took


def _fill(output: Path, tasks: int) -> None:
    """Finished tasks, every fourth of them failed."""
    folder = output / "wfrecovery" / "done" / "2026-11"
    folder.mkdir(parents=True)
    for number in range(tasks):
        record = _record(number)
        (folder / f"{record.task_id}.json").write_text(json.dumps(record_to_json(record), ensure_ascii=False), "utf-8")


def _record(number: int) -> TaskRecord:
    failed = number % 4 == 0
    return TaskRecord(
        f"img_20261123_{number + 1:03}",
        row_number=number + 2,
        product_name=f"产品{number}号",
        model_name=f"模特{number % 7}",
        workflow_type="图片合成",
        created_at=f"2026-11-23T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.000+08:00",
        error_message="KSampler (node 5): out of memory" if failed else None,
        stage=Stage.FAILED if failed else Stage.FINISHED,
        attempts=1,
        started_at="2026-11-23T10:00:01.000+08:00",
        finished_at="2026-11-23T10:00:09.000+08:00",
        results=() if failed else (Result(f"row{number + 2}_00001_.png"),),
        outbox=Outbox(FeishuState.PUSHED, pushed_at="2026-11-23T10:00:10.000+08:00"),
    )


def main() -> int:
    """Measure and print; the numbers are for people, so the exit code does not depend on them."""
    parser = argparse.ArgumentParser(prog="python benchmarks/page.py", description="The panel with a long table.")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--front-end", default=NEWEST, help="version of comfyui-frontend-package")
    given = parser.parse_args()
    try:
        static = front_end(given.front_end)
        with browser() as chromium:
            short, long = (measure(chromium, static, tasks, given.runs) for tasks in (SCREENFUL, given.tasks))
    except (BrowserMissingError, FrontEndMissingError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'':22}{SCREENFUL:>8} tasks{given.tasks:>10} tasks{'ratio':>9}{'meant':>9}")
    for name, value in long.items():
        print(f"{name:22}{short[name]:>14.0f}{value:>16.0f}{value / short[name]:>9.1f}{'≤ ' + str(LIMITS[name]):>9}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
