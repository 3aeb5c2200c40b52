"""Each start of a task is judged once, by how the process ended in which it began, whoever had the task afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from table_support import job

from wfrecovery.bridge.table.changes import started
from wfrecovery.bridge.table.lives import Surroundings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import OwnerKind, QueuePlace

#: All under one kernel, with locks that exclude and no thread that moves a beat.
AROUND = Surroundings(kernel=lambda: "kernel", locks_hold=lambda _: True, beats=False)


def comfyui(folder: Path) -> DatabaseManager:
    return DatabaseManager(folder, kind=OwnerKind.COMFYUI, around=AROUND)


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
