"""What has left for the sheet is looked for until it is known what became of it, and no longer."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, Image, Team, rows

from wfrecovery.bridge.feishu.errors import FeishuError
from wfrecovery.bridge.feishu.unseen import Reading
from wfrecovery.bridge.table.changes import given, started
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import FeishuState, Result
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn, Picture, Switches


def readings() -> int:
    """How many readings of a sheet, each of all its rows, are in memory."""
    gc.collect()
    return sum(isinstance(one, Reading) for one in gc.get_objects())


class KilledError(BaseException):
    """As by SIGKILL."""


def killed_when_the_picture_is_written(team: Team) -> None:
    """A flush that does not come to note what has become of its picture."""
    write = team.publisher._feishu.write_picture

    def killed(*arguments: Any) -> None:
        write(*arguments)
        raise KilledError

    team.publisher._feishu.write_picture = killed  # type: ignore[method-assign,assignment]
    with pytest.raises(KilledError):
        team.publisher.flush()
    team.publisher._feishu.write_picture = write  # type: ignore[method-assign]


def sent_late(team: Team) -> None:
    """A flush whose picture is carried out after nobody waits for it any more, when a row was inserted on top."""
    write = team.publisher._feishu.write_picture

    def late(*arguments: Any) -> Any:
        team.feishu.sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", STATUS: "否"})
        write(*arguments)
        raise FeishuError("no answer from Feishu", outcome_unknown=True, slow=True)

    team.publisher._feishu.write_picture = late  # type: ignore[method-assign,assignment]
    team.publisher.flush()
    team.publisher._feishu.write_picture = write  # type: ignore[method-assign]


@pytest.mark.parametrize("mode", ["one", "missing"])
def test_no_reading_is_kept_for_a_picture_that_is_in_its_row(mode: str, tmp_path: Path) -> None:
    """Where no answer confirms it, each picture costs a reading."""
    before = readings()
    with FeishuStandIn(rows(8), switches=Switches(revision=mode)) as feishu:  # type: ignore[arg-type]
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        feishu.faults.add(Fault.RESET_BEFORE, "values_image")
        feishu.faults.add(Fault.RATE_LIMIT_429, "values_image", after=3, reset="1")
        for row in range(2, 10):
            team.finished(row)
        team.flush_until_quiet()
        assert readings() <= before + 3, "the newest, and those in the frames of the two errors that pytest has logged"


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("alike", [False, True])
def test_the_same_picture_in_another_s_row_is_that_one_s_own(*, alike: bool, restarted: bool, tmp_path: Path) -> None:
    """ComfyUI answers the second prompt from its cache, with the file of the first; the first's request is lost."""
    names = {"产品名": "裙子", "模特名": "模特", "提示词": "白色"} if alike else {}
    with FeishuStandIn([{**row, **names} for row in rows(3)]) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        one = Image.new("RGB", (4, 4), (1, 2, 3))
        tasks = [team.finished(row, picture=one) for row in (2, 3)]
        feishu.faults.add(Fault.RESET_BEFORE, "values_image")
        team.publisher.flush()
        if restarted:
            team.publisher = team.new_publisher()
        team.clock.now += 400
        team.flush_until_quiet()
        assert [team.state(task_id) for task_id in tasks] == [FeishuState.PUSHED] * 2
        assert all(isinstance(feishu.sheet.row(number)[PICTURE], Picture) for number in (2, 3))
        assert len(feishu.sheet.picture_writes) == 2


def test_after_a_kill_a_picture_is_looked_for_in_rows_far_away_as_well(tmp_path: Path) -> None:
    """A row was inserted in the moment in which it left; later the row that got it is moved to the end."""

    with FeishuStandIn([{**row, PICTURE: b"\x89PNG a former one"} for row in rows(30)]) as feishu:
        feishu.limits.sheet_calls_per_second = feishu.limits.downloads_per_second = None
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        task_id = team.finished(3)
        write = team.publisher._feishu.write_picture

        def killed(*arguments: Any) -> None:
            sheet.insert_row(2, {"产品名": "新产品", "模特名": "新模特", "提示词": "新"})
            write(*arguments)
            raise KilledError

        team.publisher._feishu.write_picture = killed  # type: ignore[method-assign,assignment]
        with pytest.raises(KilledError):
            team.publisher.flush()
        spoiled = sheet.row(3)
        sheet.delete_row(3)
        sheet.insert_row(sheet.last_row + 1, spoiled)
        reason = team.new_publisher().flush().blocked[task_id]
        assert f"it stands in row {sheet.last_row} ('产品1'" in reason
        assert len(sheet.picture_writes) == 1


def test_what_was_refused_makes_no_newer_status_undone(team: Team) -> None:
    """One cell is protected, so the others are written one by one; later the rows have other numbers."""
    sheet = team.feishu.sheet
    blocked, *delivered = [team.finished(row) for row in (2, 3, 4)]
    sheet.protect("F2:F2")
    report = team.publisher.flush()
    assert (list(report.blocked), report.pushed) == ([blocked], delivered)
    sheet.delete_row(2)
    later = team.finished(5)
    team.publisher.flush()
    for task_id in (*delivered, later):
        team.assert_delivered(task_id)
    assert team.row("产品4")[STATUS] == "否"


@pytest.mark.parametrize("refused", [Fault.RATE_LIMIT_429, Fault.RESET_BEFORE, Fault.RESET_AFTER])
def test_another_row_gets_its_own_text_back_also_where_rows_move_before_feishu_takes_it(
    refused: Fault, tmp_path: Path
) -> None:
    """A row is inserted in the moment in which a status leaves; Feishu refuses the repair, and more rows come."""
    with FeishuStandIn(rows(8)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        task_id = team.failed(4)
        write, calls = team.publisher._feishu.write_cells, []

        def under_the_hands(cells: Any) -> Any:
            calls.append(dict(cells))
            if len(calls) == 1:
                sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", STATUS: "否"})
            return write(cells)

        team.publisher._feishu.write_cells = under_the_hands  # type: ignore[method-assign]
        feishu.faults.add(refused, "values_batch_update", after=1, times=1)
        team.publisher.flush()
        for number in (3, 2):
            sheet.insert_row(number, {"产品名": f"新品{number}", "模特名": "新人", STATUS: "否"})
        team.clock.now += 400
        team.flush_until_quiet()
        said = {texts["产品名"]: texts[STATUS] for texts in map(sheet.row_texts, range(2, sheet.last_row + 1))}
        assert said == {**dict.fromkeys(said, "否"), "产品3": "失败"}
        assert team.state(task_id) is FeishuState.PUSHED
        assert len(calls) >= 2


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("gone", ["renamed", "deleted"])
def test_a_picture_that_came_late_into_another_row_is_not_left_there_where_its_own_is_gone(
    *, restarted: bool, gone: str, tmp_path: Path
) -> None:
    """Its request took longer than anybody waited, and rows had moved when it was carried out."""
    with FeishuStandIn([{**row, PICTURE: b"\x89PNG a former one"} for row in rows(6)]) as feishu:
        feishu.limits.sheet_calls_per_second = feishu.limits.downloads_per_second = None
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        task_id = team.finished(4)
        sent_late(team)
        (row,) = sheet.find_rows(产品名="产品3")
        if gone == "renamed":
            sheet.set(f"{sheet.find('产品名')[0]}{row}", "改名")
        else:
            sheet.delete_row(row)
        if restarted:
            team.publisher = team.new_publisher()
        team.clock.now += 400
        team.publisher.flush()
        record, shown = team.record(task_id), team.row("产品2")[PICTURE]
        assert record.feishu_state is FeishuState.BLOCKED
        if restarted:  # nobody knows any more what that row showed
            assert "'产品2'" in (record.outbox.last_error or "")
            assert "put that row's own picture back" in (record.outbox.last_error or "")
        else:
            assert shown.data == b"\x89PNG a former one"
            assert "stands in no row" in (record.outbox.last_error or "")


def test_a_picture_that_came_late_into_another_row_leaves_it_where_its_own_has_a_newer_result(tmp_path: Path) -> None:
    """Nobody has looked for it when the newer one is delivered."""
    with FeishuStandIn([{**row, PICTURE: b"\x89PNG a former one"} for row in rows(6)]) as feishu:
        feishu.limits.sheet_calls_per_second = feishu.limits.downloads_per_second = None
        team = Team(feishu, tmp_path)
        older = team.finished(4)
        sent_late(team)
        newer = team.finished_anew(5)
        team.clock.now += 400
        team.flush_until_quiet()
        assert team.record(older).outbox.superseded_by == newer
        team.assert_delivered(newer)
        assert team.row("产品2")[PICTURE].data == b"\x89PNG a former one"


def _queued(task: TaskRecord) -> TaskRecord:
    """As a person has it rendered again, because it failed, or because what it made is gone."""
    if task.stage is Stage.FINISHED:
        task = dataclasses.replace(task, stage=Stage.RUNNING)
    return dataclasses.replace(task.entering(Stage.QUEUED, error_message=None), attempts=0, earlier_runs=task.runs)


@pytest.mark.parametrize("again", ["rendered", "pushed"])
def test_what_comes_while_an_earlier_result_is_delivered_is_delivered_as_well(again: str, team: Team) -> None:
    """A person has a failed row rendered again, or pushes once more, in the moment in which the answer comes."""
    task_id = team.failed(4) if again == "rendered" else team.finished(4)
    write, calls = team.publisher._feishu.write_cells, []

    def meanwhile(cells: Any) -> Any:
        revisions = write(cells)
        calls.append(cells)
        if len(calls) == 1 and again == "rendered":
            team.db.table.update(task_id, lambda task: started(_queued(task)))
            path = team.folder / f"{task_id}_00002_.png"
            Image.new("RGB", (4, 4), (9, 9, 9)).save(path)
            assert team.db.complete_task(task_id, [path])
        elif len(calls) == 1:
            assert team.db.push_again(task_id)
        return revisions

    team.publisher._feishu.write_cells = meanwhile  # type: ignore[method-assign]
    team.publisher.flush()
    assert team.state(task_id) is FeishuState.PENDING
    team.clock.now += 400
    team.flush_until_quiet()
    team.assert_delivered(task_id)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_picture_of_a_former_result_is_not_that_of_the_one_rendered_anew(*, restarted: bool, team: Team) -> None:
    """Killed when it was written and not noted; its file is gone, and a person has the row rendered again."""
    task_id = team.finished(4)
    killed_when_the_picture_is_written(team)
    (team.folder / team.record(task_id).output_files[0]).unlink()
    team.db.table.update(task_id, lambda task: started(_queued(task)))
    Image.new("RGB", (4, 4), (9, 9, 9)).save(team.folder / f"{task_id}_00002_.png")
    assert team.db.complete_task(task_id, [f"{task_id}_00002_.png"])
    if restarted:
        team.publisher = team.new_publisher()
    team.clock.now += 400
    team.flush_until_quiet()
    team.assert_delivered(task_id)


def test_a_file_that_a_person_names_while_an_earlier_flush_is_at_work_is_the_one_delivered(team: Team) -> None:
    """What the flush began with is not sent any more, and does not pass for the new one."""
    tasks = [team.finished(row) for row in (3, 4)]
    path = team.folder / "chosen.png"
    Image.new("RGB", (4, 4), (9, 9, 9)).save(path)
    write, calls = team.publisher._feishu.write_picture, []

    def meanwhile(*arguments: Any) -> Any:
        if not calls:  # the first one's picture leaves
            result = Result(path.name, size=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
            team.db.table.update(tasks[1], lambda task: given(task, result))
        calls.append(arguments)
        return write(*arguments)

    team.publisher._feishu.write_picture = meanwhile  # type: ignore[method-assign,assignment]
    team.publisher.flush()
    assert team.state(tasks[1]) is FeishuState.PENDING
    team.clock.now += 400
    team.flush_until_quiet()
    for task_id in tasks:
        team.assert_delivered(task_id)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("typed_in", [False, True], ids=["read", "typed in"])
@pytest.mark.parametrize("arrived", [False, True])
def test_a_picture_that_a_person_puts_there_while_ours_is_looked_for_is_theirs(
    team: Team, *, arrived: bool, typed_in: bool, restarted: bool
) -> None:
    """No answer came: the request was lost, or the answer was. `typed_in`: nobody knows what the row showed before."""
    task_id = team.finished(2)
    if not typed_in:
        before = {"composite_image": None, "status": "否"}
        team.db.table.update(task_id, lambda task: dataclasses.replace(task, row_data={**task.row_data, **before}))
    write, calls = team.publisher._feishu.write_picture, []

    def unanswered(*arguments: Any) -> None:
        calls.append(arguments)
        if arrived:
            write(*arguments)
        raise FeishuError("no answer from Feishu", outcome_unknown=True, slow=True)

    team.publisher._feishu.write_picture = unanswered  # type: ignore[method-assign,assignment]
    team.publisher.flush()
    team.publisher._feishu.write_picture = write  # type: ignore[method-assign]
    mark = b"\x89PNG a person's"
    team.feishu.sheet.set("G2", mark)
    if restarted:
        team.publisher = team.new_publisher()
    team.clock.now += 400
    team.publisher.flush()
    assert (team.state(task_id), team.feishu.sheet.row(2)[PICTURE].data) == (FeishuState.BLOCKED, mark)
    assert team.feishu.sheet.row(2)[STATUS] == "否"
    assert f"wfrecovery decide {task_id} write" in (team.record(task_id).outbox.last_error or "")
    assert team.db.push_again(task_id)
    team.flush_until_quiet()
    team.assert_delivered(task_id)
    assert len(calls) == 1


def test_a_former_result_that_was_sent_and_never_noted_is_replaced_by_the_one_rendered_anew(team: Team) -> None:
    """What its row showed before is known; killed when the picture was written."""
    task_id = team.finished(4)
    team.db.table.update(task_id, lambda task: dataclasses.replace(task, row_data={"composite_image": None}))
    killed_when_the_picture_is_written(team)
    team.db.table.update(task_id, lambda task: started(_queued(task)))
    Image.new("RGB", (4, 4), (9, 9, 9)).save(team.folder / f"{task_id}_00002_.png")
    assert team.db.complete_task(task_id, [f"{task_id}_00002_.png"])
    team.publisher = team.new_publisher()
    team.clock.now += 400
    team.flush_until_quiet()
    team.assert_delivered(task_id)
