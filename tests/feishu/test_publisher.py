"""Publishing, over real HTTP against the stand-in Feishu: the right row or no row, nothing lost, nothing twice."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from publishing_support import PICTURE, STATUS, VIDEO, Image, Team

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.publisher import FlushReport, Publisher, backoff
from wfrecovery.bridge.feishu.superseding import newer_results
from wfrecovery.bridge.settings import Settings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.record_json import outbox_to_json
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn, Picture, Sheet

pytestmark = pytest.mark.usefixtures("_readings_stay_young")

OTHERS = b"\x89PNG a picture of somebody else"


# ------------------------------------------------------------------ the good case


def test_picture_and_status_come_into_the_row_of_the_task(team: Team) -> None:
    task_id = team.finished(4)
    assert team.publisher.flush() == FlushReport(pushed=[task_id])
    team.assert_delivered(task_id)
    assert team.row("产品3")[VIDEO] == "否"
    for other in ("产品1", "产品2", "产品4", "产品5", "产品6"):
        assert (team.row(other)[STATUS], team.row(other)[PICTURE]) == ("否", None)
    record = team.record(task_id)
    assert record.settled
    assert record.outbox.pushed_at
    assert "writing" not in outbox_to_json(record.outbox)
    assert team.publisher.flush() == FlushReport()


def test_many_rows_cost_few_reads_one_call_for_each_picture_and_one_for_all_statuses(team: Team) -> None:
    """A reading at first, with one for formulas; then a read of the cells after the first picture, and after the first
    statuses: how they count is not known."""
    tasks = [team.finished(row) for row in range(2, 8)]
    assert team.publisher.flush().pushed == tasks
    for task_id in tasks:
        team.assert_delivered(task_id)
    assert calls(team) == {
        "sheets_query": 1,
        "values_get": 3,
        "values_batch_get": 1,
        "values_image": 6,
        "values_batch_update": 1,
    }
    assert team.feishu.tokens.fetches == 1
    assert team.feishu.overlaps == 0


def calls(team: Team) -> dict[str, int]:
    names = ("sheets_query", "values_get", "values_batch_get", "values_image", "values_batch_update")
    return {name: count for name in names if (count := team.feishu.count(name))}


def test_rows_that_come_in_one_by_one_cost_a_small_look_a_picture_and_a_status_each(team: Team) -> None:
    assert len(team.publisher.flush().pushed) == 0
    for row in (2, 3):
        team.finished(row)
        team.publisher.flush()
    before = calls(team)
    for row in (4, 5, 6, 7):
        task_id = team.finished(row)
        assert team.publisher.flush().pushed == [task_id]
        team.assert_delivered(task_id)
    after = calls(team)
    assert {name: after[name] - before[name] for name in after} == {
        "sheets_query": 0,
        "values_get": 4,
        "values_batch_get": 0,
        "values_image": 4,
        "values_batch_update": 4,
    }


def test_a_row_inserted_where_the_next_result_goes_keeps_its_status(team: Team) -> None:
    """No write goes before a look: that a row moved would be told by the answer, but not what the new one said."""
    for row in (2, 3):
        team.finished(row)
        team.publisher.flush()
    task_id = team.finished(4)
    team.feishu.sheet.insert_row(4, {"产品名": "新品", "模特名": "新人", STATUS: "改天再做"})
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)
    assert (team.row("新品")[STATUS], team.row("新品")[PICTURE]) == ("改天再做", None)
    assert not [write for write in team.feishu.sheet.cell_writes if write.cell == "F4"]


@pytest.mark.parametrize("whose", ["its own", "the next row's"])
def test_what_a_person_did_between_two_results_is_kept(team: Team, whose: str) -> None:
    """Why no picture goes without a look: the answer would tell that somebody has edited, but the reading before knows
    nothing of the person's picture, neither to give it back nor to tell it from ours."""
    for row in (2, 3):
        team.finished(row)
        team.publisher.flush()
    task_id = team.finished(5)
    number = 5 if whose == "its own" else 6
    team.feishu.sheet.set(f"{team.feishu.sheet.find(PICTURE)[0]}{number}", OTHERS)
    team.feishu.sheet.delete_row(2)
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)
    shown = team.row("产品5")[PICTURE]
    assert (shown and shown.data) == (None if whose == "its own" else OTHERS)


def test_a_video_changes_only_its_status(team: Team) -> None:
    task_id = team.filmed(3)
    assert team.publisher.flush().pushed == [task_id]
    assert team.row("产品2")[VIDEO] == "已完成"
    assert (team.row("产品2")[STATUS], team.row("产品2")[PICTURE]) == ("否", None)


@pytest.mark.parametrize("write_failed", [True, False])
def test_a_failed_row_says_so_where_the_setting_wants_it(
    feishu: FeishuStandIn, tmp_path: Path, write_failed: bool
) -> None:
    team = Team(feishu, tmp_path, write_failed=write_failed)
    task_id = team.failed(2)
    assert team.publisher.flush().pushed == [task_id]
    assert team.row("产品1")[STATUS] == ("失败" if write_failed else "否")
    assert team.row("产品1")[PICTURE] is None


def test_a_failure_does_not_take_back_a_row_that_is_done(team: Team) -> None:
    team.feishu.sheet.set("F2", "已完成")
    team.failed(2)
    team.publisher.flush()
    assert team.row("产品1")[STATUS] == "已完成"


def test_a_cancelled_task_leaves_its_row_as_it_is(team: Team) -> None:
    task_id = team.entered(2)
    assert team.db.cancel_task(task_id, "interrupted by the user")
    assert team.publisher.flush() == FlushReport()
    assert team.row("产品1")[STATUS] == "否"
    assert not team.feishu.calls


@pytest.mark.parametrize("text", ["不要用", "待确认", "2026-11-24"])
def test_what_a_person_wrote_into_the_status_cell_is_not_overwritten(team: Team, text: str) -> None:
    team.feishu.sheet.set("F2", text)
    done, failed = team.finished(2), team.failed(3)
    team.feishu.sheet.set("F3", text)
    assert sorted(team.publisher.flush().pushed) == sorted([done, failed])
    assert team.row("产品1")[STATUS] == team.row("产品2")[STATUS] == text
    assert isinstance(team.row("产品1")[PICTURE], Picture)


def test_a_webp_picture_is_converted(team: Team) -> None:
    task_id = team.finished(2, "row2_00001_.webp")
    assert team.publisher.flush().pushed == [task_id]
    (write,) = team.feishu.sheet.picture_writes
    assert write.name == "row2_00001_.png"
    assert write.data.startswith(b"\x89PNG")


def test_without_settings_nothing_is_touched(team: Team) -> None:
    task_id = team.finished(2)
    before = team.record(task_id)
    publisher = Publisher(team.db, FeishuClient(Settings()))
    assert publisher.flush() == FlushReport()
    assert team.record(task_id) == before
    assert team.state(task_id) is FeishuState.PENDING
    assert not team.feishu.calls


# ------------------------------------------------------------------ the right row or no row


def test_inserted_deleted_and_sorted_rows_do_not_move_a_result_to_another_product(team: Team) -> None:
    tasks = [team.finished(row) for row in (3, 5, 6)]
    sheet = team.feishu.sheet
    sheet.insert_row(2, {"产品名": "新产品", "模特名": "新模特", STATUS: "否"})
    sheet.delete_row(5)
    sheet.sort("产品名", reverse=True)
    sheet.insert_row(1, ["只是备注"])
    assert team.publisher.flush().pushed == tasks
    for task_id in tasks:
        team.assert_delivered(task_id)
    assert (team.row("新产品")[STATUS], team.row("新产品")[PICTURE]) == ("否", None)


def test_a_row_that_is_gone_blocks_with_the_reason_and_the_others_go_on(team: Team) -> None:
    gone, kept = team.finished(3), team.finished(4)
    team.feishu.sheet.delete_row(3)
    report = team.publisher.flush()
    assert report.pushed == [kept]
    team.assert_delivered(kept)
    reason = team.record(gone).outbox.last_error
    assert list(report.blocked) == [gone]
    assert team.state(gone) is FeishuState.BLOCKED
    assert "产品2" in reason
    assert "row 3" in reason
    assert "产品3" in reason, "what stands there now"
    assert len(team.feishu.sheet.picture_writes) == 1


def test_a_blocked_result_is_delivered_once_the_sheet_is_mended_and_somebody_says_push(team: Team) -> None:
    task_id = team.finished(3)
    team.feishu.sheet.set("B3", "改了名")
    assert task_id in team.publisher.flush().blocked
    team.feishu.sheet.set("B3", "产品2")
    assert team.publisher.flush() == FlushReport(), "a blocked result is not tried by itself"
    assert team.db.push_again(task_id)
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)


def test_a_start_gives_blocked_results_another_try(team: Team) -> None:
    task_id = team.finished(3)
    team.feishu.sheet.set("B3", "改了名")
    team.publisher.flush()
    team.feishu.sheet.set("B3", "产品2")
    publisher = team.new_publisher()
    publisher.unblock()
    assert publisher.flush().pushed == [task_id]


def test_of_two_rows_that_differ_in_a_picture_only_neither_is_guessed(feishu: FeishuStandIn, tmp_path: Path) -> None:
    """An older record does not know the pictures; which of two rows it was made for can no longer be told."""
    team = Team(feishu, tmp_path)
    task_id = team.finished(3)
    twin = {"产品名": "产品2", "模特名": "模特2", "提示词": "提示2", STATUS: "否"}
    another = io.BytesIO()
    Image.new("RGB", (2, 2)).save(another, "PNG")
    feishu.sheet.insert_row(2, {**twin, "产品图": another.getvalue()})
    feishu.sheet.insert_row(2, {"产品名": "x", "模特名": "y"})
    feishu.sheet.insert_row(2, {"产品名": "x", "模特名": "z"})
    assert "several rows (4, 6)" in team.publisher.flush().blocked[task_id]
    assert not feishu.sheet.picture_writes


def test_of_two_rows_that_are_alike_in_everything_one_gets_the_result(feishu: FeishuStandIn, tmp_path: Path) -> None:
    team = Team(feishu, tmp_path)
    task_id = team.finished(3)
    feishu.sheet.insert_row(2, {"产品名": "产品2", "模特名": "模特2", "提示词": "提示2", STATUS: "否"})
    assert team.publisher.flush().pushed == [task_id]
    assert sorted(feishu.sheet.row_texts(row)[STATUS] for row in (2, 4)) == ["否", "已完成"]
    (write,) = feishu.sheet.picture_writes
    assert feishu.sheet.row_texts(write.row)[STATUS] == "已完成"


def test_a_missing_column_blocks_and_names_the_titles_that_are_there(team: Team) -> None:
    team.feishu.sheet.set("G1", "别的")
    task_id, film = team.finished(2), team.filmed(3)
    report = team.publisher.flush()
    assert PICTURE in report.blocked[task_id]
    assert "别的" in report.blocked[task_id]
    assert "产品名" in report.blocked[task_id]
    assert report.pushed == [film], "what needs no picture column goes on"
    assert team.row("产品1")[STATUS] == "否"


def test_a_sheet_without_our_header_blocks_everything_and_writes_nothing(team: Team) -> None:
    task_id = team.finished(2)
    for column in "ABCDEFGH":
        team.feishu.sheet.set(f"{column}1", f"Spalte {column}")
    assert "Spalte A" in team.publisher.flush().blocked[task_id]
    assert not team.feishu.sheet.cell_writes


def test_a_wrong_sheet_name_is_answered_with_the_names_that_are_there(feishu: FeishuStandIn, tmp_path: Path) -> None:
    team = Team(feishu, tmp_path, feishu_sheet_name="没有这个")
    task_id = team.finished(2)
    reason = team.publisher.flush().blocked[task_id]
    assert "商品表" in reason
    assert "FEISHU_SHEET_NAME" in reason


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-4])])
def test_a_file_that_is_gone_or_torn_blocks_only_its_own_task(team: Team, spoil: Callable[[Path], Any]) -> None:
    lost, kept = team.finished(2), team.finished(3)
    path = team.folder / team.record(lost).output_files[0]
    spoil(path)
    report = team.publisher.flush()
    assert report.pushed == [kept]
    team.assert_delivered(kept)
    assert path.name in report.blocked[lost]
    assert (team.row("产品1")[STATUS], team.row("产品1")[PICTURE]) == ("否", None)


def test_a_finished_task_without_a_file_writes_nothing(team: Team) -> None:
    task_id = team.entered(2)
    team.db.complete_task(task_id, [])
    assert "no result file" in team.publisher.flush().blocked[task_id]
    assert not team.feishu.sheet.cell_writes


def noise(width: int, height: int) -> Any:
    """A picture that no format makes smaller."""
    return Image.frombytes("RGB", (width, height), random.Random(1).randbytes(width * height * 3))


def test_a_picture_that_is_too_large_is_blocked_and_the_others_go_on(team: Team) -> None:
    large, small = team.finished(2, picture=noise(64, 64)), team.finished(3)
    team.feishu.limits.picture_bytes = 1000
    report = team.publisher.flush()
    assert report.pushed == [small]
    assert "too large" in report.blocked[large]


# ------------------------------------------------------------------ credentials and permissions


def test_a_wrong_secret_is_explained_without_showing_it(
    feishu: FeishuStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    team = Team(feishu, tmp_path, feishu_app_secret="wrong-secret-0123456789")
    task_id = team.finished(2)
    team.publisher.flush()
    reason = team.record(task_id).outbox.last_error
    assert "FEISHU_APP_SECRET" in reason
    assert team.publisher.last_error == reason
    assert "wrong-secret-0123456789" not in reason + caplog.text + str(team.record(task_id))
    assert not feishu.sheet.cell_writes
    mended = team.new_publisher(feishu_app_secret=feishu.app_secret)
    mended.unblock()
    assert mended.flush().pushed == [task_id]
    team.assert_delivered(task_id)


def test_a_missing_scope_is_named(team: Team) -> None:
    team.feishu.switches.scopes = frozenset({"im:message"})
    task_id = team.finished(2)
    reason = team.publisher.flush().blocked[task_id]
    assert "sheets:spreadsheet" in reason
    assert "权限管理" in reason


@pytest.mark.parametrize("access", ["none", "view"])
def test_a_document_that_the_app_may_not_edit_is_explained(team: Team, access: Any) -> None:
    team.feishu.switches.document_access = access
    task_id = team.finished(2)
    assert "添加文档应用" in team.publisher.flush().blocked[task_id]
    team.feishu.switches.document_access = "edit"
    team.publisher.unblock()
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)


@pytest.mark.parametrize("operation", ["values_image", "values_batch_update"])
def test_a_missing_scope_for_writing_blocks_all_without_asking_for_each_row(team: Team, operation: str) -> None:
    team.feishu.faults.add(Fault.SCOPE_MISSING_99991672, operation, times=None)
    tasks = [team.filmed(row) if operation == "values_batch_update" else team.finished(row) for row in range(2, 8)]
    report = team.publisher.flush()
    assert sorted(report.blocked) == sorted(tasks)
    assert all("权限管理" in reason for reason in report.blocked.values())
    assert team.feishu.count(operation) == 1
    team.feishu.faults.clear()
    team.publisher.unblock()
    assert sorted(team.publisher.flush().pushed) == sorted(tasks)


@pytest.mark.parametrize("operation", ["sheets_query", "values_get", "values_image", "values_batch_update"])
@pytest.mark.parametrize("kind", [Fault.TOKEN_REVOKED_400, Fault.TOKEN_REVOKED_200])
def test_a_revoked_token_is_renewed_once_within_the_flush(team: Team, kind: Fault, operation: str) -> None:
    team.feishu.faults.add(kind, operation)
    task_id = team.finished(2)
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)
    assert team.feishu.tokens.fetches == 2
    assert len(team.feishu.sheet.picture_writes) == 1


def test_a_token_that_is_always_refused_does_not_loop(team: Team) -> None:
    team.feishu.faults.add(Fault.TOKEN_REVOKED_400, "sheets_query", times=None)
    task_id = team.finished(2)
    team.publisher.flush()
    assert team.feishu.count("sheets_query") == 2
    assert team.state(task_id) is FeishuState.PENDING


# ------------------------------------------------------------------ Feishu is slow, busy, or gone


@pytest.mark.parametrize("operation", ["sheets_query", "values_image", "values_batch_update"])
@pytest.mark.parametrize("kind", [Fault.RATE_LIMIT_429, Fault.RATE_LIMIT_400])
def test_a_rate_limit_waits_the_servers_time(team: Team, kind: Fault, operation: str) -> None:
    team.feishu.faults.add(kind, operation, reset="52")
    tasks = [team.finished(row) for row in (2, 3)]
    assert set(team.publisher.flush().waiting) == set(tasks)
    calls = len(team.feishu.calls)
    team.clock.now += 51
    assert team.publisher.flush() == FlushReport()
    assert len(team.feishu.calls) == calls, "asked before the time was over"
    team.clock.now += 2
    assert sorted(team.publisher.flush().pushed) == tasks
    for task_id in tasks:
        team.assert_delivered(task_id)
    assert len(team.feishu.sheet.picture_writes) == 2


def test_a_very_long_wait_is_kept_to_ten_minutes_and_not_ignored(team: Team) -> None:
    team.feishu.faults.add(Fault.RATE_LIMIT_429, "sheets_query", reset="86400")
    task_id = team.finished(2)
    team.publisher.flush()
    team.clock.now += 500
    assert team.publisher.flush() == FlushReport()
    team.clock.now += 101
    assert team.publisher.flush().pushed == [task_id]


@pytest.mark.parametrize(
    "operation", ["tenant_access_token", "sheets_query", "values_get", "values_image", "values_batch_update"]
)
@pytest.mark.parametrize("kind", [Fault.HTML_502, Fault.RESET_BEFORE, Fault.HTTP_500_JSON])
def test_any_call_may_fail_once_and_the_picture_is_written_once(team: Team, kind: Fault, operation: str) -> None:
    team.feishu.faults.add(kind, operation)
    task_id = team.finished(2)
    assert list(team.publisher.flush().waiting) == [task_id]
    team.clock.now += 10
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)
    assert len(team.feishu.sheet.picture_writes) == 1


@pytest.mark.parametrize("kind", [Fault.HALF_BODY, Fault.RESET_AFTER, Fault.HTML_502_AFTER])
@pytest.mark.parametrize("operation", ["values_image", "values_batch_update"])
def test_a_write_whose_answer_is_lost_is_found_in_the_sheet_within_the_flush(
    team: Team, kind: Fault, operation: str
) -> None:
    team.feishu.faults.add(kind, operation)
    tasks = [team.finished(row) for row in (2, 3)]
    assert team.publisher.flush().pushed == tasks
    for task_id in tasks:
        team.assert_delivered(task_id)
    assert team.feishu.count("values_image") == 2
    assert team.feishu.count("values_batch_update") == 1


@pytest.mark.parametrize("kind", [Fault.BUSY_90235, Fault.BUSY_90217, Fault.LOADING_90242, Fault.INTERNAL_90203])
@pytest.mark.parametrize("operation", ["sheets_query", "values_get", "values_image", "values_batch_update"])
def test_a_busy_document_waits(team: Team, kind: Fault, operation: str) -> None:
    team.feishu.faults.add(kind, operation)
    task_id = team.finished(2)
    assert list(team.publisher.flush().waiting) == [task_id]
    team.clock.now += 10
    assert team.publisher.flush().pushed == [task_id]
    assert len(team.feishu.sheet.picture_writes) == 1


def test_half_a_batch_of_statuses_is_completed_without_new_pictures(team: Team) -> None:
    team.feishu.faults.add(Fault.HALF_BATCH)
    tasks = [team.finished(row) for row in (2, 3, 4, 5)]
    assert set(team.publisher.flush().waiting) == set(tasks)
    team.flush_until_quiet()
    for task_id in tasks:
        team.assert_delivered(task_id)
    assert len(team.feishu.sheet.picture_writes) == 4


def test_a_lost_answer_is_read_back_also_when_the_row_has_moved_meanwhile(team: Team) -> None:
    team.feishu.faults.add(Fault.RESET_AFTER, "values_image")
    team.feishu.faults.add(Fault.HTML_502, "values_get", after=1)  # the look within the flush fails as well
    task_id = team.finished(3)
    assert list(team.publisher.flush().waiting) == [task_id]
    team.feishu.sheet.insert_row(2, {"产品名": "新产品", "模特名": "新模特"})
    team.clock.now += 10
    assert team.new_publisher().flush().pushed == [task_id]
    team.assert_delivered(task_id)
    assert len(team.feishu.sheet.picture_writes) == 1


def test_an_old_picture_in_the_cell_is_not_taken_for_the_new_one(team: Team) -> None:
    team.feishu.sheet.set("G2", b"\x89PNG an older picture")
    team.feishu.faults.add(Fault.RESET_BEFORE, "values_image")
    task_id = team.finished(2)
    team.publisher.flush()
    team.clock.now += 10
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)


def test_a_kill_between_picture_and_status_writes_the_picture_once(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    task_id = team.finished(2)
    with monkeypatch.context() as patch:
        patch.setattr(FeishuClient, "write_cells", killed)
        with pytest.raises(KilledError):
            team.publisher.flush()
    assert team.state(task_id) is FeishuState.PENDING
    assert team.row("产品1")[STATUS] == "否"
    assert team.new_publisher().flush().pushed == [task_id]
    team.assert_delivered(task_id)
    assert len(team.feishu.sheet.picture_writes) == 1


def test_a_kill_after_the_status_and_before_the_record_writes_no_second_picture(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    write_cells = FeishuClient.write_cells

    def killed(client: FeishuClient, cells: dict[str, str]) -> None:
        write_cells(client, cells)
        raise KilledError

    task_id = team.finished(2)
    with monkeypatch.context() as patch:
        patch.setattr(FeishuClient, "write_cells", killed)
        with pytest.raises(KilledError):
            team.publisher.flush()
    assert team.new_publisher().flush().pushed == [task_id]
    team.assert_delivered(task_id)
    assert len(team.feishu.sheet.picture_writes) == 1


def test_one_status_cell_that_feishu_refuses_does_not_hold_up_the_others(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [team.finished(row) for row in (2, 3, 4)]
    call = FeishuClient._call

    def protected(client: FeishuClient, method: str, path: str, body: Any = None, **more: Any) -> Any:
        if path.endswith("values_batch_update") and any("!F3:" in item["range"] for item in body["valueRanges"]):
            from wfrecovery.bridge.feishu.errors import refused  # noqa: PLC0415

            raise refused(90218, "locked cell", 200, None)
        return call(client, method, path, body, **more)

    monkeypatch.setattr(FeishuClient, "_call", protected)
    report = team.publisher.flush()
    assert sorted(report.pushed) == [tasks[0], tasks[2]]
    assert "protected" in report.blocked[tasks[1]]


def test_when_feishu_is_off_the_net_everything_waits_and_arrives_later(team: Team) -> None:
    tasks = [team.finished(row) for row in (2, 3)]
    team.feishu.stop()
    report = team.publisher.flush()
    assert set(report.waiting) == set(tasks)
    assert all(team.state(task_id) is FeishuState.PENDING for task_id in tasks)
    team.feishu.start()
    team.clock.now += 10
    assert team.new_publisher().flush().pushed == tasks
    for task_id in tasks:
        team.assert_delivered(task_id)


def test_a_picture_that_always_fails_does_not_starve_the_others(team: Team) -> None:
    poison, *others = [team.finished(row) for row in (2, 3, 4)]
    call = team.publisher._feishu.write_picture

    def picky(cell_range: str, name: str, content: bytes) -> None:
        if name.startswith(poison):
            from wfrecovery.bridge.feishu.errors import refused  # noqa: PLC0415

            raise refused(1315201, "internal", 500, None)
        call(cell_range, name, content)

    team.publisher._feishu.write_picture = picky  # type: ignore[method-assign]
    for _ in range(3):
        team.publisher.flush()
        team.clock.now += 400  # all are due again at the same time
    for task_id in others:
        team.assert_delivered(task_id)


def test_only_one_of_two_publishers_flushes_at_a_time(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = team.finished(2)
    inside, go_on = threading.Event(), threading.Event()
    read_sheet = FeishuClient.read_sheet

    def slow(client: FeishuClient) -> Any:
        inside.set()
        assert go_on.wait(180)
        return read_sheet(client)

    monkeypatch.setattr(FeishuClient, "read_sheet", slow)
    reports: list[FlushReport] = []
    first = threading.Thread(target=lambda: reports.append(team.publisher.flush()))
    first.start()
    assert inside.wait(180)
    second = Publisher(DatabaseManager(team.folder), FeishuClient(team.settings), clock=team.clock)
    assert second.flush() == FlushReport(busy=True)
    go_on.set()
    first.join(180)
    assert reports == [FlushReport(pushed=[task_id])]
    assert second.flush() == FlushReport()
    assert len(team.feishu.sheet.picture_writes) == 1


def test_a_task_that_another_process_has_pushed_meanwhile_is_not_pushed_again(team: Team) -> None:
    team.finished(2)
    other = team.new_publisher()
    tasks = other.due()
    team.publisher.flush()
    report = FlushReport()
    other._flush(tasks, report)
    assert report == FlushReport()
    assert len(team.feishu.sheet.picture_writes) == 1


def test_a_picture_and_a_video_of_one_row_both_arrive(team: Team) -> None:
    picture, film = team.finished(3), team.filmed(3)
    assert team.publisher.flush().pushed == [picture, film]
    team.assert_delivered(picture)
    assert team.row("产品2")[VIDEO] == "已完成"


def test_a_picture_that_somebody_took_out_of_its_cell_is_written_when_it_is_pushed_again(team: Team) -> None:
    task_id = team.finished(3)
    team.publisher.flush()
    team.feishu.sheet.set("G3", None)
    assert team.db.push_again(task_id)
    assert team.publisher.flush().pushed == [task_id]
    team.assert_delivered(task_id)


def test_each_change_of_a_task_is_told_to_whoever_listens(team: Team) -> None:
    seen: list[tuple[str, FeishuState]] = []
    client = FeishuClient(team.settings)
    publisher = Publisher(
        team.db, client, clock=team.clock, on_change=lambda task: seen.append((task.task_id, task.feishu_state))
    )
    good, lost = team.finished(2), team.finished(3)
    (team.folder / team.record(lost).output_files[0]).unlink()
    publisher.flush()
    assert sorted(seen) == [(good, FeishuState.PUSHED), (lost, FeishuState.BLOCKED)]


def test_what_the_caller_wants_left_is_left(team: Team) -> None:
    one, two = team.finished(2), team.finished(3)
    assert team.publisher.flush(frozenset({one})).pushed == [two]
    assert team.state(one) is FeishuState.PENDING


# ------------------------------------------------------------------ waiting


@given(attempts=st.integers(1, 10_000), server=st.none() | st.floats(0, 1e6), unit=st.floats(0, 1))
def test_the_wait_grows_to_five_minutes_and_heeds_the_server(attempts: int, server: float | None, unit: float) -> None:
    wait = backoff(attempts, server, unit)
    usual = min(300.0, 2.0 * 2.0 ** min(attempts - 1, 20))
    assert wait >= usual * 0.8
    assert wait >= min(server or 0.0, 600.0)
    assert wait <= max(usual * 1.2, min(server or 0.0, 600.0))


@pytest.mark.parametrize("operation", ["sheets_query", "values_image", "values_batch_update"])
def test_waiting_goes_on_after_a_restart(team: Team, operation: str) -> None:
    team.feishu.faults.add(Fault.RATE_LIMIT_429, operation, reset="52")
    tasks = [team.finished(row) for row in (2, 3)]
    team.publisher.flush()
    calls = len(team.feishu.calls)
    restarted = team.new_publisher()
    restarted.unblock()
    team.clock.now += 51
    assert restarted.flush() == FlushReport()
    assert len(team.feishu.calls) == calls
    team.clock.now += 2
    assert sorted(restarted.flush().pushed) == tasks


def test_the_first_waits_are_2_4_8_seconds() -> None:
    assert [backoff(attempts, None, 0.5) for attempts in (1, 2, 3, 8, 9)] == [2.0, 4.0, 8.0, 256.0, 300.0]


def test_a_clock_that_is_set_back_does_not_make_a_result_wait_for_ever(team: Team) -> None:
    team.feishu.faults.add(Fault.HTML_502, "sheets_query")
    task_id = team.finished(2)
    team.publisher.flush()
    assert team.publisher.flush() == FlushReport()
    team.clock.now -= 365 * 86_400
    assert team.publisher.flush().pushed == [task_id]


def insert_above(sheet: Sheet) -> None:
    sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", STATUS: "否"})


def delete_above(sheet: Sheet) -> None:
    sheet.delete_row(2)


def turn_round(sheet: Sheet) -> None:
    sheet.sort("产品名", reverse=True)


@pytest.mark.parametrize("change", [insert_above, delete_above, turn_round])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("operation", ["write_picture", "write_cells"])
@pytest.mark.parametrize("answer", ["good", "lost"])
def test_rows_that_move_in_the_very_moment_of_a_write_end_with_their_own_results(
    team: Team, change: Callable[[Sheet], None], moment: str, operation: str, answer: str
) -> None:
    """Feishu knows no conditional write: what went astray is noticed by the revision, and put right."""
    team.feishu.sheet.set("G7", OTHERS)
    tasks = [team.finished(row) for row in (3, 4, 6)]
    write = getattr(team.publisher._feishu, operation)
    moved: list[str] = []

    def with_a_change(*arguments: Any) -> Any:
        if moved:
            return write(*arguments)
        moved.append(moment)
        if moment == "before":
            change(team.feishu.sheet)
        if answer == "lost":
            team.feishu.faults.add(Fault.RESET_AFTER, "values_image" if operation == "write_picture" else "values_b")
        result = write(*arguments)
        if moment == "after":
            change(team.feishu.sheet)
        return result

    setattr(team.publisher._feishu, operation, with_a_change)
    team.flush_until_quiet()
    for task_id in tasks:
        team.assert_delivered(task_id, once_elsewhere=True)
    for product in {"产品1", "产品4", "产品6", "新品"} & set(team.products()):
        own = OTHERS if product == "产品6" else None
        assert team.row(product)[STATUS] == "否"
        shown = team.row(product)[PICTURE]
        assert (shown.data if shown else None) == own, product


def test_a_picture_that_went_astray_and_cannot_be_taken_back_is_named_with_its_row(team: Team) -> None:
    task_id = team.finished(3)
    write = team.publisher._feishu.write_picture

    def deleted_meanwhile(*arguments: Any) -> Any:
        team.feishu.sheet.set("B3", "新")  # a row that no reading has seen stands there now
        team.feishu.sheet.insert_row(2, {"产品名": "产品2", "模特名": "模特2", "提示词": "提示2", STATUS: "否"})
        team.feishu.sheet.delete_row(3)
        return write(*arguments)

    team.publisher._feishu.write_picture = deleted_meanwhile  # type: ignore[method-assign]
    reason = team.publisher.flush().blocked[task_id]
    assert "row 3" in reason
    assert "新" in reason
    assert team.row("产品2")[STATUS] == "否"


def test_a_new_result_for_a_finished_row_replaces_its_picture(team: Team) -> None:
    first = team.finished(2)
    assert team.publisher.flush().pushed == [first]
    second = team.finished(2)
    assert team.publisher.flush().pushed == [second]
    assert len(team.feishu.sheet.picture_writes) == 2


# ------------------------------------------------------------------ the sheet as people keep it


def test_numbers_and_rich_text_in_the_key_columns_are_found_again(team: Team) -> None:
    sheet = team.feishu.sheet
    sheet.set("B3", 4711)
    sheet.set("D3", [{"type": "text", "text": "模特"}, {"type": "text", "text": "2"}])
    sheet.set("E3", "一行\n两行")
    task_id = team.db.add_workflow_task(
        {"row_number": 3, "product_name": 4711, "model_name": [{"text": "模特2"}], "prompt": "一行 两行"}, "图片合成"
    )
    path = team.folder / "row3.png"
    Image.new("RGB", (4, 4)).save(path)
    team.db.complete_task(task_id, [path])
    sheet.insert_row(2, {"产品名": "新", "模特名": "新"})
    assert team.publisher.flush().pushed == [task_id]
    assert isinstance(sheet.row(4)[PICTURE], Picture)
    assert sheet.row(4)[STATUS] == "已完成"


@pytest.mark.parametrize("header_row", [1, 3, 5])
def test_a_wide_sheet_with_its_header_further_down_and_merged_names(header_row: int, tmp_path: Path) -> None:
    titles = [f"列{n}" for n in range(120)]
    titles[3], titles[30], titles[60], titles[105], titles[110] = "产品名", "模特名", STATUS, PICTURE, VIDEO
    models = [{"产品名": "杯子" if n == 0 else None, "模特名": f"模特{n}", STATUS: "否"} for n in range(3)]
    with FeishuStandIn(models, header=titles, header_row=header_row) as feishu:
        first = header_row + 1
        feishu.sheet.merge(f"D{first}:D{first + 2}")
        team = Team(feishu, tmp_path)
        tasks = []
        for number in range(3):
            row = {"row_number": first + number, "product_name": "杯子", "model_name": f"模特{number}"}
            tasks.append(team.db.add_workflow_task(row, "图片合成"))
            path = tmp_path / f"{number}.png"
            Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
            team.db.complete_task(tasks[-1], [path])
        assert team.publisher.flush().pushed == tasks
        for number in range(3):
            shown = feishu.sheet.row(first + number)
            assert shown[PICTURE].data == (tmp_path / f"{number}.png").read_bytes()
            assert shown[STATUS] == "已完成"
        assert feishu.count("values_get", 0) == 2 * 3, "at most 100 columns a read"


def test_a_status_cell_that_is_merged_into_another_row_s_is_not_written(team: Team) -> None:
    team.feishu.sheet.merge("F2:F3")
    first, second = team.finished(2), team.finished(3)
    report = team.publisher.flush()
    assert report.pushed == [first]
    assert "F3 is merged into F2" in report.blocked[second]
    assert "取消合并" in (team.record(second).outbox.last_error_zh or "")
    assert team.row("产品2")[PICTURE] is None


def test_two_columns_of_one_title_are_named_and_none_is_guessed(team: Team) -> None:
    team.feishu.sheet.set("J1", PICTURE)
    task_id = team.finished(2)
    reason = team.publisher.flush().blocked[task_id]
    assert f"several columns of the sheet may be {PICTURE!r} (G {PICTURE}, J {PICTURE})" in reason
    assert not team.feishu.sheet.picture_writes


# ------------------------------------------------------------------ older and newer


def test_where_no_result_is_held_back_no_row_is_looked_for(team: Team) -> None:
    """That is so at the end of nearly each flush; to look for the rows of all that was ever finished takes long."""
    team.finished(2)
    team.flush_until_quiet()
    nobody: Any = None
    assert newer_results(team.db, [], nobody, None) == {}


def test_an_older_result_never_overwrites_a_newer_one(team: Team) -> None:
    older, newer = team.finished(2), team.db.add_workflow_task(team.row_data(2), "图片合成")
    assert older == newer, "a row that is being delivered is not entered again"
    team.feishu.faults.add(Fault.FULL, "values_image")
    assert older in team.publisher.flush().blocked
    newer = team.finished_anew(2)
    assert team.publisher.flush().pushed == [newer]
    assert team.db.try_again(older)
    team.feishu.sheet.sort("产品名", reverse=True)
    assert team.publisher.flush() == FlushReport()
    team.assert_delivered(newer)
    assert team.record(older).settled
    assert team.record(older).outbox.superseded_by == newer
    assert len(team.feishu.sheet.picture_writes) == 1


@contextmanager
def clock_at(year: int) -> Iterator[None]:
    """The computer's clock is wrong, by years."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wfrecovery.bridge.table.changes.now_text", lambda: f"{year}-01-01T00:00:00.000+00:00")
        patch.setattr(
            "wfrecovery.bridge.table.database.time", SimpleNamespace(time=lambda: (year - 1970) * 31_557_600.0)
        )
        yield


@pytest.mark.parametrize("years", [(2031, 2026), (2026, 2031), (2026, 2026)])
def test_which_result_is_newer_does_not_depend_on_the_clock(team: Team, years: tuple[int, int]) -> None:
    with clock_at(years[0]):
        older = team.finished(2)
    with clock_at(years[1]):
        newer = team.finished_anew(2)
    assert team.publisher.flush().pushed == [newer]
    team.assert_delivered(newer)
    assert team.record(older).outbox.superseded_by == newer
    assert len(team.feishu.sheet.picture_writes) == 1


def test_a_newer_result_that_cannot_be_delivered_holds_back_no_older_one(team: Team) -> None:
    older, newer = team.finished(2), team.finished_anew(2)
    (team.folder / team.record(newer).output_files[0]).unlink()
    for _ in range(2):
        team.publisher.flush()
    assert team.state(newer) is FeishuState.BLOCKED
    team.assert_delivered(older)


def test_who_pushes_an_older_result_by_hand_gets_it(team: Team) -> None:
    older, newer = team.finished(2), team.finished_anew(2)
    assert team.publisher.flush().pushed == [newer]
    assert team.db.push_again(older)
    assert team.publisher.flush().pushed == [older]
    team.assert_delivered(older)
    assert team.db.try_again(newer), "as at a start"
    assert team.publisher.flush().pushed == []
    assert team.record(newer).outbox.superseded_by == older


@pytest.mark.parametrize("trouble", ["protected", "full"])
def test_a_column_that_takes_nothing_costs_one_upload_and_stops_no_other(team: Team, trouble: str) -> None:
    pictures, film = [team.finished(row) for row in range(2, 7)], team.filmed(7)
    if trouble == "protected":
        team.feishu.sheet.protect("G:G")
    else:
        team.feishu.faults.add(Fault.FULL, "values_image", times=None)
    report = team.publisher.flush()
    assert report.pushed == [film]
    assert sorted(report.blocked) == pictures
    assert len([call for call in team.feishu.calls if call.operation == "values_image"]) == 1
    team.feishu.sheet.unprotect()
    team.feishu.faults.clear()
    for task_id in pictures:
        assert team.db.push_again(task_id)
    assert sorted(team.publisher.flush().pushed) == pictures
    for task_id in pictures:
        team.assert_delivered(task_id)


def test_a_status_column_that_takes_nothing_costs_few_calls(team: Team) -> None:
    films = [team.filmed(row) for row in range(2, 8)]
    team.feishu.sheet.protect("H:H")
    assert sorted(team.publisher.flush().blocked) == films
    writes = [call for call in team.feishu.calls if call.operation == "values_batch_update"]
    assert len(writes) == 3, "all at once, then two that show that it is not the rows"


def test_a_failure_that_comes_after_a_success_in_one_flush_leaves_the_success(team: Team) -> None:
    done, failed = team.finished(2), team.failed_anew(2)
    assert sorted(team.publisher.flush().pushed) == sorted([done, failed])
    team.assert_delivered(done)


def test_what_a_person_changes_after_a_lost_answer_is_theirs(team: Team) -> None:
    team.feishu.faults.add(Fault.RESET_AFTER, "values_batch_update")
    team.feishu.faults.add(Fault.HTML_502, "sheets_query", after=1)
    team.feishu.sheet.set("F2", "处理中")
    task_id = team.finished(2)
    assert list(team.publisher.flush().waiting) == [task_id]
    assert team.row("产品1")[STATUS] == "已完成"
    team.feishu.sheet.set("F2", "否")  # somebody wants it done again
    team.clock.now += 400
    assert team.publisher.flush().pushed == [task_id]
    assert team.row("产品1")[STATUS] == "否"
    assert team.db.push_again(task_id)
    assert team.publisher.flush().pushed == [task_id]
    assert team.row("产品1")[STATUS] == "已完成", "who pushes again wants it written"


# ------------------------------------------------------------------ one writer, and one row's trouble


def test_two_tables_of_one_spreadsheet_are_never_published_at_once(
    team: Team, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Team(team.feishu, tmp_path_factory.mktemp("other"))
    mine, theirs = team.finished(2), other.finished(3)
    during: list[FlushReport] = []
    write = FeishuClient.write_picture

    def meanwhile(client: FeishuClient, *arguments: Any) -> Any:
        if not during:
            during.append(other.publisher.flush())
        return write(client, *arguments)

    monkeypatch.setattr(FeishuClient, "write_picture", meanwhile)
    assert team.publisher.flush().pushed == [mine]
    assert during == [FlushReport(busy=True)]
    assert other.publisher.flush().pushed == [theirs]


def test_a_flush_that_fails_on_one_row_goes_on_with_the_others(team: Team) -> None:
    team.feishu.faults.add(Fault.HTML_502, "values_image", after=1)
    first, second, third = [team.finished(row) for row in (2, 3, 4)]
    report = team.publisher.flush()
    assert report.pushed == [first, third]
    assert list(report.waiting) == [second]


def test_three_failures_in_a_row_end_the_flush_and_the_untried_are_not_counted(team: Team) -> None:
    team.feishu.faults.add(Fault.HTML_502, "values_image", times=3)
    tasks = [team.finished(row) for row in (2, 3, 4, 5, 6)]
    assert set(team.publisher.flush().waiting) == set(tasks)
    assert [team.record(task_id).outbox.attempts for task_id in tasks] == [1, 1, 1, 0, 0]
    assert team.feishu.count("values_image") == 3
    team.flush_until_quiet()
    for task_id in tasks:
        team.assert_delivered(task_id)


# ------------------------------------------------------------------ pictures


@pytest.mark.parametrize("size", [(600, 400), (40, 3000)])
def test_a_picture_over_the_limit_goes_into_the_cell_smaller_and_stays_whole_on_disk(
    team: Team, size: tuple[int, int]
) -> None:
    task_id = team.finished(2, picture=noise(*size))
    path = team.folder / team.record(task_id).output_files[0]
    whole = path.read_bytes()
    team.feishu.limits.picture_bytes = len(whole) // 3
    assert team.publisher.flush().pushed == [task_id]
    (write,) = team.feishu.sheet.picture_writes
    assert write.name == path.with_suffix(".jpg").name
    assert len(write.data) <= len(whole) // 3
    assert path.read_bytes() == whole


# ------------------------------------------------------------------ videos


def test_a_video_is_linked_where_a_column_for_links_is_named(feishu: FeishuStandIn, tmp_path: Path) -> None:
    pytest.importorskip("lark_oapi")
    feishu.sheet.set("I1", "视频链接")
    team = Team(feishu, tmp_path, video_link_column="视频链接", video_folder_token=feishu.folder_token)
    film = team.filmed(3)
    assert team.publisher.flush().pushed == [film]
    assert team.row("产品2")[VIDEO] == "已完成"
    link = feishu.sheet.row(3)["视频链接"]
    assert (link["type"], link["text"]) == ("url", f"{film}.mp4")
    assert link["link"].startswith("http")
    assert feishu.count("values_batch_update") == 1
    assert team.db.push_again(film)
    assert team.publisher.flush().pushed == [film]
    assert feishu.count("upload_all") == 1, "what is uploaded already is not uploaded again"


def test_without_the_column_for_links_a_video_says_what_is_missing(feishu: FeishuStandIn, tmp_path: Path) -> None:
    team = Team(feishu, tmp_path, video_link_column="视频链接", video_folder_token=feishu.folder_token)
    picture, film = team.finished(2), team.filmed(3)
    report = team.publisher.flush()
    assert report.pushed == [picture]
    assert "视频链接" in report.blocked[film]
    assert team.row("产品2")[VIDEO] == "否"
