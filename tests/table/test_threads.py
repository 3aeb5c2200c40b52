"""Threads of one program at the table's lock: they wait for each other, and a forked child for none of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import UnixFileLock

from wfrecovery.bridge.table import folder_test
from wfrecovery.bridge.table.database import TableBusyError, WorkflowDatabase
from wfrecovery.bridge.table.folder_test import FolderTest
from wfrecovery.bridge.table.index import TaskIndex
from wfrecovery.bridge.table.lives import Surroundings
from wfrecovery.bridge.table.locks import Threads
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.values import Owner, OwnerKind


def held_by_another(table: WorkflowDatabase, until: threading.Event) -> threading.Thread:
    """A thread that holds the table's lock already."""
    holds = threading.Event()

    def hold() -> None:
        with table.locked():
            holds.set()
            until.wait(120)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert holds.wait(120)
    return thread


def test_who_waits_for_another_thread_does_not_poll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    take = UnixFileLock._acquire

    def noted(lock: Any) -> Any:
        tries.append(threading.get_ident())
        return take(lock)

    monkeypatch.setattr(UnixFileLock, "_acquire", noted)
    table, over = WorkflowDatabase(tmp_path), threading.Event()
    other = held_by_another(table, over)
    threading.Timer(0.2, over.set).start()
    with table.locked(), table.locked():  # who holds it may take it again
        other.join(120)
    assert tries.count(threading.get_ident()) == 1


def test_a_thread_that_holds_it_for_long_is_given_up_like_another_process(tmp_path: Path) -> None:
    table, over = WorkflowDatabase(tmp_path), threading.Event()
    other = held_by_another(table, over)
    with pytest.raises(TableBusyError, match="has been held for"), table.locked(0.05):
        raise AssertionError
    over.set()
    other.join(120)
    with table.locked(0):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_thread_that_it_does_not_have() -> None:
    threads, holds, over = Threads(), threading.Event(), threading.Event()

    def hold() -> None:
        with threads.in_turn(0):
            holds.set()
            over.wait(120)

    other = threading.Thread(target=hold, daemon=True)
    other.start()
    assert holds.wait(120)
    child = os.fork()
    if child == 0:
        try:
            with threads.in_turn(0):
                os._exit(0)
        finally:
            os._exit(1)
    with pytest.raises(TimeoutError), threads.in_turn(0):
        pass
    over.set()
    other.join(120)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Slow:
    """What another thread comes to the end of, and is not done with."""

    def __init__(self) -> None:
        self.begun, self.over = threading.Event(), threading.Event()

    def __call__(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            answer = real(*args, **options)
            if threading.current_thread() is not threading.main_thread():
                self.begun.set()
                self.over.wait(120)
            return answer

        return call


def a_folder_test(folder: Path, slow: Slow, patch: pytest.MonkeyPatch) -> Callable[[], object]:
    patch.setattr(folder_test, "examine_folder", slow(lambda _: FolderTest(locks=True)))
    return lambda: folder_test.tested(folder).locks is True


def a_look_at_an_owner(folder: Path, slow: Slow, _: pytest.MonkeyPatch) -> Callable[[], object]:
    """By one who owns nothing himself."""
    db = DatabaseManager(folder, around=Surroundings(clock=slow(lambda: 1000.0)))
    return lambda: db.owners.life(Owner(OwnerKind.MAIN, "another")).name == "DOUBT"


def the_index(folder: Path, slow: Slow, patch: pytest.MonkeyPatch) -> Callable[[], object]:
    db = DatabaseManager(folder)
    ids = [db.add_workflow_task({"row_number": row, "product_name": f"{row}"}, "图片合成") for row in (2, 3)]
    index = TaskIndex(db.table)
    patch.setattr(index, "_place", slow(index._place))
    return lambda: [entry.task_id for entry in index.entries()] == ids[::-1]


def entering_a_task(folder: Path, slow: Slow, patch: pytest.MonkeyPatch) -> Callable[[], object]:
    db = DatabaseManager(folder)
    patch.setattr(db.table, "locked", slow(db.table.locked))
    return lambda: db.add_workflow_task({"row_number": 2, "product_name": "a"}, "图片合成")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("what", [a_folder_test, a_look_at_an_owner, the_index, entering_a_task])
def test_whatever_a_thread_is_at_a_forked_child_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: Callable[..., Callable[[], object]]
) -> None:
    slow = Slow()
    act = what(tmp_path, slow, monkeypatch)
    other = threading.Thread(target=act, daemon=True)
    other.start()
    assert slow.begun.wait(120)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # rather dead than hanging
        try:
            os._exit(0 if act() else 2)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    slow.over.set()
    other.join(120)
    assert status == 0
