"""Several processes on one table: nothing overlaps, nothing is torn, and who dies blocks nobody."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import preloaded
import pytest
from table_processes import table_of
from table_support import MONTH, add_attempt, finish, job, job_id, temp_files

from wfrecovery.bridge.table.database import TableBusyError, WorkflowDatabase
from wfrecovery.bridge.table.index import TaskIndex
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage

HERE = Path(__file__).parent
INCREMENTS = 300

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts another process on the table and returns when it is ready to begin."""
    with contextlib.ExitStack() as running:
        paths = os.pathsep.join([str(HERE), *filter(None, sys.path)])

        def begin(what: str, *arguments: object) -> subprocess.Popen[str]:
            command = [sys.executable, "-W", "error", HERE / "table_processes.py", what, tmp_path, *arguments]
            env = {**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"}
            child = preloaded.talking(list(map(str, command)), env=env)
            running.enter_context(child)
            running.callback(child.kill)
            return child

        yield begin


def begun(child: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """The same, when it was told to begin."""
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "ready\n"
    child.stdin.write("\n")
    child.stdin.flush()
    return child


def go(*children: subprocess.Popen[str]) -> list[list[str]]:
    """Let all begin at once; what each of them said. Fails if one of them failed."""
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    said = [child.communicate(timeout=600)[0].split() for child in children]
    assert [child.returncode for child in children] == [0] * len(children)
    return said


def test_two_processes_on_one_task_lose_no_update(tmp_path: Path, start: Start) -> None:
    table_of(str(tmp_path)).create(job(1))
    go(*(start("increment", 1, INCREMENTS) for _ in range(2)))
    record = WorkflowDatabase(tmp_path).get(job_id(1))
    assert (record.attempts, record.revision) == (2 * INCREMENTS, 2 * INCREMENTS + 1)
    assert temp_files(tmp_path) == []


def test_two_processes_on_two_tasks_lose_no_update(tmp_path: Path, start: Start) -> None:
    for number in (1, 2):
        table_of(str(tmp_path)).create(job(number))
    go(*(start("increment", number, INCREMENTS) for number in (1, 2)))
    assert [record.attempts for record in WorkflowDatabase(tmp_path).active()] == [INCREMENTS] * 2


def test_the_lock_lets_one_process_in_at_a_time(tmp_path: Path, start: Start) -> None:
    go(*(start("overlap", INCREMENTS) for _ in range(3)))


def test_two_threads_with_one_table_lose_no_update(tmp_path: Path) -> None:
    table = table_of(str(tmp_path))
    table.create(job(1))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: table.update(job_id(1), add_attempt), range(200)))
    assert table.get(job_id(1)).attempts == 200


def test_a_reader_without_the_lock_never_sees_a_torn_record(tmp_path: Path, start: Start) -> None:
    """Nor a task that is in no folder, nor a revision that goes backwards."""
    table = table_of(str(tmp_path))
    table.create(job(1))
    revisions, rounds = [0], 0
    while len(set(revisions)) <= 10:  # else it was written so quickly that the reader has hardly looked meanwhile
        child = begun(start("there_and_back", 150))
        while child.poll() is None:
            record = table.get(job_id(1))
            assert len(record.error_message or "") == (5_000 if record.stage is Stage.FAILED else 0)
            assert record.revision >= revisions[-1]
            revisions.append(record.revision)
        assert child.returncode == 0
        rounds += 1
        assert table.get(job_id(1)).revision == 1 + 300 * rounds
    assert table.corrupt() == []


def test_a_start_during_writes_sets_nothing_aside(tmp_path: Path, start: Start) -> None:
    table = table_of(str(tmp_path))
    table.create(job(1))
    index = TaskIndex(table)
    child = begun(start("there_and_back", 100))
    while child.poll() is None:
        table.sweep()
        list(table.active())
        index.entries()
    assert child.returncode == 0, "its temp files were not taken for litter"
    assert table.corrupt() == []
    assert table.get(job_id(1)).revision == 201


def test_a_killed_holder_of_the_lock_blocks_nobody(tmp_path: Path, start: Start) -> None:
    table_of(str(tmp_path)).create(job(1))
    holder = start("hold")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    with pytest.raises(TableBusyError):
        WorkflowDatabase(tmp_path, lock_timeout=0).update(job_id(1), add_attempt)
    assert WorkflowDatabase(tmp_path).get(job_id(1)).attempts == 0, "who only reads does not wait"
    holder.kill()
    holder.wait()
    assert WorkflowDatabase(tmp_path, lock_timeout=1).update(job_id(1), add_attempt).attempts == 1


def test_a_process_killed_in_the_middle_of_an_update_leaves_the_old_record(tmp_path: Path, start: Start) -> None:
    table_of(str(tmp_path)).create(job(1))
    holder = start("update_and_hang")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    holder.kill()
    holder.wait()
    table = WorkflowDatabase(tmp_path, lock_timeout=1)
    table.sweep()
    assert temp_files(tmp_path) == []
    assert table.update(job_id(1), finish).revision == 2
    assert (table.folder / "done" / MONTH / f"{job_id(1)}.json").exists()


@pytest.mark.parametrize("use", [1, 2, 1000], ids=["created", "half created", "only claimed"])
def test_ids_are_unique_over_four_processes(use: int, tmp_path: Path, start: Start) -> None:
    said = go(*(start("claim", 60, use) for _ in range(4)))
    claimed = [task_id for ids in said for task_id in ids]
    assert len(claimed) == len(set(claimed)) == 240
    assert all(ids == sorted(ids) for ids in said)
    assert max(claimed) == job_id(240), "and no number is left out"


def test_a_wanted_id_goes_to_one_process_only(tmp_path: Path, start: Start) -> None:
    said = go(*(start("want", job_id(41)) for _ in range(4)))
    assert sum(ids == [job_id(41)] for ids in said) == 1


def test_a_row_that_two_processes_enter_at_once_is_one_task(tmp_path: Path, start: Start) -> None:
    one, other = go(*(start("enter_rows", 20) for _ in range(2)))
    assert one == other
    assert len(set(one)) == 20
    assert len(DatabaseManager(tmp_path).get_incomplete_tasks()) == 20
