"""How much a record holds: whatever a prompt makes, its record can be read again, and says what it does not list."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from table_support import img

from wfrecovery.bridge.results.contents import Contents
from wfrecovery.bridge.results.whole_result import whole_result
from wfrecovery.bridge.table.changes import finished, started
from wfrecovery.bridge.table.content import taken
from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.row_identity import RowIdentity
from wfrecovery.bridge.table.values import MADE_BY_NODES, FileStamp, Kind, NodeReport, Owner, QueuePlace, Result

OWNER: Final = Owner("comfyui", "somebody")
#: the pictures of a film of ten minutes
MANY: Final = 14_000
FILES: Final = tuple(
    Result(f"video/2026-11-23/frame_{n:05}_.png", Kind.PICTURE, "9", 1_234_567, f"{n:064x}", FileStamp(n, 1_234_567, n))
    for n in range(MANY)
)
#: what JSON writes with six letters
WORST: Final = "\x01" * 100_000


def deep(value: Any, levels: int) -> Any:
    return deep([value], levels - 1) if levels else value


def with_fields(**fields: Any) -> Callable[[TaskRecord], TaskRecord]:
    return lambda task: dataclasses.replace(task, **fields)


#: what a prompt makes, names or sends → the change of its record
MADE: dict[str, Callable[[TaskRecord], TaskRecord]] = {
    "files": with_fields(results=FILES),
    "files of a node": with_fields(nodes={"9": NodeReport(FILES)}),
    "files of many nodes": with_fields(
        nodes={str(n): NodeReport((file,), done=True) for n, file in enumerate(FILES)},
    ),
    "nodes with long names": with_fields(
        nodes={"9.0.0." * n: NodeReport() for n in range(1, 2_000)} | {MADE_BY_NODES: NodeReport()}
    ),
    "files of nodes with long names": with_fields(
        results=tuple(dataclasses.replace(file, node="9.0.0." * n) for n, file in enumerate(FILES[:2_000]))
    ),
    "found": with_fields(found=tuple(file.path * 5 for file in FILES)),
    "parts": with_fields(queue=QueuePlace(parts=tuple(f"{n:036}" for n in range(200_000)))),
    "refusals": with_fields(refused_by=tuple(f"{n:036}" for n in range(200_000))),
    "texts": with_fields(
        **dict.fromkeys(("error_message", "error_message_zh", "title", "document", "sheet", "batch", "engine"), WORST),
        row=RowIdentity(*[WORST] * 5),
    ),
    "a row": with_fields(row_data={"cells": deep([0] * 80_000, 30)}),
}


def everything(task: TaskRecord) -> TaskRecord:
    for make in MADE.values():
        task = make(task)
    return dataclasses.replace(task, nodes={**MADE["files of many nodes"](task).nodes, MADE_BY_NODES: NodeReport()})


@pytest.mark.parametrize("make", [*MADE.values(), everything], ids=[*MADE, "all of it"])
def test_a_record_can_be_read_whatever_its_prompt_makes(
    tmp_path: Path, make: Callable[[TaskRecord], TaskRecord]
) -> None:
    """Else it is rebuilt while the prompt runs: without its attempts, and nobody's."""
    table = WorkflowDatabase(tmp_path)
    task = started(table.create(img(1, owner=OWNER)))
    table.update(task.task_id, lambda record: make(started(record)))
    again = WorkflowDatabase(tmp_path)
    (found,) = again.active()
    assert (found.attempts, found.owner, found.stage) == (1, OWNER, Stage.RUNNING)
    assert (found.row_number, found.outbox.state) == (task.row_number, task.outbox.state)
    assert (MADE_BY_NODES in found.nodes) == (MADE_BY_NODES in make(task).nodes)
    assert again.corrupt() == []


def test_what_a_record_does_not_list_it_counts(tmp_path: Path) -> None:
    table, delivered = WorkflowDatabase(tmp_path), FILES[-1].path
    task_id = table.create(img(1)).task_id
    table.update(task_id, lambda task: finished(task, FILES).with_outbox(file=delivered))
    for _ in range(2):  # what is written again says the same
        record = table.get(task_id)
        assert 1_000 < len(record.results) < MANY
        assert len(record.results) + record.unlisted == MANY
        assert record.results[-1].path == delivered
        table.update(task_id, lambda task: task.with_outbox(attempts=task.outbox.attempts + 1))
    table.update(task_id, lambda task: task.with_results(FILES[:3]))
    assert table.get(task_id).unlisted == 0
    assert len(table.get(task_id).results) == 3


def test_what_a_few_files_are_is_listed(tmp_path: Path) -> None:
    table = WorkflowDatabase(tmp_path)
    task_id = table.create(img(1)).task_id
    change = with_fields(results=FILES[:1_000], nodes={"9": NodeReport(FILES[:1_000], done=True)})
    written = table.update(task_id, change)
    assert table.get(task_id) == written


def test_the_files_of_parts_that_are_not_listed_are_counted_at_the_end(tmp_path: Path) -> None:
    """They were named by prompts that have ended: who ends the last one knows only of those in the record."""
    table = WorkflowDatabase(tmp_path)
    place = QueuePlace(parts=("0a4e6c3e-5a0b-4d4c-9a60-000000000002",))
    task_id = table.create(img(1, stage=Stage.RUNNING, queue=place)).task_id
    table.update(task_id, with_fields(nodes={"9": NodeReport(FILES, done=True)}))
    known = table.get(task_id).nodes["9"].results
    table.update(task_id, lambda task: finished(task, known))
    record = table.get(task_id)
    assert len(record.results) + record.unlisted == MANY


def test_a_list_that_is_not_all_shows_no_whole_result(tmp_path: Path) -> None:
    """ComfyUI has named a node's files and said that it has ended, and dies. All those that are listed lie there."""
    table = WorkflowDatabase(tmp_path)
    (tmp_path / "a.png").write_bytes(b"a")
    graph = {"outputs_to_execute": ["9"], "files": {"9": None}}
    task_id = table.create(img(1, stage=Stage.RUNNING)).task_id
    named = [taken(tmp_path, "a.png", "9"), *FILES]
    for results, whole in ((named[:1], True), (named, False)):
        table.update(task_id, with_fields(nodes={"9": NodeReport(tuple(results), done=True)}))
        task = table.get(task_id)
        listed = dataclasses.replace(task.nodes["9"], results=task.nodes["9"].results[:1])  # the rest may lie there too
        found = whole_result(with_fields(nodes={"9": listed})(task), graph, [], Contents(table.files, tmp_path))
        assert (found is not None) == whole
