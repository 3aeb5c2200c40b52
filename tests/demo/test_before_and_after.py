"""The same program without and with `bridge`, struck at the same moments: what the cloud has billed, and what the sheet
shows."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import preloaded
import pytest

import wfrecovery
from wfrecovery import bridge
from wfrecovery.demo.feishu_host.stand_in import Fault as FeishuFault
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture
from wfrecovery.demo.runninghub_host.pictures import draw
from wfrecovery.demo.runninghub_host.stand_in import Fault, Output, RunningHubStandIn, Workflow, shows

DEMO = Path(wfrecovery.__file__).parent / "demo"
ROWS = (1, 2, 3, 4)
PICTURES = {"6": ("text",), "10": ("image",), "11": ("image",)}
FILMS = {"6": ("text",), "10": ("image",)}
#: A guard against hanging.
PATIENCE = 240.0


class Office:
    """A sheet of four rows, a cloud, and one of the two programs."""

    def __init__(self, program: str, folder: Path, *, films: bool) -> None:
        self.program, self.folder = program, folder
        rows: list[dict[str, Any]] = [
            {
                "产品图": draw([f"product {number}"], "", "png"),
                "产品名": f"产品{number}",
                "模特图": draw(["model"], "", "png"),
                "模特名": "模特",
                "提示词": f"row {number}",
                "图片是否已处理": "否",
                "视频是否已实现": "否" if films else "",
            }
            for number in ROWS
        ]
        self.feishu = FeishuStandIn(rows)
        self.feishu.limits.sheet_calls_per_second = None
        film = Workflow(nodes=FILMS, outputs=(Output("9", "mp4"),))
        self.cloud = RunningHubStandIn({"1901": Workflow(nodes=PICTURES), "1902": film})
        self.process: Any = None

    def __enter__(self) -> Office:
        self.feishu.start()
        self.cloud.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.cloud.stop()
        self.feishu.stop()

    def environment(self) -> dict[str, str]:
        private = ("WFRECOVERY_", "FEISHU_", "RUNNINGHUB_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(private)}
        return {
            **inherited,
            **self.feishu.environment(),
            "RUNNINGHUB_URL": self.cloud.url,
            "RUNNINGHUB_API_KEY": self.cloud.api_key,
            "WFRECOVERY_CONFIG": str(DEMO / "after" / "config.toml"),
            "WFRECOVERY_OUTPUT": str(self.folder / "output"),
            "OUTPUT": str(self.folder / "output"),
            "POLL_SECONDS": "0.05",
            "PYTHONUTF8": "1",
        }

    def start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", f"wfrecovery.demo.{self.program}", *arguments]
        with (self.folder / "log").open("ab") as log:
            self.process = preloaded.start(command, env=self.environment(), cwd=self.folder, stdout=log, stderr=log)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def run(self, *arguments: str) -> int:
        """A whole run."""
        self.start(*arguments)
        return self.wait()

    def kill_when(self, reached: Callable[[], bool]) -> None:
        self.until(reached)
        assert self.process is not None
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL

    def until(self, reached: Callable[[], bool]) -> None:
        assert self.process is not None
        ends = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < ends, self.log()
            time.sleep(0.02)

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8")

    def renders_until_told(self) -> None:
        self.cloud.workflows["1901"] = Workflow(nodes=PICTURES, seconds=None)

    def finish(self) -> None:
        """The cloud goes on, whoever asks."""
        self.cloud.workflows["1901"] = Workflow(nodes=PICTURES)
        for task in self.cloud.tasks:
            with contextlib.suppress(ValueError):
                self.cloud.finish(task.id)

    def row(self, number: int) -> dict[str, Any]:
        (found,) = self.feishu.sheet.find_rows(产品名=f"产品{number}")
        return self.feishu.sheet.row(found)

    def asking(self) -> list[bridge.TaskRecord]:
        """Tasks that wait for a person."""
        table = bridge.WorkflowDatabase(self.folder / "output")
        return [task for task in table.active() if task.stage is bridge.Stage.ASKING]

    def decide(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "wfrecovery.bridge.cli", "decide", *arguments]
        preloaded.run(command, env=self.environment()).check_returncode()

    def became(self, number: int) -> set[str]:
        """What is wrong with a row, by the bill and the sheet."""
        row, mark = self.row(number), f"row {number}"
        picture = row["产品模特合成图"]
        found = set()
        bill = Counter(task.workflow_id for task in self.cloud.tasks if task.has(mark))
        if any(times > 1 for times in bill.values()):
            found.add("paid twice")
        if isinstance(picture, Picture):
            found |= shown_instead(picture.data, mark)
        if row["图片是否已处理"] == "已完成" and not isinstance(picture, Picture):
            found.add("lost")
        if sum(write.row_texts["产品名"] == f"产品{number}" for write in self.feishu.sheet.picture_writes) > 1:
            found.add("written twice")
        return found

    def wrong(self) -> set[str]:
        """The same of all rows, and of a row that got what is none of its own."""
        strangers = [write for write in self.feishu.sheet.picture_writes if not write.row_texts["产品名"]]
        return set().union(*map(self.became, ROWS)) | ({"into a stranger's row"} if strangers else set())

    def assert_all_are_right(self) -> None:
        assert self.wrong() == set(), self.log()
        for number in ROWS:
            row = self.row(number)
            assert row["图片是否已处理"] == "已完成", self.log()
            assert isinstance(row["产品模特合成图"], Picture)
            assert self.cloud.paid(f"row {number}") == 1


def shown_instead(data: bytes, mark: str) -> set[str]:
    try:
        return set() if shows(data, mark) else {"another's picture"}
    except OSError:
        return {"half a picture"}


@pytest.fixture(params=["before", "after"])
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Office]:
    with Office(request.param, tmp_path, films="films" in request.node.name) as found:
        yield found


@dataclass(frozen=True)
class Moment:
    """How the world is until the program is killed, when that is, and what it costs without `bridge`."""

    arrange: Callable[[Office], Any]
    reached: Callable[[Office], bool]
    costs: str


def slow_statuses(office: Office) -> None:
    for call in ("values_put", "values_batch_update"):
        office.feishu.faults.add(FeishuFault.SLOW, match=call, times=None, seconds=PATIENCE)


def a_status_is_there(office: Office) -> bool:
    return any(office.row(number)["图片是否已处理"] == "已完成" for number in ROWS)


MOMENTS = {
    "while rows are rendered": Moment(
        Office.renders_until_told, lambda office: office.cloud.calls["outputs"] >= 12, "paid twice"
    ),
    "before the id has come": Moment(
        lambda office: office.cloud.faults.add(Fault.HANG_AFTER, "create", times=None),
        lambda office: len(office.cloud.tasks) == len(ROWS),
        "paid twice",
    ),
    "while results are fetched": Moment(
        lambda office: office.cloud.faults.add(Fault.HANG_BEFORE, "download", times=None),
        lambda office: office.cloud.calls["download"] >= len(ROWS),
        "paid twice",
    ),
    "while statuses are written": Moment(slow_statuses, a_status_is_there, "lost"),
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_killed(moment: Moment, office: Office) -> None:
    moment.arrange(office)
    office.start()
    office.kill_when(lambda: moment.reached(office))
    office.cloud.faults.clear()
    office.feishu.faults.clear()
    office.finish()
    code = office.run()
    if office.program == "before":
        assert moment.costs in office.wrong(), office.log()
        return
    asked = office.asking()
    assert (len(asked) > 0) == (code != 0), office.log()
    for task in asked:  # a person looks at the cloud's list, and finds each of them there
        (there,) = [other for other in office.cloud.tasks if other.has(f"row {task.row_number - 1}")]
        office.decide(task.task_id, "arrived", "--id", there.id)
    if asked:
        assert office.run() == 0, office.log()
    office.assert_all_are_right()


def test_an_answer_is_lost(office: Office) -> None:
    office.cloud.faults.add(Fault.RESET_AFTER, "create", times=1)
    code = office.run()
    if office.program == "before":
        assert office.wrong() == {"paid twice"}
        return
    (task,) = office.asking()
    assert code == 1
    assert task.error_message in office.log()
    assert office.run("--retry", "--dry-run") == 1  # it still waits for a person
    assert "0 to be rendered, 0 of them perhaps for a second time; 1 wait for a decision" in office.log()
    assert "decide again: 1 to pay for" in office.log()
    assert office.run("--retry") == 1
    assert office.cloud.paid(f"row {task.row_number - 1}") == 1
    office.decide(task.task_id, "again", "--local")
    assert office.run() == 0, office.log()
    assert office.cloud.paid(f"row {task.row_number - 1}") == 2  # as the person has said
    assert all(not office.became(number) for number in ROWS if number != task.row_number - 1)


def test_a_colleague_inserts_a_row(office: Office) -> None:
    office.renders_until_told()
    office.start()
    office.until(lambda: office.cloud.calls["outputs"] >= 12)
    office.feishu.sheet.insert_row(2, {"模特名": "新来的"})
    office.finish()
    code = office.wait()
    if office.program == "before":
        assert {"another's picture", "into a stranger's row"} <= office.wrong()
        return
    assert code == 0, office.log()
    office.assert_all_are_right()


def test_feishu_is_away_for_a_moment(office: Office) -> None:
    office.feishu.faults.add(FeishuFault.HTML_502, match="values_image", times=2)
    assert office.run() == 0, office.log()
    if office.program == "before":
        assert office.wrong() == {"lost"}
        return
    office.assert_all_are_right()


def test_a_download_breaks_off(office: Office) -> None:
    office.cloud.faults.add(Fault.NO_LENGTH_HALF, "download", times=1)
    assert office.run() == 0, office.log()
    if office.program == "before":
        assert office.wrong() == {"half a picture"}
        return
    office.assert_all_are_right()


def test_a_spreadsheet_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    with Office("after", tmp_path, films=False) as office:
        office.feishu.spreadsheet_token = "wrong"
        assert office.run("--dry-run") == 1
    assert "FEISHU_SPREADSHEET_TOKEN" in office.log().splitlines()[-1]
    assert "Traceback" not in office.log()


def test_films_too_where_nothing_goes_wrong(office: Office) -> None:
    """Both are the same program: without a fault they do the same."""
    assert office.run("--dry-run") == 0
    assert office.cloud.tasks == []
    if office.program == "after":  # four pictures, and the films that are made of them
        assert "8 to be rendered, 0 of them perhaps for a second time" in office.log()
        assert not (office.folder / "output").exists()
    assert office.run() == 0, office.log()
    assert office.wrong() == set()
    assert [office.cloud.paid(f"row {number}") for number in ROWS] == [2, 2, 2, 2]  # a picture and a film
    for number in ROWS:
        (film,) = (office.folder / "output" / "video").glob(f"*/产品{number}_*.mp4")
        assert shows(film.read_bytes(), f"row {number}")
        assert office.row(number)["视频是否已实现"] == "已完成"
    assert office.run() == 0
    assert len(office.cloud.tasks) == 8
