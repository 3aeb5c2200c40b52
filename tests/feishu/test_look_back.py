"""What another table was to deliver, or may have, is looked for in its row before it is written."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, VIDEO, Image, Team

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.look_back import FRESH_SECONDS
from wfrecovery.bridge.recovery.delivering import OUT_OF_REACH_SECONDS
from wfrecovery.bridge.settings import Columns
from wfrecovery.bridge.table.publishers import taken_from_other
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

TWIN = "the other table"


def png(colour: tuple[int, int, int]) -> bytes:
    file = BytesIO()
    Image.new("RGB", (4, 4), colour).save(file, "PNG")
    return file.getvalue()


SOMETHING = png((1, 2, 3))


def known_there(team: Team, task_id: str, *, row_data: dict[str, Any] | None = None, **fields: Any) -> None:
    """Another table has a record of it as well; `row_data`: what else is known of its row."""

    def change(task: TaskRecord) -> TaskRecord:
        return dataclasses.replace(task, twin=TWIN, row_data={**task.row_data, **(row_data or {})}, **fields)

    team.db.table.update(task_id, change)


def shown(team: Team, row: int) -> str | None:
    """The token of the picture in a row."""
    cell = team.feishu.sheet.row(row)[PICTURE]
    return None if cell is None else str(cell.token)


def brought(team: Team, task_id: str, content: bytes | None = None) -> None:
    """Somebody has put the task's result into its row, or something else."""
    task = team.record(task_id)
    own = (team.folder / task.output_files[0]).read_bytes()
    team.feishu.sheet.set(f"G{task.row_number}", content or own)


def later(team: Team, seconds: float = FRESH_SECONDS) -> None:
    team.clock.now += seconds + 1


def flushed(team: Team, task_id: str) -> tuple[FeishuState, str | None, int]:
    """What became of it: its state, who has delivered it, and how many pictures were written."""
    team.publisher.flush()
    outbox = team.record(task_id).outbox
    return outbox.state, outbox.by, len(team.feishu.sheet.picture_writes)


WRITTEN = (FeishuState.PUSHED, None, 1)
THERE = (FeishuState.PUSHED, TWIN, 0)


def test_nobody_takes_over_what_is_fresh() -> None:
    assert FRESH_SECONDS < OUT_OF_REACH_SECONDS / 2


def test_what_was_just_finished_no_other_table_has_delivered(team: Team) -> None:
    task_id = team.finished(2)
    known_there(team, task_id, row_data={"composite_image": None})
    brought(team, task_id)
    team.clock.now = time.time()
    assert flushed(team, task_id) == (FeishuState.PUSHED, None, 0)


AGED: dict[str, dict[str, Any]] = {
    "it has waited": {},
    "it was lost in a crash": {"attempts": 2},
    "it was found after a crash": {"adopted": True},
    "its record was rebuilt": {"rebuilt_at": "2026-11-23T10:00:00+08:00"},
}


@pytest.mark.parametrize("fields", AGED.values(), ids=AGED.keys())
@pytest.mark.parametrize("theirs", [False, True], ids=["its result", "a person's picture"])
def test_what_shows_its_result_was_brought_by_somebody_else_and_nothing_else_was(
    team: Team, fields: dict[str, Any], theirs: bool
) -> None:
    task_id = team.finished(2)
    known_there(team, task_id, row_data={"composite_image": None, "status": "否"}, **fields)
    brought(team, task_id, SOMETHING if theirs else None)
    token = shown(team, 2)
    team.clock.now = time.time() + (0 if fields else FRESH_SECONDS + 1)
    assert flushed(team, task_id) == ((FeishuState.BLOCKED, None, 0) if theirs else THERE)
    assert (team.feishu.sheet.row(2)[STATUS], shown(team, 2)) == ("否" if theirs else "已完成", token)
    record = team.record(task_id)
    if theirs:
        assert f"wfrecovery decide {task_id} write" in (record.outbox.last_error or "")
        return
    assert record.publisher == TWIN
    told = record.story[-1]
    assert (told.what, TWIN[:8] in str(told.text), TWIN[:8] in str(told.text_zh)) == ("pushed", True, True)


@pytest.mark.parametrize("same", [True, False])
def test_a_picture_that_another_program_had_to_convert_is_known_by_its_pixels(team: Team, same: bool) -> None:
    """Feishu takes no webp; another Pillow, or another zlib, writes the same PNG with other bytes."""
    picture = Image.effect_noise((64, 48), 90).convert("RGB")
    task_id = team.finished(2, "made.webp", picture)
    made = Image.open(team.folder / "made.webp").convert("RGB")
    if not same:
        made.putpixel((60, 40), (1, 200, 3))
    file = BytesIO()
    made.save(file, "PNG", compress_level=0)
    known_there(team, task_id, row_data={"composite_image": None})
    brought(team, task_id, file.getvalue())
    later(team)
    assert flushed(team, task_id) == (THERE if same else (FeishuState.BLOCKED, None, 0))


def test_the_next_start_looks_for_what_the_one_before_has_left(team: Team) -> None:
    task_id = team.finished(2)
    known_there(team, task_id, row_data={"composite_image": None})
    brought(team, task_id)
    team.clock.now += 1
    team.publisher = team.new_publisher()
    assert flushed(team, task_id) == THERE


def test_what_changed_hands_is_looked_for_at_once(team: Team) -> None:
    task_id = team.finished(2)
    known_there(team, task_id, row_data={"composite_image": None}, publisher=TWIN)
    table_id = team.db.table.keep_table_id()
    team.db.table.update(task_id, lambda task: taken_from_other(table_id, task))
    brought(team, task_id)
    team.clock.now = time.time()
    assert flushed(team, task_id) == THERE


@pytest.mark.parametrize("whole_cell", [True, False])
def test_the_picture_from_before_is_replaced(team: Team, whole_cell: bool) -> None:
    task_id = team.finished(2)
    team.feishu.sheet.set("G2", SOMETHING)
    token = shown(team, 2)
    cell = {"type": "embed-image", "fileToken": token} if whole_cell else token
    known_there(team, task_id, row_data={"composite_image": cell})
    later(team)
    assert flushed(team, task_id) == WRITTEN


def test_where_nobody_knows_what_was_there_before_the_content_tells(team: Team) -> None:
    """Of two rows, one shows this very picture, the other one something else."""
    same, other = team.finished(2), team.finished(3)
    team.feishu.sheet.set("G2", (team.folder / team.record(same).output_files[0]).read_bytes())
    team.feishu.sheet.set("G3", SOMETHING)
    for task_id in (same, other):
        known_there(team, task_id)
    later(team)
    assert flushed(team, same) == (FeishuState.PUSHED, TWIN, 1)
    assert team.record(other).outbox.by is None
    assert [write.row for write in team.feishu.sheet.picture_writes] == [3]


@pytest.mark.parametrize("before", [None, "否", "已完成"])
def test_a_status_alone_brings_no_picture(team: Team, before: str | None) -> None:
    task_id = team.finished(2)
    known_there(team, task_id, row_data={"composite_image": None, **({"status": before} if before else {})})
    team.feishu.sheet.set("F2", "已完成")
    later(team)
    assert flushed(team, task_id) == WRITTEN
    team.assert_delivered(task_id)


def test_a_video_whose_status_says_so_is_not_uploaded_again(team: Team) -> None:
    task_id = team.filmed(2)
    known_there(team, task_id, row_data={"status": "已完成", "video_status": "否"})
    later(team)
    team.feishu.sheet.set("H2", "已完成")
    assert flushed(team, task_id) == THERE
    assert team.feishu.sheet.row(2)[VIDEO] == "已完成"


@pytest.mark.parametrize("known", [True, False], ids=["ours", "a person's"])
def test_a_former_result_of_its_own_is_replaced(team: Team, known: bool) -> None:
    """Rendered again because a person wanted it: the row shows what was sent from here before, or something else."""
    task_id = team.finished(2)
    known_there(team, task_id, row_data={"composite_image": None, "status": "否"}, earlier_runs=1)
    sent = hashlib.sha256(SOMETHING).hexdigest()
    team.db.table.update(task_id, lambda task: task.with_outbox(sent=(sent,) if known else ("00",)))
    brought(team, task_id, SOMETHING)
    team.feishu.sheet.set("F2", "已完成")
    later(team)
    assert flushed(team, task_id) == (WRITTEN if known else (FeishuState.BLOCKED, None, 0))


def test_what_a_person_wants_pushed_again_is_written(team: Team) -> None:
    task_id = team.finished(2)
    known_there(team, task_id, row_data={"composite_image": None})
    assert flushed(team, task_id) == WRITTEN
    team.feishu.sheet.set("G2", SOMETHING)
    later(team)
    team.db.put_back(task_id)
    assert flushed(team, task_id) == (FeishuState.PUSHED, None, 2)
    assert team.record(task_id).outbox.asked_at is None


def test_a_failed_row_is_told_as_ever(team: Team) -> None:
    task_id = team.failed(2)
    known_there(team, task_id)
    later(team)
    assert flushed(team, task_id) == (FeishuState.PUSHED, None, 0)
    assert team.feishu.sheet.row(2)[STATUS] == "失败"


def test_what_no_other_table_knows_of_is_not_looked_for(team: Team) -> None:
    task_id = team.finished(2)
    team.feishu.sheet.set("G2", SOMETHING)
    later(team, 10 * OUT_OF_REACH_SECONDS)
    assert flushed(team, task_id) == WRITTEN
    assert team.feishu.count("media") == 0


@pytest.mark.parametrize("fields", [{"publisher": "another table"}, {"document": "another document"}])
def test_what_names_another_table_or_document_is_not_touched(team: Team, fields: dict[str, str]) -> None:
    task_id = team.finished(2)
    team.db.table.update(task_id, lambda task: dataclasses.replace(task, **fields))
    assert not team.publisher.due()
    assert flushed(team, task_id) == (FeishuState.PENDING, None, 0)
    assert team.feishu.calls == []


def test_what_is_named_away_during_a_flush_is_not_written(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """A main.py takes it over between the look at the outbox and the lock."""
    task_id = team.finished(2)
    due = team.publisher._due

    def due_then_named(*given: Any) -> list[TaskRecord]:
        tasks = due(*given)
        team.db.table.update(task_id, lambda task: dataclasses.replace(task, publisher="another table"))
        return tasks

    monkeypatch.setattr(team.publisher, "_due", due_then_named)
    assert flushed(team, task_id) == (FeishuState.PENDING, None, 0)


def test_what_names_this_table_and_document_is_written(team: Team, tmp_path: Path) -> None:
    task_id = team.finished(2)
    table_id, document = team.db.table.keep_table_id(), team.settings.document
    team.db.table.update(task_id, lambda task: dataclasses.replace(task, publisher=table_id, document=document))
    assert flushed(team, task_id) == WRITTEN


UNNAMED = {"type": "embed-image", "text": "", "link": "", "width": 4, "height": 4}


@pytest.mark.parametrize(
    "cell", [None, UNNAMED, "a/path.png", "key7"], ids=["left out", "of no name", "a path", "a key"]
)
@pytest.mark.parametrize("among_all", ["not there", "as read", "theirs"])
def test_a_picture_of_which_a_team_s_own_reading_told_nothing_is_no_other_s(
    team: Team, cell: object, among_all: str
) -> None:
    """The cell showed a former picture: it is not taken for the result. `among_all`: what they read has that cell among
    all cells as Feishu told it, or as they have it."""
    team.feishu.sheet.set("G2", SOMETHING)
    (read,) = (row for row in FeishuClient(team.settings).read_rows() if row.row_number == 2)
    cells = dict(read.original_data)
    if among_all != "as read":
        del cells[PICTURE]
    if among_all == "theirs" and cell is not None:
        cells[PICTURE] = cell
    team.db.add_workflow_task(dataclasses.replace(read, composite_image=cell, original_data=cells), "图片合成")
    task_id = team.finished(2)
    known_there(team, task_id)
    later(team)
    assert flushed(team, task_id) == WRITTEN


@pytest.mark.parametrize("shown", [None, SOMETHING], ids=["empty", "a former picture"])
def test_what_a_cell_of_another_title_showed_is_known(feishu: FeishuStandIn, tmp_path: Path, shown: object) -> None:
    """A team's own reading left the cell out, and its column has a title of their own."""
    feishu.sheet.set("G1", "成品图")
    team = Team(feishu, tmp_path, columns=Columns(composite_image="成品图"))
    feishu.sheet.set("G2", shown)
    (read,) = (row for row in FeishuClient(team.settings).read_rows() if row.row_number == 2)
    team.db.add_workflow_task(dataclasses.replace(read, composite_image=None), "图片合成")
    task_id = team.finished(2)
    known_there(team, task_id)
    feishu.sheet.set("G2", png((3, 2, 1)))
    later(team)
    assert flushed(team, task_id) == (FeishuState.BLOCKED, None, 0)
