"""The story of a task: one line for each thing that happened, in the record itself, bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from table_support import GRAPH, WatchedDisk, add_attempt, img, job

from wfrecovery.bridge.table.changes import cancelled, failed, finished
from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.table.story import MAX_LINES, MAX_TEXT
from wfrecovery.bridge.table.values import FeishuState, QueuePlace, Result

TASK = img(1).task_id


@pytest.fixture
def table(tmp_path: Path) -> WorkflowDatabase:
    return WorkflowDatabase(tmp_path)


def story_of(table: WorkflowDatabase, task_id: str = TASK) -> list[dict[str, Any]]:
    """As it stands in the file: what the page reads."""
    (file,) = table.folder.glob(f"[ad]*/**/{task_id}.json")
    lines: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["metadata"].get("story", [])
    return lines


def told(table: WorkflowDatabase, task_id: str = TASK) -> list[str]:
    return [line["what"] for line in story_of(table, task_id)]


def queued(boot: str, number: int = 1) -> Any:
    return lambda task: task.entering(Stage.QUEUED, queue=QueuePlace(boot, number))


def blocked(task: TaskRecord, reason: str) -> TaskRecord:
    return task.with_outbox(state=FeishuState.BLOCKED, last_error=reason)


def started(task: TaskRecord) -> TaskRecord:
    return add_attempt(task.entering(Stage.RUNNING))


def test_a_row_from_entry_to_sheet(table: WorkflowDatabase) -> None:
    table.create(img(1, stage=Stage.CREATED))
    for change in (queued("a"), started, lambda task: finished(task, (Result("x.png"),))):
        table.update(TASK, change)
    table.update(TASK, lambda task: task.with_outbox(state=FeishuState.PUSHED))
    assert told(table) == ["entered", "queued", "started", "finished", "pushed"]
    story = story_of(table)
    assert story[2]["attempt"] == 1
    assert [line["at"] for line in story] == sorted(line["at"] for line in story)


def test_a_crash_a_second_attempt_and_an_adoption(table: WorkflowDatabase) -> None:
    table.create(img(1))
    table.update(TASK, lambda task: started(replace(task, queue=QueuePlace("a"))))
    table.update(TASK, queued("b"))
    table.update(TASK, started)
    table.update(TASK, lambda task: replace(finished(task, (Result("x.png"),)), adopted=True))
    assert told(table) == ["queued", "started", "lost", "queued_again", "started", "adopted"]
    assert [line.get("attempt") for line in story_of(table) if line["what"] == "started"] == [1, 2]


def test_what_was_lost_is_queued_again_when_its_place_in_the_queue_is_known(table: WorkflowDatabase) -> None:
    """As `main.py` counts: a loss is noted first, with the start that it cost, and then comes the answer."""
    table.create(img(1, stage=Stage.QUEUED, queue=QueuePlace("a")))
    table.update(TASK, lambda task: add_attempt(replace(task, queue=None)))
    assert told(table) == ["queued"]
    table.update(TASK, queued("b"))
    assert told(table) == ["queued", "lost", "queued_again"]


def test_a_prompt_that_starts_in_the_same_write_as_it_is_queued_again(table: WorkflowDatabase) -> None:
    table.create(img(1, stage=Stage.RUNNING, attempts=1, queue=QueuePlace("a")))
    table.update(TASK, lambda task: add_attempt(replace(task, queue=QueuePlace("b"))))
    assert told(table) == ["queued", "started", "lost", "queued_again", "started"]


def test_an_error_names_its_node_and_a_retry_is_no_loss(table: WorkflowDatabase) -> None:
    table.create(img(1, stage=Stage.RUNNING, attempts=1, queue=QueuePlace("a")))
    table.update(TASK, lambda task: failed(task, "KSampler (node 5): out of memory: 3 GB\nmore"))
    table.update(TASK, lambda task: task.entering(Stage.QUEUED))
    story = story_of(table)
    assert [line["what"] for line in story] == ["queued", "started", "failed", "retried"]
    assert (story[2]["node"], story[2]["text"]) == ("KSampler (node 5)", "out of memory: 3 GB\nmore")


def test_other_endings_have_their_reason(table: WorkflowDatabase) -> None:
    table.create(img(1))
    table.create(job(1))
    table.update(TASK, lambda task: failed(task, "it cannot be queued again: no such model"))
    table.update(job(1).task_id, lambda task: cancelled(task, "deleted from the queue by the user"))
    assert story_of(table)[-1]["text"] == "it cannot be queued again: no such model"
    last = story_of(table, job(1).task_id)[-1]
    assert (last["what"], last["text"]) == ("cancelled", "deleted from the queue by the user")


def test_what_waits_for_a_person(table: WorkflowDatabase) -> None:
    table.create(job(1))
    table.update(job(1).task_id, lambda task: task.entering(Stage.ASKING))
    table.update(job(1).task_id, lambda task: task.entering(Stage.QUEUED))
    assert told(table, job(1).task_id) == ["queued", "lost", "retried"]
    for number in (1, 2):
        place = QueuePlace(boot=f"boot {number}", number=0.0)
        table.update(job(1).task_id, lambda task, place=place: replace(task, queue=place))
    assert told(table, job(1).task_id) == ["queued", "lost", "retried", "lost", "queued_again"]


def test_blocked_for_the_same_reason_is_told_once(table: WorkflowDatabase) -> None:
    table.create(img(1, stage=Stage.FINISHED))
    for _ in range(5):
        table.update(TASK, lambda task: blocked(task, "row 61 is another product"))
        table.update(TASK, lambda task: task.with_outbox(state=FeishuState.PENDING))
    table.update(TASK, lambda task: blocked(task, "no such column"))
    story = story_of(table)
    assert [(line["what"], line.get("text")) for line in story] == [
        ("finished", None),
        ("blocked", "row 61 is another product"),
        ("blocked", "no such column"),
    ]


def test_pushed_again(table: WorkflowDatabase) -> None:
    table.create(img(1, stage=Stage.FINISHED))
    for state in (FeishuState.PUSHED, FeishuState.PENDING, FeishuState.PUSHED):
        table.update(TASK, lambda task, state=state: task.with_outbox(state=state))
    assert told(table) == ["finished", "pushed", "push_again", "pushed"]


def test_the_first_line_and_the_newest_stay(table: WorkflowDatabase) -> None:
    table.create(img(1))
    for number in range(40):
        table.update(TASK, lambda task, number=number: failed(task, f"{number} " + "x" * 5000))
        table.update(TASK, lambda task: task.entering(Stage.QUEUED))
    story = story_of(table)
    assert len(story) == MAX_LINES
    assert (story[0]["what"], story[-1]["what"]) == ("queued", "retried")
    assert story[-2]["text"].startswith("39 ")
    assert len(story[-2]["text"]) <= MAX_TEXT + 1


@pytest.mark.parametrize("damaged", ["x", {"a": 1}, [1, None], 5])
def test_a_story_that_somebody_edited_badly_goes_on(table: WorkflowDatabase, damaged: Any) -> None:
    table.create(img(1))
    file = table.folder / "active" / f"{TASK}.json"
    record = json.loads(file.read_text("utf-8"))
    record["metadata"]["story"] = damaged
    file.write_text(json.dumps(record), "utf-8")
    table.update(TASK, lambda task: failed(task, "x"))
    assert story_of(table)[-1]["what"] == "failed"


def test_a_rebuilt_record_says_so(table: WorkflowDatabase) -> None:
    table.create(img(1), GRAPH)
    (table.folder / "active" / f"{TASK}.json").write_bytes(b"{")
    assert [record.task_id for record in table.active()] == [TASK]
    assert told(table) == ["rebuilt"]


def test_it_costs_no_write_of_its_own(tmp_path: Path) -> None:
    seen: list[str] = []
    db = DatabaseManager(tmp_path, disk=WatchedDisk(lambda name, _: seen.append(name)))
    db.table.create(img(1))
    seen.clear()
    db.mark_task_failed(TASK, "x")
    assert seen.count("write") == 1
