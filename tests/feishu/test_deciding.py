"""A result that cannot be delivered by itself: nothing is stuck for good, and nothing is paid for twice unasked."""

from __future__ import annotations

import pytest
from publishing_support import PICTURE, STATUS, Image, Team

from wfrecovery import bridge
from wfrecovery.bridge.feishu.deciding import leave, write_anyway
from wfrecovery.bridge.table.records import TaskError
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import Picture

IMAGE = bridge.WorkflowType.IMAGE_COMPOSITION
PROMPT = "提示词"


def changed(team: Team, row: int, **cells: str) -> str:
    """A result whose row a person has changed meanwhile; it is blocked."""
    task_id = team.finished(row)
    for title, text in cells.items():
        team.feishu.sheet.set(f"{team.feishu.sheet.find(title)}{row}", text)
    assert task_id in team.publisher.flush().blocked
    return task_id


def to_do(team: Team) -> list[int]:
    rows = bridge.FeishuClient(team.settings).read_rows()
    recovery = bridge.TaskRecoveryManager(team.db, bridge.ComfyUIClient("http://127.0.0.1:9"), settings=team.settings)
    return [row.row_number for row in recovery.rows_to_do([row for row in rows if row.status == "否"], IMAGE)]


@pytest.mark.parametrize("cells", [{PROMPT: "新的提示词"}, {"产品名": "改正的名字"}, {"模特名": "改正的名字"}])
def test_a_row_that_was_changed_waits_and_is_not_rendered_again_by_itself(team: Team, cells: dict[str, str]) -> None:
    task_id = changed(team, 3, **cells)
    assert 3 not in to_do(team)
    assert team.db.add_workflow_task(team.row_data(3), IMAGE) == task_id
    assert not team.feishu.sheet.picture_writes


def test_it_is_written_there_all_the_same(team: Team) -> None:
    task_id = changed(team, 3, **{PROMPT: "新的提示词"})
    write_anyway(team.db, team.publisher._feishu, task_id)
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)
    assert 3 not in to_do(team)


def test_after_it_is_left_the_next_batch_renders_what_the_row_says_now(team: Team) -> None:
    task_id = changed(team, 3, **{PROMPT: "新的提示词"})
    leave(team.db, task_id)
    assert team.publisher.flush().pushed == []
    assert 3 in to_do(team)
    assert team.db.add_workflow_task(team.row_data(3), IMAGE) != task_id
    assert team.feishu.sheet.row(3)[PICTURE] is None
    with pytest.raises(TaskError, match="no result that waits"):
        leave(team.db, task_id)


def test_of_several_rows_a_person_names_one(team: Team) -> None:
    """Three rows that their prompt alone tells apart; the task came without it."""
    for row in (3, 4, 5):
        team.feishu.sheet.set(f"B{row}", "裙子")
        team.feishu.sheet.set(f"D{row}", "模特A")
    data = {"row_number": 4, "product_name": "裙子", "model_name": "模特A"}
    task_id = team.db.add_workflow_task(data, IMAGE)
    Image.new("RGB", (4, 4), (4, 5, 6)).save(team.folder / "made.png")
    assert team.db.complete_task(task_id, ["made.png"])
    assert "several rows (3, 4, 5)" in team.publisher.flush().blocked[task_id]
    feishu = team.publisher._feishu
    with pytest.raises(TaskError, match="say which row: 3, 4, 5"):
        write_anyway(team.db, feishu, task_id)
    with pytest.raises(TaskError, match="no row 99"):
        write_anyway(team.db, feishu, task_id, 99)
    write_anyway(team.db, feishu, task_id, 5)
    assert team.publisher.flush().pushed == [task_id]
    pictures = {row: team.feishu.sheet.row(row)[PICTURE] for row in (3, 4, 5)}
    assert isinstance(pictures[5], Picture)
    assert pictures[3] is pictures[4] is None
    assert team.feishu.sheet.row_texts(5)[STATUS] == "已完成"


def test_what_was_never_blocked_can_be_moved_as_well_but_not_without_a_result(team: Team) -> None:
    task_id = team.db.add_workflow_task(team.row_data(2), IMAGE)
    with pytest.raises(TaskError, match="no result to push"):
        write_anyway(team.db, team.publisher._feishu, task_id, 2)
    assert team.record(task_id).feishu_state is FeishuState.PENDING
