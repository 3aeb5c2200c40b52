"""A main.py whose batch stands still: who tells the group, and that nothing of the run waits for that."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_support import Engine, hurry, process_row, until

from wfrecovery import bridge
from wfrecovery.bridge.engines.comfyui import ComfyUIUnreachableError
from wfrecovery.bridge.engines.history import Place, Sighting
from wfrecovery.bridge.recovery import standing
from wfrecovery.bridge.standstill import watch
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

STANDS = "没有任何进展"
#: The status of a plugin that does not know of standstills.
OLDER = {"feishu": {"configured": True}}


class Asked(Engine):
    """It counts how often the plugin's status was asked for, and can report progress."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.plugin = 0, None
        self.at_first = Sighting(Place.RUNNING)
        self.hangs = False
        self.progress: Callable[..., Any] | None = None

    async def plugin_status(self) -> Any:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if not self.reachable:
            raise ComfyUIUnreachableError("no answer")
        return self.plugin

    async def wait_for_completion(self, prompt_id: str, *, on_progress: Any = None) -> Sighting:
        self.progress = on_progress
        return await super().wait_for_completion(prompt_id)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    for name, value in {"LOOK_SECONDS": 0.05, "GONE_SECONDS": 1.0, "MINUTE": 0.2, "MOVED_SECONDS": 0.2}.items():
        monkeypatch.setattr(watch, name, value)


@pytest.fixture
def bot() -> Iterator[FeishuStandIn]:
    with FeishuStandIn() as feishu:
        yield feishu


class Run:
    """A main.py with one row."""

    def __init__(self, folder: Path, bot: FeishuStandIn, **settings: Any) -> None:
        self.bot, self.engine = bot, Asked()
        given = {"feishu_webhook_url": bot.webhook_url, **settings}
        feishu = bridge.FeishuClient(replace(bridge.load_settings(environ={}), **given))
        self.db = bridge.DatabaseManager(folder)
        self.recovery = bridge.TaskRecoveryManager(self.db, self.engine, feishu)

    async def row(self, meanwhile: Callable[[], Any]) -> None:
        """Process it; something happens while it renders."""
        rendering = asyncio.create_task(process_row(self.db, self.recovery, 2))
        await until(lambda: self.engine.progress)
        await asyncio.sleep(0.2)
        await meanwhile()
        self.engine.reachable = True
        self.engine.end_all()
        await rendering

    def progress(self, value: int, maximum: int) -> None:
        """The engine's client hears of it."""
        assert self.engine.progress is not None
        self.engine.progress(value, maximum)

    def texts(self) -> list[str]:
        return [message["content"]["text"] for message in self.bot.messages]


@pytest.fixture
def run(tmp_path: Path, bot: FeishuStandIn) -> Run:
    return Run(tmp_path, bot)


async def some_time() -> None:
    await asyncio.sleep(5.0)


@pytest.mark.parametrize("plugin", [None, OLDER, {**OLDER, "tells_group": False}])
def test_it_tells_where_no_plugin_does(run: Run, plugin: Any) -> None:
    run.engine.plugin = plugin
    asyncio.run(run.row(lambda: until(run.texts)))
    (text,) = run.texts()
    assert STANDS in text


def test_it_is_silent_where_the_plugin_tells(run: Run) -> None:
    run.engine.plugin = {**OLDER, "tells_group": True}
    asyncio.run(run.row(some_time))
    assert run.texts() == []


def test_it_tells_that_comfyui_is_gone_which_no_plugin_can(run: Run) -> None:
    run.engine.plugin = {**OLDER, "tells_group": True}

    async def gone() -> None:
        run.engine.reachable = False
        await until(run.texts)
        await asyncio.sleep(3.0)

    asyncio.run(run.row(gone))
    (text,) = run.texts()
    assert "ComfyUI（http://here）没有响应，1 个任务在等它" in text


def test_progress_that_its_client_hears_is_none(run: Run) -> None:
    async def progresses() -> None:
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            run.progress(1, 20)
            await asyncio.sleep(0.05)

    asyncio.run(run.row(progresses))
    assert run.texts() == []


def test_a_client_need_not_report_progress(run: Run) -> None:
    """It is somebody's own, and has never heard of it."""

    async def plainly(prompt_id: str) -> Sighting:
        return await Engine.wait_for_completion(run.engine, prompt_id)

    run.engine.wait_for_completion = plainly  # type: ignore[method-assign, assignment]

    async def end() -> None:
        rendering = asyncio.create_task(process_row(run.db, run.recovery, 2))
        await until(lambda: run.engine.sent)
        run.engine.end_all()
        assert (await rendering)["status"] == "已完成"

    asyncio.run(end())


def test_without_a_bot_nobody_looks(tmp_path: Path, bot: FeishuStandIn) -> None:
    run = Run(tmp_path, bot, feishu_webhook_url="")

    async def some_looks() -> None:
        before = run.engine.asked
        await asyncio.sleep(1.0)
        assert run.engine.asked == before

    asyncio.run(run.row(some_looks))


def test_it_looks_while_it_follows_only_and_in_each_loop_of_a_menu(run: Run) -> None:
    async def rest() -> None:
        before = run.engine.asked
        await asyncio.sleep(0.5)
        assert run.engine.asked == before
        assert len(asyncio.all_tasks()) == 1

    async def once(number: int) -> None:
        run.engine.at_first = Sighting(Place.RUNNING)
        rendering = asyncio.create_task(process_row(run.db, run.recovery, number))
        await until(lambda: len(run.texts()) == number)
        run.engine.end_all()
        await rendering
        await rest()

    for number in (1, 2):
        asyncio.run(once(number))


def test_it_looks_also_where_a_loop_was_left_in_the_middle(run: Run) -> None:
    """By Ctrl-C, and its tasks with it."""
    left = asyncio.new_event_loop()
    following = left.create_task(process_row(run.db, run.recovery, 2))
    left.run_until_complete(until(lambda: run.engine.progress))

    async def again() -> None:
        rendering = asyncio.create_task(process_row(run.db, run.recovery, 3))
        await until(run.texts)
        run.engine.end_all()
        await rendering

    asyncio.run(again())
    following.cancel()
    left.run_until_complete(asyncio.sleep(0.5))
    while tasks := asyncio.all_tasks(left):  # who is stopped stops whom he has just asked
        for task in tasks:
            task.cancel()
        left.run_until_complete(asyncio.wait(tasks))
    left.close()


@pytest.mark.parametrize("asks", [False, True])
def test_who_is_never_heard_of_again_is_followed_no_more(
    run: Run, asks: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is anything said of that, whether ComfyUI was being asked or not."""
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.0 if asks else 60.0)
    run.engine.hangs = True
    standing = run.recovery._standing

    async def for_ever() -> None:
        async with standing.watched():
            await asyncio.Event().wait()

    left = asyncio.new_event_loop()
    following: Any = left.create_task(for_ever())
    left.run_until_complete(until(lambda: run.engine.asked == asks and standing._looking))
    assert standing._followers == 1
    following = None
    left.close()
    gc.collect()  # whatever is raised there fails this test
    assert (following, standing._followers) == (None, 0)
    standing._looking = None
    gc.collect()  # Python reports what was pending there: here, not in whatever test comes later
    assert [record.getMessage() for record in caplog.records if record.name == "wfrecovery"] == []


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # what was just about to begin
@pytest.mark.parametrize("rows", [1, 30])
def test_rows_whose_loop_was_left_end_without_a_word(
    rows: int, tmp_path: Path, bot: FeishuStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a render, with and without others that wait to be asked about: the next run finds the prompts as
    they are, and may have them."""
    run: Any = Run(tmp_path, bot, feishu_webhook_url="")
    left = asyncio.new_event_loop()
    following: Any = [left.create_task(process_row(run.db, run.recovery, row)) for row in range(2, 2 + rows)]
    table = run.db.table

    def seen() -> list[TaskRecord]:
        return [table.get(task_id) for task_id in table.ids()]

    def all_sent() -> bool:
        stages = [record.stage for record in seen() if record.comfyui_task_id]
        return len(stages) == rows and Stage.RUNNING in stages

    left.run_until_complete(until(all_sent))
    sent = {record.task_id: record.comfyui_task_id for record in seen()}
    following = run = None
    left.close()
    gc.collect()  # whatever is raised there fails this test, and Python reports here what was pending
    assert (following, run) == (None, None)
    assert {record.task_id: record.comfyui_task_id for record in seen()} == sent
    assert {(record.stage.final, record.error_message) for record in seen()} == {(False, None)}
    assert [record.getMessage() for record in caplog.records if record.name == "wfrecovery"] == []


def test_a_bot_that_never_answers_holds_up_neither_the_run_nor_its_end(tmp_path: Path, bot: FeishuStandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        run = Run(tmp_path, bot, feishu_webhook_url=f"http://127.0.0.1:{deaf.getsockname()[1]}/hook")

        async def heard() -> None:
            await until(lambda: run.recovery._standing._speaking is not None)
            await some_time()

        began = time.monotonic()
        asyncio.run(run.row(heard))
        assert time.monotonic() - began < 50.0  # the bot is waited for for 60 s


def test_whatever_goes_wrong_in_a_look_harms_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(standing.StandstillWatch, "look", broken)
    asyncio.run(run.row(lambda: asyncio.sleep(0.5)))
    assert "a mistake of ours" in caplog.text
