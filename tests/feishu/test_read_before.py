"""A result that comes into the sheet while rows are read: the reading does not show it, and nobody pays again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from publishing_support import STATUS, VIDEO, Team, rows

from wfrecovery.bridge.table.changes import pushed
from wfrecovery.bridge.table.rows import RowData
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Sheet

PICTURES, VIDEOS = "图片合成", "图生视频"


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    with FeishuStandIn(rows(4)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        yield Team(feishu, tmp_path)


def read(team: Team) -> list[RowData]:
    return team.publisher._feishu.read_rows()


def to_do(team: Team, found: list[RowData], kind: str) -> list[str]:
    said = {PICTURES: "status", VIDEOS: "video_status"}[kind]
    left = team.db.rows_without_task([row for row in found if getattr(row, said) == "否"], kind)
    return [row.product_name for row in left]


def _nothing(sheet: Sheet) -> None:
    """Nobody is at the sheet."""


def _turned(sheet: Sheet) -> None:
    sheet.sort("产品名", reverse=True)


def _inserted(sheet: Sheet) -> None:
    sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", "提示词": "新", STATUS: "不要", VIDEO: "不要"})


@pytest.mark.parametrize("happens", [_nothing, _turned, _inserted])
@pytest.mark.parametrize("kind", [PICTURES, VIDEOS])
@pytest.mark.parametrize("restarted", [True, False])
def test_what_is_delivered_after_the_rows_were_read_is_not_rendered_again(
    team: Team, kind: str, happens: Callable[[Sheet], None], *, restarted: bool
) -> None:
    make = team.finished if kind == PICTURES else team.filmed
    tasks = [make(2), make(4)]
    happens(team.feishu.sheet)
    found = read(team)
    team.publisher.flush()
    assert {team.state(task_id) for task_id in tasks} == {FeishuState.PUSHED}
    if restarted:
        team.db = type(team.db)(team.folder)
    assert sorted(to_do(team, found, kind)) == ["产品2", "产品4"]
    assert sorted(to_do(team, read(team), kind)) == ["产品2", "产品4"]


@pytest.mark.parametrize("kind", [PICTURES, VIDEOS])
def test_what_a_person_wants_anew_is_to_do_in_the_next_reading(team: Team, kind: str) -> None:
    task_id = team.finished(2) if kind == PICTURES else team.filmed(2)
    team.publisher.flush()
    assert team.state(task_id) is FeishuState.PUSHED
    sheet = team.feishu.sheet
    sheet.set(f"{sheet.find(STATUS if kind == PICTURES else VIDEO)}2", "否")
    assert to_do(team, read(team), kind) == ["产品1", "产品2", "产品3", "产品4"]


def test_a_row_that_wanted_something_else_when_it_was_read_is_to_do(team: Team) -> None:
    task_id = team.finished(2)
    team.publisher.flush()
    assert team.state(task_id) is FeishuState.PUSHED
    sheet = team.feishu.sheet
    sheet.set(f"{sheet.find('提示词')}2", "另一个")
    sheet.set(f"{sheet.find(STATUS)}2", "否")
    found = read(team)
    team.db.table.update(task_id, pushed)
    assert to_do(team, found, PICTURES) == ["产品1", "产品2", "产品3", "产品4"]
