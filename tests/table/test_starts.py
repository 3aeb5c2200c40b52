"""Each start of a task is judged once, by how the process ended in which it began, whoever had the task afterwards."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from table_support import job

from wfrecovery.bridge.table.changes import started
from wfrecovery.bridge.table.lives import Surroundings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import OwnerKind, QueuePlace
from wfrecovery.server_routes.queue.item import QueueItem
from wfrecovery.server_routes.queue.recording import record_prompt, starting
from wfrecovery.server_routes.queue.row_tag import RowTag

#: All under one kernel, with locks that exclude and no thread that moves a beat.
AROUND = Surroundings(kernel=lambda: "kernel", locks_hold=lambda _: True, beats=False)


def comfyui(folder: Path) -> DatabaseManager:
    return DatabaseManager(folder, kind=OwnerKind.COMFYUI, around=AROUND)


def on(computer: str, clock: Callable[[], float]) -> Surroundings:
    """One of several computers, each under a kernel of its own."""
    return Surroundings(clock, lambda: f"kernel of {computer}", lambda _: True, beats=False, computer=lambda: computer)


def crashes(db: DatabaseManager) -> None:
    db.owners.close()


def ends_well(db: DatabaseManager) -> None:
    db.owners.ending()
    db.owners.close()


def begun(folder: Path, end: Callable[[DatabaseManager], None]) -> str:
    """A task that began in a ComfyUI, which has ended since."""
    db = comfyui(folder)
    me = db.owners.me
    queue = QueuePlace("boot", 1, started_by=me.boot)
    record = TaskRecord(job(1).task_id, stage=Stage.QUEUED, attempts=1, queue=queue, owner=me)  # a crash before
    db.table.create(started(record))
    end(db)
    return record.task_id


def taken_at_its_start(folder: Path, task_id: str, former: str) -> None:
    comfyui(folder).take_lost(task_id)


def taken_by_main_py(folder: Path, task_id: str, former: str) -> None:
    db = DatabaseManager(folder, around=AROUND)
    db.table.update(task_id, db.taking)


def taken_by_hand(folder: Path, task_id: str, former: str) -> None:
    assert comfyui(folder).take_over(former) == 1


def put_into_another_queue(folder: Path, task_id: str, former: str) -> None:
    """Somebody has sent it there."""
    db = comfyui(folder)
    item = QueueItem.of((1, db.table.get(task_id).comfyui_task_id, {}, {}, []))
    assert item is not None
    record_prompt(db, item, RowTag(), task_id, boot="", runs=False, sensitive_keys=(), files={}, document=None)


def started_in_another_queue(folder: Path, task_id: str, former: str) -> None:
    """It stood there all the time, and begins."""
    db = comfyui(folder)
    taken = db.table.update(task_id, partial(starting, db))
    db.table.update(task_id, lambda task: dataclasses.replace(task, attempts=taken.attempts - 1))


WAYS = (taken_at_its_start, taken_by_main_py, taken_by_hand, put_into_another_queue, started_in_another_queue)


@pytest.mark.parametrize(("end", "attempts"), [(crashes, 2), (ends_well, 1)])
@pytest.mark.parametrize("way", WAYS)
def test_whoever_takes_a_task_judges_its_last_start(
    tmp_path: Path, way: Callable[[Path, str, str], None], end: Callable[[DatabaseManager], None], attempts: int
) -> None:
    task_id = begun(tmp_path, end)
    table = DatabaseManager(tmp_path, around=AROUND).table
    owner = table.get(task_id).owner
    assert owner is not None
    way(tmp_path, task_id, owner.boot)
    assert table.get(task_id).attempts == attempts


def test_one_from_which_a_person_takes_while_it_lives_has_not_gone_down(tmp_path: Path) -> None:
    living: list[DatabaseManager] = []
    task_id = begun(tmp_path, living.append)
    taken_by_hand(tmp_path, task_id, living[0].owners.me.boot)
    assert living[0].table.get(task_id).attempts == 1
    crashes(living[0])


@pytest.mark.parametrize(("end", "attempts"), [(crashes, 2), (ends_well, 1)])
def test_how_it_ended_is_known_for_as_long_as_somebody_asks(
    tmp_path: Path, end: Callable[[DatabaseManager], None], attempts: int
) -> None:
    """Others look through the table before, and a task whose owner has let go of it has none."""
    task_id = begun(tmp_path, end)
    db = comfyui(tmp_path)
    db.table.update(task_id, lambda task: dataclasses.replace(task, owner=None))
    DatabaseManager(tmp_path, around=AROUND).sweep()
    assert db.take_lost(task_id).attempts == attempts
    for told, _ in db.owners.known():
        os.utime(db.owners.folder / f"{told.boot}.json", (0, 0))  # some minutes later
    db.sweep()
    assert [told.boot for told, _ in db.owners.known()] == [db.owners.me.boot]


@pytest.mark.parametrize(("first", "attempts"), [(crashes, 2), (ends_well, 1)])
@pytest.mark.parametrize("then", [crashes, ends_well])
def test_who_only_had_it_afterwards_changes_no_judgement(
    tmp_path: Path,
    first: Callable[[DatabaseManager], None],
    then: Callable[[DatabaseManager], None],
    attempts: int,
) -> None:
    task_id = begun(tmp_path, first)
    for _ in range(3):  # taken up, and the recovery is ended before it has queued it again
        db = comfyui(tmp_path)
        taken = db.take_lost(task_id)
        assert (taken.attempts, taken.runs) == (attempts, 2)
        then(db)


def test_its_own_start_is_judged_by_nobody_yet(tmp_path: Path) -> None:
    db = comfyui(tmp_path)
    me = db.owners.me
    record = TaskRecord(job(1).task_id, stage=Stage.QUEUED, queue=QueuePlace("boot", 1, started_by=me.boot), owner=me)
    db.table.create(started(record))
    taken = db.take_lost(record.task_id)
    assert taken.queue is not None
    assert (taken.attempts, taken.queue.started_by) == (1, me.boot)


@pytest.mark.parametrize("computers", [["A", "B"], ["A", "B", "C", "D"], ["A", "A"]])
def test_what_kills_every_computer_that_runs_it_is_given_up(tmp_path: Path, computers: list[str]) -> None:
    """Several share the folder, or a pod comes up on another node each time."""
    clock = itertools.count(0.0, 5.0).__next__
    task_id = ""
    for attempt in range(1, 6):
        around = on(computers[attempt % len(computers)], clock)
        db = DatabaseManager(tmp_path, kind=OwnerKind.COMFYUI, around=around)
        if not task_id:
            task_id = job(1).task_id
            db.table.create(TaskRecord(task_id, stage=Stage.QUEUED, owner=db.owners.me))
        while db.owners.at_work(db.table.get(task_id)) not in (None, db.owners.me):
            pass  # it looks, and the clock goes on
        db.take_lost(task_id)
        db.table.update(task_id, lambda task: task.entering(Stage.QUEUED))
        queue = QueuePlace("boot", 1, started_by=db.owners.me.boot)
        begins = lambda task, queue=queue: started(dataclasses.replace(task, queue=queue))  # noqa: E731
        assert db.table.update(task_id, begins).attempts == attempt
        crashes(db)
