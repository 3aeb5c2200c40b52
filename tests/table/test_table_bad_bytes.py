"""Damaged records: the start never fails, the file is kept with its reason, everything else goes on. B1 to B4."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from table_support import GRAPH, MONTH, WatchedDisk, add_attempt, finish, img, job, job_id, table_files

from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.index import TaskIndex
from wfrecovery.bridge.table.limits import RECORD_BYTES
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.record_json import record_from_json, record_to_json
from wfrecovery.bridge.table.records import NewerSchemaError, RecordError, Stage

GOOD = json.dumps(record_to_json(img(1, revision=3, comfyui_task_id="p")), ensure_ascii=False).encode()
NAME = f"{img(1).task_id}.json"


@pytest.fixture
def table(tmp_path: Path) -> WorkflowDatabase:
    """Task img 1 is going to be damaged and has no graph; job 1 and job 2 (done) are fine."""
    table = WorkflowDatabase(tmp_path)
    table.create(img(1))
    table.create(job(1), GRAPH)
    table.create(job(2), GRAPH)
    table.update(job_id(2), finish)
    return table


def put(table: WorkflowDatabase, data: bytes) -> None:
    shutil.rmtree(table.folder / "corrupt", ignore_errors=True)
    (table.folder / "active" / NAME).write_bytes(data)


def start(table: WorkflowDatabase) -> tuple[WorkflowDatabase, list[str]]:
    """What a start does; none of it may raise."""
    fresh = WorkflowDatabase(table.output_dir, lock_timeout=0)
    fresh.sweep()
    active = [record.task_id for record in fresh.active()]
    assert len(TaskIndex(fresh).entries()) == len(active) + 1
    list(fresh.ids())
    manager = DatabaseManager(table.output_dir)
    manager.get_task(img(1).task_id)
    manager.get_incomplete_tasks()
    manager.unpushed()
    return fresh, active


def check_set_aside(table: WorkflowDatabase, data: bytes) -> str:
    """The file lies in quarantine byte for byte under its own name; returns the reason."""
    fresh, active = start(table)
    assert active == [job_id(1)], "all others load"
    assert fresh.get(job_id(2)).stage is Stage.FINISHED
    assert not (table.folder / "active" / NAME).exists()
    assert (table.folder / "corrupt" / NAME).read_bytes() == data
    assert fresh.corrupt() == [NAME], "reported in the status"
    return (table.folder / "corrupt" / f"{NAME}.reason.txt").read_text("utf-8")


def loads(data: bytes) -> bool:
    """Whether these bytes are a record in every respect; a changed letter in a name cannot be noticed."""
    try:
        record_from_json(json.loads(data.decode("utf-8")), NAME.removesuffix(".json"))
    except (NewerSchemaError, RecordError, ValueError):
        return False
    return True


def test_a_record_cut_at_any_length_is_set_aside(table: WorkflowDatabase) -> None:
    """B1. Every length on the parser, every 29th through a whole start."""
    for length in range(len(GOOD)):
        assert not loads(GOOD[:length])
    for length in (*range(0, len(GOOD), 29), len(GOOD) - 1):
        put(table, GOOD[:length])
        assert "not valid JSON" in check_set_aside(table, GOOD[:length])


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_is_noticed_or_is_a_whole_record(table: WorkflowDatabase, mask: int) -> None:
    """B2. Every byte on the parser, which may raise nothing but its own errors; every 31st through a whole start."""
    noticed = 0
    for position in range(len(GOOD)):
        data = GOOD[:position] + bytes([GOOD[position] ^ mask]) + GOOD[position + 1 :]
        whole = loads(data)
        noticed += not whole
        if position % 31 == 0 and b'"schema": 2' in data:
            put(table, data)
            if whole:
                assert start(table)[1] == [img(1).task_id, job_id(1)]
            else:
                check_set_aside(table, data)
    assert noticed > len(GOOD) / 2


def test_zeros_instead_of_a_record_are_set_aside(table: WorkflowDatabase) -> None:
    """B3. What a power cut leaves where nobody synced."""
    for data in (bytes(len(GOOD)), GOOD[:100] + bytes(len(GOOD) - 100), bytes(100) + GOOD[100:]):
        put(table, data)
        check_set_aside(table, data)


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(GOOD), **fields}).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in json.loads(GOOD).items() if key != name}).encode()


WRONG = {
    "null": b"null",
    "list": b"[]",
    "list of record": b"[" + GOOD + b"]",
    "text": b'"record"',
    "number": b"1",
    "empty object": b"{}",
    "BOM": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "GBK": json.dumps(json.loads(GOOD), ensure_ascii=False).encode("gbk"),
    "two records": GOOD + GOOD,
    "something after it": GOOD + b"x",
    "deeply nested": b"[" * 200_000,
    "huge number": GOOD.replace(b'"revision": 3', b'"revision": 1' + b"0" * 5000),
    "schema 0": changed(schema=0),
    "schema true": changed(schema=True),
    "schema text": changed(schema="1"),
    "no schema": without("schema"),
    "other id": changed(task_id="img_20261123_002"),
    "id of another form": changed(task_id="../../x"),
    "no id": without("task_id"),
    "no revision": without("revision"),
    "revision text": changed(revision="3"),
    "row 0": changed(row_number=0),
    "row text": changed(row_number="67"),
    "row true": changed(row_number=True),
    "row with a fraction": changed(row_number=6.5),
    "unknown status": changed(status="处理完"),
    "status list": changed(status=[]),
    "no status": without("status"),
    "unknown type": changed(workflow_type="图片分割"),
    "type list": changed(workflow_type=["图片合成"]),
    "files null": changed(output_files=None),
    "files text": changed(output_files="a.png"),
    "files of numbers": changed(output_files=[1]),
    "metadata null": changed(metadata=None),
    "metadata list": changed(metadata=[]),
    "attempts text": changed(metadata={"attempts": "1"}),
    "attempts null": changed(metadata={"attempts": None}),
    "outbox list": changed(metadata={"feishu": []}),
    "outbox null": changed(metadata={"feishu": None}),
    "outbox state": changed(metadata={"feishu": {"state": "sent"}}),
    "outbox state list": changed(metadata={"feishu": {"state": []}}),
    "results null": changed(metadata={"results": None}),
    "results by name": changed(metadata={"results": {"a.png": {}}}),
    "results of names": changed(metadata={"results": ["a.png"]}),
    "result without a path": changed(metadata={"results": [{"size": 5}]}),
    "name null": changed(product_name=None),
    "time number": changed(created_at=1),
    "prompt number": changed(comfyui_task_id=1),
    "error list": changed(error_message=["x"]),
}


@pytest.mark.usefixtures("_nothing_collected")
@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
def test_a_record_of_the_wrong_shape_is_set_aside_with_the_reason(
    table: WorkflowDatabase, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """B4."""
    put(table, data)
    with caplog.at_level(logging.ERROR, "wfrecovery"):
        reason = check_set_aside(table, data)
    assert len(reason.split(maxsplit=1)[1]) > 5
    assert len([line for line in caplog.messages if NAME in line]) == 1, "one clear line names the file"


@pytest.mark.parametrize("name", json.loads(GOOD))
def test_a_record_without_one_of_its_fields_stops_nobody(table: WorkflowDatabase, name: str) -> None:
    """B4. What may be null may be missing."""
    put(table, without(name))
    if name in ("row_number", "workflow_type", "comfyui_task_id", "error_message"):
        fresh, active = start(table)
        assert active == [img(1).task_id, job_id(1)]
        assert record_to_json(fresh.get(img(1).task_id))[name] is None
    else:
        check_set_aside(table, without(name))


def test_so_many_mb_are_no_record(table: WorkflowDatabase) -> None:
    """B4."""
    data = changed(metadata={"x": "x" * RECORD_BYTES})
    put(table, data)
    assert f"{len(data)} bytes" in check_set_aside(table, data)


@pytest.mark.parametrize("name", [NAME, f"{job_id(1)}.json"], ids=["without a graph", "with a graph"])
def test_a_file_of_any_size_takes_no_memory(table: WorkflowDatabase, name: str) -> None:
    """In the place of a record it would end the program each time that it starts, and with it all other tasks."""
    large = 64 * 1024 * 1024
    for path in (table.folder / "active" / name, table.folder / "table_id", table.folder / "order"):
        path.touch()
        os.truncate(path, large)
    tracemalloc.start()
    try:
        fresh, active = start(table)
        fresh.keep_table_id()
        fresh.update(img(1).task_id if name != NAME else job_id(1), finish)
        assert tracemalloc.get_traced_memory()[1] < large // 4
    finally:
        tracemalloc.stop()
    assert fresh.corrupt() == [name]
    assert active == ([job_id(1)] if name == NAME else [img(1).task_id, job_id(1)])


def test_a_graph_of_any_size_takes_no_memory(table: WorkflowDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfrecovery.bridge.table.files._MOST_GRAPH_BYTES", 1000)
    assert table.graph(job_id(1)) is not None
    os.truncate(table.files.graph_path(job_id(1)), 1001)
    assert table.graph(job_id(1)) is None
    assert any("1001 bytes" in line for line in table.corrupt())


def test_the_status_that_a_person_edits_counts_more_than_the_stage(table: WorkflowDatabase) -> None:
    put(table, changed(status="失败"))
    assert table.get(img(1).task_id).stage is Stage.FAILED
    put(table, changed(status="已完成", metadata={}))
    assert table.get(img(1).task_id).stage is Stage.FINISHED
    put(table, changed(metadata={"stage": "of tomorrow"}))
    assert table.get(img(1).task_id).stage is Stage.QUEUED


def test_unknown_metadata_is_kept(table: WorkflowDatabase) -> None:
    put(table, changed(metadata={"theirs": [1, {"二": None}]}))
    assert table.update(img(1).task_id, add_attempt).more["theirs"] == [1, {"二": None}]
    assert WorkflowDatabase(table.output_dir).get(img(1).task_id).more["theirs"] == [1, {"二": None}]


@pytest.mark.parametrize("data", [changed(schema=3), b'{"schema": 99, "all": "different"}'], ids=["3", "99"])
def test_a_newer_schema_is_left_alone_and_reported(table: WorkflowDatabase, data: bytes) -> None:
    put(table, data)
    before = table_files(table.output_dir)
    fresh, active = start(table)
    assert active == [job_id(1)]
    assert table_files(table.output_dir) == before
    assert any(NAME in line and "newer" in line for line in fresh.corrupt())
    with pytest.raises(NewerSchemaError):
        fresh.update(img(1).task_id, add_attempt)
    with pytest.raises(RecordError):
        fresh.create(img(1))
    assert DatabaseManager(table.output_dir).mark_task_failed(img(1).task_id, "x") is False
    assert table_files(table.output_dir) == before
    assert fresh.claim_id("图片合成", wanted=img(1).task_id) != img(1).task_id


def test_an_id_in_both_folders_is_one_task_and_done_wins(table: WorkflowDatabase) -> None:
    """B4."""
    path = table.folder / "active" / f"{job_id(2)}.json"
    done = table.folder / "done" / MONTH / path.name
    path.write_text(json.dumps(record_to_json(job(2, revision=1))), "utf-8")
    assert table.get(job_id(2)).stage is Stage.FINISHED
    assert list(table.ids()).count(job_id(2)) == 1
    kept = done.read_bytes()
    start(table)
    assert not path.exists()
    assert done.read_bytes() == kept


def test_an_update_never_writes_over_a_record_that_cannot_be_read(table: WorkflowDatabase) -> None:
    put(table, b"{")
    with pytest.raises(RecordError):
        table.update(img(1).task_id, add_attempt)
    with pytest.raises(RecordError):
        table.create(img(1))
    assert DatabaseManager(table.output_dir).complete_task(img(1).task_id, []) is False
    assert (table.folder / "active" / NAME).read_bytes() == b"{"


def test_a_second_damaged_file_of_the_same_name_does_not_replace_the_first(table: WorkflowDatabase) -> None:
    put(table, b"first")
    start(table)
    (table.folder / "active" / NAME).write_bytes(b"second")
    fresh, _active = start(table)
    kept = [(table.folder / "corrupt" / name).read_bytes() for name in fresh.corrupt()]
    assert sorted(kept) == [b"first", b"second"]


def test_files_that_are_no_records_are_left_alone(table: WorkflowDatabase) -> None:
    for place in ("active/README.txt", "active/notes.json", "active/img_1_1.json", f"done/{MONTH}/x.json", "done/x"):
        (table.folder / place).write_bytes(b"mine")
    before = table_files(table.output_dir)
    assert start(table)[1] == [img(1).task_id, job_id(1)]
    assert table_files(table.output_dir) == before


def test_a_folder_in_the_place_of_a_record_stops_nobody(table: WorkflowDatabase) -> None:
    (table.folder / "active" / f"{job_id(7)}.json").mkdir()
    assert start(table)[1] == [img(1).task_id, job_id(1)]


@pytest.mark.parametrize(
    "place", [".", "active", "done", f"done/{MONTH}", "graphs", "ids", "kept", "corrupt", "owners"]
)
def test_litter_that_cannot_be_removed_stops_nobody(table: WorkflowDatabase, place: str) -> None:
    """A folder of such a name, or a file that another program has open: nothing was recovered then."""
    for name in ("x.tmp", f"{job_id(7)}.json", job_id(7), f"{job_id(7)}.download", f"{'0' * 32}.json"):
        (table.folder / place / name / "inside").mkdir(parents=True)
    assert start(table)[1] == [img(1).task_id, job_id(1)]
    with table.locked():
        DatabaseManager(table.output_dir).owners.sweep(set())


def test_a_record_that_cannot_be_moved_where_it_belongs_stops_nobody(table: WorkflowDatabase) -> None:
    table.update(job_id(1), finish)
    table.files.done_path(job_id(1)).rename(table.files.active_path(job_id(1)))

    def refuse(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "replace" and "done" in arguments[1].parts:
            raise PermissionError(errno.EACCES, "another program has it open")

    held = WorkflowDatabase(table.output_dir, disk=WatchedDisk(refuse))
    held.sweep()
    assert [record.task_id for record in held.active()] == [img(1).task_id, job_id(1)]


@pytest.mark.parametrize("instead", ["a folder", "zeros"])
def test_what_only_has_the_name_of_a_finished_record_costs_no_other(table: WorkflowDatabase, instead: str) -> None:
    """The one in `active` was taken for what a crash has left half moved."""
    done = table.files.done_path(job_id(1))
    done.mkdir() if instead == "a folder" else done.write_bytes(bytes(2000))
    before = table.files.active_path(job_id(1)).read_bytes()
    WorkflowDatabase(table.output_dir).sweep()
    assert table.files.active_path(job_id(1)).read_bytes() == before


@pytest.mark.parametrize("name", ["", "abc", "001 (1)", "001.sync-conflict-1", "001 - Copy", "٣"])
def test_a_file_among_the_numbers_that_is_none_stops_nobody(tmp_path: Path, name: str) -> None:
    """A program that keeps folders in step, or a person, has copied one. No row could be entered then."""
    table = WorkflowDatabase(tmp_path)
    first = table.claim_id(None)
    (table.files.ids / f"{first[:-3]}{name}").touch()
    assert WorkflowDatabase(tmp_path).claim_id(None) == f"{first[:-1]}2"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("place", ["active", f"done/{MONTH}", "graphs"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(table: WorkflowDatabase, place: str) -> None:
    os.mkfifo(table.folder / place / f"{job_id(7)}.json")
    assert start(table)[1] == [img(1).task_id, job_id(1)]
    assert table.graph(job_id(7)) is None


@pytest.mark.parametrize("place", ["active", "done"])
def test_a_file_in_the_place_of_a_folder_is_no_empty_table(table: WorkflowDatabase, place: str) -> None:
    """Who found nothing there would render every row again."""
    folder = table.folder / place
    folder.rename(table.folder / "aside")
    folder.write_bytes(b"")
    manager = DatabaseManager(table.output_dir)
    for ask in (manager.index.entries, lambda: list(manager.table.ids())):
        with pytest.raises(NotADirectoryError, match=place):
            ask()
    with pytest.raises(OSError, match=place):
        manager.add_workflow_task({"row_number": 2, "product_name": "a"}, "图片合成")


@pytest.mark.parametrize("place", ["corrupt", "ids", "kept", "owners"])
def test_a_file_in_the_place_of_another_folder_hides_no_task(table: WorkflowDatabase, place: str) -> None:
    shutil.rmtree(table.folder / place, ignore_errors=True)
    (table.folder / place).write_bytes(b"mine")
    assert start(table)[1] == [img(1).task_id, job_id(1)]


def test_a_damaged_record_in_done_is_not_counted_and_stops_nobody(table: WorkflowDatabase) -> None:
    (table.folder / "done" / MONTH / f"{job_id(2)}.json").write_bytes(b"{")
    fresh = WorkflowDatabase(table.output_dir)
    fresh.sweep()
    assert len(TaskIndex(fresh).entries()) == 2
    assert DatabaseManager(table.output_dir).get_task(job_id(2)) is None
    assert fresh.claim_id(None, wanted=job_id(2)) != job_id(2)


# ------------------------------------------------------------------ rebuilt from the graph


def damage(table: WorkflowDatabase) -> None:
    (table.folder / "active" / f"{job_id(1)}.json").write_bytes(b'{"schema": 1, "revi')


def test_a_damaged_record_is_rebuilt_from_its_graph(table: WorkflowDatabase) -> None:
    damage(table)
    fresh, active = start(table)
    assert active == [img(1).task_id, job_id(1)]
    record = fresh.get(job_id(1))
    assert (record.row_number, record.product_name, record.workflow_type) == (67, "产品A", "图片合成")
    assert (record.comfyui_task_id, record.stage) == (GRAPH["prompt_id"], Stage.QUEUED)
    assert record.rebuilt_at
    assert fresh.corrupt() == [f"{job_id(1)}.json"], "and what was there is kept"
    assert (table.folder / "corrupt" / f"{job_id(1)}.json").read_bytes() == b'{"schema": 1, "revi'
    assert fresh.update(job_id(1), add_attempt).revision == 2


def test_the_graph_stays_while_its_record_lies_in_quarantine(table: WorkflowDatabase) -> None:
    table.write_graph(img(1).task_id, {"prompt": {}})
    put(table, b"{")
    fresh, _active = start(table)
    fresh.sweep()
    assert fresh.graph(img(1).task_id) is not None


BAD_GRAPHS: dict[str, bytes] = {
    "cut": b'{"schema": 1, "prompt": {',
    "zeros": bytes(500),
    "list": b"[]",
    "no prompt": b'{"task": {}}',
    "deeply nested": b"[" * 200_000,
    "no task": b'{"prompt": {}}',
    "task is a list": b'{"prompt": {}, "task": []}',
    "row is a text": b'{"prompt": {}, "task": {"row_number": "67"}}',
    "metadata is a list": b'{"prompt": {}, "task": {"metadata": [1], "row_number": 0}}',
    "outbox is a list": b'{"prompt": {}, "task": {"metadata": {"feishu": []}}}',
    "prompt_id is a list": b'{"prompt": {}, "prompt_id": [], "task": {}}',
}


@pytest.mark.usefixtures("_nothing_collected")
@pytest.mark.parametrize("data", BAD_GRAPHS.values(), ids=BAD_GRAPHS.keys())
def test_a_graph_that_is_damaged_too_stops_nobody(table: WorkflowDatabase, data: bytes) -> None:
    damage(table)
    (table.folder / "graphs" / f"{job_id(1)}.json").write_bytes(data)
    fresh = WorkflowDatabase(table.output_dir, lock_timeout=0)
    assert [record.task_id for record in fresh.active()] == [img(1).task_id]
    fresh.sweep()
    assert f"{job_id(1)}.json" in fresh.corrupt()
    assert (table.folder / "graphs" / f"{job_id(1)}.json").read_bytes() == data


def test_metadata_of_the_wrong_shape_in_a_graph_does_not_keep_a_record_from_being_rebuilt(
    table: WorkflowDatabase,
) -> None:
    damage(table)
    (table.folder / "graphs" / f"{job_id(1)}.json").write_bytes(b'{"prompt": {}, "task": {"metadata": [1]}}')
    assert job_id(1) in [record.task_id for record in WorkflowDatabase(table.output_dir).active()]


def test_somebody_elses_repair_is_not_set_aside(table: WorkflowDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the lock another process may have rebuilt the record, or a newer one written it."""
    path = table.folder / "active" / NAME
    good = path.read_bytes()
    for mended, expected in ((good, [img(1).task_id, job_id(1)]), (changed(schema=3), [job_id(1)])):
        path.write_bytes(b"{")
        fresh = WorkflowDatabase(table.output_dir)
        real: Callable[[str], Any] = fresh._mending.quarantine

        def after_the_repair(task_id: str, real=real, mended=mended) -> Any:
            path.write_bytes(mended)
            return real(task_id)

        monkeypatch.setattr(fresh._mending, "quarantine", after_the_repair)
        assert [record.task_id for record in fresh.active()] == expected
        assert path.read_bytes() == mended
        assert not (table.folder / "corrupt").exists()
