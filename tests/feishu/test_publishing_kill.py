"""The publisher is killed at each of its steps; after a restart the sheet is as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from publishing_support import STATUS, VIDEO, Team, rows

from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

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

    def flush(self, team: Team, kill_at: int) -> dict[str, Any]:
        """How many steps it took, and the signal that ended it (0: none)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"folder": str(team.folder), "environ": team.feishu.environment(), "kill_at": kill_at}
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


def batch(feishu: FeishuStandIn, folder: Path) -> tuple[Team, list[str], list[str]]:
    """Two pictures, a video and a failed row, none of them pushed."""
    team = Team(feishu, folder)
    return team, [team.finished(2), team.finished(4)], [team.filmed(3), team.failed(5)]


def test_killed_at_any_step_a_restart_ends_the_same(victim: Victim, tmp_path: Path) -> None:
    with FeishuStandIn(rows(5)) as feishu:
        team, _, _ = batch(feishu, tmp_path / "whole")
        total = victim.flush(team, 0)
        assert total["signal"] == 0
        assert not team.db.unpushed()
    assert total["steps"] > 60
    for step in range(1, total["steps"] + 1):
        with FeishuStandIn(rows(5)) as feishu:
            team, pictures, others = batch(feishu, tmp_path / str(step))
            died = victim.flush(team, step)
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
