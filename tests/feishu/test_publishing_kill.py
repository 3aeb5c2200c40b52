"""The publisher is killed at each of its steps, and a `main.py` at each call to Feishu, those that write the numbers
among them; after a restart the sheet is as if nothing had happened.

Some steps, drawn by chance; `WFRECOVERY_HISTORIES=5000` kills at all of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, VIDEO, Team, rows

from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import DEFAULT_HEADER, FeishuStandIn, Picture

#: How many moments of each program are tried; all where it is more than there are.
MOMENTS = int(os.environ.get("WFRECOVERY_HISTORIES", "60")) // 5
SEED = random.randrange(10**6) if os.environ.get("WFRECOVERY_SEED") == "random" else 7
NUMBER, MARK = "任务号", "备注"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork: one interpreter for each step")


class Victim:
    """Runs one flush after the other, each in a process of its own."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("publishing_process.py")
        self._process = subprocess.Popen(
            [sys.executable, program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def does(self, what: str, team: Team, kill_at: int = 0) -> dict[str, Any]:
        """How many steps it took, and the signal that ended it (0: none)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"what": what, "folder": str(team.folder), "environ": team.feishu.environment(), "kill_at": kill_at}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    process = Victim()
    yield process
    process.close()


def moments(steps: int) -> list[int]:
    """Those at which it is killed."""
    chosen = sorted(random.Random(SEED).sample(range(1, steps + 1), min(MOMENTS, steps)))
    print(f"{len(chosen)} of {steps} steps (seed {SEED}): {chosen}")
    return chosen


def batch(feishu: FeishuStandIn, folder: Path) -> tuple[Team, list[str], list[str]]:
    """Two pictures, a video and a failed row, none of them pushed."""
    team = Team(feishu, folder)
    return team, [team.finished(2), team.finished(4)], [team.filmed(3), team.failed(5)]


def test_killed_at_any_step_a_restart_ends_the_same(victim: Victim, tmp_path: Path) -> None:
    with FeishuStandIn(rows(5)) as feishu:
        team, _, _ = batch(feishu, tmp_path / "whole")
        total = victim.does("flush", team)
        assert total["signal"] == 0
        assert not team.db.unpushed()
    assert total["steps"] > 60
    for step in moments(total["steps"]):
        with FeishuStandIn(rows(5)) as feishu:
            team, pictures, others = batch(feishu, tmp_path / str(step))
            died = victim.does("flush", team, step)
            assert died["signal"] == signal.SIGKILL, step
            assert len(feishu.sheet.picture_writes) <= 2
            if step % 2:
                feishu.sheet.sort("产品名", reverse=True)
            team.publisher = team.new_publisher()
            team.flush_until_quiet()
            for task_id in pictures:
                team.assert_delivered(task_id)
            assert [team.state(task_id) for task_id in others] == [FeishuState.PUSHED] * 2, step
            assert (team.row("产品2")[VIDEO], team.row("产品4")[STATUS]) == ("已完成", "失败")
            assert team.row("产品5")[STATUS] == "否"
            assert len(feishu.sheet.picture_writes) == 2, f"a picture was written twice after step {step}"
            assert feishu.overlaps == 0


def marked_rows() -> list[dict[str, Any]]:
    """Three rows of one product, one model and the same pictures, told apart by their 提示词 alone."""
    shown = {"产品名": "裙子", "模特名": "模特", "产品图": b"\x89PNG product", "模特图": b"\x89PNG model"}
    return [{**row, **shown, MARK: f"mark {number}"} for number, row in enumerate(rows(3), start=1)]


def tasks_of(team: Team) -> dict[str, list[TaskRecord]]:
    """The tasks that were paid for, by the mark of the row that each was entered for."""
    found: dict[str, list[TaskRecord]] = {}
    for note in sorted(team.folder.glob("*.mark")):
        found.setdefault(note.read_text(encoding="utf-8"), []).append(team.record(note.stem))
    return found


def assert_shown_once(team: Team, number: int, task: TaskRecord) -> None:
    """The row shows its picture, which was sent once."""
    row, digest = team.feishu.sheet.row(number), hashlib.sha256((team.folder / task.output_files[0]).read_bytes())
    assert isinstance(row[PICTURE], Picture), task
    assert row[PICTURE].sha256 == digest.hexdigest(), task
    assert row[STATUS] == "已完成", task
    assert [write.sha256 for write in team.feishu.sheet.picture_writes].count(digest.hexdigest()) == 1, task


def test_a_batch_that_is_killed_at_any_call_goes_on_where_it_was(victim: Victim, tmp_path: Path) -> None:
    """One row is renamed and all are moved while it is dead."""
    header = (*DEFAULT_HEADER, NUMBER, MARK)
    with FeishuStandIn(marked_rows(), header=header) as feishu:
        whole = Team(feishu, tmp_path / "whole")
        total = victim.does("batch", whole)
        assert len(feishu.sheet.picture_writes) == 3
        assert feishu.count("values_batch_update") == 2, "numbers, and statuses"
    told = 0
    for step in moments(total["steps"]):
        with FeishuStandIn(marked_rows(), header=header) as feishu:
            team, sheet = Team(feishu, tmp_path / str(step)), feishu.sheet
            assert victim.does("batch", team, step)["signal"] == signal.SIGKILL, step
            sheet.set("B2", "改了名")
            sheet.sort(MARK, reverse=True)
            for _ in range(3):
                assert victim.does("batch", team)["signal"] == 0
            assert len(tasks_of(team)) == 3
            for mark, (task, *more) in tasks_of(team).items():
                (number,) = sheet.find_rows(**{MARK: mark})
                what = f"step {step} of {total['steps']}, {mark}: {[task, *more]}"
                assert not more, what
                assert sheet.find_rows(**{NUMBER: task.task_id}) in ([], [number]), what
                if mark == "mark 1" and task.feishu_state is FeishuState.BLOCKED:  # nobody has seen its number there
                    assert task.identity.task_id is None, what
                    assert task.outbox.last_error, what
                    told += 1
                else:
                    assert_shown_once(team, number, task)
    print(f"{told} times a person was asked about the renamed row")
