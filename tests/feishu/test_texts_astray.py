"""A text that went into another row, because rows moved while it was on its way: the row gets its own back, or a person
is told which one it is. Also where rows move again and again, where Feishu refuses the repair or does not answer, and
where the row is copied, renamed or deleted meanwhile."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, Image, Team, rows
from table_processes import QuickDisk

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.left_on_disk import is_one
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import RETRYABLE, Fault, FeishuStandIn, Sheet, Switches

#: Of a row, which no code of ours reads: it tells whose the row is, whatever is renamed, moved or copied.
MARK = "备注"
HEADER = ("产品名", "模特名", "提示词", "产品模特合成图", "图片是否已处理", "视频是否已实现", MARK)


ROWS, TASKS = 9, (3, 5, 6)
FAILED = "失败"


def sheet_rows() -> list[dict[str, Any]]:
    return [{**row, MARK: f"mark {number}"} for number, row in enumerate(rows(ROWS), 2)]


class Hands:
    """People who edit in the moments `before` and `after` the write of texts with that number is carried out."""

    def __init__(self, team: Team) -> None:
        self.calls = 0
        self.before: Callable[[int], Any] = int
        self.after: Callable[[int], Any] = int
        self._team = team
        self.take()

    def take(self) -> None:
        """They are there as well where the publisher has been started again."""
        self._write = self._team.publisher._feishu.write_cells
        self._team.publisher._feishu.write_cells = self  # type: ignore[method-assign,assignment]

    def __call__(self, cells: Any) -> Any:
        number, self.calls = self.calls, self.calls + 1
        self.before(number)
        try:
            return self._write(cells)
        finally:
            self.after(number)


class KilledError(BaseException):
    """As SIGKILL ends a program: nothing that it has in memory is written any more."""


class People:
    """What they do to the rows, so many times."""

    def __init__(self, sheet: Sheet, dice: random.Random, edits: int) -> None:
        self.sheet, self.dice, self.left = sheet, dice, edits
        self.done: list[str] = []
        #: what they do to columns
        self.columns: tuple[str, ...] = ()

    def work(self, _: int = 0) -> None:
        """Once in a while, once or twice: rows that have moved move back, or on."""
        while self.left and self.dice.random() < 0.5:
            self.left -= 1
            sheet, row = self.sheet, self.dice.randint(2, self.sheet.last_row)
            edit = self.dice.choice(
                ["insert", "insert", "up", "down", "shuffle", "delete", "rename", "copy", *self.columns]
            )
            self.done.append(f"{edit} {row}")
            match edit:
                case "insert":
                    new_row(sheet, row, f"新品{self.left}")
                case "up" | "down":
                    sheet.sort(MARK, reverse=edit == "down")
                case "shuffle":
                    sheet.sort(lambda _: self.dice.random())
                case "delete" if sheet.last_row > 5:
                    sheet.delete_row(row)
                case "rename":
                    sheet.set(f"{sheet.find('产品名')[0]}{row}", f"改名{self.left}")
                case "copy":
                    sheet.insert_row(row, sheet.row(row))
                case "column":
                    sheet.insert_column(self._somewhere(), f"列{self.left}")
                case "column gone" if gone := [title for title in sheet.titles if title.startswith("列")]:
                    sheet.delete_column(sheet.find(self.dice.choice(gone)))
                case "drag":
                    sheet.move_column(self._somewhere(), self._somewhere())

    def _somewhere(self) -> str:
        return self.sheet.find(self.dice.choice(HEADER))


def new_row(sheet: Sheet, at: int, name: str) -> None:
    sheet.insert_row(at, {"产品名": name, "模特名": "新人", "提示词": name, STATUS: "否", MARK: name})


def by_mark(sheet: Sheet) -> dict[str, dict[str, str]]:
    return {row[MARK]: row for row in map(sheet.row_texts, range(2, sheet.last_row + 1))}


def told(team: Team) -> str:
    """What a person can read of what is blocked."""
    tasks = (team.record(entry.task_id) for entry in team.db.index.entries())
    return " | ".join(task.outbox.last_error or "" for task in tasks if task.feishu_state is FeishuState.BLOCKED)


def spoiled(team: Team) -> list[dict[str, str]]:
    """The rows that say 失败 and were never tried, by their mark."""
    texts = [team.feishu.sheet.row_texts(number) for number in range(2, team.feishu.sheet.last_row + 1)]
    tried = {f"mark {number}" for number in TASKS}
    return [row for row in texts if row[STATUS] == FAILED and row[MARK] not in tried]


def written_over(team: Team) -> list[dict[str, str]]:
    """The rows that say 失败 in another column."""
    texts = [team.feishu.sheet.row_texts(number) for number in range(2, team.feishu.sheet.last_row + 1)]
    return [row for row in texts if FAILED in [text for title, text in row.items() if title != STATUS]]


def silent(team: Team, names: dict[str, str]) -> list[dict[str, str]]:
    """Of these, those of which nobody was told. `names`: mark → the product's name at first."""
    said = told(team)
    return [
        row
        for row in (*spoiled(team), *written_over(team))
        if row["产品名"] not in said and names.get(row[MARK], row[MARK]) not in said
    ]


def wordless(team: Team, names: dict[str, str]) -> list[dict[str, str]]:
    """The rows that have lost their 提示词 or a name, and of which nobody was told."""
    texts = [team.feishu.sheet.row_texts(number) for number in range(2, team.feishu.sheet.last_row + 1)]
    said = told(team)
    return [row for row in texts if not all(map(row.get, HEADER[:3])) and names.get(row[MARK], row[MARK]) not in said]


#: 157 and 333: a row was deleted, and another one inserted in its place; 479: killed, while one of the rows that were
#: meant got what was another one's.
@pytest.mark.parametrize("seed", sorted({*range(int(os.environ.get("WFRECOVERY_HISTORIES", "25"))), 157, 333, 479}))
def test_no_row_says_what_is_another_s_unless_somebody_is_told(seed: int, tmp_path: Path) -> None:
    """`WFRECOVERY_HISTORIES=2000` tries so many sequences (25)."""
    dice = random.Random(seed)
    switches = Switches(revision=dice.choice(["one", "two", "missing", "still"]))
    with FeishuStandIn(sheet_rows(), header=HEADER, switches=switches) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team, people = Team(feishu, tmp_path), People(feishu.sheet, dice, edits=dice.randint(1, 5))
        people.columns = dice.choice([(), ("column", "column gone", "drag")])
        names = {row[MARK]: row["产品名"] for row in sheet_rows()}
        tasks = {number: team.failed(number) for number in TASKS}
        hands = Hands(team)
        hands.before, deadly = people.work, dice.choice([0, 0, 0.5])

        def after(_: int) -> None:
            people.work()
            if people.left and dice.random() < deadly:
                raise KilledError

        hands.after = after
        feishu.faults.random(seed, dice.choice([0, 0.3]), RETRYABLE)
        for _ in range(8):
            try:
                team.publisher.flush()
            except KilledError:
                team.publisher = team.new_publisher()
                hands.take()
            people.work()
            team.clock.now += 400
        people.left = 0
        feishu.faults.clear()
        team.flush_until_quiet()
        assert not silent(team, names), (people.done, told(team))
        assert not wordless(team, names), (people.done, told(team))
        said = told(team)
        for number, task_id in tasks.items():
            there = [
                row
                for row in map(feishu.sheet.row_texts, range(2, feishu.sheet.last_row + 1))
                if row[MARK] == f"mark {number}"
            ]
            if team.state(task_id) is FeishuState.PUSHED:
                assert not there or any(row[STATUS] == FAILED for row in there), (people.done, said)


@pytest.mark.parametrize("restart", ["the same program", "another one"])
@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("edit", ["inserted", "inserted on top", "sorted", "dragged", "dragged, then all moved"])
def test_what_left_in_the_moment_of_a_kill_is_looked_for_at_the_next_start(
    edit: str, restart: str, *, done: bool, tmp_path: Path
) -> None:
    """The row that it went over would else be taken for done, and never be rendered."""
    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        task_id = team.finished(5) if done else team.failed(5)
        before = by_mark(sheet)

        def moved(_: int) -> None:
            if edit.startswith("inserted"):
                new_row(sheet, 5 if edit == "inserted" else 2, "新品")
                before.update(by_mark(sheet))
            elif edit == "sorted":
                sheet.sort(MARK, reverse=True)
            else:
                sheet.move_column(sheet.find("提示词"), sheet.find(STATUS))

        def killed(_: int) -> None:
            if edit == "dragged, then all moved":
                sheet.move_column(sheet.find("提示词"), sheet.find("模特名"))
                sheet.sort(MARK, reverse=True)
            raise KilledError

        hands = Hands(team)
        hands.before, hands.after = moved, killed
        with pytest.raises(KilledError):
            team.publisher.flush()
        if restart == "another one":
            team.db = DatabaseManager(tmp_path, disk=QuickDisk())
        team.publisher = team.new_publisher()
        for _ in range(4):
            team.publisher.flush()
            team.clock.now += 400
        ((mark, title),) = {
            (mark, title)
            for mark, row in by_mark(sheet).items()
            for title, text in row.items()
            if text != before[mark][title] and (mark != "mark 5" or title not in (STATUS, PICTURE))
        }
        assert title == ("提示词" if edit.startswith("dragged") else STATUS)
        assert team.state(task_id) is FeishuState.BLOCKED
        assert before[mark]["产品名"] in told(team)
        assert repr(title) in told(team)
        (number,) = sheet.find_rows(**{MARK: mark})
        sheet.set(f"{sheet.find(title)[0]}{number}", before[mark][title])
        assert team.db.push_again(task_id)
        team.flush_until_quiet()
        assert team.state(task_id) is FeishuState.PUSHED, told(team)
        assert team.row("产品4")[STATUS] == ("已完成" if done else FAILED)
        assert not any(is_one(path.name) for path in (tmp_path / "wfrecovery").iterdir())


def test_what_a_person_has_to_put_right_is_not_forgotten_at_a_restart(tmp_path: Path) -> None:
    """It went into a row that nobody has read; what Feishu or a setting may have mended is tried again, this is not."""
    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        team = Team(feishu, tmp_path)
        task_id = team.failed(5)
        Hands(team).before = lambda call: call or new_row(feishu.sheet, 5, "新品")
        team.publisher.flush()
        assert [row["产品名"] for row in spoiled(team)] == ["新品"]
        assert team.row("产品4")[STATUS] == FAILED
        for _ in range(2):
            team.publisher = team.new_publisher()
            team.publisher.unblock()
            team.publisher.flush()
            assert team.state(task_id) is FeishuState.BLOCKED
            assert "新品" in told(team)
        feishu.sheet.set(f"{feishu.sheet.find(STATUS)[0]}5", "否")
        assert team.db.push_again(task_id)
        team.flush_until_quiet()
        assert team.state(task_id) is FeishuState.PUSHED
        assert not spoiled(team)


def test_of_a_row_that_is_gone_and_a_row_that_was_spoiled_both_are_told(tmp_path: Path) -> None:
    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        team = Team(feishu, tmp_path)
        team.failed(5)

        def meanwhile(call: int) -> None:
            if call == 0:
                new_row(feishu.sheet, 5, "新品")
                feishu.sheet.delete_row(6)

        Hands(team).before = meanwhile
        team.publisher.flush()
        assert "新品" in told(team)
        assert "'产品4'" in told(team)
        assert "stands in no row" in told(team)


def test_two_rows_that_look_the_same_both_get_their_own_text_back(tmp_path: Path) -> None:
    alike = {"产品名": "裙子", "模特名": "模特", "提示词": "白色"}
    cells = [{**row, **(alike if row[MARK] in ("mark 4", "mark 5") else {})} for row in sheet_rows()]
    with FeishuStandIn(cells, header=HEADER) as feishu:
        team = Team(feishu, tmp_path)
        tasks = [team.failed(number) for number in (6, 7)]

        def meanwhile(call: int) -> None:
            if call == 0:
                feishu.sheet.insert_row(2, {})
                feishu.sheet.insert_row(2, {})

        Hands(team).before = meanwhile
        team.flush_until_quiet()
        assert [team.state(task_id) for task_id in tasks] == [FeishuState.PUSHED] * 2
        texts = [feishu.sheet.row_texts(number) for number in range(2, feishu.sheet.last_row + 1)]
        assert [row[MARK] for row in texts if row[STATUS] == FAILED] == ["mark 6", "mark 7"]


REFUSED = (Fault.RATE_LIMIT_429, Fault.BUSY_90235, Fault.BUSY_90217)


@pytest.mark.parametrize("refused", REFUSED)
@pytest.mark.parametrize("edit", ["corrects a done row", "adds a row and marks another done", "marks a moved row done"])
def test_what_feishu_has_turned_away_is_nowhere(edit: str, refused: Fault, tmp_path: Path) -> None:
    """What people do until the next try is theirs: it blocks no result, and is not taken back."""
    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        status, prompt = (sheet.find(title)[0] for title in (STATUS, "提示词"))
        sheet.set(f"{status}9", "已完成")
        task_id = team.finished(5)
        feishu.faults.add(refused, match="values_batch_update", times=1)
        team.publisher.flush()
        match edit:
            case "corrects a done row":
                sheet.set(f"{prompt}9", "a typo less")
            case "adds a row and marks another done":
                new_row(sheet, sheet.last_row + 1, "新品")
                sheet.set(f"{status}8", "已完成")
            case "marks a moved row done":
                new_row(sheet, 2, "新品")
                sheet.set(f"{status}5", "已完成")
        said = {row[MARK]: row[STATUS] for row in map(sheet.row_texts, range(2, sheet.last_row + 1))}
        team.clock.now += 700
        team.flush_until_quiet()
        assert (team.state(task_id), told(team)) == (FeishuState.PUSHED, "")
        now = {row[MARK]: row[STATUS] for row in map(sheet.row_texts, range(2, sheet.last_row + 1))}
        assert now == {**said, "mark 5": "已完成"}


def test_it_is_told_at_the_task_that_wrote_there(tmp_path: Path) -> None:
    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        team = Team(feishu, tmp_path)
        failed, finished = team.failed(3), team.finished(8)
        Hands(team).before = lambda call: call or new_row(feishu.sheet, 8, "新品")
        team.publisher.flush()
        assert (team.state(failed), team.state(finished)) == (FeishuState.PUSHED, FeishuState.BLOCKED)
        assert f"wfrecovery push {finished}" in told(team)


def test_a_cell_that_cannot_be_given_back_holds_up_nobody(tmp_path: Path) -> None:
    """It is protected in the same moment; a person is told which row it is."""
    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        team = Team(feishu, tmp_path)
        task_id = team.failed(5)
        hands = Hands(team)
        hands.before = lambda call: call or new_row(feishu.sheet, 2, "新品")
        hands.after = lambda call: call or feishu.sheet.protect("E5:E5")
        team.publisher.flush()
        other = team.finished(9)
        team.clock.now += 700
        team.publisher.flush()
        assert (team.state(task_id), team.state(other)) == (FeishuState.BLOCKED, FeishuState.PUSHED)
        assert "'产品3'" in told(team)


@pytest.mark.parametrize("revision", ["one", "missing"])
@pytest.mark.parametrize("together", [False, True])
def test_videos_of_rows_that_look_the_same_are_each_marked_once(
    *, together: bool, revision: Any, tmp_path: Path
) -> None:
    """Rows have moved since they were entered, and no answer tells whether a status stands."""
    alike = {"产品名": "裙子", "模特名": "模特", "提示词": "白色"}
    cells = [{**row, **(alike if row[MARK] in ("mark 4", "mark 5") else {})} for row in sheet_rows()]
    with FeishuStandIn(cells, header=HEADER, switches=Switches(revision=revision)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        tasks = [team.filmed(number) for number in (4, 5)]
        for number in range(3):
            new_row(feishu.sheet, 2, f"新{number}")
        hands = Hands(team)
        for leave in ([], []) if together else (tasks[:1], tasks[1:]):
            team.publisher.flush(frozenset(leave))
        assert [team.state(task_id) for task_id in tasks] == [FeishuState.PUSHED] * 2
        texts = [feishu.sheet.row_texts(number) for number in range(2, feishu.sheet.last_row + 1)]
        assert [row[MARK] for row in texts if row["视频是否已实现"] == "已完成"] == ["mark 4", "mark 5"]
        assert hands.calls == (1 if together else 2)


def test_a_flush_forgets_nothing_on_a_full_disk(tmp_path: Path) -> None:
    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        team = Team(feishu, tmp_path)
        team.failed(5)
        Hands(team).before = lambda call: call or new_row(feishu.sheet, 5, "新品")
        put_off = team.publisher._put_off

        def full(*_: Any, **__: Any) -> None:
            team.publisher._put_off = put_off  # type: ignore[method-assign]
            raise OSError(28, "No space left on device")

        team.publisher._put_off = full  # type: ignore[method-assign]
        for _ in range(3):
            team.publisher.flush()
            team.clock.now += 400
        assert "新品" in told(team)


@pytest.mark.parametrize("revision", ["one", "missing"])
@pytest.mark.parametrize("late", [1, 2])
def test_what_feishu_shows_late_is_looked_for_again(late: int, revision: Any, tmp_path: Path) -> None:
    """A row was inserted in the moment of the write, and the next readings show neither where it went."""
    switches = Switches(revision=revision, late_reads=late)
    with FeishuStandIn(sheet_rows(), header=HEADER, switches=switches) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        task_id = team.failed(5)
        Hands(team).before = lambda call: call or new_row(feishu.sheet, 2, "新品")
        for _ in range(6):
            team.publisher.flush()
            team.clock.now += 400
        texts = [feishu.sheet.row_texts(number) for number in range(2, feishu.sheet.last_row + 1)]
        wrong = [row["产品名"] for row in texts if row[STATUS] == FAILED and row[MARK] != "mark 5"]
        assert all(name in told(team) for name in wrong), (wrong, told(team))
        assert wrong or team.state(task_id) is FeishuState.PUSHED


@pytest.mark.parametrize("gone", ["column", "protected"])
def test_what_cannot_be_given_back_later_is_told_and_holds_up_nobody(gone: str, tmp_path: Path) -> None:
    """Two rows got what is others', and Feishu is away until somebody has changed their cells as well."""
    with FeishuStandIn(sheet_rows(), header=HEADER) as feishu:
        team, sheet = Team(feishu, tmp_path), feishu.sheet
        tasks = [team.failed(number) for number in (4, 6)]
        Hands(team).before = lambda call: call or new_row(sheet, 2, "新品")
        feishu.faults.add(Fault.RATE_LIMIT_429, match="values_batch_update", after=1, times=1)
        team.publisher.flush()
        status = sheet.find(STATUS)[0]
        if gone == "column":
            sheet.set(f"{status}1", "旧状态")
        else:
            sheet.protect(f"{status}4:{status}4")
            sheet.protect(f"{status}6:{status}6")
        film = team.filmed(9)
        for _ in range(3):
            team.clock.now += 700
            team.publisher.flush()
        assert team.state(film) is FeishuState.PUSHED, team.record(film).outbox.last_error
        assert FeishuState.BLOCKED in {team.state(task_id) for task_id in tasks}
        assert "'产品2'" in told(team)
        assert "'产品4'" in told(team)


def test_a_status_is_written_once_where_a_person_has_replaced_the_product_s_picture(tmp_path: Path) -> None:
    """By what it says since our own write that row is done; nobody has moved a row."""
    header = ("产品图", *HEADER)
    cells = [{**row, "产品图": f"\x89PNG {row[MARK]}".encode("latin-1")} for row in sheet_rows()]
    with FeishuStandIn(cells, header=header) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        tasks = []
        for row in FeishuClient(team.settings).read_rows()[:4]:
            tasks.append(team.db.add_workflow_task(row, "图片合成"))
            Image.new("RGB", (4, 4), (row.row_number, 7, 7)).save(tmp_path / f"{row.row_number}.png")
            assert team.db.complete_task(tasks[-1], [f"{row.row_number}.png"])
        feishu.sheet.set("A3", b"\x89PNG another one")
        team.flush_until_quiet()
        assert [team.state(task_id) for task_id in tasks] == [FeishuState.PUSHED] * 4
        assert [write.value for write in feishu.sheet.cell_writes] == ["已完成"] * 4
