"""What a look costs: as many files are opened with ten thousand finished tasks as with a hundred."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from operator import and_
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from publishing_support import Team
from table_support import DAY, MONTH, finish, img, pushed

from wfrecovery.bridge.table.index import TICK_SECONDS
from wfrecovery.bridge.table.record_json import record_to_json
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.server_routes.page.preview import asking_tasks
from wfrecovery.server_routes.page.status import Status
from wfrecovery.server_routes.page.task_query import TaskQuery
from wfrecovery.server_routes.recovery.startup import RecoveryState

_FEW, _MANY = 100, 10_000
_ASKING = 3


class Looks:
    """Counts what is opened and listed below a folder, by whoever does it."""

    def __init__(self) -> None:
        self._folder, self._seen = "", Counter[str]()
        sys.addaudithook(self._heard)  # for good: there is no way to take one away

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder and event in ("open", "os.listdir", "os.scandir"):
            path = arguments[0]
            if isinstance(path, str | os.PathLike) and str(path).startswith(self._folder):
                self._seen[event] += 1

    @contextmanager
    def counted(self, folder: Path) -> Iterator[Counter[str]]:
        """What happens in here."""
        self._folder, self._seen = str(folder), Counter()
        try:
            yield self._seen
        finally:
            self._folder = ""


_looks = Looks()


def a_table(team: Team, finished: int) -> None:
    """So many tasks that are done with, and a few that wait for a person."""
    done, active = (team.db.table.folder / name for name in ("done", "active"))
    (done / MONTH).mkdir(parents=True)
    active.mkdir(parents=True, exist_ok=True)
    like = _text(pushed(finish(img(1, comfyui_task_id="prompt 1"))))  # to make each by itself takes long
    for number in range(1, finished + 1):
        task_id = img(number).task_id
        text = like.replace(img(1).task_id, task_id).replace("prompt 1", f"prompt {number}")
        (done / MONTH / f"{task_id}.json").write_text(text, "utf-8")
    for number in range(1, _ASKING + 1):
        asks = TaskRecord(f"job_{DAY}_{number:03}", stage=Stage.ASKING)
        (active / f"{asks.task_id}.json").write_text(_text(asks), "utf-8")
    earlier = time.time() - 10 * TICK_SECONDS
    for place in (*done.rglob("*"), *active.rglob("*"), done, active):
        os.utime(place, (earlier, earlier))
    assert len(team.db.index.entries()) == finished + _ASKING  # as after the start


def _text(record: TaskRecord) -> str:
    return json.dumps(record_to_json(record), ensure_ascii=False)


def status_of(team: Team) -> Status:
    """As the plugin puts it together; ComfyUI itself is asked nothing that lies on the disk."""
    nobody: Any = SimpleNamespace(
        version="",
        worker_alive=True,
        behind=None,
        waiting=0,
        last_error=None,
        error=None,
        why_not_publishing=None,
        current=team.settings,
    )
    nobody.state = RecoveryState()
    return Status(
        host=nobody,
        db=team.db,
        writer=nobody,
        recovery=nobody,
        publisher=team.publisher,
        page_settings=nobody,
        boot_id="boot",
        started="2026-11-28T10:00:00.000+00:00",
        standstill=lambda: None,
    )


def one_flush(team: Team) -> None:
    """A finished task into the sheet."""
    assert team.publisher.flush().pushed


def one_task(team: Team) -> None:
    """From its entry to its end."""
    team.finished_anew(4)


_WORK: dict[str, Callable[[Team], object]] = {
    "status": lambda team: status_of(team).now(),
    "preview": lambda team: asking_tasks(team.db),
    "tasks": lambda team: TaskQuery.of({"limit": "20"}).page(team.db),
    "search": lambda team: TaskQuery.of({"q": "nobody"}).page(team.db),
    "by prompt": lambda team: TaskQuery.of({"comfyui_task_id": "prompt 7"}).page(team.db),
    "outbox": lambda team: team.publisher.due(),
    "one task": one_task,
    "one flush": one_flush,
}


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, Counter[str]]]:
    """By what is done, and with how many tasks there. The least of three times: a record that was written within the
    same tick of the disk's clock is read another time, and so are our own beats."""
    found: dict[str, dict[int, Counter[str]]] = {what: {} for what in _WORK}
    for finished in (_FEW, _MANY):
        folder = tmp_path_factory.mktemp(f"table-{finished}")
        with FeishuStandIn([{"产品名": f"产品{n}", "模特名": "", "提示词": ""} for n in range(1, 6)]) as feishu:
            feishu.limits.sheet_calls_per_second = None
            team = Team(feishu, folder)
            a_table(team, finished)
            times = [_counted_once(team, folder) for _ in range(3)]
            for what in _WORK:
                found[what][finished] = reduce(and_, (seen[what] for seen in times))
    return found


def _counted_once(team: Team, folder: Path) -> dict[str, Counter[str]]:
    found = {}
    for what, work in _WORK.items():
        work(team) if what not in ("one task", "one flush") else None
        with _looks.counted(folder) as seen:
            work(team)
        found[what] = Counter(seen)
    return found


@pytest.mark.parametrize("what", list(_WORK))
def test_it_costs_the_same_with_ten_thousand_tasks(what: str, costs: dict[str, dict[int, Counter[str]]]) -> None:
    few, many = costs[what][_FEW], costs[what][_MANY]
    assert many == few
    assert many["open"] < 60


def test_what_is_counted_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with _looks.counted(tmp_path) as seen:
        (tmp_path / "a").read_text()
        list(tmp_path.iterdir())
        os.listdir(tmp_path)
    (tmp_path / "a").read_text()
    assert seen["open"] == 1
    assert seen["os.listdir"] + seen["os.scandir"] == 2
