"""Locks that exclude, or none: a disk without file locks is named, never worked around."""

from __future__ import annotations

import errno
import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from publishing_support import Team
from table_support import add_attempt, job, job_id, table_files

from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.locks import NoLocksError, held, process_lock
from wfrecovery.server_routes.queue.writing import Writer

if sys.platform == "win32":
    pytest.skip("Windows has locks on every disk", allow_module_level=True)

import fcntl

NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As a network drive answers that is mounted without locks."""

    def flock(*_: Any) -> None:
        raise OSError(number, "as a drive without locks says")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("number", NO_LOCKS)
def test_where_there_are_no_locks_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_locks(monkeypatch, number)
    with pytest.raises(NoLocksError) as raised:
        WorkflowDatabase(tmp_path).create(job(1))
    assert table_files(tmp_path) == {}
    for text in (str(raised.value), raised.value.wording.zh):
        assert str(tmp_path / "wfrecovery") in text
        assert "WFRECOVERY_OUTPUT" in text


def test_another_refusal_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="as a drive without locks says") as raised:
        WorkflowDatabase(tmp_path).create(job(1))
    assert not isinstance(raised.value, NoLocksError)


def test_what_a_drive_refuses_that_has_given_the_lock_before_is_written_later(
    tmp_path: Path,
) -> None:
    """A network drive whose lock service is being started anew: it is no drive without locks."""
    table = WorkflowDatabase(tmp_path)
    table.create(job(1))
    tries = itertools.count(1)
    with pytest.MonkeyPatch.context() as patch:
        refuse_locks(patch, errno.ENOLCK)
        writer = Writer(pause=lambda _: patch.undo() if next(tries) == 3 else None, takes_others=table.takes_others)
        assert writer.submit(table.update, job_id(1), add_attempt).result().attempts == 1
    assert next(tries) == 4


def test_the_publisher_takes_no_soft_lock_either(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    task_id = team.finished(1)
    refuse_locks(monkeypatch, errno.ENOSYS)
    report = team.publisher.flush()
    assert (report.pushed, list(report.waiting)) == ([], [task_id])
    assert "file locks" in str(team.publisher.last_error)


def test_a_lock_that_was_not_to_be_had_is_free_afterwards(tmp_path: Path) -> None:
    lock = process_lock(tmp_path / "a.lock", timeout=0)
    with pytest.MonkeyPatch.context() as patch:
        refuse_locks(patch, errno.ENOSYS)
        with pytest.raises(NoLocksError):
            held(lock, Disk()).__enter__()
    with held(lock, Disk()):
        assert lock.is_locked
    assert not lock.is_locked
