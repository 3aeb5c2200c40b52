"""Trouble on our own side, or several at once, while a flush runs: one row's costs that row, and nothing is lost."""

from __future__ import annotations

import errno
import json
import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, Image, Team, rows
from table_support import Steps, WatchedDisk

from wfrecovery.bridge.feishu import client as feishu_client
from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.errors import refused
from wfrecovery.bridge.feishu.publisher import Publisher
from wfrecovery.bridge.feishu.status_delivery import TASKS_PER_WRITE
from wfrecovery.bridge.table import row_identity
from wfrecovery.bridge.table.changes import finished
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.row_identity import RowIdentity, Verdict
from wfrecovery.bridge.table.values import FeishuState, Result
from wfrecovery.demo.feishu_host.cells import Formula
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn

pytestmark = pytest.mark.usefixtures("_readings_stay_young")


def at_first(team: Team, operation: str, act: Callable[[], Any], *, after: bool = False) -> None:
    """Let something happen at the client's first call of `operation`."""
    call, done = getattr(team.publisher._feishu, operation), threading.Event()

    def with_it(*arguments: Any) -> Any:
        first = not done.is_set()
        done.set()
        if first and not after:
            act()
        result = call(*arguments)
        if first and after:
            act()
        return result

    setattr(team.publisher._feishu, operation, with_it)


# ------------------------------------------------------------------ the table


def no_space() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("writes", range(6))
def test_a_disk_that_is_full_from_some_note_on_loses_nothing_and_blocks_nothing(team: Team, writes: int) -> None:
    tasks = [team.finished(row) for row in (2, 3)]
    full = Steps(writes + 1, no_space, for_ever=True, names=("write",))
    team.publisher = Publisher(
        DatabaseManager(team.folder, disk=WatchedDisk(full)), FeishuClient(team.settings), clock=team.clock
    )
    report = team.publisher.flush()
    assert full.hit
    assert not report.blocked
    assert {*report.pushed, *report.waiting} == set(tasks)
    assert team.publisher.last_problem is not None
    assert "No space left" in team.publisher.last_problem.zh
    assert "磁盘" in team.publisher.last_problem.zh
    assert {team.state(task_id) for task_id in report.waiting} == {FeishuState.PENDING}
    full.armed = False
    assert sorted(report.pushed + team.publisher.flush().pushed) == tasks
    for task_id in tasks:
        team.assert_delivered(task_id)
    assert len(team.feishu.sheet.picture_writes) == 2
    assert team.publisher.last_problem is None


def test_a_full_disk_does_not_end_main_py_when_it_gives_blocked_results_another_try(team: Team) -> None:
    task_id = team.finished(2)
    team.db.table.update(task_id, lambda record: record.with_outbox(state=FeishuState.BLOCKED))
    full = WatchedDisk(Steps(1, no_space, for_ever=True, names=("write",)))
    publisher = Publisher(DatabaseManager(team.folder, disk=full), FeishuClient(team.settings))
    publisher.unblock()
    assert publisher.last_problem is not None
    assert team.state(task_id) is FeishuState.BLOCKED


def test_a_failed_row_of_which_the_sheet_hears_nothing_needs_no_row(feishu: FeishuStandIn, tmp_path: Path) -> None:
    team = Team(feishu, tmp_path, write_failed=False)
    task_id = team.failed(2)
    feishu.sheet.delete_row(2)
    assert team.publisher.flush().pushed == [task_id]


@pytest.mark.parametrize("film", [False, True])
def test_a_result_that_is_deleted_before_anybody_has_looked_at_it_is_said_to_be_gone(team: Team, film: bool) -> None:
    """Not that the workflow made none, which sends a person to its save node."""
    name = "gone.mp4" if film else "gone.png"
    task_id = team.entered(2, "图生视频" if film else "图片合成")
    team.db.table.update(task_id, lambda task: finished(task, (Result(name),)))
    team.new_publisher().flush()
    assert team.state(task_id) is FeishuState.BLOCKED
    error = str(team.record(task_id).outbox.last_error)
    assert f"the result {name} is not there any more" in error
    assert "save node" not in error


def test_a_table_that_is_locked_for_long_makes_results_wait_and_does_not_block_them(team: Team) -> None:
    task_id = team.finished(2)
    impatient = Publisher(DatabaseManager(team.folder, lock_timeout=0.01), FeishuClient(team.settings))
    with DatabaseManager(team.folder).table.locked():
        assert list(impatient.flush().waiting) == [task_id]
    assert team.state(task_id) is FeishuState.PENDING
    assert impatient.flush().pushed == [task_id]
    team.assert_delivered(task_id)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize("spoil", [Path.unlink, tear])
@pytest.mark.parametrize("operation", ["read_sheet", "write_picture", "write_cells"])
def test_a_record_that_goes_or_is_damaged_during_a_flush_costs_no_other_task(
    team: Team, operation: str, spoil: Callable[[Path], Any]
) -> None:
    tasks = [team.finished(row) for row in (2, 3, 4)]
    path = team.folder / "wfrecovery" / "active" / f"{tasks[1]}.json"
    at_first(team, operation, lambda: spoil(path))
    pushed = team.publisher.flush().pushed
    assert [task_id for task_id in pushed if task_id != tasks[1]] == [tasks[0], tasks[2]]
    team.flush_until_quiet()
    for task_id in (tasks[0], tasks[2]):
        team.assert_delivered(task_id)


@pytest.mark.parametrize(
    "entry",
    [{"next_try_at": 5}, {"wait_until": [1]}, {"attempts": None}, {"refused": "often"}, {"writing": "G2"}],
)
def test_a_record_that_somebody_has_edited_stops_nobody(team: Team, entry: dict[str, Any]) -> None:
    odd, other = team.finished(2), team.finished(3)
    path = team.folder / "wfrecovery" / "active" / f"{odd}.json"
    record = json.loads(path.read_text("utf-8"))
    record["metadata"]["feishu"].update(entry)
    record["metadata"]["feishu_row_data"] = ["提示1"]
    path.write_text(json.dumps(record, ensure_ascii=False), "utf-8")
    assert sorted(team.publisher.flush().pushed) == [odd, other]
    team.assert_delivered(odd)
    team.assert_delivered(other)


# ------------------------------------------------------------------ what never shows


@pytest.mark.parametrize("kind", ["finished", "failed", "filmed"])
def test_a_status_that_never_shows_is_written_a_few_times_and_then_a_person_is_asked(
    team: Team, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """As where somebody's automation puts the cell back at once."""
    task_id, sheet = getattr(team, kind)(3), team.feishu.sheet
    status = f"{sheet.find('视频是否已实现' if kind == 'filmed' else STATUS)[0]}3"
    feishu, writes = team.publisher._feishu, list[Any]()
    write = feishu.write_cells

    def put_back(*arguments: Any, **named: Any) -> Any:
        answer = write(*arguments, **named)
        writes.append(arguments)
        sheet.set(status, "否")
        return answer

    monkeypatch.setattr(feishu, "write_cells", put_back)
    team.flush_until_quiet()
    assert team.state(task_id) is FeishuState.BLOCKED
    assert len(writes) <= 8
    reason = f"{status} was written {len(writes)} times, and does not show it"
    assert reason in (team.record(task_id).outbox.last_error or "")
    assert len(sheet.picture_writes) == (kind == "finished")


# ------------------------------------------------------------------ the sheet changes meanwhile


def test_a_row_that_is_deleted_while_the_answer_to_its_status_is_lost_costs_no_other_row(team: Team) -> None:
    tasks = [team.finished(row) for row in (2, 3, 4)]
    team.feishu.faults.add(Fault.RESET_AFTER, "values_batch_update")
    at_first(team, "write_cells", lambda: team.feishu.sheet.delete_row(3))
    team.publisher.flush()
    team.flush_until_quiet()
    assert team.state(tasks[1]) is FeishuState.BLOCKED
    for task_id in (tasks[0], tasks[2]):
        team.assert_delivered(task_id)
    assert team.row("产品4")[STATUS] == "否"


@pytest.mark.parametrize("operation", ["write_picture", "write_cells"])
def test_a_header_that_goes_during_a_flush_blocks_with_the_reason(team: Team, operation: str) -> None:
    tasks = [team.finished(row) for row in (2, 3)]

    def spoil() -> None:
        for column in "ABCDEFGH":
            team.feishu.sheet.set(f"{column}1", f"Spalte {column}")

    at_first(team, operation, spoil)
    report = team.publisher.flush()
    assert not report.pushed
    assert set(report.blocked) == set(tasks)
    assert "Spalte A" in report.blocked[tasks[1]]


def test_nothing_is_written_by_a_reading_that_is_known_to_be_old(team: Team) -> None:
    """Rows move, the write's answer shows it, and the sheet cannot be read again: the next task must not go by it."""
    tasks = [team.finished(row) for row in (3, 5)]
    at_first(team, "write_picture", lambda: team.feishu.sheet.insert_row(2, {"产品名": "新品", "模特名": "新人"}))
    team.feishu.faults.add(Fault.HTML_502, "values_get", after=1)
    team.flush_until_quiet()
    (stray,) = {write.row_texts["产品名"] for write in team.feishu.sheet.picture_writes} - {"产品2", "产品4"}
    assert stray == "产品1", "only the write that met the change went astray"
    team.assert_delivered(tasks[1])


@pytest.mark.parametrize("revision", [lambda known: None, lambda known: known * 3, lambda known: 7])
def test_where_revisions_are_missing_or_count_otherwise_each_result_still_arrives_once(
    team: Team, monkeypatch: pytest.MonkeyPatch, revision: Callable[[int], int | None]
) -> None:
    real = feishu_client._revision
    monkeypatch.setattr(feishu_client, "_revision", lambda data: revision(real(data) or 0))
    tasks = [team.finished(row) for row in (2, 3, 6)]
    assert team.publisher.flush().pushed == tasks
    for task_id in tasks:
        team.assert_delivered(task_id)
    assert len(team.feishu.sheet.picture_writes) == 3
    assert team.feishu.count("values_batch_update") == 1


@pytest.mark.parametrize("seed", [1, 2, 4, 5, 9, 10])
def test_rows_that_move_under_the_repair_as_well_end_with_their_own_or_are_named(seed: int, tmp_path: Path) -> None:
    """A person inserts one row after the other while a backlog goes out: what puts one row right hits the next."""
    count, dice, changes = 12, random.Random(seed), 0
    with FeishuStandIn(rows(count)) as feishu:
        feishu.limits.sheet_calls_per_second = feishu.limits.downloads_per_second = None
        team = Team(feishu, tmp_path)
        tasks = [team.finished(row) for row in range(2, count + 2)]
        call = FeishuClient._call

        def moving(client: FeishuClient, *arguments: Any, write: bool = False) -> Any:
            nonlocal changes
            if write and dice.random() < 0.4:
                changes += 1
                if dice.random() < 0.5:
                    row = {"产品名": f"新品{changes}", "模特名": "新人", STATUS: "否"}
                    feishu.sheet.insert_row(dice.randint(2, feishu.sheet.last_row), row)
                else:
                    feishu.sheet.sort("产品名", reverse=dice.random() < 0.5)
            return call(client, *arguments, write=write)

        team.publisher._feishu._call = partial(moving, team.publisher._feishu)  # type: ignore[method-assign]
        team.flush_until_quiet()
        named = "".join(str(team.record(task_id).outbox.last_error) for task_id in tasks)
        for task_id in tasks:
            record = team.record(task_id)
            if record.feishu_state is FeishuState.PUSHED and f"'{record.product_name}'" not in named:
                team.assert_delivered(task_id, once_elsewhere=True)
        for product in team.products():
            if product.startswith("新品"):
                # a row that no reading has seen is not emptied on suspicion: it is named
                assert team.row(product)[STATUS] in ("否", "", None) or product in named
                assert team.row(product)[PICTURE] is None or product in named


# ------------------------------------------------------------------ what is not understood


@pytest.mark.parametrize(("cell", "title"), [("F3", STATUS), ("G3", PICTURE)])
@pytest.mark.parametrize("how", ["unknown", "documented", "asked", "object"])
def test_a_cell_that_is_not_understood_is_not_written_over_and_costs_no_upload(
    team: Team, cell: str, title: str, how: str
) -> None:
    if how == "unknown":
        team.feishu.sheet.set(cell, "否")
        team.feishu.switches.unknown_cells = frozenset({cell})
    else:
        team.feishu.switches.formula_cells = how
        team.feishu.sheet.set(cell, Formula('=IF(1,"否","")', "否"))
    before = team.feishu.sheet.get(cell)
    other, task_id = team.finished(2), team.finished(3)
    report = team.publisher.flush()
    assert report.pushed == [other]
    assert f"cell {cell} ({title!r}) holds something that is not understood" in report.blocked[task_id]
    assert "无法识别" in (team.record(task_id).outbox.last_error_zh or "")
    assert team.feishu.sheet.get(cell) == before
    assert len(team.feishu.sheet.picture_writes) == 1


@pytest.mark.parametrize("blanks", ["null", "left out"])
def test_a_formula_is_told_in_a_sheet_that_is_read_in_parts(team: Team, blanks: str) -> None:
    """The mark is the formula itself, in the last row."""
    team.feishu.switches.blanks = blanks
    team.feishu.sheet.set("F7", Formula('=IF(1,"否","")', "否"))
    tasks = [team.finished(row) for row in range(2, 8)]
    team.feishu.faults.add(Fault.TOO_LARGE_90221, "values_batch_get", times=2)
    report = team.publisher.flush()
    assert report.pushed == tasks[:-1]
    assert list(report.blocked) == tasks[-1:]
    assert team.feishu.sheet.get("F7") == Formula('=IF(1,"否","")', "否")
    assert team.feishu.count("values_batch_get") >= 4


def test_a_formula_that_a_person_makes_of_a_status_or_takes_away_is_seen_by_the_next_reading(team: Team) -> None:
    first = team.finished(2)
    assert team.publisher.flush().pushed == [first]
    formula = Formula('=IF(1,"否","")', "否")
    team.feishu.sheet.set("F4", formula)
    blocked = team.finished(4)
    assert list(team.publisher.flush().blocked) == [blocked]
    assert team.feishu.sheet.get("F4") == formula
    team.feishu.sheet.set("F4", "否")
    team.publisher.unblock()
    assert team.publisher.flush().pushed == [blocked]
    team.assert_delivered(blocked)


def test_a_name_that_a_formula_gives_is_a_name(team: Team) -> None:
    task_id = team.finished(3)
    formula = Formula('="产品"&2', "产品2")
    team.feishu.sheet.set("B3", formula)
    assert team.publisher.flush().pushed == [task_id]
    (write,) = team.feishu.sheet.picture_writes
    assert write.cell == "G3"
    assert team.feishu.sheet.get("B3") == formula


def test_a_row_whose_status_is_a_formula_is_not_rendered_for_nothing(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    team.feishu.sheet.set("F3", Formula('=IF(1,"否","")', "否"))
    shown = {row.row_number: row.status for row in FeishuClient(team.settings).read_rows()}
    assert shown == {**dict.fromkeys(range(2, 8), "否"), 3: ""}
    assert "count as no 否: 3" in caplog.text


@pytest.mark.parametrize("column", ["B", "D", "E"])
def test_a_row_whose_name_or_text_is_not_understood_is_not_rendered_and_gets_nothing(
    team: Team, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = team.finished(3)
    team.feishu.switches.unknown_cells = frozenset({f"{column}3"})
    assert [row.row_number for row in FeishuClient(team.settings).read_rows()] == [2, 4, 5, 6, 7]
    assert "rows left out" in caplog.text
    reason = team.publisher.flush().blocked[task_id]
    assert "stands in no row" in reason
    assert "\\x00" not in reason
    assert not team.feishu.sheet.picture_writes


# ------------------------------------------------------------------ many rows


def test_the_work_of_a_backlog_whose_rows_have_all_moved_does_not_grow_with_its_square(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 60
    with FeishuStandIn(rows(count)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        tasks = [team.finished(row) for row in range(2, count + 2)]
        feishu.sheet.insert_row(2, {"产品名": "新品", "模特名": "新人"})
        compared = 0
        compare = row_identity.compare

        def counted(one: RowIdentity, other: RowIdentity) -> Verdict:
            nonlocal compared
            compared += 1
            return compare(one, other)

        monkeypatch.setattr(row_identity, "compare", counted)
        assert team.publisher.flush().pushed == tasks
        assert compared < 40 * count, "each task looked through all rows"


def test_what_is_pushed_is_complete_and_noted_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog of hours does not wait for its last row to show its first 已完成."""

    class KilledError(BaseException):
        pass

    count = TASKS_PER_WRITE + 1
    with FeishuStandIn(rows(count)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        tasks = [team.finished(row) for row in range(2, count + 2)]
        write = FeishuClient.write_picture

        def killed_at_the_last(client: FeishuClient, cell: str, *arguments: Any) -> Any:
            if cell.endswith(f"G{count + 1}"):
                raise KilledError
            return write(client, cell, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(FeishuClient, "write_picture", killed_at_the_last)
            with pytest.raises(KilledError):
                team.publisher.flush()
        for task_id in tasks[:-1]:
            team.assert_delivered(task_id)
        assert feishu.count("values_batch_update") == 1
        assert team.new_publisher().flush().pushed == tasks[-1:]


def test_statuses_that_go_one_by_one_stop_when_the_server_asks_for_time(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [team.finished(row) for row in (2, 3, 4, 5)]
    call, calls = FeishuClient._call, []

    def limited(client: FeishuClient, method: str, path: str, body: Any = None, **more: Any) -> Any:
        if path.endswith("values_batch_update"):
            calls.append(len(body["valueRanges"]))
            raise refused(90218, "locked cell", 200, None) if len(calls) < 3 else refused(99991400, "limit", 429, 52.0)
        return call(client, method, path, body, **more)

    monkeypatch.setattr(FeishuClient, "_call", limited)
    report = team.publisher.flush()
    assert calls == [4, 1, 1]
    assert list(report.blocked) == tasks[:1]
    assert list(report.waiting) == tasks[1:]


# ------------------------------------------------------------------ several results of one row


def test_a_newer_result_counts_also_where_only_one_of_the_two_knew_the_row_s_prompt(team: Team) -> None:
    team.feishu.faults.add(Fault.FULL, "values_image")
    data = {**team.row_data(2), "prompt": ""}
    older = team.db.add_workflow_task(data, "图片合成")
    Image.new("RGB", (4, 4), (1, 2, 3)).save(team.folder / "older.png")
    assert team.db.complete_task(older, ["older.png"])
    assert older in team.publisher.flush().blocked
    newer = team.finished_anew(2)
    assert team.publisher.flush().pushed == [newer]
    assert team.db.try_again(older)
    team.publisher.flush()
    team.assert_delivered(newer)
    assert team.record(older).outbox.superseded_by == newer
