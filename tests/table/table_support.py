"""Shared by the tests of the task table: a small table, and disks that count, fail and kill."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.records import Stage, TaskRecord, WorkflowType
from wfrecovery.bridge.table.values import FeishuState, Outbox, Result

#: What changes the disk. The rest only looks.
WRITING = ("make_folder", "open_temp", "write", "sync", "close", "replace", "sync_folder", "create", "unlink")

DAY = "20261123"
MONTH = "2026-11"
GRAPH: Mapping[str, Any] = {
    "prompt_id": "0a4e6c3e-5a0b-4d4c-9a60-000000000001",
    "prompt": {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "产品A"}}},
    "task": {"row_number": 67, "product_name": "产品A", "model_name": "模特B", "workflow_type": "图片合成"},
}


def job_id(number: int) -> str:
    return f"job_{DAY}_{number:03}"


def job(number: int, **fields: Any) -> TaskRecord:
    """A task without a row: settled as soon as it is final."""
    fields.setdefault("stage", Stage.QUEUED)
    return TaskRecord(job_id(number), **fields)


def img(number: int, **fields: Any) -> TaskRecord:
    """A task with a row: its result has to be pushed before it is settled."""
    fields.setdefault("stage", Stage.QUEUED)
    fields.setdefault("outbox", Outbox(FeishuState.PENDING))
    fields.setdefault("workflow_type", WorkflowType.IMAGE_COMPOSITION.value)
    return TaskRecord(f"img_{DAY}_{number:03}", row_number=60 + number, product_name="产品A", **fields)


def add_attempt(record: TaskRecord) -> TaskRecord:
    return dataclasses.replace(record, attempts=record.attempts + 1)


def finish(record: TaskRecord) -> TaskRecord:
    return record.entering(Stage.FINISHED, results=(Result("row67_00001_.png"),))


def pushed(record: TaskRecord) -> TaskRecord:
    return record.with_outbox(state=FeishuState.PUSHED, pushed_at="2026-11-23T10:00:00+08:00")


def table_files(output_dir: Path) -> dict[str, bytes]:
    """Every file of the table but the lock, by its path."""
    folder = output_dir / "wfrecovery"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "table.lock"
    }


def temp_files(output_dir: Path) -> list[str]:
    return [path.name for path in (output_dir / "wfrecovery").rglob("*.tmp")]


class WatchedDisk(Disk):
    """Calls `before(name, arguments)` ahead of each operation that changes the disk."""

    def __init__(self, before: Callable[[str, tuple[Any, ...]], None]) -> None:
        self.before = before


def _watched(name: str) -> Callable[..., Any]:
    def method(self: WatchedDisk, *arguments: Any) -> Any:
        self.before(name, arguments)
        return getattr(Disk, name)(self, *arguments)

    return method


for _name in WRITING:
    setattr(WatchedDisk, _name, _watched(_name))


class Steps:
    """Counts operations, and does something at the k-th."""

    def __init__(self, at: int, act: Callable[[], None], *, for_ever: bool = False, names: tuple[str, ...] = WRITING):
        self.at, self.act, self.for_ever, self.names = at, act, for_ever, names
        self.seen: list[str] = []
        self.armed = True

    def __call__(self, name: str, _arguments: tuple[Any, ...]) -> None:
        if not self.armed or name not in self.names:
            return
        self.seen.append(name)
        number = len(self.seen)
        if number == self.at or (self.for_ever and number > self.at):
            self.act()

    @property
    def hit(self) -> bool:
        return len(self.seen) >= self.at


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def all_records(table: WorkflowDatabase) -> dict[str, TaskRecord]:
    return {task_id: table.get(task_id) for task_id in table.ids()}
