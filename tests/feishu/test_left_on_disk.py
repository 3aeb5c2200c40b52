"""What has left for the sheet is on disk before it leaves, and until somebody has looked; and what lies there instead
stops nobody."""

from __future__ import annotations

import errno
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, Team

from wfrecovery.bridge.feishu.left_on_disk import is_one
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.values import FeishuState


class KilledError(BaseException):
    """As SIGKILL ends a program."""


def file_of(team: Team) -> Path:
    return team.folder / "wfrecovery" / f"left1-{team.settings.sheet_key(team.feishu.sheet.sheet_id)}.json.z"


def killed_under_the_status(team: Team, *, inserted: str = "") -> None:
    """In the moment in which a status is written; a row is inserted above it then."""
    client = team.publisher._feishu
    write = client.write_cells

    def moment(cells: Any) -> Any:
        if inserted:
            team.feishu.sheet.insert_row(2, {"产品名": inserted, "模特名": inserted, STATUS: "否"})
        write(cells)
        raise KilledError

    client.write_cells = moment  # type: ignore[method-assign,assignment]
    with pytest.raises(KilledError):
        team.publisher.flush()


def started_again(team: Team) -> None:
    team.db = DatabaseManager(team.folder)
    team.publisher = team.new_publisher()
    team.flush_until_quiet()


def test_nothing_is_kept_of_what_stands_where_it_should(team: Team) -> None:
    seen: list[bool] = []
    client = team.publisher._feishu
    write = client.write_cells

    def watched(cells: Any) -> Any:
        seen.append(file_of(team).exists())
        return write(cells)

    client.write_cells = watched  # type: ignore[method-assign,assignment]
    task_id = team.finished(3)
    team.publisher.flush()
    assert team.state(task_id) is FeishuState.PUSHED
    assert seen
    assert all(seen), "it is there before anything leaves"
    assert not file_of(team).exists()


def test_after_a_kill_without_anybody_at_the_sheet_nobody_is_asked(team: Team) -> None:
    task_id = team.finished(3)
    killed_under_the_status(team)
    assert file_of(team).exists()
    started_again(team)
    team.assert_delivered(task_id)
    assert not file_of(team).exists()


def test_it_holds_the_whole_reading_and_no_secret(team: Team) -> None:
    team.finished(3)
    killed_under_the_status(team)
    text = zlib.decompress(file_of(team).read_bytes()).decode()
    (left,) = json.loads(text)["left"]
    assert left["values"][5][1] == "产品5"
    for secret in (team.settings.feishu_app_secret, team.settings.feishu_spreadsheet_token):
        assert secret not in text


def changed(data: bytes, **parts: Any) -> bytes:
    return zlib.compress(json.dumps({**json.loads(zlib.decompress(data)), **parts}).encode())


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no zlib": zlib.decompress,
    "cut off": lambda data: data[: len(data) // 2],
    "no json": lambda data: zlib.compress(zlib.decompress(data)[:-1]),
    "a list": lambda _: zlib.compress(b"[1]"),
    "nested": lambda _: zlib.compress(b"[" * 100_000),
    "cells of another form": lambda data: changed(data, left=[{"key": "x", "cells": {"s!A1": 5}}]),
    "nothing told": lambda data: changed(data, told=[]),
}


@pytest.mark.usefixtures("_nothing_collected")
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_what_cannot_be_read_stops_nobody(
    damage: Callable[[bytes], bytes], team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = team.finished(3)
    killed_under_the_status(team, inserted="新品")
    file_of(team).write_bytes(damage(file_of(team).read_bytes()))
    started_again(team)
    assert team.state(task_id) is FeishuState.PUSHED
    assert "cannot be read" in caplog.text
    assert "see that no row shows a status" in caplog.text
    assert not file_of(team).exists()


def test_what_was_found_and_not_yet_noted_is_found_again(team: Team) -> None:
    """Killed a second time, under the next write: its own row says what it should by then."""
    task_id, other = team.finished(3), team.finished(5)
    killed_under_the_status(team, inserted="新品")
    team.db = DatabaseManager(team.folder)
    team.publisher = team.new_publisher()
    killed_under_the_status(team)
    started_again(team)
    assert {team.state(task_id), team.state(other)} <= {FeishuState.BLOCKED, FeishuState.PUSHED}
    told = " ".join(filter(None, (team.record(one).outbox.last_error for one in (task_id, other))))
    sheet = team.feishu.sheet
    rows = [sheet.row(number) for number in range(2, sheet.last_row + 1)]
    spoiled = [row["产品名"] for row in rows if row[STATUS] == "已完成" and row[PICTURE] is None]
    assert spoiled
    assert all(name in told for name in spoiled), told


def test_a_full_disk_lets_nothing_leave(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id, disk = team.finished(3), team.db.table.files.disk
    open_temp = disk.open_temp

    def full(target: Path) -> tuple[int, Path]:
        if is_one(target.name):
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_temp(target)

    monkeypatch.setattr(disk, "open_temp", full)
    report = team.publisher.flush()
    assert "disk" in report.waiting[task_id]
    assert team.feishu.count("values_batch_update") == 0
    monkeypatch.undo()
    team.flush_until_quiet()
    team.assert_delivered(task_id)
