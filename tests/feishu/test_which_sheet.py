"""One task table, several sheets: a sheet that was renamed is still its own, and one sheet's tasks keep no row of
another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing_support import PICTURE, STATUS, Team, rows

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture

JUNE, JULY, KIND = "6月", "7月", "图片合成"


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(3), sheet_title=JUNE) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


def addressed(team: Team, task_id: str, title: str = JUNE) -> str:
    """As it is named when it is submitted."""
    document = dataclasses.replace(team.settings, feishu_sheet_name=title).document
    team.db.table.update(
        task_id, lambda task: dataclasses.replace(task, document=document, publisher=team.db.table.keep_table_id())
    )
    return task_id


def test_a_sheet_that_was_renamed_gets_its_results_under_its_new_name(feishu: FeishuStandIn, tmp_path: Path) -> None:
    """The reason says which setting to change; who does so and starts again has all of it delivered."""
    team = Team(feishu, tmp_path)
    first, waiting = (addressed(team, team.finished(number)) for number in (2, 3))
    team.publisher.flush(frozenset([waiting]))
    assert team.state(first) is FeishuState.PUSHED
    feishu.sheet.title = "商品"
    team.publisher = team.new_publisher()
    team.publisher.flush()
    assert "FEISHU_SHEET_NAME" in (team.record(waiting).outbox.last_error or "")
    team.publisher = team.new_publisher(feishu_sheet_name="商品")
    team.publisher.unblock()
    team.publisher.flush()
    team.assert_delivered(waiting)
    assert len(feishu.sheet.picture_writes) == 2


def test_another_sheet_of_the_spreadsheet_gets_none_of_them(feishu: FeishuStandIn, tmp_path: Path) -> None:
    team = Team(feishu, tmp_path)
    waiting = addressed(team, team.finished(3))
    team.publisher.flush(frozenset([waiting]))
    team.publisher.number()
    other = feishu.add_sheet(JULY, rows(3))
    team.publisher = team.new_publisher(feishu_sheet_name=JULY)
    for _ in range(2):
        team.publisher.flush()
        assert team.state(waiting) is FeishuState.PENDING
    assert not other.picture_writes
    team.publisher = team.new_publisher()
    team.publisher.flush()
    team.assert_delivered(waiting)


def test_a_newer_result_of_another_sheet_supersedes_none(feishu: FeishuStandIn, tmp_path: Path) -> None:
    july = feishu.add_sheet(JULY, rows(3))
    team = Team(feishu, tmp_path)
    older = addressed(team, team.finished(2))
    newer = addressed(team, team.finished_anew(2), JULY)
    team.new_publisher(feishu_sheet_name=JULY).flush()
    assert team.state(newer) is FeishuState.PUSHED
    team.publisher.flush()
    assert team.state(older) is FeishuState.PUSHED
    for sheet in (feishu.sheet, july):
        assert isinstance(sheet.row(2)[PICTURE], Picture)
        assert sheet.row(2)[STATUS] == "已完成"


def test_a_task_of_one_sheet_keeps_no_row_of_another(feishu: FeishuStandIn, tmp_path: Path) -> None:
    """June's result waits for a person, and July has the same products. What is not known keeps its row."""
    feishu.add_sheet(JULY, rows(3))
    team = Team(feishu, tmp_path)
    june = addressed(team, team.finished(2))
    feishu.sheet.protect()
    team.publisher.flush()
    assert team.state(june) is FeishuState.BLOCKED

    def left(title: str, *, noted: bool) -> list[int]:
        settings = dataclasses.replace(team.settings, feishu_sheet_name=title)
        client, db = FeishuClient(settings), DatabaseManager(tmp_path)
        read = client.read_rows()
        db.document = lambda: settings.document
        if noted:
            assert settings.document is not None
            assert settings.sheet is not None
            db.sheets.note(settings.document, settings.sheet)
        return [row.row_number for row in db.rows_without_task(read, KIND)]

    assert left(JULY, noted=False) == [2, 3, 4], "another title is another sheet, unless it is known to be the same"
    assert left(JULY, noted=True) == [2, 3, 4]
    assert left(JUNE, noted=True) == [3, 4]
    feishu.sheet.title = "商品"
    assert left("商品", noted=True) == [3, 4], "it is the same one"
