"""What one process is at work on, where it has several managers of one table; and what is left of one that is gone."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from pathlib import Path
from typing import Any, cast

import pytest
from owner_processes import QuickDisk
from plugin_support import until

from wfrecovery.bridge.table import owners
from wfrecovery.bridge.table.database import TableBusyError
from wfrecovery.bridge.table.lives import Life, Surroundings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.values import Owner

ROW = {"row_number": 2, "product_name": "产品", "model_name": "模特"}
AROUND = Surroundings(kernel=lambda: "here", locks_hold=lambda _: True)


def manager(folder: Path, around: Surroundings = AROUND) -> DatabaseManager:
    return DatabaseManager(folder, disk=QuickDisk(), around=around)


def may_take(db: DatabaseManager, task_id: str) -> bool:
    return db.owners.at_work(db.table.get(task_id)) is None


def test_the_task_of_an_asyncio_task_may_be_taken_when_that_is_over(tmp_path: Path) -> None:
    db, other = manager(tmp_path), manager(tmp_path)

    async def story() -> None:
        async def work(number: int) -> None:
            task_ids.append(db.add_workflow_task({**ROW, "row_number": number}, "图片合成"))
            await ends.wait()

        task_ids: list[str] = []
        ends = asyncio.Event()
        working = [asyncio.create_task(work(number)) for number in (2, 3)]
        await asyncio.sleep(0)
        assert [may_take(other, task_id) for task_id in task_ids] == [False, False]
        working[0].cancel()
        await asyncio.wait(working[:1])
        assert [may_take(other, task_id) for task_id in task_ids] == [True, False]
        ends.set()
        await asyncio.wait(working)
        assert [may_take(other, task_id) for task_id in task_ids] == [True, True]

    asyncio.run(story())


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited", "ignore::ResourceWarning")
def test_the_task_of_a_loop_that_is_closed_may_be_taken(tmp_path: Path) -> None:
    db, other = manager(tmp_path), manager(tmp_path)
    entered: list[str] = []

    async def work() -> None:
        entered.append(db.add_workflow_task(ROW, "图片合成"))
        await asyncio.sleep(600)

    loop = asyncio.new_event_loop()
    working = loop.create_task(work())
    loop.run_until_complete(asyncio.sleep(0))
    assert not may_take(other, entered[0])
    loop.close()
    assert may_take(other, entered[0])
    assert not working.done()
    working._log_destroy_pending = False  # type: ignore[attr-defined]


def test_the_task_of_a_thread_may_be_taken_when_that_has_ended(tmp_path: Path) -> None:
    db, other = manager(tmp_path), manager(tmp_path)
    entered, ends = threading.Event(), threading.Event()
    found: list[str] = []

    def work() -> None:
        found.append(db.add_workflow_task(ROW, "图片合成"))
        entered.set()
        ends.wait()

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    assert not may_take(other, found[0])
    other.owners.begin_anew()
    assert not may_take(other, found[0]), "another thread's"
    ends.set()
    thread.join()
    assert may_take(other, found[0])


def test_who_begins_anew_has_let_go(tmp_path: Path) -> None:
    db, other = manager(tmp_path), manager(tmp_path)
    task_id = db.add_workflow_task(ROW, "图片合成")
    elsewhere = manager(tmp_path / "elsewhere")
    elsewhere.owners.begin_anew()
    assert not may_take(other, task_id)
    other.owners.begin_anew()
    assert may_take(other, task_id)
    assert other.add_workflow_task(ROW, "图片合成") == task_id
    assert other.table.get(task_id).owner == other.owners.me
    assert not may_take(db, task_id)


def test_a_manager_that_is_gone_frees_its_tasks(tmp_path: Path) -> None:
    db, other = manager(tmp_path), manager(tmp_path)
    task_id, boot = db.add_workflow_task(ROW, "图片合成"), db.owners.me.boot
    assert not may_take(other, task_id)
    del db
    gc.collect()
    assert may_take(other, task_id)
    assert other.owners.life(Owner("main", boot)) is Life.DEAD


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="nothing tells which files are open")
def test_many_managers_leave_no_thread_and_no_open_file(tmp_path: Path) -> None:
    """As in a `main.py` that makes one for each row; the thread that moves the beats is one, and lives on."""
    manager(tmp_path).owners.me  # noqa: B018 - an owner from then on
    gc.collect()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(50):
        manager(tmp_path).add_workflow_task({**ROW, "row_number": number + 1}, "图片合成")

    def nothing_is_left() -> bool:
        gc.collect()  # who beats just now is held by that
        return len(os.listdir("/proc/self/fd")) <= files and threading.active_count() <= threads

    until(nothing_is_left)


def test_the_beats_of_all_come_first_and_need_not_wait_for_what_is_done_between_two() -> None:
    """As in a `main.py` that makes a manager for each row, while a stopped program holds the table's lock."""
    now, done = [0.0], []

    class Busy:
        def beat(self) -> None:
            done.append("beat")

        def between_beats(self) -> None:
            done.append("tries")
            now[0] += 1.0

    owners._round(cast(Any, [Busy() for _ in range(300)]), clock=lambda: now[0])
    assert done == ["beat"] * 300 + ["tries"] * int(owners.BEAT_SECONDS)


def test_the_beats_of_all_move_on_whatever_one_of_them_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(owners, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(owners, "_beat_thread", [])
    monkeypatch.setattr(owners, "_with_beat", weakref.WeakSet())
    bad, good = manager(tmp_path), manager(tmp_path)
    bad_boot, boot = bad.owners.me.boot, good.owners.me.boot
    monkeypatch.setattr(bad.owners._files.atomic, "write", lambda *_: 1 / 0)
    beats: set[bytes] = set()
    for _ in range(6000):
        beats.add((good.owners.folder / f"{boot}.json").read_bytes())
        if len(beats) > 3 and caplog.text.count("ZeroDivisionError") > 2:
            break
        threading.Event().wait(0.01)
    assert len(beats) > 3
    assert bad_boot != boot
    owners._with_beat.clear()


def test_what_was_left_by_who_lives_on_is_free_for_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `main.py` goes back to its menu: a row had raised, or was cancelled, before it was sent."""
    db = manager(tmp_path)
    task_ids: list[str] = []

    def busy(*_: object) -> None:
        raise TableBusyError("somebody holds it")

    def on_disk() -> list[bool]:
        """Of which tasks a record says, to other processes, that this one is at work on them."""
        db.owners.between_beats()
        return [db.table.get(task_id).owner == db.owners.me for task_id in task_ids]

    async def story() -> None:
        async def work(number: int) -> None:
            task_ids.append(db.add_workflow_task({**ROW, "row_number": number}, "图片合成"))
            await asyncio.Event().wait()

        working = [asyncio.create_task(work(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        assert on_disk() == [True, True, True]
        for task in working[:2]:
            task.cancel()
        await asyncio.wait(working[:2])
        with monkeypatch.context() as patch:  # it is tried again
            patch.setattr(db.table, "locked", busy)
            assert on_disk() == [True, True, True]
        db.owners.work.begin(task_ids[1])  # taken up again here
        assert on_disk() == [False, True, True]
        working[2].cancel()
        await asyncio.wait(working[2:])

    asyncio.run(story())
    newer = db.table.files.active_path(task_ids.pop(1))
    newer.write_text(newer.read_text("utf-8").replace('"schema": 2', '"schema": 99'), "utf-8")
    assert on_disk() == [False, False]
