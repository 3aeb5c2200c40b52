"""Threads of one program at the table's lock: they wait for each other, and a forked child for none of them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import UnixFileLock

from wfrecovery.bridge.table.database import TableBusyError, WorkflowDatabase
from wfrecovery.bridge.table.locks import Threads


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
