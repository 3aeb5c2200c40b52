"""Month's end: the sheet is put away under another name, or deleted, and a new one has its title, with the same
products. What was entered for the former one goes into none but that."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from publishing_support import PICTURE, STATUS, Team, rows

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.deciding import give_file, write_anyway
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.sheet import DEFAULT_HEADER, Sheet
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn, Picture

TITLE, ARCHIVE, KIND, NUMBER = "商品表", "商品表-11月", "图片合成", "任务号"


class Shop(Team):
    """A team whose tasks are entered as a `main.py` enters them that has read the rows."""

    def __init__(self, feishu: FeishuStandIn, folder: Path) -> None:
        super().__init__(feishu, folder)
        self.november = feishu.sheet
        self.begins()

    def begins(self, title: str = TITLE) -> None:
        """A new run."""
        self.settings = dataclasses.replace(self.settings, feishu_sheet_name=title)
        settings = self.settings
        self.db.document, self.db.sheet = (lambda: settings.document), (lambda: settings.sheet)
        self.publisher = self.new_publisher()
        FeishuClient(settings).read_rows()

    def rendered(self, row: int, **fields: Any) -> str:
        """Entered and sent for a row of the sheet that has the title; its picture is its own."""
        task_id = self.finished(row)
        publisher = self.db.table.keep_table_id()
        named = {"document": self.settings.document, "publisher": publisher, **fields}
        self.db.table.update(task_id, lambda task: dataclasses.replace(task, **named))
        return task_id

    def digest(self, task_id: str) -> str:
        return hashlib.sha256((self.folder / self.record(task_id).output_files[0]).read_bytes()).hexdigest()


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(rows(3), sheet_title=TITLE, header=(*DEFAULT_HEADER, NUMBER)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


@pytest.fixture
def shop(feishu: FeishuStandIn, tmp_path: Path) -> Shop:
    return Shop(feishu, tmp_path)


def renamed(feishu: FeishuStandIn) -> Sheet:
    feishu.sheet.title = ARCHIVE
    return feishu.add_sheet(TITLE, rows(3), header=(*DEFAULT_HEADER, NUMBER))


def copied(feishu: FeishuStandIn) -> Sheet:
    """With the numbers of the tasks that it has."""
    old = feishu.sheet
    numbers = [old.row_texts(number).get(NUMBER, "") for number in (2, 3, 4)]
    old.title = ARCHIVE
    again = [{**row, NUMBER: number} for row, number in zip(rows(3), numbers, strict=True)]
    return feishu.add_sheet(TITLE, again, header=(*DEFAULT_HEADER, NUMBER))


def made_anew(feishu: FeishuStandIn) -> Sheet:
    new = feishu.add_sheet(TITLE, rows(3), header=(*DEFAULT_HEADER, NUMBER))
    feishu.spreadsheet.sheets.remove(feishu.sheet)
    return new


def waits(shop: Shop) -> str:
    task_id = shop.rendered(2)
    shop.publisher.flush(frozenset([task_id]))
    return task_id


def is_blocked(shop: Shop) -> str:
    task_id = shop.rendered(2)
    shop.november.set("E2", "改过的提示")
    shop.publisher.flush()
    assert shop.state(task_id) is FeishuState.BLOCKED
    shop.november.set("E2", "提示1")
    return task_id


def is_not_read_yet(shop: Shop) -> str:
    """Its sheet is known by the rows that were read alone."""
    return shop.rendered(2)


def is_of_an_older_version(shop: Shop) -> str:
    """Which has noted what sheet it is, but not in the task."""
    shop.publisher.flush(frozenset([shop.rendered(3)]))
    shop.publisher.number()
    task_id = shop.rendered(2, sheet=None)
    shop.db.sheets.note(shop.settings.document or "", shop.settings.sheet or "")
    return task_id


def has_left(shop: Shop) -> str:
    """Its picture has, and nobody has heard what became of it: not written."""
    task_id = shop.rendered(2)
    shop.feishu.faults.add(Fault.RESET_BEFORE, "values_image")
    shop.publisher.flush()
    assert shop.record(task_id).outbox.writing is not None
    return task_id


END = pytest.mark.parametrize("month_ends", [renamed, copied, made_anew])
STATE = pytest.mark.parametrize("state", [waits, is_blocked, is_not_read_yet, is_of_an_older_version, has_left])


@END
@STATE
def test_nothing_of_the_former_sheet_goes_into_the_one_that_has_its_title_now(
    shop: Shop, state: Callable[[Shop], str], month_ends: Callable[[FeishuStandIn], Sheet]
) -> None:
    november = state(shop)
    december = month_ends(shop.feishu)
    shop.begins()
    shop.publisher.unblock()
    for _ in range(3):
        shop.publisher.flush()
        shop.clock.now += 400
    assert not december.picture_writes
    assert [december.row(number)[STATUS] for number in (2, 3, 4)] == ["否", "否", "否"]
    assert shop.state(november) is FeishuState.BLOCKED
    reason = shop.record(november).outbox.reason
    assert reason is not None
    gone = month_ends is made_anew
    for text, where in ((reason.en, "deleted" if gone else ARCHIVE), (reason.zh, "删除" if gone else ARCHIVE)):
        assert where in text
        assert f"wfrecovery push {november}" in text

    # each of its rows is rendered for itself
    read = FeishuClient(shop.settings).read_rows()
    assert [row.row_number for row in shop.db.rows_without_task(read, KIND)] == [2, 3, 4]
    new = shop.rendered(2)
    assert new != november
    shop.flush_until_quiet()
    shown = december.row(2)[PICTURE]
    assert isinstance(shown, Picture)
    assert shown.sha256 == shop.digest(new)
    assert december.row(2)[STATUS] == "已完成"
    assert shop.state(november) is FeishuState.BLOCKED


@STATE
def test_who_sets_the_name_that_it_has_now_gets_it_there(shop: Shop, state: Callable[[Shop], str]) -> None:
    november = state(shop)
    december = renamed(shop.feishu)
    shop.begins()
    shop.publisher.flush()
    shop.begins(ARCHIVE)
    shop.publisher.unblock()
    shop.flush_until_quiet()
    shown = shop.november.row(2)[PICTURE]
    assert isinstance(shown, Picture)
    assert shown.sha256 == shop.digest(november)
    assert shop.state(november) is FeishuState.PUSHED
    assert not december.picture_writes


@END
@pytest.mark.parametrize("by_row", [False, True])
def test_a_person_may_say_that_it_goes_into_the_new_one(
    shop: Shop, month_ends: Callable[[FeishuStandIn], Sheet], by_row: bool
) -> None:
    november = waits(shop)
    december = month_ends(shop.feishu)
    shop.begins()
    shop.publisher.flush()
    assert shop.state(november) is FeishuState.BLOCKED
    if by_row:
        write_anyway(shop.db, FeishuClient(shop.settings), november, 3)
    else:
        shop.db.deliver_here(november, shop.settings.document or "")
    shop.flush_until_quiet()
    shown = december.row(3 if by_row else 2)[PICTURE]
    assert isinstance(shown, Picture)
    assert shown.sha256 == shop.digest(november)
    assert shop.state(november) is FeishuState.PUSHED


@END
@pytest.mark.parametrize("state", ["blocked", "pushed", "given a file"])
def test_who_pushes_before_he_was_told_is_told_first(
    shop: Shop, month_ends: Callable[[FeishuStandIn], Sheet], state: str
) -> None:
    """He means the row that it was entered for, for all he knows."""
    november = shop.rendered(2) if state == "pushed" else is_blocked(shop)
    shop.publisher.flush(frozenset([november] if state != "pushed" else ()))
    december = month_ends(shop.feishu)
    shop.begins()
    document = shop.settings.document or ""
    if state == "given a file":
        (shop.folder / "by hand.png").write_bytes((shop.folder / shop.record(november).output_files[0]).read_bytes())
        give_file(shop.db, november, "by hand.png", document)
    else:
        shop.db.deliver_here(november, document)
    shop.publisher.flush()
    assert not december.picture_writes
    assert shop.state(november) is FeishuState.BLOCKED
    shop.db.deliver_here(november, document)
    shop.flush_until_quiet()
    assert isinstance(december.row(2)[PICTURE], Picture)


@pytest.mark.parametrize("call", ["read_sheet", "write_picture", "write_cells"])
@pytest.mark.parametrize("before", [False, True])
def test_the_month_ends_while_results_are_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, call: str, before: bool
) -> None:
    """In the former sheet, which has its id, they may go on; never into the new one."""
    tasks = [shop.rendered(2), shop.rendered(3)]
    real, new = getattr(FeishuClient, call), list[Sheet]()

    def meanwhile(client: FeishuClient, *arguments: Any) -> Any:
        answer = None if before else real(client, *arguments)
        if not new:
            new.append(renamed(shop.feishu))
        return real(client, *arguments) if before else answer

    monkeypatch.setattr(FeishuClient, call, meanwhile)
    for _ in range(6):
        shop.publisher.flush()
        shop.publisher.number()
        shop.clock.now += 400
    (december,) = new
    assert not december.picture_writes
    assert [december.row(number)[STATUS] for number in (2, 3, 4)] == ["否", "否", "否"]
    for task_id in tasks:
        if shop.state(task_id) is FeishuState.PUSHED:
            shown = shop.november.row(shop.record(task_id).row_number or 0)[PICTURE]
            assert isinstance(shown, Picture)
            assert shown.sha256 == shop.digest(task_id)
        else:
            assert ARCHIVE in (shop.record(task_id).outbox.last_error or "")


def test_a_publisher_that_has_read_the_former_sheet_delivers_into_the_new_one(shop: Shop) -> None:
    """It lives for months; the rows of the new one are another program's."""
    shop.publisher.flush(frozenset())
    first = shop.rendered(2)
    shop.flush_until_quiet()
    assert shop.state(first) is FeishuState.PUSHED
    publisher = shop.publisher
    december = renamed(shop.feishu)
    shop.begins()
    new = shop.rendered(2)
    assert publisher.flush().pushed == [new]
    shown = december.row(2)[PICTURE]
    assert isinstance(shown, Picture)
    assert shown.sha256 == shop.digest(new)


@pytest.mark.parametrize("numbers", [True, False], ids=["numbers", "no numbers"])
def test_a_prompt_of_the_page_is_for_the_sheet_that_has_the_title_as_it_comes_in(tmp_path: Path, numbers: bool) -> None:
    """Nobody has read the rows for it: the publisher asks while it is new, whether or not it writes numbers."""
    header = (*DEFAULT_HEADER, NUMBER) if numbers else DEFAULT_HEADER
    with FeishuStandIn(rows(3), sheet_title=TITLE, header=header) as feishu:
        feishu.limits.sheet_calls_per_second = None
        team = Team(feishu, tmp_path)
        first = team.finished(3)
        team.publisher.flush()
        assert team.state(first) is FeishuState.PUSHED
        november = team.entered_anew(2)
        team.publisher.number()
        picture = team.folder / f"{november}.png"
        picture.write_bytes((team.folder / team.record(first).output_files[0]).read_bytes())
        assert team.record(november).stage is Stage.QUEUED
        december = renamed(feishu)
        assert team.db.complete_task(november, [picture])
        team.publisher = team.new_publisher()
        team.publisher.flush()
        assert not december.picture_writes
        assert ARCHIVE in (team.record(november).outbox.last_error or "")


def test_no_number_goes_into_the_new_sheet(shop: Shop) -> None:
    """Of a task that still renders."""
    november = shop.entered(2)
    named = {"document": shop.settings.document, "publisher": shop.db.table.keep_table_id(), "stage": Stage.QUEUED}
    shop.db.table.update(november, lambda task: dataclasses.replace(task, **named))
    december = renamed(shop.feishu)
    shop.begins()
    shop.publisher.number()
    assert not december.row_texts(2).get(NUMBER)
