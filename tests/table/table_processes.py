"""What the other processes do in `test_table_processes.py`: started as a program."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timezone
from pathlib import Path

from table_support import WatchedDisk, add_attempt, finish, job, job_id

from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage


class QuickDisk(Disk):
    """What processes see of each other does not depend on fsync."""

    def sync(self, descriptor: int) -> None: ...

    def sync_folder(self, folder: Path) -> None: ...


def say(*words: object) -> None:
    print(*words, flush=True)


def ready() -> None:
    """All processes of a test begin at once."""
    say("ready")
    sys.stdin.readline()


def table_of(folder: str) -> WorkflowDatabase:
    return WorkflowDatabase(folder, disk=QuickDisk(), lock_timeout=300)


def increment(folder: str, number: str, times: str) -> None:
    table = table_of(folder)
    ready()
    for _ in range(int(times)):
        table.update(job_id(int(number)), add_attempt)


def overlap(folder: str, times: str) -> None:
    """A marker that exactly one process may have: the second kind of detector."""
    table, marker = table_of(folder), Path(folder) / "marker"
    ready()
    for _ in range(int(times)):
        with table.locked():
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
            marker.unlink()


def there_and_back(folder: str, times: str) -> None:
    """Moves job 1 to `done` and back again, and grows and shrinks it."""
    table = table_of(folder)
    ready()
    for _ in range(int(times)):
        table.update(job_id(1), lambda task: task.entering(Stage.FAILED, error_message="x" * 5_000))
        table.update(job_id(1), lambda task: task.entering(Stage.QUEUED, error_message=None))


def claim(folder: str, times: str, use: str) -> None:
    """Prints the ids it got; creates every `use`-th at once."""
    table = table_of(folder)
    ready()
    for number in range(int(times)):
        task_id = table.claim_id(None, datetime(2026, 11, 23, 12, tzinfo=timezone.utc))
        say(task_id)
        if number % int(use) == 0:
            table.create(job(int(task_id.rpartition("_")[2])))


def want(folder: str, task_id: str) -> None:
    table = table_of(folder)
    ready()
    say(table.claim_id(None, wanted=task_id))


def enter_rows(folder: str, rows: str) -> None:
    manager = DatabaseManager(folder, disk=QuickDisk(), lock_timeout=300)
    ready()
    for number in range(1, int(rows) + 1):
        say(manager.add_workflow_task({"row_number": number, "product_name": "产品A"}, "图片合成"))


def hold(folder: str) -> None:
    """Holds the lock until it is killed."""
    with table_of(folder).locked():
        ready()


def update_and_hang(folder: str) -> None:
    """Stops in the middle of an update, with the lock held and the temp file written."""

    def before(name: str, _arguments: object) -> None:
        if name == "replace":
            ready()

    WorkflowDatabase(folder, disk=WatchedDisk(before)).update(job_id(1), finish)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
