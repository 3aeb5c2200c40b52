"""Of several results of one row the newest counts; a result of another row that looked like it is none of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from publishing_support import MP4, PICTURE, STATUS, VIDEO, Image, Team, rows

from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import DEFAULT_HEADER, FeishuStandIn, Picture, Sheet

MARK = "备注"
PICTURES, VIDEOS = "图片合成", "图生视频"


def alike(count: int, *, pictures: bool) -> list[dict[str, Any]]:
    """Rows that say the same, and show other pictures, or none."""
    texts = {"产品名": "裙子", "模特名": "模特", "提示词": "白色", STATUS: "否", VIDEO: "否"}
    made_of = [{"产品图": b"\x89PNG p%d" % n, "模特图": b"\x89PNG m%d" % n} if pictures else {} for n in range(count)]
    return [{**texts, **made_of[n], MARK: f"mark {n}"} for n in range(count)]


@pytest.fixture(params=[True, False], ids=["other pictures", "no pictures"])
def team(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Team]:
    cells = [*alike(2, pictures=request.param), *rows(2)]
    with FeishuStandIn(cells, header=(*DEFAULT_HEADER, MARK)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        yield Team(feishu, tmp_path)


def rendered(team: Team, kind: str) -> list[str]:
    """One task for each of the rows that are alike."""
    tasks = [team.db.add_workflow_task(row, kind) for row in team.publisher._feishu.read_rows()[:2]]
    for number, task_id in enumerate(tasks):
        path = team.folder / f"{task_id}.{'png' if kind == PICTURES else 'mp4'}"
        if kind == PICTURES:
            Image.new("RGB", (4, 4), (number, 3, 77)).save(path)
        else:
            path.write_bytes(MP4)
        assert team.db.complete_task(task_id, [path])
    return tasks


def _deleted(sheet: Sheet, row: int) -> None:
    sheet.delete_row(row)


def _retyped(sheet: Sheet, row: int) -> None:
    sheet.set(f"{sheet.find('提示词')}{row}", "黑色")


def _renamed(sheet: Sheet, row: int) -> None:
    sheet.set(f"{sheet.find('产品名')}{row}", "裤子")


@pytest.mark.parametrize("happens", [_deleted, _retyped, _renamed])
@pytest.mark.parametrize("kind", [PICTURES, VIDEOS])
@pytest.mark.parametrize("last", [0, 1])
def test_a_row_that_was_like_another_gets_its_own_result_when_that_one_is_not_there_any_more(
    team: Team, kind: str, last: int, happens: Callable[[Sheet, int], None]
) -> None:
    """The other one has got its result, and is the newer one or the older one."""
    tasks, sheet = rendered(team, kind), team.feishu.sheet
    mine, other = tasks[last], tasks[1 - last]
    team.publisher.flush(frozenset([mine]))
    assert team.state(other) is FeishuState.PUSHED
    happens(sheet, 3 - last)
    team.publisher = team.new_publisher()
    team.publisher.flush()
    assert team.state(mine) is FeishuState.PUSHED
    (row,) = sheet.find_rows(**{MARK: f"mark {last}"})
    assert sheet.row(row)[STATUS if kind == PICTURES else VIDEO] == "已完成"
    assert kind == VIDEOS or isinstance(sheet.row(row)[PICTURE], Picture)
    assert len(sheet.picture_writes) == (2 if kind == PICTURES else 0)


@pytest.mark.parametrize("status", ["否", "不要", "已完成", ""])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_older_result_is_not_written_over_a_newer_one_whatever_a_person_says_of_it(
    team: Team, status: str, *, at_once: bool
) -> None:
    team.finished(5)  # how the revision counts is known by then
    team.publisher.flush()
    older, newer, sheet = team.finished(4), team.finished_anew(4), team.feishu.sheet
    sheet.set(f"{sheet.find(STATUS)}4", status)
    team.publisher.flush(frozenset() if at_once else frozenset([older]))
    sheet.set(f"{sheet.find(STATUS)}4", status)
    for _ in range(3):
        team.publisher.flush()
        team.publisher = team.new_publisher()
    assert (team.state(newer), team.state(older)) == (FeishuState.PUSHED, FeishuState.OFF)
    assert team.record(older).outbox.superseded_by == newer
    assert len(sheet.picture_writes) == 2


@pytest.mark.parametrize("status", ["否", "不要", "已完成"])
def test_what_another_program_has_delivered_since_this_one_has_read_counts(team: Team, status: str) -> None:
    for number in (5, 4):  # how the revision counts is known by then
        team.finished(number)
        team.publisher.flush()
    sheet = team.feishu.sheet
    sheet.set(f"{sheet.find(PICTURE)}4", None)
    sheet.set(f"{sheet.find(STATUS)}4", "否")
    team.failed(3)
    team.publisher.flush()
    older, newer = team.finished_anew(4), team.finished_anew(4)
    assert team.new_publisher().flush(frozenset([older])).pushed == [newer]
    sheet.set(f"{sheet.find(STATUS)}4", status)
    team.publisher.flush()
    assert team.record(older).outbox.superseded_by == newer
    assert len(sheet.picture_writes) == 3
