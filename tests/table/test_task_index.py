"""The entries in memory: they follow every change on disk, and read no more than what has changed."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from table_support import MONTH, finish, img, job, job_id, pushed

from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.index import MAX_ERROR, TaskEntry, TaskIndex
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.record_json import record_to_json
from wfrecovery.bridge.table.records import Stage, WorkflowStatus
from wfrecovery.bridge.table.row_identity import LONGEST, key_text
from wfrecovery.bridge.table.values import FeishuState, Outbox


class CountingDisk(Disk):
    """Notes which records are read and which folders are listed."""

    def __init__(self) -> None:
        self.read_names: list[str] = []
        self.listed: list[str] = []

    def read(self, path: Path, *most: int) -> bytes:
        self.read_names.append(path.stem)
        return super().read(path, *most)

    def stamps(self, folder: Path) -> dict[str, Any]:
        self.listed.append(folder.name)
        return super().stamps(folder)


@pytest.fixture
def disk() -> CountingDisk:
    return CountingDisk()


@pytest.fixture
def table(tmp_path: Path) -> WorkflowDatabase:
    """Another process's view: what it writes, the index has to find out."""
    return WorkflowDatabase(tmp_path)


@pytest.fixture
def index(tmp_path: Path, disk: CountingDisk) -> TaskIndex:
    return TaskIndex(WorkflowDatabase(tmp_path, disk=disk))


def entry(index: TaskIndex, task_id: str) -> TaskEntry:
    return next(entry for entry in index.entries() if entry.task_id == task_id)


def long_ago(folder: Path) -> None:
    """As if nothing had happened in the folder, or to the files in it, for an hour."""
    then = time.time() - 3600
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


def test_an_entry_tells_what_the_record_says(table: WorkflowDatabase, index: TaskIndex) -> None:
    record = table.create(
        img(
            1,
            model_name="模特B",
            comfyui_task_id="p-1",
            error_message="Boom",
            stage=Stage.FAILED,
            finished_at="2026-11-23T10:00:00.000+08:00",
            row_data={"prompt": "白底，柔光"},
            outbox=Outbox(FeishuState.BLOCKED),
        )
    )
    (found,) = index.entries()
    assert found == TaskEntry.of(record)
    assert (found.task_id, found.row_number, found.product_name, found.model_name) == (
        record.task_id,
        61,
        "产品A",
        "模特B",
    )
    assert (found.status, found.stage, found.feishu_state) == (
        WorkflowStatus.FAILED,
        Stage.FAILED,
        FeishuState.BLOCKED,
    )
    assert (found.identity.prompt, found.comfyui_task_id, found.error) == ("白底，柔光", "p-1", "Boom")
    assert found.finished_at == "2026-11-23T10:00:00.000+08:00"
    for word in ("img_2026", "61", "产品a", "模特b", "p-1", "boom"):
        assert word in found.text


@pytest.mark.parametrize("row", [None, "x", {"prompt": {"?": 5}}, {}])
def test_a_row_that_somebody_edited_badly_has_no_prompt(row: Any, table: WorkflowDatabase, index: TaskIndex) -> None:
    record = record_to_json(table.create(img(1)))
    record["metadata"] = {"stage": "queued", "feishu_row_data": row, "finished_at": 7}
    (table.folder / "active" / f"{img(1).task_id}.json").write_text(json.dumps(record), "utf-8")
    (found,) = index.entries()
    assert (found.identity.prompt, found.finished_at) == (None, None)


def test_long_texts_are_cut_and_prompts_stay_comparable(table: WorkflowDatabase, index: TaskIndex) -> None:
    prompt, other = "光" * 50_000 + "a", "光" * 50_000 + "b"
    table.create(img(1, error_message="x" * 5000, stage=Stage.FAILED, row_data={"prompt": prompt}))
    (found,) = index.entries()
    assert len(found.identity.prompt or "") < LONGEST + 100
    assert found.identity.prompt == key_text(prompt) != key_text(other)
    assert len(found.error or "") == MAX_ERROR
    assert key_text("白底") == "白底"


def test_newest_first_over_months_kinds_and_numbers(table: WorkflowDatabase, index: TaskIndex) -> None:
    wanted = ["vid_20270101_001", "img_20261123_1000", "job_20261123_999", "img_20261123_002", "img_20261031_009"]
    for task_id in reversed(wanted):
        table.create(dataclasses.replace(job(1), task_id=task_id))
    for task_id in wanted[1::2]:
        table.update(task_id, finish)
    assert [entry.task_id for entry in index.entries()] == wanted


def test_tasks_of_all_kinds_are_in_the_order_of_their_entry(table: WorkflowDatabase, index: TaskIndex) -> None:
    """Each kind has numbers of its own: the first job of a day may be the newest task of all."""
    entered = ["img_20261123_001", "img_20261123_002", "vid_20261123_001", "img_20261123_003", "job_20261123_001"]
    for minute, task_id in enumerate(entered):
        created_at = f"2026-11-23T10:{minute:02}:00.000+08:00"
        table.create(dataclasses.replace(job(1), task_id=task_id, created_at=created_at))
    assert [entry.task_id for entry in index.entries()] == entered[::-1]


def test_it_follows_a_task_to_its_end_and_back(table: WorkflowDatabase, index: TaskIndex) -> None:
    assert index.entries() == ()
    for change, stage, feishu in (
        (lambda record: record.entering(Stage.RUNNING), Stage.RUNNING, FeishuState.PENDING),
        (finish, Stage.FINISHED, FeishuState.PENDING),
        (pushed, Stage.FINISHED, FeishuState.PUSHED),
        (lambda record: record.with_outbox(state=FeishuState.PENDING), Stage.FINISHED, FeishuState.PENDING),
        (pushed, Stage.FINISHED, FeishuState.PUSHED),
    ):
        if not index.entries():
            table.create(img(1))
        table.update(img(1).task_id, change)
        (found,) = index.entries()
        assert (found.stage, found.feishu_state) == (stage, feishu)


def test_a_done_task_that_was_retried_and_is_done_again_is_noticed(table: WorkflowDatabase, index: TaskIndex) -> None:
    table.create(job(1))
    table.update(job_id(1), lambda record: record.entering(Stage.FAILED))
    assert index.counts() == {(Stage.FAILED, FeishuState.OFF): 1}
    table.update(job_id(1), lambda record: record.entering(Stage.QUEUED))
    table.update(job_id(1), finish)
    assert index.counts() == {(Stage.FINISHED, FeishuState.OFF): 1}


def test_what_is_done_is_read_once_and_an_old_month_is_not_even_listed(
    table: WorkflowDatabase, index: TaskIndex, disk: CountingDisk
) -> None:
    for number in range(1, 31):
        table.create(job(number))
        table.update(job_id(number), finish)
    assert len(index.entries()) == 30
    disk.read_names.clear()
    assert len(index.entries()) == 30
    assert disk.read_names == []

    long_ago(table.folder / "done" / MONTH)
    index.entries()
    disk.listed.clear()
    disk.read_names.clear()
    assert len(index.entries()) == 30
    assert disk.listed == ["active"]

    table.create(job(31))
    table.update(job_id(31), finish)
    assert len(index.entries()) == 31
    assert set(disk.read_names) == {job_id(31)}


def test_unfinished_records_are_read_only_when_they_changed(
    table: WorkflowDatabase, index: TaskIndex, disk: CountingDisk
) -> None:
    for number in range(1, 6):
        table.create(img(number))
    long_ago(table.folder / "active")
    index.entries()
    disk.read_names.clear()
    index.entries()
    assert disk.read_names == []
    table.update(img(3).task_id, lambda record: dataclasses.replace(record, attempts=1))
    index.entries()
    assert set(disk.read_names) == {img(3).task_id}


def test_changes_within_one_tick_of_the_disks_clock_are_seen(table: WorkflowDatabase, index: TaskIndex) -> None:
    """Same size, same time, and perhaps the same inode: only reading it again tells."""
    table.create(img(1))
    path = table.folder / "active" / f"{img(1).task_id}.json"
    same = time.time_ns() + 60_000_000_000  # the tick is not over, however slow the machine
    os.utime(path, ns=(same, same))
    index.entries()
    text = path.read_text("utf-8").replace('"product_name": "产品A"', '"product_name": "产品Z"')
    path.write_text(text, "utf-8")
    os.utime(path, ns=(same, same))
    assert index.entries()[0].product_name == "产品Z"


def test_what_is_deleted_is_gone(table: WorkflowDatabase, index: TaskIndex) -> None:
    for number in (1, 2):
        table.create(job(number))
    table.update(job_id(2), finish)
    assert len(index.entries()) == 2
    (table.folder / "active" / f"{job_id(1)}.json").unlink()
    (table.folder / "done" / MONTH / f"{job_id(2)}.json").unlink()
    (table.folder / "done" / MONTH).rmdir()
    assert index.entries() == ()


def test_a_damaged_record_costs_itself_alone(table: WorkflowDatabase, index: TaskIndex, disk: CountingDisk) -> None:
    for number in (1, 2, 3, 4):
        table.create(job(number))
    table.update(job_id(2), finish)
    table.update(job_id(3), finish)
    (table.folder / "active" / f"{job_id(1)}.json").write_bytes(b'{"schema": 1,')
    (table.folder / "done" / MONTH / f"{job_id(2)}.json").write_bytes(b"\x00" * 100)
    assert [entry.task_id for entry in index.entries()] == [job_id(4), job_id(3)]
    assert f"{job_id(1)}.json" in table.corrupt()
    disk.read_names.clear()
    index.entries()
    assert job_id(2) not in disk.read_names


def test_a_record_of_a_newer_version_appears_when_it_can_be_read(table: WorkflowDatabase, index: TaskIndex) -> None:
    record = record_to_json(table.create(job(1)))
    path = table.folder / "active" / f"{job_id(1)}.json"
    path.write_text(json.dumps({**record, "schema": 99}), "utf-8")
    assert index.entries() == ()
    path.write_text(json.dumps(record), "utf-8")
    assert len(index.entries()) == 1


def test_a_record_that_cannot_be_read_now_is_read_the_next_time(tmp_path: Path, table: WorkflowDatabase) -> None:
    class BadSector(Disk):
        bad = True

        def read(self, path: Path, *most: int) -> bytes:
            if self.bad and path.stem in (job_id(1), job_id(2)):
                raise OSError(errno.EIO, "bad sector")
            return super().read(path, *most)

    for number in (1, 2, 3):
        table.create(job(number))
    table.update(job_id(2), finish)
    table.update(job_id(3), finish)
    long_ago(table.folder / "done" / MONTH)
    long_ago(table.folder / "active")
    disk = BadSector()
    index = TaskIndex(WorkflowDatabase(tmp_path, disk=disk))
    assert [entry.task_id for entry in index.entries()] == [job_id(3)]
    disk.bad = False
    assert [entry.task_id for entry in index.entries()] == [job_id(3), job_id(2), job_id(1)]


def test_a_record_that_moves_while_it_is_looked_for_is_not_missed(tmp_path: Path, table: WorkflowDatabase) -> None:
    """From `done` back to `active` just after `active` was listed."""
    table.create(job(1))
    table.update(job_id(1), lambda record: record.entering(Stage.FAILED))

    class Retried(Disk):
        armed = False

        def stamps(self, folder: Path) -> dict[str, Any]:
            found = super().stamps(folder)
            if self.armed and folder.name == "active":
                self.armed = False
                table.update(job_id(1), lambda record: record.entering(Stage.QUEUED))
            return found

    disk = Retried()
    index = TaskIndex(WorkflowDatabase(tmp_path, disk=disk))
    index.entries()
    disk.armed = True
    assert [(entry.task_id, entry.stage) for entry in index.entries()] == [(job_id(1), Stage.QUEUED)]


def test_a_task_is_found_by_its_prompt_the_unfinished_one_first(table: WorkflowDatabase, index: TaskIndex) -> None:
    for number, prompt in ((1, "same"), (2, "same"), (3, "same"), (4, 'with "quotes"')):
        table.create(job(number, comfyui_task_id=prompt, error_message="only mentioned"))
    table.update(job_id(3), finish)
    found = {prompt: index.find_by_prompt(prompt) for prompt in ("same", 'with "quotes"', "only mentioned")}
    assert {prompt: entry and entry.task_id for prompt, entry in found.items()} == {
        "same": job_id(2),
        'with "quotes"': job_id(4),
        "only mentioned": None,
    }


def test_the_manager_answers_from_it(tmp_path: Path) -> None:
    db = DatabaseManager(tmp_path)
    db.table.create(img(1))
    assert [entry.task_id for entry in db.index.entries()] == [img(1).task_id]
    assert db.counts()[0]["在处理中"] == 1


def test_many_threads_ask_while_another_writes(table: WorkflowDatabase, index: TaskIndex) -> None:
    for number in range(1, 9):
        table.create(job(number))
    seen: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append(len(index.entries()))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for thread in askers:
        thread.start()
    for _ in range(3):
        for number in range(1, 9):
            table.update(job_id(number), finish)
        for number in range(1, 9):
            table.update(job_id(number), lambda record: dataclasses.replace(record, stage=Stage.QUEUED))
    stop.set()
    for thread in askers:
        thread.join()
    assert set(seen) == {8}
    assert {entry.stage for entry in index.entries()} == {Stage.QUEUED}


def test_a_folder_that_cannot_be_listed_loses_nothing_for_later(
    tmp_path: Path, table: WorkflowDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.create(job(1))
    table.create(job(2))
    table.update(job_id(2), finish)
    index = TaskIndex(table)
    real: Callable[[Path], Any] = table.files_in

    def refusing(place: Path) -> Any:
        if place.name == MONTH:
            raise OSError(errno.EIO, "bad sector")
        return real(place)

    monkeypatch.setattr(table, "files_in", refusing)
    with pytest.raises(OSError, match="bad sector"):
        index.entries()
    monkeypatch.setattr(table, "files_in", real)
    assert len(index.entries()) == 2


@pytest.mark.parametrize("looked", [False, True], ids=["the first look", "a later one"])
def test_what_goes_back_to_active_during_a_look_is_not_missed(tmp_path: Path, looked: bool) -> None:
    """Whether a row is entered twice hangs on it: a retry moves its record while somebody lists folder after folder."""
    table = WorkflowDatabase(tmp_path)
    table.create(job(1, stage=Stage.FAILED))

    class Meanwhile(Disk):
        def stamps(self, folder: Path) -> dict[str, Any]:
            found = super().stamps(folder)
            if looks and table.files.path_of(job_id(1)) == table.files.done_path(job_id(1)):
                table.update(job_id(1), lambda task: task.entering(Stage.QUEUED))
            return found

    looks: list[bool] = []
    index = TaskIndex(WorkflowDatabase(tmp_path, disk=Meanwhile()))
    if looked:
        assert entry(index, job_id(1)).stage is Stage.FAILED
    looks.append(True)
    assert entry(index, job_id(1)).stage is Stage.QUEUED
