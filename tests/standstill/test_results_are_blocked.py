"""Results need a person in the middle of a batch: a message for each kind of reason, and no summary twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from standstill_support import MINUTE, Program, Table

from wfrecovery.bridge.feishu.client import FeishuClient
from wfrecovery.bridge.feishu.errors import refused
from wfrecovery.bridge.feishu.group_summary import BatchWatch, Summary, Trouble, summary_text
from wfrecovery.bridge.standstill.summary import JUST, tell_summary, without_told
from wfrecovery.bridge.standstill.view import Blocked, Viewer
from wfrecovery.bridge.table.records import Stage, parse_time
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.bridge.wording import Wording, wording_of
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

SCOPE = str(refused(99991672, "Access denied", 400, None))
PROTECTED = str(refused(90218, "protected", 400, None))


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with FeishuStandIn() as bot:
        yield Table(tmp_path, bot)


@pytest.fixture
def comfy(table: Table) -> Program:
    program = table.program()
    program.enter(100, Stage.RUNNING)  # the batch goes on
    return program


def goes_on(comfy: Program) -> None:
    """Something else moves."""
    comfy.enter(None)


def test_it_is_told_once_with_the_commonest_reasons(table: Table, comfy: Program) -> None:
    for row in range(2, 11):
        comfy.block(comfy.enter(row), SCOPE)
    comfy.block(comfy.enter(11), "产品名 '产品11' stands in no row")
    table.passes(55)
    assert (table.texts(), comfy.stands()) == ([], [])
    table.passes(10)
    (text,) = table.texts()
    assert "10 个结果没有写入表格" in text
    assert "• 9 个：Feishu says 99991672" in text
    assert "• 产品名 '产品11'" in text
    assert "wfrecovery push" in text
    assert comfy.stands() == ["blocked"]
    for row in range(12, 30):
        comfy.block(comfy.enter(row), SCOPE if row % 2 else f"产品名 '产品{row}' stands in no row")
        table.passes(4 * MINUTE, step=15)
    comfy.start_again()
    table.passes(5 * MINUTE, step=15)
    assert table.texts() == [text]


def test_in_english(table: Table) -> None:
    comfy = table.program(language="en")
    comfy.enter(100, Stage.RUNNING)
    comfy.block(comfy.enter(2), SCOPE)
    table.passes(2 * MINUTE)
    (text,) = table.texts()
    assert "1 result not in the sheet: a person has to do something\n• Feishu says 99991672" in text


def test_another_reason_is_another_message(table: Table, comfy: Program) -> None:
    comfy.block(comfy.enter(2), "产品名 '产品2' stands in no row")
    table.passes(2 * MINUTE)
    comfy.block(comfy.enter(3), PROTECTED)
    table.passes(2 * MINUTE)
    assert len(table.texts()) == 2
    assert "90218" in table.texts()[1]


def test_tried_again_between_two_looks_and_blocked_for_another_reason(table: Table, comfy: Program) -> None:
    task = comfy.enter(2)
    comfy.block(task, SCOPE)
    table.passes(2 * MINUTE)
    comfy.outbox(task, FeishuState.PENDING)
    comfy.block(task, PROTECTED)
    table.passes(2 * MINUTE)
    assert ["90218" in text for text in table.texts()] == [False, True]


def test_a_reason_is_read_once(table: Table, comfy: Program) -> None:
    for row in range(2, 7):
        comfy.block(comfy.enter(row), SCOPE)
    viewer = Viewer(comfy.db, comfy.note)
    first, second = viewer.look().blocked, viewer.look().blocked
    assert [one is other for one, other in zip(first, second, strict=True)] == [True] * 5


def test_tried_again_at_a_start_and_blocked_again_is_the_same(table: Table, comfy: Program) -> None:
    tasks = [comfy.enter(row) for row in (2, 3)]
    for task in tasks:
        comfy.block(task, SCOPE)
    table.passes(2 * MINUTE)
    comfy.start_again()
    for task in tasks:
        comfy.outbox(task, FeishuState.PENDING)
    table.passes(30)
    assert comfy.stands() == []
    for task in tasks:
        comfy.block(task, SCOPE)
    table.passes(5 * MINUTE)
    assert len(table.texts()) == 1


def test_mended_and_blocked_again_is_told_again(table: Table, comfy: Program) -> None:
    task = comfy.enter(2)
    comfy.block(task, SCOPE)
    table.passes(2 * MINUTE)
    comfy.done(task)
    table.passes(10)
    assert comfy.note.read() == {}
    comfy.block(comfy.enter(3), SCOPE)
    table.passes(2 * MINUTE)
    assert len(table.texts()) == 2


def test_at_the_end_of_a_batch_the_summary_tells_it_and_nobody_else(table: Table, comfy: Program) -> None:
    batch = BatchWatch(table.clock)
    first = comfy.db.index.entries()[0].task_id
    blocked = comfy.enter(2)
    for task in (first, blocked):
        batch.saw(comfy.db.table.get(task))
    comfy.done(first)
    comfy.block(blocked, SCOPE)
    for task in (first, blocked):
        batch.saw(comfy.db.table.get(task))
    table.passes(5 * MINUTE)
    assert table.texts() == [], "nothing is left to render or to push: the batch is over"
    summary = batch.over()
    assert summary is not None
    tell_summary(FeishuClient(comfy.settings), summary, comfy.note)
    (text,) = table.texts()
    assert "完成 1 个，1 个需要处理" in text
    comfy.enter(3, Stage.RUNNING)  # the next batch
    table.passes(5 * MINUTE)
    assert table.texts() == [text]
    comfy.block(comfy.enter(4), PROTECTED)
    table.passes(5 * MINUTE)
    assert len(table.texts()) == 2, "another reason is news"


def trouble(task_id: str, reason: str = SCOPE) -> Trouble:
    return Trouble(7, "杯子", "图片合成", wording_of(reason), task_id)


def test_the_summary_does_not_repeat_what_was_just_told(table: Table, comfy: Program) -> None:
    task = comfy.enter(2)
    comfy.block(task, SCOPE)
    table.passes(2 * MINUTE)
    note, told = comfy.note, comfy.note.read()
    ((key, _),) = told.items()
    assert key == "blocked:feishu 99991672"
    summary = Summary(finished=3, blocked=(trouble(task), trouble("another")))
    now = parse_time(note.read()[key].at)
    left = without_told(summary, note, now + JUST - 1)
    assert left == replace(summary, blocked=(trouble("another"),), blocked_before=1)
    assert "完成 3 个，2 个需要处理" in summary_text(left, "zh")
    assert "1 个没有写入表格，原因刚才已说明" in summary_text(left, "zh")
    assert summary_text(left, "en").startswith("wfrecovery: 3 done, 2 need you\n")
    assert without_told(Summary(blocked=(trouble(task),)), note, now + 1) is None, "it would say nothing else"
    assert without_told(summary, note, now + JUST) == summary, "told long ago"
    assert without_told(Summary(finished=1), note, now) == Summary(finished=1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (SCOPE, SCOPE.replace("denied", "denied (scopes: drive:drive)"), True),
        (SCOPE, PROTECTED, False),
        ("产品名 'A' stands in no row", "产品名 'B' stands in several rows (3, 4)", True),
        ("the sheet has no column '提示词'", "产品名 'A' stands in no row", False),
        ("the sheet has no column '提示词'", "the spreadsheet has no sheet 'x'", True),
    ],
)
def test_reasons_of_one_kind(one: str, other: str, same: bool) -> None:
    keys = {Blocked("", Wording(reason, reason)).key for reason in (one, other)}
    assert (len(keys) == 1) is same
