"""What cannot be written in the moment is written later, in its order; ComfyUI goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from plugin_support import ONE_HOST, Comfy, picture, row, until

from wfrecovery.bridge.engines.history import Place, ResultFile, Sighting
from wfrecovery.bridge.results.contents import HASHED_AT_ONCE, Contents
from wfrecovery.bridge.table import content
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.values import MADE_BY_NODES, OwnerKind
from wfrecovery.server_routes.host import Host
from wfrecovery.server_routes.page.actions import Action, Selection, TaskActions
from wfrecovery.server_routes.queue.ending import Endings, look
from wfrecovery.server_routes.queue.intake import Intake
from wfrecovery.server_routes.queue.item import QueueItem
from wfrecovery.server_routes.queue.keeping import Keeper
from wfrecovery.server_routes.queue.own_files import OwnFiles
from wfrecovery.server_routes.queue.progress import nodes_of
from wfrecovery.server_routes.queue.prompts import Prompt, Prompts
from wfrecovery.server_routes.queue.writing import WISH_SECONDS, EndedError, Writer, one_thread
from wfrecovery.server_routes.recovery.requests import Requests
from wfrecovery.server_routes.recovery.requeueing import Requeueing


@pytest.fixture(params=ONE_HOST)
def comfy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Comfy]:
    with Comfy(tmp_path / "comfyui", request.param) as process:
        yield process


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """A file system of its own on which every byte is taken, also what others give back meanwhile."""
    filler, over = folder / "filler", threading.Event()

    def fill() -> None:
        with filler.open("wb", buffering=0) as out:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    while True:
                        out.write(bytes(4096))
                full.set()
                over.wait(0.002)

    full, thread = threading.Event(), threading.Thread(target=fill)
    thread.start()
    full.wait()
    try:
        yield
    finally:
        over.set()
        thread.join()
        filler.unlink()


def test_the_lock_is_held_while_a_row_ends_one_is_deleted_and_one_comes(comfy: Comfy) -> None:
    done = comfy.queue(picture("done", gate="done"), row(2))
    held = comfy.queue(picture("held", seconds=600), row(3))
    gone = comfy.queue(picture("gone"), row(4))
    comfy.until_stage(done, "running")
    with comfy.table_locked():
        comfy.call("POST", "/queue", json={"delete": [gone]})
        comfy.open_gate("done")
        until(lambda: comfy.whole_pictures("done*.png"))
        new = comfy.queue(picture("new", seconds=600), row(5))
        until(lambda: comfy.status()["unwritten"]["error"])
        unwritten = comfy.status()["unwritten"]
        assert unwritten["changes"] >= 3
        assert "task table" in unwritten["error"]
        began = time.monotonic()
        comfy.queue(picture("hurried", seconds=600), row(6))
        assert time.monotonic() - began < 25  # of 30 s: known to be behind: nobody waits for the disk again and again
    until(lambda: not comfy.status()["unwritten"]["changes"])
    assert comfy.status()["unwritten"]["error"] is None
    assert comfy.finished(done)["output_files"] == ["done_00001_.png"]
    assert comfy.stage(gone) == "cancelled"
    assert comfy.until_stage(held, "running")["metadata"]["attempts"] == 1
    assert comfy.stage(new) == "queued"
    comfy.crash()
    assert comfy.stage(gone) == "cancelled"
    assert len(comfy.pending()) == 3


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("for_good", [True, False])
def test_ctrl_c_ends_comfyui_also_while_the_lock_is_held(comfy: Comfy, for_good: bool) -> None:
    """By a process that was stopped, say. What can be written by then is, and that it ended well is noted anyhow."""
    comfy.queue(picture("held", gate="held"), row(2))
    gone = comfy.queue(picture("gone"), row(3))
    comfy.until_at_gate("held")
    task_id = comfy.record(gone)["task_id"]
    with contextlib.ExitStack() as until_then:
        until_then.enter_context(comfy.table_locked())
        comfy.call("POST", "/queue", json={"delete": [gone]})
        until(lambda: comfy.status()["unwritten"]["changes"])
        os.kill(comfy.pid, signal.SIGINT)
        if not for_good:
            until_then.close()
        assert comfy.wait() == 0
    assert comfy.stage(gone) == ("queued" if for_good else "cancelled")
    assert (f"{task_id}: ComfyUI ends, and the task table cannot be written" in comfy.log()) is for_good
    assert list(comfy.table.glob("owners/*.ended"))


class OneTask:
    """ComfyUI, where one prompt runs until it is interrupted."""

    def __init__(self) -> None:
        self.interrupted = 0

    def delete_pending(self, _meant: Any) -> bool:
        return False

    def interrupt(self, _meant: Any) -> bool:
        self.interrupted += 1
        return True


async def cancelled(requests: Requests, task_id: str) -> None:
    """As the page's route does it."""
    await requests.cancel(task_id, await requests.wish([task_id]))


def test_a_cancellation_is_obeyed_and_answered_while_the_lock_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a process that was stopped, say. The wish is written when it can be; the answer does not wait for that."""
    monkeypatch.setattr(Writer, "written", lambda _: pytest.fail("it waits for all that is to be written"))
    db, other = DatabaseManager(tmp_path, lock_timeout=3600), DatabaseManager(tmp_path)
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "a"}, "图片合成")
    db.table.update(task_id, lambda task: task.entering(Stage.RUNNING))
    host, writer, nobody = OneTask(), Writer(), Any
    ask = {"may_be_whole": lambda _: True, "on_change": lambda _: None}
    requests = Requests(cast(Host, host), db, writer, cast(Requeueing, nobody), **ask)
    with other.table.locked():
        asyncio.run(cancelled(requests, task_id))
        assert host.interrupted == 1
        assert db.table.get(task_id).cancel_requested is None
    writer.submit(lambda: None).result()
    assert db.table.get(task_id).cancel_requested is not None


def test_that_the_lock_is_held_is_waited_for_once_however_many_are_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits would begin, and be rendered, while one after the other is waited for."""
    db, other = DatabaseManager(tmp_path, lock_timeout=3600), DatabaseManager(tmp_path)
    rows = [{"row_number": number, "product_name": f"a{number}"} for number in range(2, 12)]
    task_ids = [db.add_workflow_task(row, "图片合成") for row in rows]
    host, writer, nobody = OneTask(), Writer(), Any
    ask: dict[str, Any] = {"may_be_whole": lambda _: True, "on_change": lambda _: None}
    requests = Requests(cast(Host, host), db, writer, cast(Requeueing, nobody), **ask)
    recovery: Any = SimpleNamespace(in_queue_order=list)
    page = TaskActions(db, recovery, requests, document=nobody, feishu=nobody, on_change=lambda _: None)
    selection = Selection.of({"task_ids": task_ids})
    waited: list[float] = []

    async def wait(_self: Writer, _writes: Any, most: float) -> None:
        waited.append(most)

    monkeypatch.setattr(Writer, "wait", wait)
    with other.table.locked():
        answer = asyncio.run(page.act_on_many(Action.CANCEL, selection, "en"))
        assert sorted(answer["done"]) == task_ids
        assert (host.interrupted, waited) == (10, [WISH_SECONDS])
    writer.submit(lambda: None).result()
    assert {db.table.get(task_id).stage for task_id in task_ids} == {Stage.CANCELLED}


def test_what_asks_is_cancelled_as_soon_as_that_can_be_written(tmp_path: Path) -> None:
    """It is in no queue, and nobody looks at it later: the wish alone would leave it asking."""
    db, other = DatabaseManager(tmp_path, lock_timeout=3600), DatabaseManager(tmp_path)
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "a"}, "图片合成")
    db.table.update(task_id, lambda task: task.entering(Stage.ASKING))
    host, writer, nobody = SimpleNamespace(delete_pending=lambda _: False, interrupt=lambda _: False), Writer(), Any
    ask: dict[str, Any] = {"may_be_whole": lambda _: False, "on_change": lambda _: None}
    requests = Requests(cast(Host, host), db, writer, cast(Requeueing, nobody), **ask)
    with other.table.locked():
        asyncio.run(cancelled(requests, task_id))
    writer.submit(lambda: None).result()
    assert db.table.get(task_id).stage is Stage.CANCELLED


def test_what_is_asked_for_again_is_queued_also_where_the_disk_does_not_confirm_that(tmp_path: Path) -> None:
    """It is this ComfyUI's by then: nobody else would ever queue it."""

    class Unconfirmed(Disk):
        def sync_folder(self, folder: Path) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))

    (task_id,) = entered(tmp_path, 2)
    before = DatabaseManager(tmp_path)
    before.table.write_graph(task_id, {"prompt": {}})
    before.mark_task_failed(task_id, "boom")
    queued: list[Stage] = []

    async def requeue(task: TaskRecord, _: Any, **__: Any) -> None:
        queued.append(task.stage)

    requeueing, nobody = SimpleNamespace(requeue=requeue, undone=False), Any
    db = DatabaseManager(tmp_path, disk=Unconfirmed(), kind=OwnerKind.COMFYUI)
    ask: dict[str, Any] = {"may_be_whole": lambda _: False, "on_change": lambda _: None}
    asyncio.run(Requests(cast(Any, nobody), db, Writer(), cast(Requeueing, requeueing), **ask).retry(task_id))
    assert queued == [Stage.QUEUED]


class RefusingDisk(Disk):
    """Refuses what has to do with some files, so many times."""

    def __init__(self, number: int, refused: Callable[[Path], bool] = lambda _: True, times: int = 10**9) -> None:
        self.number, self.refused, self.left = number, refused, times

    def _refuse(self, path: Path) -> None:
        if self.left > 0 and self.refused(path):
            self.left -= 1
            raise OSError(self.number, os.strerror(self.number), str(path))

    def read(self, path: Path, *most: int) -> bytes:
        self._refuse(path)
        return super().read(path, *most)

    def open_temp(self, target: Path) -> tuple[int, Path]:
        self._refuse(target)
        return super().open_temp(target)


def noted(task_id: str, db: DatabaseManager, text: str) -> TaskRecord:
    """A change that shows in which order it came."""
    return db.table.update(task_id, lambda task: dataclasses.replace(task, title=(task.title or "") + text))


def entered(folder: Path, *numbers: int) -> list[str]:
    db = DatabaseManager(folder)
    return [db.add_workflow_task({"row_number": number, "product_name": f"{number}"}, "图片合成") for number in numbers]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize("what", ["which table", "a look", "a change", "a graph"])
def test_whatever_a_disk_refuses_is_written_when_it_takes_that(tmp_path: Path, number: int, what: str) -> None:
    (task_id,) = entered(tmp_path, 2)
    (tmp_path / "wfrecovery" / "table_id").unlink(missing_ok=True)
    disk = RefusingDisk(number)
    db, pauses = DatabaseManager(tmp_path, disk=disk), itertools.count(1)

    def pause(_: float) -> None:
        disk.left = 0 if next(pauses) == 30 else disk.left

    writer = Writer(pause=pause, takes_others=db.table.takes_others)
    first = {
        "which table": writer.submit(db.table.keep_table_id),
        "a look": writer.submit(db.table.get, task_id),
        "a change": writer.submit(noted, task_id, db, "1"),
        "a graph": writer.submit(db.table.write_graph, task_id, {"prompt": {}}),
    }[what]
    after = writer.submit(noted, task_id, db, "2")
    assert first.result() is None or first.result()
    assert str(after.result().title).endswith("2")
    assert (writer.waiting, writer.behind, next(pauses)) == (0, None, 31)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EMFILE, errno.EIO])
def test_a_table_whose_id_cannot_be_read_gets_no_other(tmp_path: Path, number: int) -> None:
    table_id = DatabaseManager(tmp_path).table.keep_table_id()
    disk = RefusingDisk(number, lambda path: path.name == "table_id", times=5)
    writer, db = Writer(pause=lambda _: None), DatabaseManager(tmp_path, disk=disk)
    assert writer.submit(db.table.keep_table_id).result() == table_id
    assert DatabaseManager(tmp_path).table.table_id == table_id


def keeper_of(db: DatabaseManager, writer: Writer, prompts: Prompts, reader: Any = None) -> Keeper:
    """Of a ComfyUI that runs nothing."""
    host: Any = SimpleNamespace(sensitive_keys=())
    return Keeper(
        host,
        db,
        writer,
        prompts=prompts,
        endings=Endings(db.output_dir, Contents(db.table.files, db.output_dir)),
        own_files=OwnFiles(db.output_dir),
        boot="boot",
        document=lambda: None,
        on_change=lambda _: None,
        reader=reader,
    )


def test_a_record_that_is_made_anew_says_that_nodes_were_made(tmp_path: Path) -> None:
    """Else it would show, after a crash, that the files of the graph's own nodes are all. It is said once, when the
    first of these nodes begins; then somebody empties the folder."""
    db, prompts, prompt_id = DatabaseManager(tmp_path), Prompts(), str(uuid.uuid4())
    raw = (0, prompt_id, {"5": {"class_type": "Loop", "inputs": {}}}, {}, ["5"])
    item = QueueItem.of(raw)
    assert item is not None
    prompt = Prompt(raw, item)
    keeper = keeper_of(db, Writer(), prompts)
    keeper.record(prompt, True)
    prompt.done.update(node for node, _ in nodes_of("progress_state", {"nodes": {"5.0.0.1": {}}}, item))
    shutil.rmtree(tmp_path / "wfrecovery")
    keeper.change(prompt, lambda task: task)
    assert list(db.table.get(prompt.task_id or "").nodes) == [MADE_BY_NODES]


def test_comfyui_does_not_wait_for_large_files_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python waits for the thread that reads them: for minutes where the drive is slow."""
    ending, reads = threading.Event(), itertools.count(1)

    class Film(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            number = next(reads)
            if number == 3:
                ending.set()
            return b"x" if number < 10_000 else b""

    with (tmp_path / "film.bin").open("wb") as file:
        file.truncate(HASHED_AT_ONCE + 1)
    db, reader = DatabaseManager(tmp_path), one_thread("reader")
    item = QueueItem.of((0, str(uuid.uuid4()), {"9": {"class_type": "Film", "inputs": {}}}, {}, ["9"]))
    assert item is not None
    prompt = Prompt(None, item)
    keeper = keeper_of(db, Writer(ends=ending.is_set), Prompts(), reader)
    keeper.record(prompt, True)
    monkeypatch.setattr(content, "opened", lambda _: Film())
    keeper.end(prompt, look(tmp_path, Sighting(Place.SUCCEEDED, (ResultFile("film.bin", node="9"),))))
    reader.shutdown()
    assert next(reads) < 20
    (result,) = db.table.get(prompt.task_id or "").results
    assert (result.path, result.sha256) == ("film.bin", None)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("times", [1, 2, 20])
def test_a_prompt_whose_record_cannot_be_read_now_goes_on_as_its_task(tmp_path: Path, number: int, times: int) -> None:
    """The recovery queues it again: under another id it would be rendered twice."""
    (task_id,) = entered(tmp_path, 2)
    prompt_id = str(uuid.uuid4())
    DatabaseManager(tmp_path).update_task_comfyui_id(task_id, prompt_id)
    disk = RefusingDisk(number, lambda path: path.stem == task_id, times)
    db, prompts, writer = DatabaseManager(tmp_path, disk=disk), Prompts(), Writer(pause=lambda _: None)
    body = {"prompt": {}, "prompt_id": prompt_id, "extra_data": {"wfrecovery": row(2, task_id=task_id)}}
    Intake(db, writer, prompts, lambda: True).on_prompt(body)
    raw = (0, prompt_id, {}, body["extra_data"], [])
    item = QueueItem.of(raw)
    assert item is not None
    prompt = Prompt(raw, item)
    prompts.add(prompt)
    keeper = keeper_of(db, writer, prompts)
    writer.submit(keeper.record, prompt, False).result()
    assert prompt.task_id == task_id
    assert list(DatabaseManager(tmp_path).table.ids()) == [task_id]


def test_a_task_that_a_client_names_for_its_files_is_taken_out_whatever_else_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfrecovery.server_routes.queue.intake.row_tag_of", lambda *_: 1 / 0)
    prompts, prompt_id = Prompts(), str(uuid.uuid4())
    intake = Intake(DatabaseManager(tmp_path), Writer(), prompts, lambda: True)
    in_files = {"wfrecovery": {"task_id": "img_20261123_001", "prompt_id": prompt_id}, "workflow": {}}
    body = {"prompt": {}, "prompt_id": prompt_id, "extra_data": {"extra_pnginfo": in_files}}
    assert intake.on_prompt(body)["extra_data"]["extra_pnginfo"] == {"workflow": {}}


@pytest.mark.parametrize("number", [None, errno.EACCES, errno.EIO, errno.EBUSY])
def test_what_is_refused_for_itself_alone_holds_up_nobody_else(tmp_path: Path, number: int | None) -> None:
    """None: a folder lies in the place of the record. Its changes keep their order."""
    bad, good = entered(tmp_path, 2, 3)
    path = tmp_path / "wfrecovery" / "active" / f"{bad}.json"
    disk = Disk() if number is None else RefusingDisk(number, lambda file: file.name == path.name)
    if number is None:
        path.rename(tmp_path / "moved")
        path.mkdir()
    db = DatabaseManager(tmp_path, disk=disk)
    writer = Writer(pause=lambda _: None, takes_others=db.table.takes_others)
    waits = [writer.submit(noted, bad, db, "1")]
    assert writer.submit(noted, good, db, "1").result().title == "1"
    waits.append(writer.submit(noted, bad, db, "2"))
    writer.try_again()
    assert writer.submit(noted, good, db, "2").result().title == "12"
    assert all(isinstance(change.exception(), OSError) for change in waits)
    assert (writer.waiting, writer.behind) == (2, None)

    if isinstance(disk, RefusingDisk):
        disk.left = 0
    else:
        path.rmdir()
        (tmp_path / "moved").rename(path)
    writer.submit(noted, bad, db, "3").exception()
    assert db.table.get(bad).title is None, "nothing overtakes what waits"
    writer.try_again()
    assert writer.submit(noted, bad, db, "4").result().title == "1234"
    assert writer.waiting == 0
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_at_the_end_what_the_disk_does_not_take_is_told_and_not_waited_for(
    tmp_path: Path, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    ids = entered(tmp_path, 2, 3, 4)
    disk, ends = RefusingDisk(number, times=0), threading.Event()
    db = DatabaseManager(tmp_path, disk=disk)

    def pause(_: float) -> None:
        assert not ends.is_set(), "it waits"
        ends.set()

    writer = Writer(pause=pause, takes_others=db.table.takes_others, ends=ends.is_set)
    assert writer.submit(noted, ids[0], db, "1").result().title == "1"
    writer.submit(setattr, disk, "left", 10**9).result()
    waits = [writer.submit(noted, task_id, db, "2") for task_id in ids]
    assert [type(change.exception()) for change in waits] == [EndedError] * 3
    writer.submit(int).exception()  # by then the others are told
    assert all(f"{task_id}: ComfyUI ends" in caplog.text for task_id in ids)
    assert "ComfyUI goes on" not in caplog.text
    disk.left = 0
    assert [db.table.get(task_id).title for task_id in ids] == ["1", None, None]


def test_at_the_end_what_is_refused_for_itself_alone_keeps_nothing_else_from_being_written(tmp_path: Path) -> None:
    bad, good = entered(tmp_path, 2, 3)
    db = DatabaseManager(tmp_path, disk=RefusingDisk(errno.EACCES, lambda path: path.stem == bad))
    writer = Writer(pause=lambda _: pytest.fail("waits"), takes_others=db.table.takes_others, ends=lambda: True)
    assert isinstance(writer.submit(noted, bad, db, "1").exception(), PermissionError)
    assert writer.submit(noted, good, db, "1").result().title == "1"


@pytest.mark.parametrize("others", [True, False])
@pytest.mark.parametrize("by", ["its tag", "a node"])
def test_a_row_that_could_not_be_given_an_id_is_recorded_later(comfy: Comfy, others: bool, by: str) -> None:
    """Whether prompts without a row are recorded or not."""
    comfy.recovered()
    assert comfy.call("POST", "/wfrecovery/settings", json={"record_other_prompts": others}).status_code == 200
    graph, tag = picture("row2", seconds=600), row(2)
    if by == "a node":
        names = ("row_number", "product_name", "model_name", "workflow_type")
        graph["90"] = {"class_type": "WfrecoveryRowTask", "inputs": {name: tag[name] for name in names}}
    ids = comfy.table / "ids"
    shutil.rmtree(ids, ignore_errors=True)
    ids.write_text("as if no file could be made in it")
    first = comfy.queue(graph, tag if by == "its tag" else None)
    other = comfy.queue(picture("other"))
    assert comfy.records() == []
    ids.unlink()
    wanted = {first: 2, other: None} if others else {first: 2}
    until(lambda: {task["comfyui_task_id"]: task["row_number"] for task in comfy.records()} == wanted, what="recorded")
    comfy.crash()
    comfy.recovered()
    assert first in comfy.pending()


def test_a_folder_that_was_emptied_heals(comfy: Comfy) -> None:
    prompts = {number: comfy.queue(picture(f"row{number}", gate="row"), row(number)) for number in (2, 3, 4)}
    comfy.until_stage(prompts[2], "running")
    table_id = comfy.status()["table_id"]
    # as `rm -rf` does it: what is written meanwhile stays
    for path in comfy.output.iterdir():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    until(lambda: len(comfy.records()) == 3, what="the records are there again")
    assert comfy.status()["table_id"] == table_id
    comfy.crash()
    comfy.open_gate("row")
    for prompt in prompts.values():
        assert comfy.finished(prompt)["metadata"]["attempts"] <= 2
    assert sorted(path.name for path in comfy.whole_pictures()) == [f"row{number}_00001_.png" for number in (2, 3, 4)]


def test_who_shares_an_emptied_folder_sees_that_as_soon_as_the_table_is_there_again(comfy: Comfy) -> None:
    """Else it would take it for its own alone, and what ComfyUI has there for lost."""
    db = DatabaseManager(comfy.output)
    until(lambda: db.is_shared_with(comfy.status()))
    shutil.rmtree(comfy.table, ignore_errors=True)
    until((comfy.table / "table_id").exists)
    assert db.is_shared_with(comfy.status())


def test_graphs_that_were_deleted_come_back(comfy: Comfy) -> None:
    """A clean-up of old files finds them first: they are written once."""
    prompts = {number: comfy.queue(picture(f"row{number}", gate="row"), row(number)) for number in (2, 3, 4)}
    comfy.until_stage(prompts[2], "running")
    graphs = {path: path.read_bytes() for path in (comfy.table / "graphs").iterdir()}
    assert len(graphs) == 3
    for path in graphs:
        path.unlink()
    until(lambda: all(path.exists() for path in graphs), what="the graphs are there again")
    for path, data in graphs.items():
        before, now = json.loads(data), json.loads(path.read_bytes())
        assert {**now, "task": None} == {**before, "task": None}
    comfy.crash()
    comfy.open_gate("row")
    for prompt in prompts.values():
        comfy.finished(prompt)
    assert sorted(path.name for path in comfy.whole_pictures()) == [f"row{number}_00001_.png" for number in (2, 3, 4)]


def test_single_records_that_were_deleted_come_back(tmp_path: Path) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        running = comfy.queue(picture("row2", seconds=600), row(2))
        waiting = comfy.queue(picture("row3"), row(3))
        comfy.until_stage(running, "running")
        ids = {prompt: comfy.record(prompt)["task_id"] for prompt in (running, waiting)}
        for task_id in ids.values():
            (comfy.table / "active" / f"{task_id}.json").unlink()
        until(lambda: len(comfy.records()) == 2)
        assert {prompt: comfy.record(prompt)["task_id"] for prompt in ids} == ids
        assert (comfy.stage(running), comfy.stage(waiting)) == ("running", "queued")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs a file system of its own")
def test_a_full_disk_makes_room_again(tmp_path: Path) -> None:
    base = tmp_path / "comfyui"
    folder = base / "output"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("no right to mount")
    try:
        with Comfy(base) as comfy:
            running = comfy.queue(picture("row2", seconds=600), row(2))
            gone = comfy.queue(picture("row3"), row(3))
            comfy.until_stage(running, "running")
            with full_disk(folder):
                comfy.call("POST", "/queue", json={"delete": [gone]})
                assert gone not in comfy.pending()
                new = comfy.queue(picture("row4"), row(4))
                until(lambda: comfy.status()["unwritten"]["error"])
                assert gone not in comfy.pending()
            until(lambda: not comfy.status()["unwritten"]["changes"])
            assert comfy.stage(gone) == "cancelled"
            assert comfy.stage(new) == "queued"
            comfy.call("POST", "/interrupt", json={})
            comfy.finished(new)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_wish_for_many_is_answered_when_all_of_them_are_written() -> None:
    """The disk answers, one after the other: ComfyUI may die after the answer, and none of them may come back."""
    written: list[int] = []

    async def cleared() -> list[int]:
        loop = asyncio.get_running_loop()
        clock = loop.time
        loop.time = lambda: clock() + len(written) * WISH_SECONDS * 0.75  # type: ignore[method-assign]

        def write(number: int) -> None:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(60)  # the one before is known
            written.append(number)

        writer = Writer()
        await writer.wait([writer.submit(write, number) for number in range(8)], WISH_SECONDS)
        return list(written)

    assert asyncio.run(cleared()) == list(range(8))
