"""Nothing moves although there is work: one message, and a new one only when it moved and stands again."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from standstill_support import HOUR, MINUTE, Program, Table

from wfrecovery.bridge.table.publishers import waiting_for_document
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import FeishuState
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with FeishuStandIn() as bot:
        yield Table(tmp_path, bot)


@pytest.fixture
def comfy(table: Table) -> Program:
    return table.program()


def test_it_is_told_once_after_fifteen_minutes(table: Table, comfy: Program) -> None:
    comfy.enter(7, Stage.RUNNING)
    comfy.enter(8)
    table.passes(15 * MINUTE - 5)
    assert (table.texts(), comfy.stands()) == ([], [])
    table.passes(10)
    (text,) = table.texts()
    assert "1 个等待中，1 个运行中" in text
    assert "第 7 行 产品7 自" in text
    assert comfy.stands() == ["still"]
    table.passes(5 * HOUR, step=15)
    assert table.texts() == [text]


def test_in_english(table: Table) -> None:
    comfy = table.program(language="en")
    comfy.enter(7, Stage.RUNNING)
    table.passes(16 * MINUTE)
    (text,) = table.texts()
    assert text.startswith("wfrecovery: nothing has moved since ")
    assert ": 1 running\n• row 7 产品7 runs since " in text
    assert "perhaps a step takes long" in text


@pytest.mark.parametrize(
    "movement",
    [
        lambda comfy, runs, waits: comfy.done(runs),
        lambda comfy, runs, waits: comfy.finish(runs),
        lambda comfy, runs, waits: comfy.bring(waits, Stage.RUNNING),
        lambda comfy, runs, waits: comfy.bring(waits, Stage.CANCELLED),
        lambda comfy, runs, waits: comfy.enter(9),
        lambda comfy, runs, waits: comfy.enter(None),
        lambda comfy, runs, waits: (comfy.bring(runs, Stage.QUEUED), comfy.bring(runs, Stage.RUNNING)),
        lambda comfy, runs, waits: comfy.watch.progressed(),
    ],
    ids=["pushed", "finished", "started", "cancelled", "entered", "without a row", "begun again", "progress"],
)
def test_what_moves_begins_it_anew(
    table: Table, comfy: Program, movement: Callable[[Program, str, str], object]
) -> None:
    runs, waits = comfy.enter(7, Stage.RUNNING), comfy.enter(8)
    table.passes(14 * MINUTE)
    movement(comfy, runs, waits)
    table.passes(14 * MINUTE)
    assert table.texts() == []
    table.passes(2 * MINUTE)
    assert len(table.texts()) == 1


def test_a_new_one_when_it_moved_and_stands_again(table: Table, comfy: Program) -> None:
    task = comfy.enter(7)
    table.passes(HOUR, step=15)
    comfy.bring(task, Stage.RUNNING)
    table.passes(10)
    assert comfy.stands() == []
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 2
    assert "1 个等待中" in table.texts()[0]
    assert "1 个运行中" in table.texts()[1]


def test_it_moved_and_stands_again_exactly_as_before(table: Table, comfy: Program) -> None:
    task = comfy.enter(7)
    table.passes(HOUR, step=15)
    comfy.bring(task, Stage.RUNNING)
    table.passes(10)
    comfy.bring(task, Stage.QUEUED)
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 2


def test_what_reports_progress_takes_long_and_does_not_stand(table: Table, comfy: Program) -> None:
    other, main = table.program(), table.main_py()
    comfy.enter(7, Stage.RUNNING)
    table.passes(3 * HOUR, meanwhile=comfy.watch.progressed)
    assert table.texts() == []
    assert [program.stands() for program in (comfy, other, main)] == [[], [], []]
    table.passes(16 * MINUTE)
    assert len(table.texts()) == 1, "and then it reports none"


def test_progress_is_seen_also_where_its_sign_cannot_be_written(
    table: Table, comfy: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(comfy.note, "moved", full)
    comfy.enter(7, Stage.RUNNING)
    table.passes(HOUR, meanwhile=comfy.watch.progressed)
    assert table.texts() == []


def test_the_sign_of_progress_is_not_written_at_each_look(table: Table, comfy: Program) -> None:
    written = []
    moved = comfy.note.moved
    comfy.note.moved = lambda: written.append(moved())  # type: ignore[method-assign]
    comfy.enter(7, Stage.RUNNING)
    table.passes(5 * MINUTE, meanwhile=comfy.watch.progressed)
    assert 8 <= len(written) <= 10


def test_a_computer_that_was_asleep_raises_no_alarm(table: Table, comfy: Program) -> None:
    comfy.enter(7, Stage.RUNNING)
    table.passes(10 * MINUTE)
    table.clock.now += 8 * HOUR  # nobody looks
    table.passes(4 * MINUTE)
    assert table.texts() == []
    table.passes(2 * MINUTE)
    assert len(table.texts()) == 1, "what is awake, and stands, is told"


def test_a_clock_that_goes_back_harms_nothing(table: Table, comfy: Program) -> None:
    comfy.enter(7, Stage.RUNNING)
    table.passes(10 * MINUTE)
    table.clock.now -= 8 * HOUR
    table.passes(6 * MINUTE)
    assert len(table.texts()) == 1


def test_what_is_no_work_does_not_stand(table: Table, comfy: Program) -> None:
    comfy.bring(comfy.enter(2), Stage.ASKING)
    comfy.enter(None, Stage.RUNNING)
    comfy.block(comfy.enter(3), "'产品3' stands in no row")
    comfy.done(comfy.enter(4))
    table.passes(HOUR, step=15)
    assert table.texts() == []
    assert comfy.stands() == []


def test_what_waits_beside_the_question_stands(table: Table, comfy: Program) -> None:
    comfy.bring(comfy.enter(2), Stage.ASKING)
    comfy.enter(3)
    table.passes(16 * MINUTE)
    (text,) = table.texts()
    assert "1 个等待中" in text


def test_a_prompt_without_a_row_that_holds_up_rows_is_named(table: Table, comfy: Program) -> None:
    comfy.enter(None, Stage.RUNNING)
    comfy.enter(3)
    table.passes(16 * MINUTE)
    (text,) = table.texts()
    assert "一个不属于任何行的 Prompt 自" in text


def test_off(table: Table) -> None:
    comfy = table.program(standstill_minutes=0)
    comfy.enter(7, Stage.RUNNING)
    table.passes(3 * HOUR, step=15)
    assert (table.texts(), comfy.stands()) == ([], [])


def test_the_setting_counts_at_once(table: Table) -> None:
    comfy = table.program(standstill_minutes=60)
    comfy.enter(7, Stage.RUNNING)
    table.passes(30 * MINUTE)
    assert table.texts() == []
    table.passes(31 * MINUTE)
    assert len(table.texts()) == 1


def test_results_that_feishu_does_not_take(table: Table, comfy: Program) -> None:
    task = comfy.enter(7)
    comfy.finish(task)
    comfy.outbox(task, FeishuState.PENDING, "飞书没有回应")
    table.passes(16 * MINUTE)
    (text,) = table.texts()
    assert "1 个结果待写入表格" in text
    assert "飞书没有回应" in text
    comfy.outbox(task, FeishuState.PENDING, "tried again")
    table.passes(HOUR, step=15)
    assert table.texts() == [text], "that it is tried again moves nothing"


def test_a_result_that_waits_for_another_document_lets_no_batch_stand(table: Table, comfy: Program) -> None:
    """Last month's: a program that is set to its sheet will deliver it. Nor does it hide what waits here."""
    old = comfy.enter(3, document="another")
    comfy.finish(old)
    comfy.change(old, waiting_for_document)
    table.passes(2 * HOUR, step=15)
    assert (table.texts(), comfy.stands()) == ([], [])
    for document in (comfy.settings.document, "the same by another address"):
        waits = comfy.enter(7, document=document)
        comfy.finish(waits)
        table.passes(16 * MINUTE)
        assert "1 个结果待写入表格" in table.texts()[-1], table.texts()
        comfy.done(waits)
        table.passes(2 * MINUTE)
    assert len(table.texts()) == 2


def test_where_nobody_publishes_results_do_not_wait(table: Table) -> None:
    main = table.main_py(feishu_app_id="")
    main.finish(main.enter(7))
    table.passes(HOUR, step=15)
    assert table.texts() == []


def test_without_a_bot_nothing_is_told_and_the_status_says_it(table: Table) -> None:
    comfy = table.program(feishu_webhook_url="")
    comfy.enter(7)
    table.passes(HOUR, step=15)
    assert (table.texts(), comfy.stands()) == ([], ["still"])
    shown = comfy.watch.standing[0].to_json()
    assert shown["kind"] == "still"
    assert shown["text"].startswith("nothing has moved since ")
    assert "\n" not in shown["text"] + shown["text_zh"]


def test_who_starts_again_knows_what_was_told(table: Table, comfy: Program) -> None:
    comfy.enter(7, Stage.RUNNING)
    table.passes(20 * MINUTE)
    since = comfy.watch.standing[0].since
    comfy.start_again()
    table.passes(5)
    assert comfy.stands() == ["still"]
    assert abs(comfy.watch.standing[0].since - since) < 1
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 1


def test_it_moved_and_stands_again_while_nobody_looked(table: Table, comfy: Program) -> None:
    task = comfy.enter(7, Stage.RUNNING)
    table.passes(20 * MINUTE)
    table.clock.now += HOUR
    comfy.bring(task, Stage.QUEUED)
    comfy.bring(task, Stage.RUNNING)
    comfy.start_again()
    table.passes(20 * MINUTE)
    assert len(table.texts()) == 2


def test_of_many_programs_one_tells(table: Table, comfy: Program) -> None:
    for _ in range(3):
        table.program()
        table.main_py()
    comfy.enter(7, Stage.RUNNING)
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 1
    assert {tuple(program.stands()) for program in table.programs} == {("still",)}


def test_of_many_at_the_same_moment_one_tells(table: Table, comfy: Program) -> None:
    comfy.enter(7, Stage.RUNNING)
    told = comfy.settings
    others = [comfy, *(table.program() for _ in range(5))]
    for program in others:
        program.settings = dataclasses.replace(told, feishu_webhook_url="")
    table.passes(20 * MINUTE)
    start = threading.Barrier(len(others))

    def tell(program: Program) -> None:
        program.settings = told
        start.wait()
        program.look()

    threads = [threading.Thread(target=tell, args=(program,)) for program in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(table.texts()) == 1
