"""A result that comes in alone waits for the next one of its batch: two calls a row, not three; and never for long."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, Image, Team, rows

from wfrecovery.bridge.table.records import Stage, now_text
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

pytestmark = pytest.mark.usefixtures("_readings_stay_young")

COUNT = 16
LONGEST = 120


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(COUNT)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


class Batch(Team):
    """Rows in ComfyUI's queue, and a publisher that is asked as the plugin and `main.py` ask it."""

    def queued(self, row: int, kind: str = "图片合成") -> str:
        task_id = self.entered(row, kind)
        self.enters(task_id, Stage.QUEUED)
        return task_id

    def enters(self, task_id: str, stage: Stage) -> None:
        self.db.table.update(task_id, lambda task: task.entering(stage))

    def changed(self, task_id: str, **change: Any) -> None:
        self.db.table.update(task_id, lambda task: dataclasses.replace(task, **change))

    def ends(self, task_id: str) -> None:
        """It is rendered, now by the test's clock."""
        path = self.folder / f"{task_id}_00001_.png"
        row = self.record(task_id).row_number or 0
        Image.new("RGB", (4, 4), (row % 256, row // 256, 77)).save(path)
        assert self.db.complete_task(task_id, [path])
        now = datetime.fromtimestamp(self.clock.now, timezone.utc)
        self.changed(task_id, finished_at=now.isoformat(timespec="milliseconds"))

    def waits(self) -> float:
        return self.publisher.waits_for_company(unless_set=LONGEST)

    def looks(self) -> bool:
        """One look at the outbox: whether it was flushed."""
        if self.waits():
            return False
        self.publisher.flush()
        return True


@pytest.fixture
def batch(feishu: FeishuStandIn, tmp_path: Path) -> Batch:
    return Batch(feishu, tmp_path)


@pytest.mark.parametrize("seconds", [15, 40, 100])
def test_rows_that_trickle_in_cost_two_calls_each_and_wait_two_minutes_at_most(
    feishu: FeishuStandIn, batch: Batch, seconds: int
) -> None:
    tasks = [batch.queued(row) for row in range(2, COUNT + 2)]
    begun = batch.clock.now
    ended: dict[str, float] = {}
    late = dict[str, float]()
    known = 0
    for number, task_id in enumerate(tasks):
        if number == 2:  # how the revision counts is known by then
            known = len(feishu.calls)
        batch.ends(task_id)
        ended[task_id] = batch.clock.now
        for _ in range(seconds // 5):
            batch.looks()
            arrived = [one for one in ended if feishu.sheet.row(batch.record(one).row_number or 0)[PICTURE] is not None]
            late |= {one: batch.clock.now - ended[one] for one in arrived if one not in late}
            batch.clock.now += 5
    assert len(feishu.calls) - known <= 2 * (COUNT - 2)
    assert batch.clock.now - begun == COUNT * (seconds // 5) * 5
    for task_id in tasks:
        batch.assert_delivered(task_id)
    assert max(late.values()) <= LONGEST
    assert late[tasks[-1]] == 0, "nothing is rendered any more"


def test_the_next_one_that_does_not_come_is_waited_for_so_long_and_no_longer(batch: Batch) -> None:
    first, _ = batch.queued(2), batch.queued(3)
    batch.ends(first)
    assert 0 < batch.waits() <= LONGEST
    batch.clock.now += LONGEST - 2
    assert 0 < batch.waits() <= 2
    assert not batch.looks()
    batch.clock.now += 3
    assert batch.looks()
    batch.assert_delivered(first)


def test_two_that_are_due_go_at_once(batch: Batch) -> None:
    tasks = [batch.queued(row) for row in (2, 3, 4)]
    batch.ends(tasks[0])
    assert not batch.looks()
    batch.ends(tasks[1])
    assert batch.looks()
    batch.assert_delivered(tasks[0])
    batch.assert_delivered(tasks[1])


def _cancelled(batch: Batch, other: str) -> None:
    batch.changed(other, cancel_requested=now_text())


def _of_another_batch(batch: Batch, other: str) -> None:
    batch.changed(other, batch="another")


def _from_the_page(batch: Batch, other: str) -> None:
    batch.changed(other, batch=None)


def _of_another_document(batch: Batch, other: str) -> None:
    batch.changed(other, document="another")


def _without_a_row(batch: Batch, other: str) -> None:
    batch.changed(other, row_number=None)


def _asked_about(batch: Batch, other: str) -> None:
    batch.enters(other, Stage.ASKING)


def _not_sent(batch: Batch, other: str) -> None:
    batch.changed(other, stage=Stage.CREATED)


def _failed(batch: Batch, other: str) -> None:
    assert batch.db.mark_task_failed(other, "KSampler: boom")


def _set_to_zero(batch: Batch, other: str) -> None:
    batch.publisher = batch.new_publisher(gather_seconds=0)


def _clock_set_back(batch: Batch, other: str) -> None:
    batch.clock.now -= 3600


def _clock_set_on(batch: Batch, other: str) -> None:
    batch.clock.now += 3600 * 24 * 365


def _tried_before(batch: Batch, other: str) -> None:
    (task,) = batch.db.unpushed()
    batch.db.table.update(task.task_id, lambda task: task.with_outbox(attempts=1))


NOBODY_IS_WAITED_FOR = [
    *(_cancelled, _of_another_batch, _from_the_page, _of_another_document, _without_a_row, _asked_about, _not_sent),
    *(_failed, _set_to_zero, _clock_set_back, _clock_set_on, _tried_before),
]


@pytest.mark.parametrize("happens", NOBODY_IS_WAITED_FOR, ids=[one.__name__[1:] for one in NOBODY_IS_WAITED_FOR])
def test_nobody_is_waited_for_who_does_not_come(batch: Batch, happens: Callable[[Batch, str], None]) -> None:
    first, other = batch.queued(2), batch.queued(3)
    batch.ends(first)
    assert batch.waits() > 0
    happens(batch, other)
    assert batch.looks()
    batch.assert_delivered(first)


def test_what_a_person_wants_pushed_goes_at_once(batch: Batch) -> None:
    first, _ = batch.queued(2), batch.queued(3)
    batch.ends(first)
    document = batch.settings.document
    assert document is not None
    batch.db.deliver_here(first, document)
    assert batch.looks()
    batch.assert_delivered(first)


def test_rows_from_the_page_go_by_twos_as_well(batch: Batch) -> None:
    tasks = [batch.queued(row) for row in (2, 3)]
    for task_id in tasks:
        batch.changed(task_id, batch=None)
    batch.ends(tasks[0])
    assert not batch.looks()
    batch.ends(tasks[1])
    assert batch.looks()
    for task_id in tasks:
        batch.assert_delivered(task_id)


def test_a_video_is_not_waited_for_by_a_picture(feishu: FeishuStandIn, batch: Batch) -> None:
    picture, _ = batch.queued(2), batch.queued(3, "图生视频")
    batch.ends(picture)
    assert batch.looks()
    assert feishu.sheet.row(2)[STATUS] == "已完成"


def test_a_table_that_cannot_be_read_is_the_flushs_to_tell(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = batch.queued(2), batch.queued(3)
    batch.ends(first)

    def broken() -> tuple[()]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(batch.db.index, "entries", broken)
    assert batch.looks()
    assert batch.publisher.last_problem is not None


def test_where_a_killed_programs_texts_went_is_looked_for_at_once(batch: Batch) -> None:
    first, _ = batch.queued(2), batch.queued(3)
    batch.ends(first)
    (batch.db.table.files.folder / "left1-0123456789abcdef.json.z").write_bytes(b"another sheet's")
    batch.publisher = batch.new_publisher()
    assert batch.looks()
    batch.assert_delivered(first)
