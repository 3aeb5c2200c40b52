"""A main.py that still writes into the sheet itself: it is noticed before the row is written again, and told what to
delete."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, VIDEO, Image, Team
from test_look_back import SOMETHING, shown

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.recovery.following import gone_with_power
from wfrecovery.bridge.table.changes import blameless, failed, started
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import FeishuState, QueuePlace


def knows_its_row(team: Team, task_id: str, **before: Any) -> None:
    """What the row showed when the task was entered."""

    def change(task: TaskRecord) -> TaskRecord:
        known = {"composite_image": None, "status": "否", "video_status": "否", **before}
        return dataclasses.replace(task, row_data={**task.row_data, **known})

    team.db.table.update(task_id, change)


def pushes_itself(team: Team, task_id: str, content: bytes | None = None, status: str = "已完成") -> None:
    """As main.py did before `bridge`: by the row's number."""
    task = team.record(task_id)
    own = (team.folder / task.output_files[0]).read_bytes()
    team.feishu.sheet.set(f"G{task.row_number}", content or own)
    team.feishu.sheet.set(f"F{task.row_number}", status)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "_update_table_status" in record.getMessage()]


def test_it_is_not_written_again_and_the_log_says_once_what_to_delete(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = [team.finished(row) for row in (2, 3)]
    for task_id in tasks:
        knows_its_row(team, task_id)
        pushes_itself(team, task_id)
    pictures = [shown(team, row) for row in (2, 3)]
    team.publisher.flush()
    (read,) = [row for row in FeishuClient(team.settings).read_rows() if row.row_number == 4]
    later = team.db.add_workflow_task(read, "图片合成")  # as a program enters it
    assert team.finished(4) == later
    pushes_itself(team, later)
    team.publisher.flush()
    assert {team.state(task_id) for task_id in (*tasks, later)} == {FeishuState.PUSHED}
    assert len(team.feishu.sheet.picture_writes) == 0
    assert [shown(team, row) for row in (2, 3)] == pictures
    (said,) = told(caplog)
    assert "delete that from main.py" in said
    assert "请从 main.py 里删掉" in said
    assert tasks[0] in said


def test_a_status_alone_is_no_picture(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    """Their picture did not arrive, as in a moment in which Feishu was away."""
    task_id = team.finished(2)
    knows_its_row(team, task_id)
    team.feishu.sheet.set("F2", "已完成")
    team.publisher.flush()
    team.assert_delivered(task_id)
    assert len(told(caplog)) == 1


@pytest.mark.parametrize(("status", "noticed"), [("已完成", 1), ("否", 0)])
@pytest.mark.parametrize("delivered", [True, False])
def test_the_result_of_another_row_is_a_person_s_where_it_stands_in_this_one(
    team: Team, caplog: pytest.LogCaptureFixture, status: str, noticed: int, delivered: bool
) -> None:
    """A designer has copied it there; or a main.py has written it by its number, after somebody had moved the rows."""
    task_id, other = team.entered(2), team.finished(3)
    if delivered:
        team.publisher.flush()
    assert team.finished(2) == task_id
    knows_its_row(team, task_id)
    theirs = (team.folder / team.record(other).output_files[0]).read_bytes()
    pushes_itself(team, task_id, theirs, status)
    token = shown(team, 2)
    team.publisher.flush()
    assert (team.state(task_id), shown(team, 2)) == (FeishuState.BLOCKED, token)
    assert team.state(other) is FeishuState.PUSHED
    assert len(told(caplog)) == noticed
    assert team.db.push_again(task_id)
    team.flush_until_quiet()
    team.assert_delivered(task_id)


def test_a_former_result_of_its_row_is_replaced(team: Team) -> None:
    """Another task has brought it after this one was entered."""
    older, newer = team.finished(2), team.entered_anew(2)
    knows_its_row(team, newer)
    assert team.publisher.flush().pushed == [older]
    Image.new("RGB", (4, 4), (9, 9, 9)).save(team.folder / "newer.png")
    assert team.db.complete_task(newer, ["newer.png"])
    assert team.publisher.flush().pushed == [newer]
    team.assert_delivered(newer)


def restarted(task: TaskRecord) -> TaskRecord:
    """ComfyUI was restarted in good order while it ran."""
    return started(blameless(started(task)).entering(Stage.QUEUED))


def without_power(task: TaskRecord) -> TaskRecord:
    placed = dataclasses.replace(task, comfyui_task_id="p", queue=QueuePlace(queued_at="2026-11-29T07:00:00+00:00"))
    return started(gone_with_power(started(placed)).entering(Stage.QUEUED))


def retried(task: TaskRecord) -> TaskRecord:
    """It had failed, and a person wanted it anew."""
    again = failed(started(task), "out of memory").entering(Stage.QUEUED, error_message=None)
    return started(dataclasses.replace(again, attempts=0, earlier_runs=task.runs + 1))


@pytest.mark.parametrize("interrupted", [restarted, without_power, retried])
@pytest.mark.parametrize("put", [SOMETHING, "客户自己拍，别动"], ids=["picture", "words"])
def test_a_render_that_was_interrupted_has_left_nothing_in_the_sheet(team: Team, put: Any, interrupted: Any) -> None:
    """What is there is a person's, however often ComfyUI began."""
    task_id = team.entered(2)
    knows_its_row(team, task_id)
    team.db.table.update(task_id, interrupted)
    assert team.record(task_id).earlier_runs == 1
    team.feishu.sheet.set("G2", put)
    assert team.finished(2) == task_id
    before = team.feishu.sheet.row(2)[PICTURE]
    team.publisher.flush()
    assert (team.state(task_id), team.feishu.sheet.row(2)[PICTURE]) == (FeishuState.BLOCKED, before)
    assert team.feishu.sheet.row(2)[STATUS] == "否"


def test_what_was_delivered_before_a_retry_is_replaced_and_what_a_person_has_put_over_it_is_not(team: Team) -> None:
    for row, theirs in ((2, None), (3, SOMETHING)):
        task_id = team.finished(row)
        knows_its_row(team, task_id)
        assert team.publisher.flush().pushed == [task_id]
        if theirs is not None:
            team.feishu.sheet.set(f"G{row}", theirs)
        (team.folder / team.record(task_id).output_files[0]).unlink()
        team.db.table.update(task_id, lambda task: dataclasses.replace(task, stage=Stage.RUNNING))
        Image.new("RGB", (4, 4), (9, 9, row)).save(team.folder / f"{task_id}_00002_.png")
        assert team.db.complete_task(task_id, [f"{task_id}_00002_.png"])
        assert team.db.try_again(task_id)
        team.publisher.flush()
        if theirs is None:
            team.assert_delivered(task_id)
        else:
            assert team.state(task_id) is FeishuState.BLOCKED


@pytest.mark.parametrize("status", ["已完成", "否"])
@pytest.mark.parametrize("put", [SOMETHING, "客户自己拍，别动"], ids=["picture", "words"])
def test_what_a_person_has_put_there_is_theirs(team: Team, put: Any, status: str) -> None:
    """While it was rendered, or while it could not be delivered; a person says what becomes of the result."""
    task_id = team.finished(2)
    knows_its_row(team, task_id)
    pushes_itself(team, task_id, put, status)
    theirs = shown(team, 2) if put is SOMETHING else put
    for _ in range(2):
        team.publisher.flush()
        assert team.state(task_id) is FeishuState.BLOCKED
        assert f"wfrecovery decide {task_id} write" in (team.record(task_id).outbox.last_error or "")
        assert theirs == (shown(team, 2) if put is SOMETHING else team.feishu.sheet.row_texts(2)[PICTURE])
        team.publisher = team.new_publisher()
        team.publisher.unblock()
    assert team.db.push_again(task_id)
    team.flush_until_quiet()
    team.assert_delivered(task_id)


def test_words_that_stood_in_the_cell_when_its_row_was_entered_are_replaced(team: Team) -> None:
    task_id = team.finished(2)
    knows_its_row(team, task_id, original_data={"产品模特合成图": "待生成"})
    team.feishu.sheet.set("G2", "待生成")
    team.publisher.flush()
    team.assert_delivered(task_id)


def test_what_stood_there_before_is_not_even_looked_at(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    task_id = team.finished(2)
    team.feishu.sheet.set("G2", SOMETHING)
    knows_its_row(team, task_id, composite_image=shown(team, 2))
    team.publisher.flush()
    team.assert_delivered(task_id)
    assert (team.feishu.count("media"), told(caplog)) == (0, [])


def test_what_a_person_wants_pushed_again_is_written(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    task_id = team.finished(2)
    knows_its_row(team, task_id)
    team.publisher.flush()
    pushes_itself(team, task_id)
    team.db.put_back(task_id)
    team.publisher.flush()
    assert (len(team.feishu.sheet.picture_writes), told(caplog)) == (2, [])


def test_a_film_whose_status_is_written_already_is_noticed(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    task_id = team.filmed(2)
    knows_its_row(team, task_id)
    team.feishu.sheet.set("H2", "已完成")
    team.publisher.flush()
    assert (team.state(task_id), team.feishu.sheet.row(2)[VIDEO]) == (FeishuState.PUSHED, "已完成")
    assert len(told(caplog)) == 1


def test_where_nobody_knows_what_was_there_it_is_written(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    task_id = team.finished(2, picture=Image.new("RGB", (4, 4), (9, 9, 9)))
    pushes_itself(team, task_id)
    team.publisher.flush()
    assert team.feishu.sheet.row(2)[STATUS] == "已完成"
    assert team.feishu.sheet.row(2)[PICTURE] is not None
    assert (len(team.feishu.sheet.picture_writes), told(caplog)) == (1, [])
