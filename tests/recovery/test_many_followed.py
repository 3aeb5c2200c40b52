"""More rows are followed than wait at the engine at the same time: none of them is forgotten, whatever the others do.

The engine is in the test's own process; who takes what was let go of is another process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_support import DONE, GRAPH, Engine, enter, hurry, main_py, until

from wfrecovery import bridge
from wfrecovery.bridge.engines.history import ABSENT, Sighting
from wfrecovery.bridge.table.changes import wished_away
from wfrecovery.bridge.table.database import TableBusyError
from wfrecovery.bridge.table.records import TaskRecord

#: Takes each of the tasks, and says how many another process would not let it have.
TAKER = """
import sys
from wfrecovery import bridge

db, refused = bridge.DatabaseManager(sys.argv[1]), 0
for task_id in sys.argv[2:]:
    try:
        db.take_lost(task_id)
    except bridge.TaskError:
        refused += 1
print(refused)
"""

WAYS = pytest.mark.parametrize("way", ["finish", "recovery"])
ROWS = pytest.mark.parametrize("rows", [3, 20])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


class Waited(Engine):
    """Counts who waits, and who wants something stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = self.most_waits = self.stops = self.most_stops = 0

    async def wait_for_completion(self, prompt_id: str, *, on_progress: Any = None) -> Sighting:
        self.waits += 1
        self.most_waits = max(self.most_waits, self.waits)
        try:
            return await super().wait_for_completion(prompt_id, on_progress=on_progress)
        finally:
            self.waits -= 1

    async def cancel(self, prompt_id: str) -> None:
        self.stops += 1
        self.most_stops = max(self.most_stops, self.stops)
        await asyncio.sleep(0.2)  # as long as it takes that all have heard of it
        await super().cancel(prompt_id)
        self.stops -= 1


@pytest.fixture
def engine() -> Waited:
    return Waited()


def refused(folder: Path, tasks: Sequence[str]) -> int:
    """How many of them another process may not take."""
    command = [sys.executable, "-c", TAKER, str(folder), *tasks]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


async def submitted(db: bridge.DatabaseManager, recovery: bridge.TaskRecoveryManager, rows: int) -> list[str]:
    """Rows that nobody is at work on any more: who has entered and submitted them has ended."""

    async def batch() -> list[str]:
        tasks = [enter(db, number) for number in range(2, 2 + rows)]
        for task_id in tasks:
            await recovery.submit(task_id, GRAPH)
        return tasks

    return await asyncio.create_task(batch())


async def followed(way: str, recovery: bridge.TaskRecoveryManager, tasks: Sequence[str]) -> list[asyncio.Task[Any]]:
    """Who follows them."""
    if way == "finish":
        return [asyncio.create_task(recovery.finish(task_id)) for task_id in tasks]
    await recovery.check_and_recover_tasks()
    return [asyncio.create_task(recovery.wait_until_done())]


async def stopped(running: Sequence[asyncio.Task[Any]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.wait(running)


# ------------------------------------------------------------------ none is forgotten


@WAYS
@ROWS
def test_a_wish_is_heard_whoever_else_is_followed(tmp_path: Path, engine: Waited, way: str, rows: int) -> None:
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        tasks = await submitted(db, recovery, rows)
        running = await followed(way, recovery, tasks)
        await until(lambda: engine.waits == min(rows, 8))
        for task_id in tasks[1::2]:
            bridge.DatabaseManager(tmp_path).table.update(task_id, wished_away)
        unwanted = {db.table.get(task_id).comfyui_task_id for task_id in tasks[1::2]}
        await until(lambda: set(engine.cancelled) >= unwanted)
        engine.end_all()
        await asyncio.gather(*running)
        ends = [db.table.get(task_id).stage.value for task_id in tasks]
        assert ends == [("finished", "cancelled")[number % 2] for number in range(rows)]
        assert set(engine.cancelled) == unwanted

    asyncio.run(story())


def test_what_has_ended_waits_for_nobody(tmp_path: Path, engine: Waited) -> None:
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        running = await followed("finish", recovery, await submitted(db, recovery, 20))
        await until(lambda: engine.waits == 8)
        engine.at_first = DONE
        last = enter(db, 50)
        await recovery.submit(last, GRAPH)
        assert (await asyncio.wait_for(recovery.finish(last), 60))["status"] == "已完成"
        await stopped(running)

    asyncio.run(story())


@WAYS
def test_a_few_wait_at_the_engine(tmp_path: Path, engine: Waited, way: str) -> None:
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        tasks = await submitted(db, recovery, 40)
        running = await followed(way, recovery, tasks)
        for prompt_id in list(engine.sent):
            await until(lambda: engine.waits == min(8, sum(seen != DONE for seen in engine.known.values())))
            engine.known[prompt_id] = DONE
        await asyncio.gather(*running)

    asyncio.run(story())
    assert engine.most_waits == 8
    assert not db.get_incomplete_tasks()


@WAYS
def test_a_few_are_stopped_at_the_same_time(tmp_path: Path, engine: Waited, way: str) -> None:
    """A person has cancelled the whole batch."""
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        tasks = await submitted(db, recovery, 40)
        running = await followed(way, recovery, tasks)
        for task_id in tasks:
            db.table.update(task_id, wished_away)
        await asyncio.gather(*running)

    asyncio.run(story())
    assert sorted(engine.cancelled) == sorted(engine.sent)
    assert engine.most_stops <= 8
    assert not db.get_incomplete_tasks()


# ------------------------------------------------------------------ lost together


class Late(Waited):
    """It answers late for one prompt: at first, so that others have its place; and then that it is lost."""

    poll_seconds = 0.01

    def __init__(self) -> None:
        super().__init__()
        self.late = ""
        self.others_wait = asyncio.Event()

    async def look_up(self, prompt_id: str) -> Sighting:
        seen = await super().look_up(prompt_id)
        if prompt_id == self.late:
            await self.others_wait.wait()
            if seen == ABSENT:
                await asyncio.sleep(0.3)
        return seen


@ROWS
def test_what_was_lost_together_comes_back_in_its_order_however_late_one_is_seen(tmp_path: Path, rows: int) -> None:
    """The first of a few, and of so many that it has to wait until it can be waited for."""
    engine = Late()
    db, recovery = main_py(tmp_path, engine)

    async def story() -> None:
        tasks = await submitted(db, recovery, rows)
        engine.late = engine.sent[0]
        running = await followed("finish", recovery, tasks)
        await until(lambda: engine.waits == min(rows - 1, 8))
        engine.others_wait.set()
        engine.crash()
        await until(lambda: len(engine.sent) == 2 * rows)
        engine.end_all()
        await asyncio.gather(*running)

    asyncio.run(story())
    assert engine.sent[rows:] == engine.sent[:rows]


# ------------------------------------------------------------------ let go of


@WAYS
@ROWS
def test_after_ctrl_c_another_process_takes_all_of_it(tmp_path: Path, engine: Waited, way: str, rows: int) -> None:
    """This one is back in its menu, and lives on."""
    db, recovery = main_py(tmp_path, engine)
    tasks = asyncio.run(submitted(db, recovery, rows))

    async def batch() -> None:
        await followed(way, recovery, tasks)
        await until(lambda: engine.waits == min(rows, 8))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(batch())
    assert refused(tmp_path, tasks) == 0
    assert all(not db.owners.is_me(db.table.get(task_id).owner) for task_id in tasks)


@ROWS
def test_ctrl_c_as_the_last_one_was_decided(tmp_path: Path, engine: Waited, rows: int) -> None:
    """Its follower has not begun yet."""
    db, recovery = main_py(tmp_path, engine)
    tasks = asyncio.run(submitted(db, recovery, rows))

    def decided(number: int, of: int) -> None:
        if number == of:
            raise KeyboardInterrupt

    db, _ = main_py(tmp_path, engine)
    settings = bridge.load_settings(environ={})
    recovery = bridge.TaskRecoveryManager(db, engine, on_progress=decided, settings=settings)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(recovery.check_and_recover_tasks())
    assert refused(tmp_path, tasks) == 0


@pytest.mark.parametrize("others", [0, 17])
@pytest.mark.parametrize("steps", [1, 2, 5, 20, 100])
def test_who_is_stopped_at_whatever_step(tmp_path: Path, engine: Waited, others: int, steps: int) -> None:
    db, recovery = main_py(tmp_path, engine)

    async def story() -> str:
        *tasks, last = await submitted(db, recovery, others + 1)
        running = await followed("finish", recovery, tasks)
        await until(lambda: engine.waits == min(others, 8))
        (follower,) = await followed("finish", recovery, [last])
        for _ in range(steps):
            await asyncio.sleep(0)
        await stopped([follower])
        assert db.table.get(last).owner is None
        await stopped([follower, *running])  # an empty list cannot be waited for
        return last

    last = asyncio.run(story())
    assert refused(tmp_path, [last]) == 0


@pytest.mark.parametrize("way", ["submit", "finish", "recovery"])
def test_who_is_stopped_while_he_takes_it(
    tmp_path: Path, engine: Waited, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that writes stands before the table's lock, and gets it after all was let go of."""
    db, recovery = main_py(tmp_path, engine)

    async def begin() -> str:
        task_id = enter(db, 2)
        if way != "submit":
            await recovery.submit(task_id, GRAPH)
        return task_id

    task_id = asyncio.run(begin())
    db.release_task(task_id)
    before = db.table.get(task_id)
    update, begun, go_on, over = db.table.update, threading.Event(), threading.Event(), threading.Event()

    def late(*change: Any) -> TaskRecord:
        if threading.current_thread() is threading.main_thread():
            return update(*change)
        begun.set()
        assert go_on.wait(120)
        try:
            return update(*change)
        finally:
            over.set()

    monkeypatch.setattr(db.table, "update", late)
    works = {"submit": lambda: recovery.submit(task_id, GRAPH), "finish": lambda: recovery.finish(task_id)}

    async def story() -> None:
        work = asyncio.create_task(works.get(way, recovery.check_and_recover_tasks)())
        await until(begun.is_set)
        await stopped([work])
        go_on.set()
        await until(over.is_set)

    asyncio.run(story())
    assert (before.owner, db.table.get(task_id)) == (None, before)


def test_the_end_waits_a_few_times_for_a_lock_that_somebody_stands_still_with(
    tmp_path: Path, engine: Waited, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, recovery = main_py(tmp_path, engine)
    tried: list[str] = []

    def busy(task_id: str) -> None:
        tried.append(task_id)
        raise TableBusyError(bridge.Wording("busy", "忙"))

    async def story() -> None:
        running = await followed("finish", recovery, await submitted(db, recovery, 20))
        await until(lambda: engine.waits == 8)
        monkeypatch.setattr(db, "release_task", busy)
        await stopped(running)

    asyncio.run(story())
    assert len(tried) == 5
