"""A program is killed while it writes texts, and things happen until it is started again: what went astray is told,
once, and nobody is asked about what people have done in the meantime."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from publishing_support import STATUS, Image, Team, rows
from table_processes import QuickDisk
from test_left_on_disk import file_of
from test_texts_astray import HEADER, MARK, Hands, KilledError, by_mark, new_row, sheet_rows, told

from wfrecovery.bridge.feishu import publisher, reading
from wfrecovery.bridge.feishu.errors import FeishuError
from wfrecovery.bridge.feishu.left_on_disk import is_one
from wfrecovery.bridge.settings import load_settings
from wfrecovery.bridge.table.changes import left as not_wanted
from wfrecovery.bridge.table.changes import sent_once_more
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.bridge.wording import Wording
from wfrecovery.demo.feishu_host import wire
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn


@pytest.fixture
def feishu() -> Any:
    with FeishuStandIn(sheet_rows(), header=HEADER) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


@pytest.fixture
def team(feishu: FeishuStandIn, tmp_path: Path) -> Team:
    return Team(feishu, tmp_path)


def killed(team: Team, before: Any = None, *, arrives: bool = True) -> None:
    """Under the first write of texts."""
    client = team.publisher._feishu
    write = client.write_cells

    def moment(cells: Any) -> Any:
        if before is not None:
            before()
        if arrives:
            write(cells)
        raise KilledError

    client.write_cells = moment
    with pytest.raises(KilledError):
        team.publisher.flush()


def restarted(team: Team) -> None:
    team.db = DatabaseManager(team.folder, disk=QuickDisk())
    team.publisher = team.new_publisher()


def quiet(team: Team) -> None:
    for _ in range(5):
        team.publisher.flush()
        team.clock.now += 400


def insert(team: Team, at: int) -> Any:
    return lambda: new_row(team.feishu.sheet, at, "新品")


def says(team: Team, product: str) -> str:
    return str(team.row(product)[STATUS])


def test_a_lone_surrogate_in_any_cell_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Escaped:
        loads = staticmethod(json.loads)
        JSONDecodeError = json.JSONDecodeError

        @staticmethod
        def dumps(body: Any, **_: Any) -> str:
            return json.dumps(body)  # "\ud83d", as JSON carries it

    monkeypatch.setattr(wire, "json", Escaped)
    cells = sheet_rows()
    cells[7][MARK] = "half an emoji \ud83d"
    with FeishuStandIn(cells, header=HEADER) as feishu:
        team = Team(feishu, tmp_path)
        task_id = team.finished(3)
        team.publisher.flush()
        assert team.state(task_id) is FeishuState.PUSHED


def test_the_file_does_not_grow_with_the_writes_of_a_flush(tmp_path: Path) -> None:
    with FeishuStandIn([{**row, MARK: "x"} for row in rows(40)], header=HEADER) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        for number in range(2, 32):
            team.failed(number)
        feishu.sheet.protect("E10:E10")  # one by one
        sizes: list[int] = []
        hands = Hands(team)
        hands.before = lambda _: sizes.append(file_of(team).stat().st_size)
        team.publisher.flush()
        assert len(sizes) > 30
        assert max(sizes) < 2 * sizes[0]


def test_what_was_seen_to_stand_is_not_asked_about(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed under a later write of the same flush; rows were dragged between the two, under neither."""
    monkeypatch.setattr(publisher, "TASKS_PER_WRITE", 1)
    monkeypatch.setattr(reading, "_TRUSTED_SECONDS", -1.0)  # each write looks before it
    one, two, sheet = team.finished(3), team.finished(5), team.feishu.sheet
    hands, store = Hands(team), team.publisher._store

    def after(number: int) -> None:
        if number == 1:
            raise KilledError

    def stored(task: Any, change: Any) -> None:
        store(task, change)
        if task.task_id == one:
            row = sheet.row(5)
            sheet.delete_row(5)
            sheet.insert_row(3, row)

    hands.after, team.publisher._store = after, stored
    with pytest.raises(KilledError):
        team.publisher.flush()
    assert team.state(one) is FeishuState.PUSHED
    restarted(team)
    quiet(team)
    assert (team.state(one), team.state(two), told(team)) == (FeishuState.PUSHED, FeishuState.PUSHED, "")


def test_a_status_that_stands_in_its_row_has_not_gone_elsewhere(team: Team) -> None:
    """Nobody moved a row under it; while the program is dead somebody drags a row, and does that one by hand."""
    task_id, sheet = team.finished(5), team.feishu.sheet
    killed(team)
    row = sheet.row(8)
    sheet.delete_row(8)
    sheet.insert_row(5, {**row, STATUS: "已完成"})
    restarted(team)
    quiet(team)
    assert (team.state(task_id), told(team)) == (FeishuState.PUSHED, "")


@pytest.mark.parametrize("other", ["sheet", "document"])
def test_what_left_for_another_sheet_is_not_forgotten(other: str, team: Team) -> None:
    task_id, settings = team.finished(5), team.settings
    killed(team, insert(team, 5))
    team.feishu.add_sheet("二月", sheet_rows(), header=HEADER)
    with FeishuStandIn(sheet_rows(), header=HEADER) as second:
        second.limits.sheet_calls_per_second = None
        elsewhere = replace(settings, feishu_sheet_name="二月")
        team.settings = elsewhere if other == "sheet" else load_settings(environ=second.environment())
        restarted(team)
        team.finished(9)
        quiet(team)
    team.settings = settings
    restarted(team)
    team.db.push_again(task_id)
    quiet(team)
    assert says(team, "新品") == "已完成"
    assert "新品" in told(team)


def test_a_kill_under_the_repair_is_looked_for_as_well(tmp_path: Path) -> None:
    cells = sheet_rows()
    cells[3][STATUS] = "已完成"  # 产品4, done by hand
    with FeishuStandIn(cells, header=HEADER) as feishu:
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        team.finished(7)
        hands = Hands(team)
        hands.before = lambda number: new_row(sheet, 2, f"新品{number}")  # under the write, and under the repair

        def after(number: int) -> None:
            if number == 1:
                raise KilledError

        hands.after = after
        with pytest.raises(KilledError):
            team.publisher.flush()
        assert by_mark(sheet)["mark 5"][STATUS] == "否"  # it got another's own text, and will be paid for again
        restarted(team)
        quiet(team)
        assert "'产品4'" in told(team), told(team)


@pytest.mark.parametrize("column", ["image_status", "video_status"])
def test_a_title_that_a_person_has_changed_meanwhile_is_theirs(column: str, team: Team) -> None:
    """A title line was put above the header, and the column renamed, in the sheet and in the settings."""
    sheet, letter = team.feishu.sheet, {"image_status": "E", "video_status": "F"}[column]
    team.finished(2) if column == "image_status" else team.filmed(2)
    killed(team)
    sheet.insert_blank(1, 1)
    sheet.set(f"{letter}2", "新名")
    team.settings = replace(team.settings, columns=replace(team.settings.columns, **{column: "新名"}))
    restarted(team)
    quiet(team)
    assert sheet.text(f"{letter}2") == "新名", told(team)


@pytest.mark.parametrize("how", ["killed then", "the file is open elsewhere"])
def test_a_push_is_not_blocked_by_what_is_in_the_record_already(
    how: str, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = team.finished(5)
    killed(team, insert(team, 2))
    restarted(team)
    disk = team.db.table.files.disk
    unlink = disk.unlink

    def fails(path: Path) -> None:
        if is_one(path.name):
            raise KilledError if how == "killed then" else PermissionError(13, "used by another process")
        unlink(path)

    monkeypatch.setattr(disk, "unlink", fails)
    try:
        team.publisher.flush()
    except KilledError:
        restarted(team)
    monkeypatch.undo()
    assert team.state(task_id) is FeishuState.BLOCKED
    if how == "killed then":
        assert file_of(team).exists()
        team.publisher.flush()
        assert team.state(task_id) is FeishuState.BLOCKED
        assert not file_of(team).exists(), "nothing of it is of use any more"
    team.feishu.sheet.set("E5", "否")
    assert team.db.push_again(task_id)
    quiet(team)
    assert (team.state(task_id), told(team)) == (FeishuState.PUSHED, "")


def test_a_cell_is_told_once(team: Team) -> None:
    team.finished(5)
    killed(team, insert(team, 2))
    restarted(team)

    def die(_: Any) -> None:
        raise KilledError

    team.publisher._unseen.are_told = die
    with pytest.raises(KilledError):
        team.publisher.flush()
    restarted(team)
    team.finished(10)
    quiet(team)
    assert told(team).count("were written over") == 1


def test_what_another_program_has_settled_is_settled(team: Team) -> None:
    """The answer to one was lost, and its reading failed. The other one tells; a person says that it is right so."""
    task_id, first = team.finished(5), team.publisher
    client, hands = first._feishu, Hands(team)
    read = client.read_sheet

    def no_reading(*_: Any, **__: Any) -> Any:
        client.read_sheet = read
        raise FeishuError(Wording("no answer", "没有回答"))

    team.feishu.faults.add(Fault.HTML_502_AFTER, match="values_batch_update", times=1)
    hands.before = lambda number: number or new_row(team.feishu.sheet, 5, "新品")
    hands.after = lambda _: setattr(client, "read_sheet", no_reading)
    first.flush()
    hands.after = hands.before = int
    restarted(team)
    team.clock.now += 400
    team.publisher.flush()
    assert team.state(task_id) is FeishuState.BLOCKED
    assert team.db.push_again(task_id)
    for _ in range(3):
        team.clock.now += 400
        first.flush()
    assert (team.state(task_id), told(team)) == (FeishuState.PUSHED, "")


@pytest.mark.parametrize("edit", ["deleted", "emptied"])
def test_nobody_has_moved_a_row(edit: str, team: Team) -> None:
    """The last one is gone, and somebody marks another one by hand, while no request arrives."""
    task_id, sheet = team.finished(5), team.feishu.sheet

    def meanwhile(number: int) -> None:
        if number:
            return
        team.feishu.faults.clear()
        if edit == "deleted":
            sheet.delete_row(sheet.last_row)
        else:
            for letter in "ABCEF":
                sheet.set(f"{letter}{sheet.last_row}", "")
        sheet.set("E8", "已完成")

    team.feishu.faults.add(Fault.RESET_BEFORE, match="values_batch_update", times=9)
    Hands(team).after = meanwhile
    quiet(team)
    assert (team.state(task_id), told(team)) == (FeishuState.PUSHED, "")


def test_another_s_result_is_no_stray(team: Team) -> None:
    """It never arrived; while it was dead rows were sorted, and another table's publisher has delivered."""
    task_id, sheet = team.finished(5), team.feishu.sheet
    killed(team, arrives=False)
    sheet.sort(MARK, reverse=True)
    other = Team(team.feishu, team.folder / "other")
    ids = [other.finished(number) for number in (2, 3, 9)]
    other.flush_until_quiet()
    assert [other.state(one) for one in ids] == [FeishuState.PUSHED] * 3
    restarted(team)
    quiet(team)
    assert (team.state(task_id), told(team)) == (FeishuState.PUSHED, "")


def test_it_is_told_although_the_task_is_rendered_once_more(team: Team) -> None:
    task_id = team.finished(5)
    killed(team, insert(team, 5))
    restarted(team)
    team.db.table.update(task_id, sent_once_more)
    team.finished(9)
    quiet(team)
    assert team.state(task_id) is not FeishuState.BLOCKED, "what is rendered is not delivered yet"
    assert file_of(team).exists()
    Image.new("RGB", (4, 4), (9, 9, 9)).save(team.folder / "again.png")
    assert team.db.complete_task(task_id, [team.folder / "again.png"])
    quiet(team)
    assert says(team, "新品") == "已完成"
    assert "新品" in told(team)


def test_who_has_decided_is_not_asked_again(team: Team) -> None:
    task_id = team.finished(5)
    killed(team, arrives=False)
    team.db.table.update(task_id, not_wanted)
    new_row(team.feishu.sheet, 3, "新品")
    team.feishu.sheet.set("E9", "已完成")
    restarted(team)
    team.finished(10)
    quiet(team)
    assert team.state(task_id) is FeishuState.OFF


def test_a_file_that_may_not_be_read_stops_nobody(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id, disk = team.finished(5), team.db.table.files.disk
    read = disk.read

    def refused(path: Path, *most: int) -> bytes:
        if is_one(path.name):
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *most)

    monkeypatch.setattr(disk, "read", refused)
    team.publisher.flush()
    assert team.state(task_id) is FeishuState.PUSHED


@pytest.mark.parametrize("days", [-8, 8])
def test_after_a_week_nothing_is_looked_for(days: int, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor by a clock that has jumped."""
    task_id = team.finished(5)
    killed(team, insert(team, 5))
    restarted(team)
    now = time.time() + 86_400 * days
    monkeypatch.setattr("wfrecovery.bridge.feishu.left_on_disk.time.time", lambda: now)
    quiet(team)
    assert (team.state(task_id), told(team)) == (FeishuState.PUSHED, "")
    assert not file_of(team).exists()


def test_it_is_looked_for_although_nothing_waits_to_be_pushed(team: Team) -> None:
    """Killed after its task was noted as pushed: the cells of the sheet do not lie there until the next result."""
    task_id = team.finished(5)
    disk = team.db.table.files.disk
    unlink = disk.unlink

    def dies(path: Path) -> None:
        if is_one(path.name):
            raise KilledError
        unlink(path)

    disk.unlink = dies  # type: ignore[method-assign]
    with pytest.raises(KilledError):
        team.publisher.flush()
    assert team.state(task_id) is FeishuState.PUSHED
    assert file_of(team).exists()
    restarted(team)
    team.publisher.flush()
    assert not file_of(team).exists()
    calls = len(team.feishu.calls)
    team.publisher.flush()
    assert len(team.feishu.calls) == calls


def test_a_copy_of_a_row_that_is_done_is_no_stray(tmp_path: Path) -> None:
    cells = sheet_rows()
    cells[7][STATUS] = "已完成"
    with FeishuStandIn(cells, header=HEADER) as feishu:
        team = Team(feishu, tmp_path)
        task_id = team.finished(5)
        killed(team, arrives=False)
        feishu.sheet.insert_row(3, feishu.sheet.row(9))
        restarted(team)
        quiet(team)
        assert (team.state(task_id), told(team)) == (FeishuState.PUSHED, "")


@pytest.mark.parametrize("edit", ["insert", "sort"])
def test_what_was_undone_while_the_program_was_dead(edit: str, team: Team) -> None:
    team.finished(5)
    sheet = team.feishu.sheet
    killed(team, insert(team, 2) if edit == "insert" else lambda: sheet.sort(MARK, reverse=True))
    if edit == "insert":
        sheet.delete_row(2)  # Ctrl+Z
    else:
        sheet.sort(lambda row: int(row[MARK].split()[1]))
    restarted(team)
    quiet(team)
    wrong = [row["产品名"] for mark, row in by_mark(sheet).items() if row[STATUS] == "已完成" and mark != "mark 5"]
    assert wrong
    assert all(name in told(team) for name in wrong), (wrong, told(team))
