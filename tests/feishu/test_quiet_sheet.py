"""A sheet in which nobody else has edited for long is written into without a look; and what happens to the picture that
goes first after somebody has."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from publishing_support import PICTURE, STATUS, Image, Team, rows

from wfrecovery.bridge.feishu import reading
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture, Sheet

#: Seconds between two results.
RENDERED_IN = 60.0
#: One shows how the stand-in counts, and so many looks that nobody else edits.
LEARNING = 1 + reading.QUIET_LOOKS
ROWS = 16


class Batch:
    """Rows that come in one by one, a minute after each other."""

    def __init__(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        self.team, self.now = team, 0.0
        monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: self.now))

    @property
    def sheet(self) -> Sheet:
        return self.team.feishu.sheet

    def deliver(self, product: int, seconds: float = RENDERED_IN) -> str:
        """The result of a product comes in, and is on its way once."""
        self.now += seconds
        (row,) = self.sheet.find_rows(产品名=f"产品{product}")
        task_id = self.finished(row, product)
        self.team.publisher.flush()
        return task_id

    def finished(self, row: int, product: int) -> str:
        """Each product has a colour of its own."""
        return self.team.finished(row, picture=Image.new("RGB", (4, 4), (product, 99, 0)))

    def quiet(self) -> int:
        """Deliver until no look is made any more; the next product."""
        for product in range(1, LEARNING + 1):
            self.team.assert_delivered(self.deliver(product))
        assert self.calls(self.deliver, LEARNING + 1) == {"values_image": 1, "values_batch_update": 1}
        return LEARNING + 2

    def calls(self, deliver: Callable[[int], str], product: int) -> Counter[str]:
        before = len(self.team.feishu.calls)
        self.team.assert_delivered(deliver(product))
        return Counter(call.operation for call in self.team.feishu.calls[before:])

    def shown(self) -> dict[str, str]:
        """By product, what its cell shows: the bytes."""
        cells = {texts["产品名"]: self.sheet.row(row)[PICTURE] for row, texts in self._rows()}
        return {product: cell.sha256 for product, cell in cells.items() if isinstance(cell, Picture)}

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        for row in range(2, self.sheet.last_row + 1):
            yield row, self.sheet.row_texts(row)

    def own(self, task_id: str) -> tuple[str, str]:
        """Product and picture of a task, by its file."""
        record: TaskRecord = self.team.record(task_id)
        content = (self.team.folder / record.output_files[0]).read_bytes()
        return record.product_name or "", hashlib.sha256(content).hexdigest()


@pytest.fixture
def batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batch]:
    with FeishuStandIn(rows(ROWS)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield Batch(Team(stand_in, tmp_path), monkeypatch)


def test_rows_that_come_in_one_by_one_cost_a_picture_and_a_status_each(batch: Batch) -> None:
    following = batch.quiet()
    for product in range(following, ROWS + 1):
        assert batch.calls(batch.deliver, product) == {"values_image": 1, "values_batch_update": 1}


def test_before_that_a_small_look_as_well(batch: Batch) -> None:
    for product in (1, 2):
        batch.deliver(product)
    for product in range(3, LEARNING + 1):
        assert batch.calls(batch.deliver, product) == {"values_get": 1, "values_image": 1, "values_batch_update": 1}


def test_after_a_pause_longer_than_the_quiet_there_is_a_look(batch: Batch) -> None:
    following = batch.quiet()
    made = batch.calls(lambda product: batch.deliver(product, seconds=3600.0), following)
    assert made["values_get"] == 1


def test_who_has_edited_is_looked_out_for_again(batch: Batch) -> None:
    following = batch.quiet()
    batch.sheet.set("B5", batch.sheet.text("B5"))  # nothing moves, and it counts all the same
    batch.team.assert_delivered(batch.deliver(following))
    for product in range(following + 1, following + 1 + reading.QUIET_LOOKS):
        assert batch.calls(batch.deliver, product)["values_get"] == 1
    assert batch.calls(batch.deliver, following + 1 + reading.QUIET_LOOKS)["values_get"] == 0


def _deleted(sheet: Sheet, at: int) -> None:
    sheet.delete_row(3)


def _inserted(sheet: Sheet, at: int) -> None:
    sheet.insert_row(2, {"产品名": "新品", "模特名": "新人", STATUS: "改天再做"})


def _sorted(sheet: Sheet, at: int) -> None:
    sheet.sort("产品名", reverse=True)


def _swapped(sheet: Sheet, at: int) -> None:
    texts = sheet.row_texts(at + 1)
    sheet.delete_row(at + 1)
    sheet.insert_row(at, {name: text for name, text in texts.items() if name != PICTURE})


@pytest.mark.parametrize("edit", [_deleted, _inserted, _sorted, _swapped])
def test_whatever_moved_meanwhile_each_row_shows_its_own(batch: Batch, edit: Callable[[Sheet, int], None]) -> None:
    following = batch.quiet()
    (at,) = batch.sheet.find_rows(产品名=f"产品{following}")
    before = batch.shown()
    edit(batch.sheet, at)
    there = {texts["产品名"]: texts for _, texts in batch._rows()}
    task_id = batch.deliver(following)
    batch.team.flush_until_quiet()
    batch.team.assert_delivered(task_id, once_elsewhere=True)
    product, picture = batch.own(task_id)
    kept = {name: content for name, content in before.items() if name in there}
    assert batch.shown() == {**kept, product: picture}
    statuses = {texts["产品名"]: texts[STATUS] for _, texts in batch._rows()}
    assert statuses == {**{name: texts[STATUS] for name, texts in there.items()}, product: "已完成"}


def test_a_row_that_is_gone_leaves_its_picture_nowhere(batch: Batch) -> None:
    following = batch.quiet()
    before = batch.shown()
    (at,) = batch.sheet.find_rows(产品名=f"产品{following}")
    batch.now += RENDERED_IN
    task_id = batch.finished(at, following)
    batch.sheet.delete_row(at)
    batch.team.publisher.flush()
    assert batch.shown() == before
    assert batch.team.state(task_id) is FeishuState.BLOCKED
    assert not [cell for _, texts in batch._rows() for cell in texts.values() if cell == "已完成"][len(before) :]


@pytest.mark.parametrize("its_own", [None, b"\x89PNG a picture of somebody else"])
def test_a_row_inserted_right_there_is_named_and_never_emptied(batch: Batch, its_own: bytes | None) -> None:
    """Nobody knows what its cell showed before: a person is asked, and it says what it said."""
    following = batch.quiet()
    (at,) = batch.sheet.find_rows(产品名=f"产品{following}")
    batch.now += RENDERED_IN
    task_id = batch.finished(at, following)
    values = {"产品名": "新品", "模特名": "新人", STATUS: "改天再做"}
    batch.sheet.insert_row(at, values if its_own is None else {**values, PICTURE: its_own})
    batch.team.publisher.flush()
    record = batch.team.record(task_id)
    assert record.feishu_state is FeishuState.BLOCKED
    assert f"row {at} ('新品'" in (record.outbox.last_error or "")
    assert batch.sheet.row(at)[STATUS] == "改天再做"
    assert isinstance(batch.sheet.row(at)[PICTURE], Picture)
    batch.sheet.set(batch.sheet.find(PICTURE)[0] + str(at), None)  # as it is told
    batch.team.db.push_again(task_id)
    batch.team.flush_until_quiet()
    batch.team.assert_delivered(task_id, once_elsewhere=True)
    assert batch.sheet.row(at)[PICTURE] is None


def test_a_sheet_that_has_become_too_short_loses_nothing(batch: Batch) -> None:
    """The last row moved up, and no row has its number any more."""
    following = batch.quiet()
    before = batch.shown()
    batch.now += RENDERED_IN
    (last,) = batch.sheet.find_rows(产品名=f"产品{ROWS}")
    task_id = batch.finished(last, ROWS)
    batch.sheet.delete_row(following)
    batch.team.publisher.flush()
    batch.team.flush_until_quiet()
    batch.team.assert_delivered(task_id, once_elsewhere=True)
    product, picture = batch.own(task_id)
    gone = {name for name in before if not batch.sheet.find_rows(产品名=name)}
    assert batch.shown() == {**{name: it for name, it in before.items() if name not in gone}, product: picture}
