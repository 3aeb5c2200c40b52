"""Whoever was at work on tasks is gone, and nobody takes them over: one message for each who is gone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from standstill_support import HOUR, MINUTE, Program, Table

from wfrecovery.bridge.engines.comfyui import ComfyUIClient
from wfrecovery.bridge.standstill.watch import Engine
from wfrecovery.bridge.table.changes import cancelled, taken_up
from wfrecovery.bridge.table.records import Stage
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

ANSWERS, SILENT = (Engine("comfyui:http://127.0.0.1:8188", answers) for answers in (True, False))


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with FeishuStandIn() as bot:
        yield Table(tmp_path, bot)


@pytest.fixture
def comfy(table: Table) -> Program:
    return table.program()


def taken(program: Program, *tasks: str) -> None:
    """They are this one's now."""
    for task in tasks:
        program.change(task, lambda record: taken_up(program.db.owners.me, record))


def test_a_main_py_that_was_killed_is_told_by_comfyui(table: Table, comfy: Program) -> None:
    main = table.main_py()
    for row in (2, 3, 4):
        main.enter(row, Stage.CREATED)
    table.passes(10 * MINUTE)
    table.dies(main)
    table.passes(115)
    assert (table.texts(), comfy.stands()) == ([], [])
    table.passes(15)
    (text,) = table.texts()
    assert "3 个任务在等它" in text
    assert "main.py" in text
    assert "请重新运行 main.py" in text
    assert comfy.stands() == ["gone"]
    table.passes(3 * HOUR, step=15)
    comfy.start_again()
    table.passes(HOUR, step=15)
    assert table.texts() == [text], "nor that nothing moves"
    assert comfy.stands() == ["gone"]


def test_it_is_over_when_another_takes_over_and_told_again_when_that_one_dies(table: Table, comfy: Program) -> None:
    main = table.main_py()
    tasks = [main.enter(row, Stage.CREATED) for row in (2, 3)]
    table.dies(main)
    table.passes(5 * MINUTE)
    again = table.main_py()
    taken(again, *tasks)
    table.passes(10)
    assert comfy.stands() == []
    assert comfy.note.read() == {}
    table.dies(again)
    table.passes(5 * MINUTE)
    assert len(table.texts()) == 2


def test_some_of_them_settled_by_hand_is_no_news(table: Table, comfy: Program) -> None:
    main = table.main_py()
    tasks = [main.enter(row, Stage.CREATED) for row in (2, 3)]
    table.dies(main)
    table.passes(5 * MINUTE)
    comfy.change(tasks[0], partial(cancelled, reason="not wanted"))
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 1


def test_who_takes_over_within_a_minute_spares_the_message(table: Table, comfy: Program) -> None:
    other = table.program()
    task = other.enter(7, Stage.RUNNING)
    table.dies(other)
    table.passes(60)
    taken(comfy, task)
    table.passes(10 * MINUTE)
    assert table.texts() == []


def test_each_who_is_gone_is_told_of(table: Table, comfy: Program) -> None:
    main, other = table.main_py(), table.program()
    main.enter(2, Stage.CREATED)
    other.enter(3)
    table.dies(main)
    table.passes(5 * MINUTE)
    table.dies(other)
    table.passes(5 * MINUTE)
    assert len(table.texts()) == 2
    assert "--take-over" in table.texts()[1]


def test_who_may_live_is_not_told_of(table: Table, comfy: Program) -> None:
    main = table.main_py()
    main.enter(2, Stage.CREATED)
    boot = main.db.owners.me.boot
    (comfy.db.owners.folder / f"{boot}.lock").unlink()
    main.die()  # nothing proves it, for 90 s
    table.programs.remove(main)
    table.passes(90 + 115)
    assert table.texts() == []
    table.passes(20)
    assert len(table.texts()) == 1


def test_prompts_without_a_row_are_not_the_groups_business(table: Table, comfy: Program) -> None:
    other = table.program()
    other.enter(None, Stage.RUNNING)
    table.dies(other)
    table.passes(HOUR, step=15)
    assert table.texts() == []


def test_what_renders_elsewhere_and_stands_is_told_beside_it(table: Table, comfy: Program) -> None:
    main = table.main_py()
    main.enter(2, Stage.CREATED)
    task = comfy.enter(3)
    table.dies(main)
    table.passes(5 * MINUTE)
    comfy.bring(task, Stage.RUNNING)
    table.passes(20 * MINUTE)
    assert ["在等它" in text for text in table.texts()] == [True, False]
    assert comfy.stands() == ["gone", "still"]


# ------------------------------------------------------------------ main.py, whose ComfyUI is gone


def test_a_comfyui_that_does_not_answer_is_told_by_main_py(table: Table) -> None:
    main, comfy = table.main_py(), table.program()
    main.engine = ANSWERS
    tasks = [comfy.enter(row, Stage.QUEUED) for row in range(2, 12)]
    comfy.bring(tasks[0], Stage.RUNNING)
    main.enter(20, Stage.CREATED)
    table.passes(5 * MINUTE)
    table.dies(comfy)
    main.engine = SILENT
    table.passes(30)
    taken(main, *tasks[:8])  # those that it follows
    table.passes(2 * MINUTE)
    (text,) = table.texts()
    assert "ComfyUI（http://127.0.0.1:8188）没有响应，11 个任务在等它" in text
    assert main.stands() == ["gone"]
    table.passes(3 * HOUR, step=15)
    main.start_again()
    table.passes(HOUR, step=15)
    assert table.texts() == [text]


def test_it_answers_and_goes_silent_again(table: Table) -> None:
    main = table.main_py()
    main.enter(2, Stage.QUEUED)
    main.engine = SILENT
    table.passes(5 * MINUTE)
    main.engine = ANSWERS
    table.passes(10)
    assert (main.stands(), main.note.read()) == ([], {})
    main.engine = SILENT
    table.passes(115)
    assert len(table.texts()) == 1
    table.passes(15)
    assert len(table.texts()) == 2


def test_a_restart_of_comfyui_takes_less_and_is_not_told(table: Table) -> None:
    main = table.main_py()
    task = main.enter(2, Stage.QUEUED)
    for _ in range(4):
        main.engine = SILENT
        table.passes(100)
        main.engine = ANSWERS
        main.bring(task, Stage.RUNNING)
        table.passes(10)
    assert table.texts() == []


def test_another_comfyui_does_not_tell_the_same_after_fifteen_minutes(table: Table, comfy: Program) -> None:
    main = table.main_py()
    main.engine = SILENT
    main.enter(2, Stage.QUEUED)
    table.passes(3 * HOUR, step=15)
    assert len(table.texts()) == 1
    assert comfy.stands() == []
    comfy.enter(3, Stage.RUNNING)
    table.passes(20 * MINUTE)
    assert len(table.texts()) == 2, "its own is another thing"


def test_what_a_living_comfyui_renders_does_not_wait_for_another(table: Table, comfy: Program) -> None:
    main = table.main_py()
    main.engine = SILENT
    comfy.enter(2, Stage.RUNNING)
    table.passes(10 * MINUTE)
    assert table.texts() == []


def test_an_address_is_named_without_its_user() -> None:
    engine = Engine.of(ComfyUIClient("http://me:secret@127.0.0.1:8188"), answers=True)
    assert engine.name == "comfyui:http://127.0.0.1:8188"
    assert Engine.of(object(), answers=True).name == "object"
