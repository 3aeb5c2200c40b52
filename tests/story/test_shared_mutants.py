"""Wrong programs that the stories of several must catch: each forgets one thing that keeps them apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import test_shared_found as found
from filelock import FileLock, Timeout
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from shared_machine import SharedMachine
from shared_world import SharedWorld

from wfrecovery.bridge.table.lives import Life, Lives, OwnerFile, path_of
from wfrecovery.bridge.table.owners import Owners
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.server_routes.queue import keeping, recording

#: Stories in which the fault has to come to light.
BUDGET = 60

world = found.world
Patch = Callable[[pytest.MonkeyPatch], None]


def no_owner_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Owners, "check", lambda self, task: None)
    patch.setattr(Owners, "at_work", lambda self, task: None)


def any_lock_file_will_do(patch: pytest.MonkeyPatch) -> None:
    def proof(self: Lives, told: OwnerFile | None) -> Life | None:
        if told is None or told.lock is None or told.kernel != self._around.kernel():
            return None
        lock = FileLock(path_of(self._folder, told.boot, "lock"), timeout=0.0, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            return Life.ALIVE
        lock.release()
        return Life.DEAD

    patch.setattr(Lives, "_proof", proof)


def no_wish_check(patch: pytest.MonkeyPatch) -> None:
    checked = recording.check_may_run

    def check(db: Any, task: TaskRecord) -> None:
        stage = Stage.QUEUED if task.stage is Stage.CANCELLED else task.stage
        checked(db, dataclasses.replace(task, cancel_requested=None, stage=stage))

    patch.setattr(recording, "check_may_run", check)


def counted_when_queued(patch: pytest.MonkeyPatch) -> None:
    queued, new, starting = recording._queued, recording._new, recording.starting

    def more(task: TaskRecord) -> TaskRecord:
        return dataclasses.replace(task, attempts=task.attempts + 1)

    patch.setattr(recording, "_queued", lambda *arguments: more(queued(*arguments)))
    patch.setattr(recording, "_new", lambda *arguments: more(new(*arguments)))
    patch.setattr(keeping, "starting", lambda db, task: dataclasses.replace(starting(db, task), attempts=task.attempts))


@pytest.mark.parametrize("mutant", [no_owner_check, counted_when_queued])
def test_a_wrong_program_is_caught(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    told = settings(
        max_examples=BUDGET,
        stateful_step_count=12,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(seed(0)(SharedMachine), settings=told)


@pytest.mark.parametrize(
    ("mutant", "story"),
    [
        (any_lock_file_will_do, found.test_an_owner_whose_lock_was_deleted_lives),
        (no_wish_check, found.test_a_wish_that_another_comfyui_has_taken_is_obeyed),
    ],
)
def test_a_wrong_program_is_caught_by_a_story(
    mutant: Patch, story: Callable[[SharedWorld], None], monkeypatch: pytest.MonkeyPatch, world: SharedWorld
) -> None:
    """What random stories meet too seldom."""
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        story(world)
