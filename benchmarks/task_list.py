"""What 10 000 tasks cost the page: its requests on a full table, as multiples of the same requests on an empty one.

    python -m benchmarks.task_list [--tasks 10000] [--requests 60]     (from the project's folder)

Both run in one ComfyUI (the stand-in) after another on the same machine, so that the ratios mean the same everywhere.
Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import requests

from wfrecovery.bridge import DatabaseManager, TaskRecord
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.record_json import record_to_json
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import FeishuState, Result
from wfrecovery.demo.launch import ComfyProcess

ROOT = Path(__file__).resolve().parent.parent
#: What the page asks, by what a person does.
REQUESTS = {
    "the counts": "/wfrecovery/status",
    "the first page": "/wfrecovery/tasks?limit=50",
    "scrolled to the middle": "/wfrecovery/tasks?limit=50&offset={middle}",
    "a filter": "/wfrecovery/tasks?limit=50&status=已完成&workflow_type=图片合成",
    "a search with hits": "/wfrecovery/tasks?limit=50&q=产品77",
    "a search without": "/wfrecovery/tasks?limit=50&q=nobody",
    "a prompt_id (main.py)": "/wfrecovery/tasks?comfyui_task_id=00000000-0000-4000-8000-000000000000",
}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=60, help="of each kind; the median counts")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ComfyProcess(Path(folder), plugins=[ROOT]) as comfy:
        empty = measure(comfy.url, given)
        comfy.kill()
        fill(comfy.output, given.tasks)
        comfy.start()
        first = seconds(comfy.url + "/wfrecovery/status", requests.Session())
        # a folder that has just changed is looked through more often: see TICK_SECONDS in bridge/task_index.py
        time.sleep(2.5)
        full = measure(comfy.url, given)
        busy = measure(comfy.url, given, comfy.output)
    print(f"{given.tasks} tasks against an empty table (1.0 = as fast); median of {given.requests} requests\n")
    print(f"{'':32}{'at rest':>10}{'while tasks finish':>22}")
    for name in REQUESTS:
        print(f"{name:32}{full[name] / empty[name]:10.1f}{busy[name] / empty[name]:22.1f}")
    print(f"\n{'the first answer after a start':32}{first / empty['the counts']:10.1f}")
    return 0


def seconds(url: str, session: requests.Session) -> float:
    """One request."""
    begun = time.perf_counter()
    session.get(url, timeout=300).raise_for_status()
    return time.perf_counter() - begun


def measure(url: str, given: argparse.Namespace, output: Path | None = None) -> dict[str, float]:
    """The median of each kind; with `output` a task finishes there between any two requests."""
    session = requests.Session()
    session.trust_env = False
    db = DatabaseManager(output) if output is not None else None
    found = {}
    for name, path in REQUESTS.items():
        times = []
        for _ in range(given.requests):
            if db is not None:
                db.table.create(done_task(db.table.claim_id("图片合成"), 1))
            times.append(seconds(url + path.format(middle=given.tasks // 2), session))
        found[name] = statistics.median(times)
    return found


def done_task(task_id: str, number: int) -> TaskRecord:
    """As a row's task is when its picture is in the sheet."""
    row = {"row_number": number, "product_name": f"产品{number}", "model_name": "模特A", "prompt": "白底，柔光，正面"}
    return new_task(
        task_id,
        Stage.FINISHED,
        row_number=number,
        product_name=f"产品{number}",
        model_name="模特A",
        workflow_type="图片合成",
        comfyui_task_id=f"00000000-0000-4000-8000-{number:012}",
        results=(Result(f"img/2026-01-01/产品{number}_模特A.png"),),
        attempts=1,
        finished_at="2026-01-01T10:00:00.000+08:00",
        row_data=row,
    ).with_outbox(state=FeishuState.PUSHED)


def fill(output: Path, tasks: int) -> None:
    """A year of rows, as files: faster than by the table, which syncs each."""
    for number in range(1, tasks + 1):
        month, day = number % 12 + 1, number % 28 + 1
        folder = output / "wfrecovery" / "done" / f"2026-{month:02}"
        folder.mkdir(parents=True, exist_ok=True)
        record = done_task(f"img_2026{month:02}{day:02}_{number:03}", number)
        text = json.dumps({**record_to_json(record), "revision": 5}, ensure_ascii=False, indent=1)
        (folder / f"{record.task_id}.json").write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
