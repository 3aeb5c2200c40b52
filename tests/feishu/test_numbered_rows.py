"""A row that carries its task's number is that task's wherever it stands and whatever it is called: it is neither
entered nor rendered a second time. What speaks against the number makes it a person's to decide, and is said.

Each test goes on as a program that was started anew: it has read the sheet once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing_support import STATUS, Image, Team, rows
from table_processes import QuickDisk

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.rows import RowData
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import DEFAULT_HEADER, FeishuStandIn

NUMBER, MARK, KIND = "任务号", "备注", "图片合成"
COUNT = 5


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """Five rows with pictures, each with a mark that the code never reads."""
    pictures = {"产品图": b"\x89PNG product", "模特图": b"\x89PNG model"}
    marked = [{**row, **pictures, MARK: f"row {number}"} for number, row in enumerate(rows(COUNT), start=2)]
    with FeishuStandIn(marked, header=(*DEFAULT_HEADER, NUMBER, MARK)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        yield Team(feishu, tmp_path)


def read(team: Team) -> list[RowData]:
    return FeishuClient(team.settings).read_rows()


def marks(team: Team, found: list[RowData]) -> list[str]:
    return sorted(team.feishu.sheet.row_texts(row.row_number)[MARK] for row in found)


def anew(team: Team) -> DatabaseManager:
    return DatabaseManager(team.folder, disk=QuickDisk())


def sent(team: Team, number: int) -> str:
    """The task of a row, which the engine has; its number stands in its row and was seen there."""
    (row,) = [row for row in read(team) if row.row_number == number]
    task_id = team.db.add_workflow_task(row, KIND, comfyui_task_id=f"11111111-2222-4333-8444-{number:012}")
    team.publisher.number()
    assert team.record(task_id).identity.task_id == task_id
    return task_id


def entered(team: Team, mark: str) -> str:
    """What a program gets that enters this row without having asked which rows are to be done."""
    (row,) = [row for row in read(team) if marks(team, [row]) == [mark]]
    return anew(team).add_workflow_task(row, KIND)


def move(team: Team, number: int, **cells: object) -> None:
    """A person rewrites cells of a row, then the whole sheet is turned round."""
    for title, value in cells.items():
        team.feishu.sheet.set(f"{team.feishu.sheet.find(title)}{number}", value)
    team.feishu.sheet.sort(MARK, reverse=True)


ALL = [f"row {number}" for number in range(2, COUNT + 2)]


def test_a_row_that_was_renamed_and_moved_is_its_task_s(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    task_id = sent(team, 2)
    move(team, 2, 产品名="全新名称", 模特名="别人")
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ALL[1:]
    assert entered(team, "row 2") == task_id
    said = [record.getMessage() for record in caplog.records if record.name.startswith("wfrecovery")]
    assert said == [], "nothing speaks against it"


@pytest.mark.parametrize(
    "change",
    [
        {"提示词": "换一个场景", "产品名": "新"},
        {"产品图": b"\x89PNG another", "产品名": "新"},
        {"模特图": b"\x89PNG x"},
    ],
)
def test_what_speaks_against_the_number_is_neither_rendered_nor_skipped_in_silence(
    team: Team, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sent(team, 2)
    move(team, 2, **change)
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ALL[1:]
    assert f"wfrecovery decide {task_id}" in caplog.text
    caplog.clear()
    assert entered(team, "row 2") == task_id
    assert f"wfrecovery decide {task_id}" in caplog.text


def test_numbers_that_were_moved_alone_make_no_row_anew(team: Team) -> None:
    """A sort of some columns: each number stands in the next row, and each row says what it said."""
    tasks = {number: sent(team, number) for number in (2, 3, 4)}
    column = team.feishu.sheet.find(NUMBER)
    for number, task_id in tasks.items():
        team.feishu.sheet.set(f"{column}{number % 3 + 2}", task_id)
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ALL[3:]


def test_where_number_and_texts_stand_in_two_rows_neither_is_rendered(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = sent(team, 2)
    column = team.feishu.sheet.find(NUMBER)
    team.feishu.sheet.set(f"{column}2", None)
    team.feishu.sheet.set(f"{column}5", task_id)
    team.feishu.sheet.sort(MARK, reverse=True)
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ["row 3", "row 4", "row 6"]
    assert f"wfrecovery decide {task_id}" in caplog.text
    assert entered(team, "row 2") == entered(team, "row 5") == task_id


def test_a_copy_of_a_row_that_wants_something_else_is_rendered(team: Team) -> None:
    task_id = sent(team, 3)
    sheet = team.feishu.sheet
    sheet.insert_row(2, {**sheet.row(3), "提示词": "另一种", MARK: "copy"})
    program, found = anew(team), read(team)
    todo = program.rows_without_task(found, KIND)
    assert marks(team, todo) == ["copy", "row 2", *ALL[2:]]
    (copy,) = [row for row in todo if row.row_number == 2]
    assert program.add_workflow_task(copy, KIND) != task_id
    assert entered(team, "row 3") == task_id


def test_a_copy_of_a_row_that_wants_the_same_gets_one_more_result(team: Team) -> None:
    sent(team, 3)
    sheet = team.feishu.sheet
    sheet.insert_row(7, {**sheet.row(3), MARK: "copy"})
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ["copy", "row 2", *ALL[2:]]


def test_a_number_counts_before_the_texts_of_another_row(team: Team) -> None:
    """Somebody gives another row the names and the prompt that the task's row has."""
    task_id = sent(team, 2)
    sheet = team.feishu.sheet
    for title in ("产品名", "模特名", "提示词"):
        sheet.set(f"{sheet.find(title)}4", sheet.row_texts(2)[title])
    sheet.sort(MARK, reverse=True)
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ALL[1:]
    assert entered(team, "row 2") == task_id


def test_a_number_that_was_written_and_never_seen_is_in_doubt_where_nothing_else_is_like_it(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = team.db.add_workflow_task(read(team)[0], KIND, comfyui_task_id="11111111-2222-4333-8444-555555555555")
    move(team, 2, 产品名="全新名称", 任务号=task_id)
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ALL[1:]
    assert f"wfrecovery decide {task_id}" in caplog.text


def test_without_a_number_a_row_that_was_renamed_and_moved_is_in_doubt(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    """All that went into the render is the same."""
    task_id = team.db.add_workflow_task(read(team)[0], KIND, comfyui_task_id="11111111-2222-4333-8444-555555555555")
    move(team, 2, 产品名="全新名称", 模特名="别人")
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ALL[1:]
    assert f"wfrecovery decide {task_id}" in caplog.text


def test_of_a_row_that_was_deleted_the_number_hides_no_other(team: Team) -> None:
    """The next row has most of its texts, and its row number now."""
    sheet = team.feishu.sheet
    for title in ("产品名", "模特名"):
        sheet.set(f"{sheet.find(title)}3", sheet.row_texts(2)[title])
    sent(team, 2)
    sent(team, 6)
    sheet.delete_row(2)
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ALL[1:4]


def test_another_computer_s_number_hides_no_row(team: Team) -> None:
    task_id = sent(team, 2)
    sheet = team.feishu.sheet
    sheet.set(f"{sheet.find(NUMBER)}2", None)
    sheet.set(f"{sheet.find(NUMBER)}5", "img_20200101_001")
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ALL[1:]
    assert entered(team, "row 5") != task_id


def test_what_was_never_sent_is_not_sent_for_a_row_that_wants_something_else(team: Team) -> None:
    """The run died after it had entered the row; the copy of the row carries its number as well."""
    (row,) = [row for row in read(team) if row.row_number == 2]
    task_id = team.db.add_workflow_task(row, KIND)
    team.publisher.number()
    team.db.release_task(task_id)
    sheet = team.feishu.sheet
    sheet.insert_row(2, {**sheet.row(2), "提示词": "另一种", MARK: "copy"})
    assert entered(team, "copy") != task_id
    assert entered(team, "row 2") == task_id


def test_a_team_s_own_reading_carries_the_number_under_its_title(team: Team) -> None:
    task_id = sent(team, 2)
    move(team, 2, 产品名="全新名称")
    number = team.feishu.sheet.find_rows(**{MARK: "row 2"})[0]
    texts = team.feishu.sheet.row_texts(number)
    own = {"row_number": number, "product_name": "全新名称", "prompt": texts["提示词"], "original_data": texts}
    assert anew(team).add_workflow_task(own, KIND) == task_id


def test_a_settled_task_s_number_keeps_no_row(team: Team) -> None:
    task_id = sent(team, 2)
    path = team.folder / "a_00001_.png"
    Image.new("RGB", (4, 4), (1, 2, 3)).save(path)
    assert team.db.complete_task(task_id, [path])
    team.flush_until_quiet()
    assert team.state(task_id) is FeishuState.PUSHED
    move(team, 2, 产品名="全新名称", **{STATUS: "否"})
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ALL
    assert entered(team, "row 2") != task_id


def test_numbers_of_another_table_say_nothing_of_the_rows_of_this_one(team: Team) -> None:
    """The plugin has a table of its own, and has numbered the rows: its numbers are other tasks' here."""
    tasks = {row.row_number: team.db.add_workflow_task(row, KIND) for row in read(team)}
    for row, another in zip(tasks, [*list(tasks.values())[1:], "img_20261129_099"], strict=True):
        team.feishu.sheet.set(f"{team.feishu.sheet.find(NUMBER)}{row}", another)
        team.db.table.update(tasks[row], lambda task: task.entering(Stage.QUEUED, comfyui_task_id="p"))
    assert team.db.mark_task_failed(tasks[2], "OOM")
    team.feishu.sheet.set(f"{team.feishu.sheet.find('提示词')}3", "换一个场景")
    assert marks(team, anew(team).rows_without_task(read(team), KIND)) == ["row 2"]
