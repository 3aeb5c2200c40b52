"""SIGKILL of `main.py` at each step of the cloud's path: no row wrong, none paid for twice without being asked."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_support import WORKFLOW

from wfrecovery import bridge
from wfrecovery.bridge.table.changes import sent_once_more
from wfrecovery.demo.runninghub_host.stand_in import RunningHubStandIn, Workflow, shows

#: How many moments are tried; all of them where it is more than there are.
MOMENTS = int(os.environ.get("WFRECOVERY_HISTORIES", "60")) // 4
SEED = random.randrange(10**6) if os.environ.get("WFRECOVERY_SEED") == "random" else 7
ROWS = (2, 3)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


class Program:
    """The process that runs one `main.py` after the other."""

    def __init__(self, cloud: RunningHubStandIn) -> None:
        self.cloud = cloud
        here = Path(__file__).parent
        env = {**os.environ, "PYTHONPATH": str(here), "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, str(here / "cloud_program.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=env,
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def runs(self, folder: Path, mark: str, kill: int = 0) -> dict[str, Any]:
        """One run, to its end or to its death."""
        assert self.process.stdin
        assert self.process.stdout
        order = {"url": self.cloud.url, "key": self.cloud.api_key, "output": str(folder)}
        self.process.stdin.write(json.dumps({**order, "rows": ROWS, "mark": mark, "kill": kill}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    workflows = {WORKFLOW: Workflow(nodes={"6": ("text",)}, seconds=0.0)}
    with RunningHubStandIn(workflows) as cloud, Program(cloud) as found:
        yield found


def tasks_of(folder: Path) -> dict[int, list[bridge.TaskRecord]]:
    table = bridge.WorkflowDatabase(folder)
    found: dict[int, list[bridge.TaskRecord]] = {number: [] for number in ROWS}
    for task_id in table.ids():
        task = table.get(task_id)
        found[task.row_number or 0].append(task)
    return found


def test_killed_at_each_await(program: Program, tmp_path: Path) -> None:
    whole = program.runs(tmp_path / "whole", "whole")
    assert whole["ended"], whole
    steps = range(1, whole["steps"] + 1)
    moments = sorted(random.Random(SEED).sample(steps, min(MOMENTS, len(steps))))
    asked = 0
    for moment in moments:
        folder, mark = tmp_path / f"at{moment}", f"mark{moment}"
        before = program.runs(folder, mark, kill=moment)
        after = program.runs(folder, mark)
        assert after["ended"], (moment, before, after)
        for number, tasks in tasks_of(folder).items():
            said = f"row {number} {mark}"
            what = f"killed at step {moment} of {whole['steps']} (seed {SEED}): row {number}, {tasks}"
            ended = [task for task in tasks if task.stage is bridge.Stage.FINISHED]
            asking = [task for task in tasks if task.stage is bridge.Stage.ASKING]
            paid = program.cloud.paid(said)
            assert paid <= 1, what
            assert len(ended) + len(asking) == 1, what
            if ended:
                (name,) = ended[0].output_files
                assert paid == 1, what
                assert shows((folder / name).read_bytes(), said), what
            asked += len(asking)
            for task in asking:  # a person decides, and it comes to its end as well
                bridge.WorkflowDatabase(folder).update(task.task_id, sent_once_more)
        if asked and program.runs(folder, mark)["ended"]:
            for number, tasks in tasks_of(folder).items():
                assert any(task.stage is bridge.Stage.FINISHED for task in tasks), (moment, number, tasks)
                assert program.cloud.paid(f"row {number} {mark}") <= 2
    print(f"{len(moments)} moments of {whole['steps']}, {asked} rows asked about (seed {SEED})")


def test_the_kill_falls_where_it_should(program: Program, tmp_path: Path) -> None:
    """The program does what it says: else nothing above was killed."""
    assert program.runs(tmp_path, "a", kill=5) == {"ended": False, "killed": 9}
    assert program.runs(tmp_path, "a")["ended"]
