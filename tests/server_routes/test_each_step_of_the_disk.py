"""A prompt on its way through the queue: whatever happens to the disk at any one step, it is recorded with its end."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from plugin_support import AtOnce, picture, row

from wfrecovery.bridge.results.contents import Contents
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.lives import Surroundings
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import OwnerKind
from wfrecovery.server_routes.host import Host
from wfrecovery.server_routes.queue.ending import Endings
from wfrecovery.server_routes.queue.intake import Intake
from wfrecovery.server_routes.queue.prompts import Prompts
from wfrecovery.server_routes.queue.recorder import Recorder
from wfrecovery.server_routes.queue.writing import Writer

#: What of a disk the recording of a prompt uses.
OPERATIONS = (
    *("make_folder", "belongs", "make_lock_file", "open_temp", "write", "sync", "close", "replace", "sync_folder"),
    *("create", "unlink", "read", "exists"),
)
PROMPT = str(uuid.uuid4())


class StepDisk(Disk):
    """Calls `step` with the name of each operation ahead of it."""

    def __init__(self) -> None:
        self.step: Callable[[str], None] = lambda _: None

    def __getattribute__(self, name: str) -> Any:
        if name in OPERATIONS:
            object.__getattribute__(self, "step")(name)
        return object.__getattribute__(self, name)

    def sync(self, _: int) -> None:
        """No power is cut here."""

    def sync_folder(self, folder: Path) -> None:
        folder.stat()


class Queue:
    """ComfyUI's queue, as far as the recorder hears of it."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        around = Surroundings(beats=False, kernel=lambda: "kernel", computer=lambda: "computer")
        self.db = DatabaseManager(folder, disk=disk, kind=OwnerKind.COMFYUI, around=around)
        self.tries, prompts = 0, Prompts()
        self.writer = Writer(lambda _: AtOnce(), pause=self._tried_again, takes_others=self.db.table.takes_others)
        self.intake = Intake(self.db, self.writer, prompts, lambda: True)
        host = SimpleNamespace(
            sensitive_keys=(), node_classes=lambda _: {}, frames_of=lambda _: None, is_output_node=lambda _: True
        )
        self.recorder = Recorder(
            cast(Host, host),
            self.db,
            self.writer,
            intake=self.intake,
            prompts=prompts,
            endings=Endings(folder, Contents(self.db.table.files, folder)),
            boot="boot",
            document=lambda: None,
            on_change=lambda _: None,
            on_progress=lambda *_: None,
            on_start=lambda: None,
            unwanted=lambda _: [],
            pool=lambda _: AtOnce(),
        )
        self.recorder.asks()

    def _tried_again(self, _: float) -> None:
        self.tries += 1
        assert self.tries < 100, "it is never written"

    def is_sent(self, prompt_id: str = PROMPT) -> tuple[Any, ...]:
        """The item of a prompt that `POST /prompt` has brought this far."""
        body: dict[str, Any] = {"prompt": picture("x"), "prompt_id": prompt_id, "extra_data": {"wfrecovery": row(2)}}
        with self.intake.post():
            self.intake.on_prompt(body)
            return 0, prompt_id, body["prompt"], body["extra_data"], ["9"]

    def goes_on(self, raw: tuple[Any, ...], *, runs: bool) -> None:
        """It is put, and taken out again; or runs until a node fails."""
        self.recorder.putting(raw)
        self.recorder.put(raw)
        if not runs:
            self.recorder.deleted([raw])
            return
        assert self.recorder.got((raw, 1))
        failed = {"status_str": "error", "messages": [("execution_error", {"exception_message": "boom"})]}
        self.recorder.done(raw, (1, {}), {"status": failed})


def recorded(folder: Path) -> TaskRecord:
    """The only record, as another program finds it."""
    table = DatabaseManager(folder).table
    (task_id,) = table.ids()
    assert table.graph(task_id) is not None
    assert not list(folder.rglob("*.tmp"))
    return table.get(task_id)


def with_each_step(tmp_path: Path, happens: Callable[[Path], None], names: tuple[str, ...], *, runs: bool) -> int:
    """Have it happen at each of the steps, in a folder of its own each time; how many there are. Several of a kind, one
    after the other, are one."""
    step = hit = 0
    while step == hit:
        step, folder, disk = step + 1, tmp_path / f"{step}", StepDisk()
        folder.mkdir()
        queue, seen, last = Queue(folder, disk), 0, ""
        queue.db.owners.beat()
        raw = queue.is_sent()

        def act(name: str, folder: Path = folder, wanted: int = step) -> None:
            nonlocal hit, seen, last
            seen += name in names and (name != last or name == "sync_folder")
            last = name
            if seen == wanted > hit:
                hit = wanted
                happens(folder)

        disk.step = act
        queue.goes_on(raw, runs=runs)
        disk.step = lambda _: None
        task = recorded(folder)
        assert task.task_id == raw[3]["extra_pnginfo"]["wfrecovery"]["task_id"], "the one that its files carry"
        assert (task.comfyui_task_id, task.row_number) == (PROMPT, 2)
        assert (task.stage, task.attempts) == ((Stage.FAILED, 1) if runs else (Stage.CANCELLED, 0)), f"step {step}"
        assert (queue.writer.waiting, queue.writer.behind) == (0, None)
    return hit


def refuse(_: Path) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("runs", [True, False])
def test_a_folder_whose_name_the_disk_does_not_confirm_costs_no_prompt(tmp_path: Path, runs: bool) -> None:
    """Some network drives: the file is there, and only that it survives a power cut is not known."""
    assert with_each_step(tmp_path, refuse, ("sync_folder",), runs=runs) > 3


def empty(folder: Path) -> None:
    shutil.rmtree(folder / "wfrecovery")


@pytest.mark.parametrize("runs", [True, False])
def test_a_folder_that_is_emptied_at_any_moment_costs_no_prompt(tmp_path: Path, runs: bool) -> None:
    """Before the last step: what has ended is gone with the folder."""

    def empty_before_the_end(folder: Path) -> None:
        if (folder / "wfrecovery" / "done").exists():
            return
        shutil.rmtree(folder / "wfrecovery")

    assert with_each_step(tmp_path, empty_before_the_end, OPERATIONS, runs=runs) > 40


def test_a_record_that_is_made_anew_keeps_its_number_however_often_that_is_refused(tmp_path: Path) -> None:
    """Its files carry it: by another one they would not be found after a crash, and be rendered again."""
    disk = StepDisk()
    queue = Queue(tmp_path, disk)
    raw = queue.is_sent()
    queue.recorder.putting(raw)
    queue.recorder.put(raw)
    empty(tmp_path)

    def full(name: str) -> None:
        if name == "sync" and any((tmp_path / "wfrecovery" / "ids").iterdir()):
            refuse(tmp_path)

    (tmp_path / "wfrecovery" / "ids").mkdir(parents=True)
    disk.step = full
    for _ in range(3):
        queue.recorder.heal()
    disk.step = lambda _: None
    queue.recorder.heal()
    assert recorded(tmp_path).task_id == raw[3]["extra_pnginfo"]["wfrecovery"]["task_id"]


def test_a_damaged_record_keeps_no_other_from_being_made_anew(tmp_path: Path) -> None:
    queue = Queue(tmp_path, Disk())
    for prompt_id in (PROMPT, str(uuid.uuid4())):
        raw = queue.is_sent(prompt_id)
        queue.recorder.putting(raw)
        queue.recorder.put(raw)
    damaged, deleted = sorted((tmp_path / "wfrecovery" / "active").iterdir())
    shutil.rmtree(tmp_path / "wfrecovery" / "graphs")
    damaged.write_bytes(b"{")
    deleted.unlink()
    queue.recorder.heal()
    table = DatabaseManager(tmp_path).table
    assert table.get(deleted.stem).stage is Stage.QUEUED
    assert table.graph(deleted.stem) is not None


def test_a_number_that_another_prompt_has_got_by_now_is_that_one_s(tmp_path: Path) -> None:
    """Somebody empties the folder before the prompt is recorded, and main.py begins to count anew."""
    queue, main = Queue(tmp_path, Disk()), DatabaseManager(tmp_path)
    raw = queue.is_sent()
    empty(tmp_path)
    theirs = main.add_workflow_task({"row_number": 7, "product_name": "another"}, "图片合成")
    assert theirs == raw[3]["extra_pnginfo"]["wfrecovery"]["task_id"]
    before = main.get_task(theirs)
    queue.goes_on(raw, runs=True)
    assert main.get_task(theirs) == before
    (ours,) = set(main.table.ids()) - {theirs}
    assert (main.table.get(ours).row_number, main.table.get(ours).comfyui_task_id) == (2, PROMPT)
