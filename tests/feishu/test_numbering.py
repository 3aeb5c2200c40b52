"""The column 任务号: each row gets its task's number, and a number in a wrong row brings no picture there.

Rows are told by a mark in a column that the code never reads.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from publishing_support import PICTURE, STATUS, Image, Team, rows

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import DEFAULT_HEADER, Fault, FeishuStandIn, Formula, Picture, Sheet, Switches

NUMBER, MARK = "任务号", "备注"
HEADER = (*DEFAULT_HEADER, NUMBER, MARK)
CALLS = ("values_get", "values_batch_update")


def marked(count: int, *, pictures: bool = True) -> list[dict[str, Any]]:
    shown = {"产品图": b"\x89PNG product", "模特图": b"\x89PNG model"} if pictures else {}
    return [{**row, **shown, MARK: f"mark {number}"} for number, row in enumerate(rows(count), start=2)]


def entered_as_read(team: Team, place: int) -> str:
    """As main.py does, which knows the row's pictures as well."""
    (row,) = [row for row in FeishuClient(team.settings).read_rows() if row.row_number == place]
    return team.db.add_workflow_task(row, "图片合成")


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    """A sheet of six marked rows with the column."""
    with FeishuStandIn(marked(6), header=HEADER) as feishu:
        feishu.limits.sheet_calls_per_second = None
        yield Team(feishu, tmp_path)


def numbers(team: Team) -> dict[str, str]:
    """Mark of a row → what stands in its column 任务号."""
    sheet = team.feishu.sheet
    texts = [sheet.row_texts(number) for number in range(2, sheet.last_row + 1)]
    return {row[MARK]: row[NUMBER] for row in texts if row[NUMBER]}


def is_certain(team: Team, task_id: str) -> bool:
    return team.record(task_id).identity.task_id == task_id


def rendered(team: Team, task_id: str) -> None:
    path = team.folder / f"{task_id}_00001_.png"
    Image.new("RGB", (4, 4), (int(task_id[-3:]), 3, 77)).save(path)
    assert team.db.complete_task(task_id, [path])


def written(team: Team) -> int:
    return team.feishu.count("values_batch_update")


# ------------------------------------------------------------------ the good case


def test_the_rows_of_a_batch_get_their_numbers_in_one_call(team: Team) -> None:
    tasks = {f"mark {row}": team.entered(row) for row in range(2, 8)}
    assert team.publisher.number() is False
    assert numbers(team) == tasks
    assert written(team) == 1
    assert all(is_certain(team, task_id) for task_id in tasks.values())
    calls = len(team.feishu.calls)
    assert team.publisher.number() is False
    assert team.new_publisher().number() is False
    assert len(team.feishu.calls) == calls, "what is known to stand there is not looked for again"


def test_a_batch_later_costs_a_look_and_a_write(team: Team) -> None:
    for row in (2, 3):
        team.entered(row)
        team.publisher.number()
    before = {name: team.feishu.count(name) for name in CALLS}
    for row in (4, 5, 6):
        team.entered(row)
    team.publisher.number()
    assert {name: team.feishu.count(name) - before[name] for name in CALLS} == dict.fromkeys(CALLS, 1)
    assert len(numbers(team)) == 5


def test_a_sheet_without_the_column_is_read_once_and_nothing_is_written(feishu: FeishuStandIn, tmp_path: Path) -> None:
    team = Team(feishu, tmp_path)
    for row in (2, 3, 4):
        team.entered(row)
        assert team.publisher.number() is False
    assert (feishu.count("values_get"), written(team)) == (1, 0)


def test_a_column_that_is_added_later_is_filled_from_the_next_reading_on(feishu: FeishuStandIn, tmp_path: Path) -> None:
    team = Team(feishu, tmp_path)
    task_id, other = team.entered(2), team.finished(3)
    team.publisher.number()
    feishu.sheet.set("I1", NUMBER)
    assert team.publisher.flush().pushed == [other]
    team.publisher.number()
    assert feishu.sheet.row_texts(2)[NUMBER] == task_id


@pytest.mark.parametrize("edit", ["sort", "insert", "delete", "rename"])
def test_a_number_moves_with_its_row_through_every_edit(team: Team, edit: str) -> None:
    task_id = entered_as_read(team, 4)
    team.publisher.number()
    sheet = team.feishu.sheet
    match edit:
        case "sort":
            sheet.sort("产品名", reverse=True)
        case "insert":
            sheet.insert_row(2, {"产品名": "新", "模特名": "新"})
        case "delete":
            sheet.delete_row(2)
        case "rename":
            sheet.set("B4", "改了名")
    rendered(team, task_id)
    assert team.publisher.flush().pushed == [task_id]
    (number,) = sheet.find_rows(**{MARK: "mark 4"})
    assert isinstance(sheet.row(number)[PICTURE], Picture)
    assert sum(isinstance(sheet.row(other)[PICTURE], Picture) for other in range(2, sheet.last_row + 1)) == 1


# ------------------------------------------------------------------ what stands there already


def test_picture_and_video_of_one_row_both_stand_there(team: Team) -> None:
    picture, film = team.entered(2), team.entered(2, "图生视频")
    team.publisher.number()
    assert numbers(team)["mark 2"] == f"{picture} {film}"
    assert written(team) == 1
    assert is_certain(team, picture)
    assert is_certain(team, film)


def test_two_runs_of_a_row_both_stand_there_and_a_settled_one_makes_room(team: Team) -> None:
    first, second = team.entered_anew(2), team.entered_anew(2)
    film = team.entered(2, "图生视频")
    team.publisher.number()
    assert numbers(team)["mark 2"].split() == [first, second, film]
    for task_id in (first, second):
        rendered(team, task_id)
        assert task_id in team.publisher.flush().pushed
    third = team.entered_anew(2)
    team.publisher.number()
    assert numbers(team)["mark 2"].split() == [film, third]
    rendered(team, third)
    assert team.publisher.flush().pushed == [third]


def test_a_new_run_of_a_numbered_row_is_delivered_also_without_a_number_of_its_own(team: Team) -> None:
    first = team.entered(2)
    team.publisher.number()
    assert team.db.mark_task_failed(first, "KSampler: boom")
    team.publisher.flush()
    second = team.finished(2)
    assert team.publisher.flush().pushed == [second]
    team.assert_delivered(second)


def test_another_table_s_number_is_kept_and_in_nobody_s_way(team: Team) -> None:
    team.feishu.sheet.set("I2", "img_20200101_777")
    task_id = team.entered(2)
    team.publisher.number()
    assert numbers(team)["mark 2"] == f"img_20200101_777 {task_id}"
    rendered(team, task_id)
    assert team.publisher.flush().pushed == [task_id]


def test_what_a_person_wrote_is_not_written_over_and_it_is_said_once(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    team.feishu.sheet.set("I2", "老王 2号单")
    task_id, other = team.entered(2), team.entered(3)
    for _ in range(3):
        team.publisher.number()
    assert numbers(team) == {"mark 2": "老王 2号单", "mark 3": other}
    assert caplog.text.count("is not written over") == 1
    assert "'老王' · '2号单'" in caplog.text
    rendered(team, task_id)
    assert team.publisher.flush().pushed == [task_id]


def test_a_number_that_stands_in_another_row_already_is_no_proof(team: Team) -> None:
    """Another computer has a task of the same number, for another row."""
    task_id = team.entered(2)
    team.feishu.sheet.set("I5", task_id)
    team.publisher.number()
    assert numbers(team) == {"mark 5": task_id}
    assert not is_certain(team, task_id)
    team.feishu.sheet.delete_row(2)
    rendered(team, task_id)
    assert team.publisher.flush().pushed == []
    assert team.state(task_id) is FeishuState.BLOCKED
    assert "stands in no row" in (team.record(task_id).outbox.last_error or "")


# ------------------------------------------------------------------ never in the way


@pytest.mark.parametrize("fault", [Fault.HTML_502, Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.BUSY_90235])
def test_a_number_that_cannot_be_written_now_is_written_later(team: Team, fault: Fault) -> None:
    tasks = {f"mark {row}": team.entered(row) for row in (2, 3)}
    team.feishu.faults.add(fault, "values_batch_update")
    team.publisher.number()
    team.clock.now += 10
    team.publisher.number()
    assert numbers(team) == tasks
    assert all(is_certain(team, task_id) for task_id in tasks.values())


def test_after_a_failure_it_is_not_tried_again_at_once(team: Team) -> None:
    team.entered(2)
    team.feishu.faults.add(Fault.HTML_502, "values_batch_update")
    assert team.publisher.number() is True
    calls = len(team.feishu.calls)
    assert team.publisher.number() is True
    assert len(team.feishu.calls) == calls


def test_a_protected_column_stops_no_result_and_is_said_once(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    team.feishu.sheet.protect("I1:I200")
    first = team.finished(2)
    for row in (3, 4):
        team.entered(row)
        assert team.publisher.number() is False
    assert team.publisher.flush().pushed == [first]
    assert numbers(team) == {}
    assert caplog.text.count("task numbers are not written") == 1


@pytest.mark.parametrize(("protected", "atomic"), [((3,), True), ((2, 41), False), (tuple(range(2, 22)), True)])
def test_protected_cells_cost_their_own_rows_a_number_and_few_calls_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, protected: tuple[int, ...], atomic: bool
) -> None:
    with FeishuStandIn(marked(40), header=HEADER, switches=Switches(batch_atomic=atomic)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        tasks = {f"mark {row}": team.entered(row) for row in range(2, 42)}
        for row in protected:
            feishu.sheet.protect(f"I{row}:I{row}")
        assert team.publisher.number() is False
        theirs = {mark: tasks.pop(mark) for mark in [f"mark {row}" for row in protected]}
        assert feishu.count("values_batch_update", code=90218) <= 16
        if len(protected) < 3:
            assert numbers(team) == tasks
            for row, task_id in zip(protected, theirs.values(), strict=True):
                assert f"{task_id} gets no number: the cell of row {row} takes none" in caplog.text
        assert {task_id for task_id in [*tasks.values(), *theirs.values()] if is_certain(team, task_id)} == {
            *numbers(team).values()
        }
        calls = len(feishu.calls)
        team.publisher.number()
        assert len(feishu.calls) == calls, "what was refused is not asked for again"


@pytest.mark.parametrize("code", [90213, 90218])
def test_a_protected_column_costs_a_batch_a_few_refused_calls(team: Team, code: int) -> None:
    team.feishu.switches.protected_code = code
    team.feishu.sheet.protect("I1:I200")
    for row in range(2, 8):
        team.entered(row)
    team.publisher.number()
    team.publisher.number()
    assert 0 < written(team) <= 7
    assert team.publisher.flush().pushed == []


def test_while_feishu_asks_to_be_left_alone_no_number_is_written(team: Team) -> None:
    team.feishu.faults.add(Fault.RATE_LIMIT_429, "values_image", reset="52")
    team.finished(2)
    team.publisher.flush()
    team.entered(3)
    calls = len(team.feishu.calls)
    assert team.publisher.number() is True
    assert len(team.feishu.calls) == calls
    team.clock.now += 53
    team.publisher.number()
    assert list(numbers(team)) == ["mark 3"]


def test_a_cell_that_is_not_understood_is_not_written_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with FeishuStandIn(marked(2), header=HEADER, switches=Switches(unknown_cells=frozenset({"I2"}))) as feishu:
        team = Team(feishu, tmp_path)
        feishu.sheet.set("I2", "=A1")
        task_id, other = team.entered(2), team.entered(3)
        for _ in range(3):
            team.publisher.number()
        assert numbers(team) == {"mark 2": "=A1", "mark 3": other}
        assert caplog.text.count("not understood") == 1
        rendered(team, task_id)
        assert team.publisher.flush().pushed == [task_id]


def test_a_formula_is_not_written_over_also_where_it_gives_nothing(team: Team) -> None:
    formula = Formula('=IF(1,"","")', "")
    (cell,) = [f"{column}2" for column in "ABCDEFGHIJKLM" if team.feishu.sheet.get(f"{column}1") == NUMBER]
    team.feishu.sheet.set(cell, formula)
    team.entered(2)
    other = team.entered(3)
    team.publisher.number()
    assert team.feishu.sheet.get(cell) == formula
    assert is_certain(team, other)


def test_a_number_that_never_shows_is_written_a_few_times_and_given_up(tmp_path: Path) -> None:
    with FeishuStandIn(marked(2), header=HEADER) as feishu:
        team = Team(feishu, tmp_path)
        feishu.sheet.merge("I2:I3")  # what is written under a merge is not shown
        task_id, other = team.entered(2), team.entered(3)
        for _ in range(6):
            team.publisher.number()
        assert numbers(team) == {"mark 2": task_id}
        assert not is_certain(team, other)
        assert written(team) == 1


# ------------------------------------------------------------------ people who move rows


def insert_above(sheet: Sheet) -> None:
    sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", STATUS: "否"})


def delete_above(sheet: Sheet) -> None:
    sheet.delete_row(2)


def turn_round(sheet: Sheet) -> None:
    sheet.sort("产品名", reverse=True)


@pytest.mark.parametrize("change", [insert_above, delete_above, turn_round])
@pytest.mark.parametrize("answer", ["good", "lost"])
def test_rows_that_move_under_the_write_end_with_their_own_numbers(
    team: Team, monkeypatch: pytest.MonkeyPatch, change: Callable[[Sheet], None], answer: str
) -> None:
    team.feishu.sheet.set("I7", "老王")
    tasks = {f"mark {row}": team.entered(row) for row in (3, 4, 6)}
    write, moved = FeishuClient.write_cells, list[bool]()

    def with_a_change(client: FeishuClient, cells: Any) -> Any:
        if not moved:
            moved.append(True)
            change(team.feishu.sheet)
            if answer == "lost":
                team.feishu.faults.add(Fault.RESET_AFTER, "values_batch_update")
        return write(client, cells)

    monkeypatch.setattr(FeishuClient, "write_cells", with_a_change)
    for _ in range(4):
        team.publisher.number()
        team.clock.now += 10
    assert numbers(team) == {**tasks, "mark 7": "老王"}
    assert all(is_certain(team, task_id) for task_id in tasks.values())


EDITS = st.sampled_from(["insert", "delete", "delete", "sort", "turn", "rename", "copy", "sort part", "nothing"])
COUNT = 5


def edited(sheet: Sheet, edit: str, number: int, places: dict[str, Any]) -> None:
    """What a colleague does. `places`: draws that stay the same however often Hypothesis tries."""
    row = 2 + places["row"] % (sheet.last_row - 1)
    match edit:
        case "insert":
            new = {"产品名": f"新品{number}", "模特名": "模特", "提示词": "白底", STATUS: "否", MARK: f"new {number}"}
            sheet.insert_row(row, new)
        case "delete" if sheet.last_row > 3:
            sheet.delete_row(row)
        case "sort" | "turn":
            sheet.sort("产品名", reverse=edit == "turn")
        case "rename":
            sheet.set(f"B{row}", f"改名{number}")
        case "copy":
            sheet.insert_row(row, {**sheet.row(row), "产品名": f"副本{number}", MARK: f"copy {number}"})
        case "sort part":  # of the numbers alone: the columns after a gap are not sorted along
            cells = [sheet.get(f"I{place}") for place in range(2, sheet.last_row + 1)]
            for place, value in enumerate(cells[1:] + cells[:1], start=2):
                sheet.set(f"I{place}", value)


#: what people do meanwhile, in so many ways
HISTORIES = int(os.environ.get("WFRECOVERY_HISTORIES", "25"))


class KilledError(BaseException):
    """The program dies."""


@settings(max_examples=HISTORIES, phases=[Phase.explicit, Phase.generate])
@given(
    st.lists(st.tuples(EDITS, st.fixed_dictionaries({"row": st.integers(0, 20)})), max_size=6),
    st.integers(0, 6),
    st.lists(st.integers(0, 3), min_size=COUNT, max_size=COUNT),
    st.integers(0, 4),
    st.booleans(),
)
def test_whatever_people_do_while_numbers_are_written_no_picture_comes_into_another_row(
    edits: list[tuple[str, dict[str, Any]]], before: int, when: list[int], dies_at: int, pictures: bool
) -> None:
    """All rows have one model and one 提示词, so that a number may well seem to be right. Rows are entered one by one;
    `when`: how often something is flushed after each; `dies_at`: the write after which the program is killed."""
    sheet_rows = [{**row, "模特名": "模特", "提示词": "白底"} for row in marked(COUNT, pictures=pictures)]
    waiting = list(enumerate(edits))
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        FeishuStandIn(sheet_rows, header=HEADER) as feishu,
    ):
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, Path(folder))
        write, count = FeishuClient.write_cells, [0]

        def one_edit() -> None:
            if waiting:
                number, (edit, places) = waiting.pop(0)
                edited(feishu.sheet, edit, number, places)

        def moved(client: FeishuClient, cells: Any) -> Any:
            count[0] += 1
            if count[0] > before:
                one_edit()
            answer = write(client, cells)
            if count[0] == dies_at:
                raise KilledError
            return answer

        def numbered() -> None:
            try:
                team.publisher.number()
            except KilledError:
                team.publisher = team.new_publisher()
            team.clock.now += 10

        marks: dict[str, str] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FeishuClient, "write_cells", moved)
            for number, times in enumerate(when, start=1):
                for place in feishu.sheet.find_rows(产品名=f"产品{number}"):
                    # where rows have moved this may be the task of who stood there before: it is not entered twice
                    marks.setdefault(entered_as_read(team, place), feishu.sheet.row_texts(place)[MARK])
                for _ in range(times):
                    numbered()
        while waiting:
            one_edit()
        team.publisher.number()
        digests = {}
        for task_id, mark in marks.items():
            rendered(team, task_id)
            digests[(team.folder / team.record(task_id).output_files[0]).read_bytes()] = mark
        for _ in range(4):
            team.publisher.flush()
            team.clock.now += 400
        for number in range(2, feishu.sheet.last_row + 1):
            shown = feishu.sheet.row(number)[PICTURE]
            if isinstance(shown, Picture):
                mine = feishu.sheet.row_texts(number)[MARK]
                assert digests[shown.data] == mine or mine.startswith("copy"), (mine, digests[shown.data])
        assert not team.db.unpushed()
