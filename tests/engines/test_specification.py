"""The specification's own program, killed after each of its lines: each row rendered once, and in the sheet once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_support import WORKFLOW
from PIL import Image
from plugin_support import EVERYWHERE

from wfrecovery import bridge
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture
from wfrecovery.demo.launch import ComfyProcess
from wfrecovery.demo.runninghub_host.stand_in import Output, RunningHubStandIn, Workflow, shows

ROWS = (2, 3)
KINDS = ("IMAGE_COMPOSITION", "IMAGE_TO_VIDEO")
LINES = ("begins", "entered", "submitted", "noted", "rendered", "saved", "completed")
KILLS = ["recovered", *(f"{kind}: {line}" for kind in KINDS for line in LINES)]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


class Team:
    """Their program, an engine and a sheet."""

    def __init__(
        self, program: subprocess.Popen[str], folder: Path, feishu: FeishuStandIn, engine: dict[str, str]
    ) -> None:
        self.process, self.folder, self.feishu, self.engine = program, folder, feishu, engine

    def runs(self, kill: str = "") -> dict[str, Any]:
        """One run, to its end or to its death."""
        assert self.process.stdin
        assert self.process.stdout
        order = {**self.engine, "env": self.feishu.environment(), "folder": str(self.folder), "kill": kill}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def shown(self, number: int) -> bytes:
        """The picture in a row."""
        cell = self.feishu.sheet.row(number)["产品模特合成图"]
        assert isinstance(cell, Picture)
        return cell.data

    def writes(self, number: int) -> int:
        """How often a picture was written into a row."""
        return sum(write.row == number for write in self.feishu.sheet.picture_writes)


@pytest.fixture(scope="module")
def program() -> Iterator[subprocess.Popen[str]]:
    """Their program, which has imported all it needs; each of its runs is a process of its own."""
    here = Path(__file__).parent
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WFRECOVERY_", "FEISHU_"))}
    with subprocess.Popen(
        [sys.executable, str(here / "specification.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**env, "PYTHONPATH": str(here), "PYTHONWARNINGS": "ignore"},
    ) as started:
        yield started
        started.kill()


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    values = {"图片是否已处理": "否", "视频是否已实现": "否", "模特名": "模特"}
    with FeishuStandIn([{"产品名": f"产品{n}", "提示词": f"row {n}", **values} for n in ROWS]) as found:
        found.limits.sheet_calls_per_second = None
        yield found


def assert_all_is_done(team: Team) -> None:
    tasks = bridge.WorkflowDatabase(team.folder / "output")
    ended = [task for task_id in tasks.ids() if (task := tasks.get(task_id)).stage is bridge.Stage.FINISHED]
    assert sorted((task.row_number, task.workflow_type) for task in ended) == sorted(
        (number, kind) for number in ROWS for kind in ("图片合成", "图生视频")
    )
    for number in ROWS:
        row = team.feishu.sheet.row(number)
        assert (row["图片是否已处理"], row["视频是否已实现"]) == ("已完成", "已完成")
        assert team.writes(number) == 1


#: A client of their own differs from ours in how it submits, and in what a former run has submitted.
THEIRS = [("theirs", f"{KINDS[0]}: {line}") for line in ("entered", "submitted", "rendered")]


@pytest.mark.parametrize(("engine", "kill"), [*(("cloud", kill) for kill in KILLS), *THEIRS])
def test_in_a_cloud_killed_after_each_line(
    engine: str, kill: str, program: subprocess.Popen[str], feishu: FeishuStandIn, tmp_path: Path
) -> None:
    film = Workflow(nodes={"6": ("text",)}, seconds=0.0, outputs=(Output("9", "mp4"),))
    workflows = {WORKFLOW: Workflow(nodes={"6": ("text",)}, seconds=0.0), "102": film}
    with RunningHubStandIn(workflows) as cloud:
        place = {"engine": engine, "url": cloud.url, "key": cloud.api_key}
        team = Team(program, tmp_path, feishu, place)
        assert team.runs(kill) == {"ended": False, "killed": 9}
        for _ in range(2):
            assert team.runs() == {"ended": True}
        assert_all_is_done(team)
        for number in ROWS:
            assert shows(team.shown(number), f"图片合成 row {number}")
            assert (cloud.paid(f"图片合成 row {number}"), cloud.paid(f"图生视频 row {number}")) == (1, 1)


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyProcess]:
    with ComfyProcess(tmp_path_factory.mktemp("comfyui")) as found:
        yield found


@pytest.mark.parametrize("kill", KILLS if EVERYWHERE else [*KILLS[: 1 + len(LINES)], f"{KINDS[1]}: submitted"])
def test_in_a_comfyui_killed_after_each_line(
    kill: str, comfy: ComfyProcess, program: subprocess.Popen[str], feishu: FeishuStandIn, tmp_path: Path
) -> None:
    rendered = comfy.base / "output" / "spec"
    before = {path.name for path in rendered.glob("*_.*")}
    team = Team(program, tmp_path, feishu, {"engine": "comfyui", "url": comfy.url})
    assert team.runs(kill) == {"ended": False, "killed": 9}
    for _ in range(2):
        assert team.runs() == {"ended": True}
    new = [path for path in rendered.glob("*_.*") if path.name not in before]
    assert len(new) == 2 * len(ROWS), new
    for number in ROWS:
        (tmp_path / "shown.png").write_bytes(team.shown(number))
        with Image.open(tmp_path / "shown.png") as picture:
            assert picture.convert("RGB").getpixel((0, 0)) == (0, 0, number)
        assert team.writes(number) == 1
