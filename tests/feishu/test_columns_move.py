"""A person inserts, deletes or drags a column, or inserts rows above the header, while a write of ours is on its way:
what it went over has its own back, or a person is told which cell it is. Told by what all other columns held before,
and by the content of pictures."""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, VIDEO, Image, Team, rows

from wfrecovery.bridge.feishu.errors import FeishuError
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn, Picture, Sheet, Switches

OURS = (PICTURE, STATUS, VIDEO)
#: the order of another team: the composite stands right of the model's photo
HEADER = ("备注", "产品名", "产品图", "模特名", "模特图", PICTURE, "提示词", STATUS, VIDEO, "价格", "合计")
#: what no row is told apart by
MORE = ("备注", "价格", "合计")


def photo(*colour: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(file, "PNG")
    return file.getvalue()


def sheet_rows(count: int = 6) -> list[dict[str, Any]]:
    return [
        {
            **row,
            "提示词": f"  提示{number}\n第二行 ",
            "产品图": photo(number, 1, 1),
            "模特图": photo(1, number, 1),
            "备注": f"mark {number}" if number % 2 else None,
            "价格": number,
            "合计": {"type": "formula", "text": f"=J{number}", "value": f"共{number}"},
        }
        for number, row in enumerate(rows(count), 2)
    ]


def shown(value: Any) -> Any:
    return value.sha256 if isinstance(value, Picture) else value


def cells(sheet: Sheet) -> dict[tuple[str, str], Any]:
    """What stands in columns that are not ours, by the row's number below the header and the column's title."""
    numbers = range(sheet.first_row, sheet.last_row + 1)
    return {
        (str(number - sheet.header_row), title): shown(value)
        for number in numbers
        for title, value in sheet.row(number).items()
        if title not in OURS
    }


def told(team: Team) -> str:
    tasks = (team.record(entry.task_id) for entry in team.db.index.entries())
    return " | ".join(task.outbox.last_error or "" for task in tasks if task.feishu_state is FeishuState.BLOCKED)


def under(team: Team, call: str, act: Callable[[], Any], after: Callable[..., Any] | None = None) -> list[int]:
    """Somebody does something in the moment in which the first call of that kind leaves."""
    client, done = team.publisher._feishu, list[int]()
    write = getattr(client, call)

    def moment(*arguments: Any) -> Any:
        if done:
            return write(*arguments)
        done.append(1)
        act()
        return after(write, *arguments) if after else write(*arguments)

    setattr(client, call, moment)
    return done


def assert_nothing_is_lost_unsaid(team: Team, before: dict[tuple[str, str], Any], tasks: dict[int, str]) -> None:
    sheet, said = team.feishu.sheet, told(team)
    now = cells(sheet)
    for (number, title), value in before.items():
        if title in sheet.titles and now.get((number, title)) != value:
            assert repr(title) in said, (number, title, value, now.get((number, title)), said)
            assert f"'产品{int(number)}'" in said or f"'模特{int(number)}'" in said or title == "产品名", said
    untitled = [index for index, title in enumerate(sheet.titles, 1) if not title]
    for number in range(2, sheet.last_row + 1):  # such a column is named by the letters that it had
        if any(sheet.at(number, index) for index in untitled):
            assert re.search(rf"[A-Z]+{number} '(?:产品|模特){number - 1}'[^,]* '([A-Z]+):\1'", said), said
    for number in range(sheet.first_row, sheet.last_row + 1):
        row, below = sheet.row(number), number - sheet.header_row
        task_id = tasks.get(below)
        if task_id is not None and team.state(task_id) is FeishuState.PUSHED:
            file = team.folder / team.record(task_id).output_files[0]
            assert shown(row[PICTURE]) == hashlib.sha256(file.read_bytes()).hexdigest()
            assert row[STATUS] == "已完成"
        elif task_id is not None:
            assert team.state(task_id) is FeishuState.BLOCKED
            assert team.record(task_id).outbox.last_error
        else:
            assert (row[PICTURE], row[STATUS]) == (None, "否"), said


#: 136: what was to empty a cell again went over a picture.
@pytest.mark.parametrize("seed", sorted({*range(int(os.environ.get("WFRECOVERY_HISTORIES", "25"))), 136}))
def test_whatever_column_moves_no_cell_is_lost_unsaid(seed: int, tmp_path: Path) -> None:
    """`WFRECOVERY_HISTORIES=2000` tries so many (25)."""
    dice = random.Random(seed)
    header = dice.sample(HEADER, len(HEADER))
    switches = Switches(revision=dice.choice(["one", "one", "two", "missing"]))
    with FeishuStandIn(sheet_rows(), header=header, switches=switches) as feishu:
        feishu.limits.sheet_calls_per_second = feishu.limits.downloads_per_second = None
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        tasks = {number - 1: team.finished(number) for number in dice.sample(range(2, 8), 3)}
        before = cells(sheet)
        edits: list[str] = []

        def edit() -> None:
            letters = sheet.find(dice.choice(sheet.titles[: len(HEADER)]) or PICTURE)
            match dice.choice(["insert", "titled", "delete", "drag", "drag"]):
                case "insert":
                    sheet.insert_column(letters)
                case "titled":
                    sheet.insert_column(letters, f"新列{len(edits)}")
                case "delete" if gone := [title for title in MORE if title in sheet.titles]:
                    sheet.delete_column(sheet.find(dice.choice(gone)))
                case _:
                    sheet.move_column(letters, sheet.find(dice.choice(HEADER[1:9])))
            edits.append(" ".join(sheet.titles))

        for call in dice.sample(["write_picture", "write_cells"], dice.choice([1, 1, 2])):
            under(team, call, edit)
        for _ in range(8):
            team.publisher.flush()
            team.clock.now += 400
        assert edits
        assert_nothing_is_lost_unsaid(team, before, tasks)


@pytest.mark.parametrize("alike", [False, True])
def test_each_row_of_a_call_gets_its_own_prompt_back(*, alike: bool, tmp_path: Path) -> None:
    """Also where nothing but the 提示词 tells rows apart."""
    header = ("备注", "产品名", "模特名", "提示词", STATUS, PICTURE, VIDEO)
    names = {"产品名": "裙子", "模特名": "模特"} if alike else {}
    with FeishuStandIn([{**row, **names} for row in rows(60)], header=header) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        tasks = [team.failed(number) for number in range(2, 60)]
        done = under(team, "write_cells", lambda: sheet.insert_column("A", "编号"))
        team.flush_until_quiet()
        assert done
        assert [sheet.row(number)["提示词"] for number in range(2, 62)] == [f"提示{n}" for n in range(1, 61)]
        assert [sheet.row(number)[STATUS] for number in range(2, 62)] == [*["失败"] * 58, "否", "否"]
        assert {team.state(task_id) for task_id in tasks} == {FeishuState.PUSHED}


@pytest.mark.parametrize("title", ["模特图", "价格", "合计"])
def test_what_cannot_be_written_again_is_told(title: str, tmp_path: Path) -> None:
    """A picture, a number, and what a formula gives; the next start still sees where it is, and sends nothing."""
    header = ("产品名", "模特名", "提示词", STATUS, VIDEO, "备注", "产品图", *MORE[1:], "模特图")
    order = [*(one for one in header if one != title), title, PICTURE]
    with FeishuStandIn(sheet_rows(), header=order) as feishu:
        feishu.limits.sheet_calls_per_second = feishu.limits.downloads_per_second = None
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        task_id = team.finished(4)
        under(team, "write_picture", lambda: sheet.insert_column("A"))
        for _ in range(3):
            assert task_id in team.publisher.flush().blocked
            reason = team.record(task_id).outbox
            team.publisher = team.new_publisher()
            team.publisher.unblock()
        for word in ("row 4", "'产品3'", repr(title), "历史记录"):
            assert word in (reason.last_error or "")
        assert f"'{title}'" in (reason.last_error_zh or "")
        assert len(sheet.picture_writes) == 1
        sheet.set(f"{sheet.find(title)}4", "put back")
        team.db.try_again(task_id)
        team.flush_until_quiet()
        team.assert_delivered(task_id)
        assert sheet.row(4)[title] == "put back"


@pytest.mark.parametrize("way", ["killed", "slow"])
@pytest.mark.parametrize("edit", ["insert", "delete", "drag"])
def test_a_picture_that_nobody_saw_arrive_is_not_left_in_another_column(edit: str, way: str, tmp_path: Path) -> None:
    class KilledError(BaseException):
        pass

    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        feishu.limits.sheet_calls_per_second = feishu.limits.downloads_per_second = None
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        tasks, before = {3: team.finished(4)}, cells(sheet)

        def act() -> None:
            if edit == "insert":
                sheet.insert_column("A")
            elif edit == "delete":
                sheet.delete_column("A")
            else:
                sheet.move_column(sheet.find(PICTURE), "B")

        def lost(write: Callable[..., Any], *arguments: Any) -> Any:
            write(*arguments)
            raise KilledError if way == "killed" else FeishuError("no answer", outcome_unknown=True, slow=True)

        under(team, "write_picture", act, lost)
        if way == "killed":
            with pytest.raises(KilledError):
                team.publisher.flush()
            team.publisher = team.new_publisher()
        for _ in range(4):
            team.publisher.flush()
            team.clock.now += 400
        assert_nothing_is_lost_unsaid(team, before, tasks)
        if way == "slow" and edit == "delete":  # the 提示词 was written over, and is a text
            assert team.state(tasks[3]) is FeishuState.PUSHED


@pytest.mark.parametrize("refused", [Fault.RATE_LIMIT_429, Fault.RESET_AFTER])
def test_what_is_owed_to_another_column_stays_owed_while_columns_move_on(refused: Fault, tmp_path: Path) -> None:
    header = ("备注", "产品名", "模特名", "提示词", STATUS, PICTURE, VIDEO)
    with FeishuStandIn(rows(5), header=header) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        tasks = [team.failed(number) for number in (3, 4)]
        under(team, "write_cells", lambda: sheet.insert_column("A"))
        feishu.faults.add(refused, match="values_batch_update", after=1, times=1)
        team.publisher.flush()
        sheet.insert_column("B", "编号")
        for _ in range(4):
            team.clock.now += 700
            team.publisher.flush()
        assert [sheet.row(number)["提示词"] for number in range(2, 7)] == [f"提示{n}" for n in range(1, 6)]
        assert {team.state(task_id) for task_id in tasks} == {FeishuState.PUSHED}


@pytest.mark.parametrize("what", ["failed", "finished"])
@pytest.mark.parametrize("count", [1, 2])
def test_rows_that_are_inserted_above_the_header_cost_no_title(what: str, count: int, tmp_path: Path) -> None:
    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        feishu.limits.sheet_calls_per_second = feishu.limits.downloads_per_second = None
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        before, titles = cells(sheet), sheet.titles
        tasks = {number - 1: getattr(team, what)(number) for number in (2, 3)}
        call = "write_cells" if what == "failed" else "write_picture"
        under(team, call, lambda: sheet.insert_blank(1, count))
        for _ in range(5):
            team.publisher.flush()
            team.clock.now += 400
        assert (sheet.titles, cells(sheet)) == (titles, before)
        above = [sheet.at(number, column) for number in range(1, sheet.header_row) for column in range(1, 12)]
        assert not any(above) or "written over" in told(team)
        for below, task_id in tasks.items():
            row = sheet.row(below + sheet.header_row)
            if team.state(task_id) is FeishuState.PUSHED:
                assert row[STATUS] == ("失败" if what == "failed" else "已完成")
            assert team.state(task_id) is FeishuState.PUSHED or team.record(task_id).outbox.last_error
