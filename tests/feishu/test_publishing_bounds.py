"""What one flush holds in memory: so many records, so many cells, an answer and a picture of bounded size."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from publishing_support import PATIENCE, Team, rows

from wfrecovery.bridge.feishu import cell_pictures, client, deliverables, publisher
from wfrecovery.bridge.feishu.answer import LARGEST_ANSWER, read_bounded
from wfrecovery.bridge.feishu.cell_pictures import picture_for_cell
from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.errors import FeishuError
from wfrecovery.bridge.table.records import TaskRecord, now_text
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn

pytestmark = pytest.mark.usefixtures("_readings_stay_young")


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(12)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


# ------------------------------------------------------------------ calls


def test_a_backlog_of_a_hundred_rows_costs_at_most_eleven_calls_for_ten_rows(tmp_path: Path) -> None:
    with FeishuStandIn(rows(100)) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        task_ids = [team.finished(row) for row in range(2, 102)]
        assert team.publisher.flush().pushed == task_ids
        assert len(feishu.calls) <= 110
        for task_id in task_ids:
            team.assert_delivered(task_id)


# ------------------------------------------------------------------ records


def test_a_long_outbox_goes_part_by_part_in_one_flush(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "TASKS_AT_ONCE", 5)
    task_ids = [team.finished(row) for row in range(2, 14)]
    held: list[int] = []
    flush = publisher.Publisher._flush

    def noted(self: Any, tasks: list[TaskRecord], report: Any) -> None:
        held.append(len(tasks))
        flush(self, tasks, report)

    monkeypatch.setattr(publisher.Publisher, "_flush", noted)
    report = team.publisher.flush()
    assert held == [5, 5, 2]
    assert report.pushed == task_ids
    for task_id in task_ids:
        team.assert_delivered(task_id)


def test_the_outbox_is_looked_through_one_record_after_the_other(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, no more are kept than one part: each that is too much is let go before the next is read."""
    monkeypatch.setattr(publisher, "TASKS_AT_ONCE", 3)
    for row in range(2, 14):
        team.finished(row)
    outbox, passed = team.publisher._outbox, 0

    def counted() -> Iterator[TaskRecord]:
        nonlocal passed
        for task in outbox():
            passed += 1
            yield task

    monkeypatch.setattr(team.publisher, "_outbox", counted)
    assert len(team.publisher.due()) == 3
    assert passed == 12


def test_a_part_that_makes_no_progress_ends_the_flush(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "TASKS_AT_ONCE", 4)
    for row in range(2, 14):
        team.finished(row)
    team.feishu.faults.add(Fault.RESET_BEFORE, times=50)
    report = team.publisher.flush()
    assert report.pushed == []
    assert 0 < len(report.waiting) <= 4
    team.feishu.faults.clear()
    team.flush_until_quiet()
    assert team.db.unpushed() == []


def test_the_server_s_wait_holds_for_what_is_behind_the_first_part(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "TASKS_AT_ONCE", 2)
    task_ids = [team.finished(row) for row in range(2, 8)]
    later = now_text(datetime.fromtimestamp(team.clock.now + 60, timezone.utc))
    team.db.table.update(task_ids[-1], lambda task: task.with_outbox(wait_until=later, next_try_at=later))
    assert team.publisher.due() == []
    team.clock.now += 61
    assert len(team.publisher.due()) == 2


# ------------------------------------------------------------------ answers and cells


@contextmanager
def endless(block: bytes = b" " * 65536) -> Iterator[tuple[str, list[int]]]:
    """A server whose answers never end; its address, and how much it has sent."""
    sent = [0]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while sent[0] < 2**30:
                    self.wfile.write(block)
                    sent[0] += len(block)
            except OSError:  # nobody listens any more
                return

        do_POST = do_GET  # noqa: N815 - its name is given

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()


def test_an_answer_without_end_is_not_read_to_its_end(team: Team) -> None:
    with endless() as (url, sent):
        there = FeishuClient(replace(team.settings, feishu_domain=url))
        with pytest.raises(FeishuError) as raised:
            there.read_sheet()
        assert sent[0] < LARGEST_ANSWER + 32 * 2**20
    assert "64 MiB" in raised.value.wording.en
    assert "64 MiB" in raised.value.wording.zh


def test_an_ordinary_answer_is_read_whole(team: Team) -> None:
    session = requests.Session()
    with session.get(team.feishu.url, stream=True, timeout=PATIENCE) as plain:
        wanted = plain.content
    found = read_bounded(session.get(team.feishu.url, stream=True, timeout=PATIENCE))
    assert found.content == wanted
    assert found.status_code == 200


def test_a_sheet_of_too_many_cells_is_named(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = team.finished(2)
    monkeypatch.setattr(client, "MOST_CELLS", 20)
    report = team.publisher.flush()
    assert team.feishu.sheet_title in report.blocked[task_id]
    assert "已完成的行" in str(team.record(task_id).outbox.last_error_zh)


# ------------------------------------------------------------------ pictures


def test_a_huge_picture_is_not_read(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    huge, small = team.finished(2), team.finished(3)
    with (team.folder / team.record(huge).output_files[0]).open("ab") as file:
        file.write(b"x" * 5000)
    monkeypatch.setattr(deliverables, "LARGEST_ORIGINAL", 4000)
    report = team.publisher.flush()
    assert report.pushed == [small]
    assert team.state(huge) is FeishuState.BLOCKED
    assert "larger than" in report.blocked[huge]


def test_a_bomb_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_pictures, "MOST_PIXELS", 10_000)
    target = io.BytesIO()
    Image.new("RGB", (200, 200)).save(target, "WEBP")
    with pytest.raises(FeishuError, match="40,000 pixels"):
        picture_for_cell("a.webp", target.getvalue())
    # what Feishu takes as it is is not decoded, whatever its size in pixels
    target = io.BytesIO()
    Image.new("RGB", (200, 200)).save(target, "PNG")
    assert picture_for_cell("a.png", target.getvalue()) == ("a.png", target.getvalue())
