"""A record as JSON: it says the same after a round trip, keeps what it does not know, and is JSON to every reader."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_support import add_attempt, img

from wfrecovery.bridge.table.changes import failed, finished
from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.disk import FileStamp
from wfrecovery.bridge.table.files import encode
from wfrecovery.bridge.table.index import TaskIndex
from wfrecovery.bridge.table.record_json import delivery_in, parsed, record_from_json, record_to_json
from wfrecovery.bridge.table.records import SCHEMA, RecordError, Stage, TaskRecord, WorkflowType
from wfrecovery.bridge.table.row_identity import RowIdentity
from wfrecovery.bridge.table.values import (
    FeishuState,
    Kind,
    NodeReport,
    Outbox,
    Owner,
    OwnerKind,
    QueuePlace,
    Result,
    Sent,
    StoryLine,
)

TASK = img(1).task_id
T = TypeVar("T")
NO_NUMBERS = (math.nan, math.inf, -math.inf)


def no_json(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def strict(data: bytes | str) -> Any:
    """What a reader makes of it that knows nothing but JSON, such as the page."""
    return json.loads(data, parse_constant=no_json)


def written(record: TaskRecord) -> dict[str, Any]:
    data: dict[str, Any] = strict(encode(record_to_json(record), indent=1))
    return data


@pytest.fixture
def table(tmp_path: Path) -> WorkflowDatabase:
    table = WorkflowDatabase(tmp_path)
    table.create(img(1))
    return table


def put(table: WorkflowDatabase, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Edit the record's file; what stands in it then."""
    data = held(table)
    change(data)
    (table.active_folder / f"{TASK}.json").write_text(json.dumps(data), "utf-8")
    return data


def held(table: WorkflowDatabase) -> dict[str, Any]:
    data: dict[str, Any] = strict((table.active_folder / f"{TASK}.json").read_bytes())
    return data


# ------------------------------------------------------------------ the round trip

TEXTS = st.text(max_size=8)
MAYBE_TEXTS = st.none() | TEXTS
NUMBERS = st.integers(-(2**70), 2**70)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
#: Every name that this version gives a meaning to, at any level.
OURS = {
    *record_to_json(TaskRecord(TASK)),
    *record_to_json(TaskRecord(TASK))["metadata"],
    *(
        "finished_at",
        "error_message_zh",
        "title",
        "adopted",
        "rebuilt_at",
        "queue",
        "results",
        "nodes",
        "found",
        "story",
        "owner",
        "engine",
        "cancel_requested",
        "sending",
        "batch",
        "publisher",
        "document",
        "sheet",
        "twin",
        "refused_by",
        "row",
    ),
    "node_outputs",
    *(
        item.name
        for cls in (Result, QueuePlace, NodeReport, Owner, StoryLine, Sent, Outbox, RowIdentity)
        for item in dataclasses.fields(cls)
    ),
} - {"rest"}
RESTS = OBJECTS.map(lambda found: {key: value for key, value in found.items() if key not in OURS})


def built(cls: type[T], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[T]:
    """With every field: one that comes to the class later has to be added here."""
    assert fields.keys() == {item.name for item in dataclasses.fields(cls)}, cls  # type: ignore[arg-type]
    return st.builds(cls, **fields)


RESULTS = built(
    Result,
    path=TEXTS,
    kind=st.none() | st.sampled_from(Kind),
    node=MAYBE_TEXTS,
    size=st.none() | NUMBERS,
    sha256=MAYBE_TEXTS,
    stamp=st.none() | st.builds(FileStamp, NUMBERS, NUMBERS, NUMBERS),
    given=st.booleans(),
    rest=RESTS,
)
PLACE_NUMBERS = st.none() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False)
PLACES = built(
    QueuePlace,
    boot=TEXTS,
    number=PLACE_NUMBERS,
    queued_at=MAYBE_TEXTS,
    lost_boot=TEXTS,
    lost_number=PLACE_NUMBERS,
    parts=st.lists(TEXTS, max_size=3).map(tuple),
    started_by=MAYBE_TEXTS,
    rest=RESTS,
)
#: also of a kind that only a newer program knows
OWNERS = built(Owner, kind=st.sampled_from(OwnerKind) | TEXTS, boot=TEXTS, rest=RESTS)
REPORTS = built(
    NodeReport,
    results=st.lists(RESULTS, max_size=2).map(tuple),
    done=st.booleans(),
    unlisted=NUMBERS,
    rest=RESTS,
)
LINES = built(
    StoryLine,
    at=TEXTS,
    what=TEXTS,
    attempt=st.none() | NUMBERS,
    node=MAYBE_TEXTS,
    text=MAYBE_TEXTS,
    text_zh=MAYBE_TEXTS,
    rest=RESTS,
)
OUTBOXES = built(
    Outbox,
    state=st.sampled_from(FeishuState),
    attempts=NUMBERS,
    refused=NUMBERS,
    sends=NUMBERS,
    status_sends=NUMBERS,
    spoiled=st.booleans(),
    row_named=st.booleans(),
    order=st.none() | NUMBERS,
    writing=st.none()
    | built(Sent, cell=TEXTS, before=MAYBE_TEXTS, sha256=TEXTS, answered_at=TEXTS, astray=TEXTS, rest=RESTS),
    upload=st.none() | OBJECTS,
    sent=st.lists(TEXTS, max_size=3).map(tuple),
    rest=RESTS,
    **dict.fromkeys(("last_error", "last_error_zh", "pushed_at", "next_try_at", "wait_until"), MAYBE_TEXTS),
    **dict.fromkeys(("status_before", "file", "by", "asked_at", "superseded_by"), MAYBE_TEXTS),
)
RECORDS = built(
    TaskRecord,
    task_id=st.just(TASK),
    revision=NUMBERS,
    row_number=st.none() | st.integers(1, 2**40),
    workflow_type=st.none() | st.sampled_from([kind.value for kind in WorkflowType]),
    stage=st.sampled_from(Stage),
    attempts=NUMBERS,
    earlier_runs=NUMBERS,
    cut_off=NUMBERS,
    adopted=st.booleans(),
    row_data=OBJECTS,
    row=st.none()
    | built(
        RowIdentity,
        **dict.fromkeys(("product_name", "model_name", "prompt", "product_image", "model_image"), MAYBE_TEXTS),
        record_id=MAYBE_TEXTS,
        task_id=MAYBE_TEXTS,
        rest=RESTS,
    ),
    results=st.lists(RESULTS, max_size=3, unique_by=lambda result: result.path).map(tuple),
    unlisted=NUMBERS,
    outbox=OUTBOXES,
    queue=st.none() | PLACES,
    owner=st.none() | OWNERS,
    engine=MAYBE_TEXTS,
    cancel_requested=MAYBE_TEXTS,
    sending=MAYBE_TEXTS,
    **dict.fromkeys(("batch", "publisher", "document", "sheet", "twin"), MAYBE_TEXTS),
    refused_by=st.lists(TEXTS, max_size=2).map(tuple),
    nodes=st.dictionaries(TEXTS, REPORTS, max_size=2),
    found=st.lists(TEXTS, max_size=3).map(tuple),
    story=st.lists(LINES, max_size=3).map(tuple),
    more=RESTS,
    rest=RESTS,
    **dict.fromkeys(("product_name", "model_name", "created_at", "updated_at"), TEXTS),
    **dict.fromkeys(("comfyui_task_id", "error_message", "started_at", "finished_at"), MAYBE_TEXTS),
    **dict.fromkeys(("error_message_zh", "title", "problem", "rebuilt_at"), MAYBE_TEXTS),
)


@given(RECORDS)
def test_a_record_says_the_same_after_a_round_trip(record: TaskRecord) -> None:
    data = written(record)
    again = record_from_json(data, TASK)
    assert again == record
    assert written(again) == data
    assert parsed(data) == record


@given(st.data())
def test_whatever_stands_in_the_parts_that_are_shown_is_read_and_kept(data: st.DataObject) -> None:
    """Nothing there can make a record unreadable, and a value that means nothing to us is written as it came."""
    record = written(img(1))
    shown = {"feishu_row_data", "processing_start_time", "queue", "nodes", "story", "title", "adopted", "theirs"}
    for name in data.draw(st.sets(st.sampled_from(sorted(shown)), min_size=1)):
        record["metadata"][name] = data.draw(JSON)
    again = record_from_json(record, TASK)
    told = written(again)
    assert record_from_json(told, TASK) == again
    for name, value in record["metadata"].items():
        if name in again.more:
            assert told["metadata"][name] == value


# ------------------------------------------------------------------ what JSON does not know


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_numbers_that_json_does_not_know_never_reach_it(number: float) -> None:
    odd = {"a": number, "b": [1, {"c": (number,)}], "d": "NaN"}
    line, sent = StoryLine("", "queued", rest=odd), Sent("G2", rest=odd)
    record = img(
        1,
        row_data={**odd, "prompt": number},
        queue=QueuePlace("boot", number, rest=odd),
        results=(Result("a.png", rest=odd),),
        nodes={"3": NodeReport((Result("a.png", rest=odd),), rest=odd)},
        story=(line,),
        outbox=Outbox(FeishuState.PENDING, writing=sent, upload=odd, rest=odd),
        more={"theirs": odd},
        rest={"beside": odd},
    )
    data = written(record)
    nothing = {"a": None, "b": [1, {"c": [None]}], "d": "NaN"}
    assert data["metadata"]["feishu_row_data"] == {**nothing, "prompt": None}
    assert data["metadata"]["queue"] == {"boot": "boot", "number": None, **nothing}
    assert data["metadata"]["feishu"]["upload"] == data["metadata"]["theirs"] == data["beside"] == nothing
    assert record_from_json(data, TASK).queue == QueuePlace("boot", rest=nothing)


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_such_a_number_in_a_file_goes_with_the_next_write(table: WorkflowDatabase, number: float) -> None:
    """Schema 1 wrote what a client had sent."""
    put(table, lambda data: data["metadata"].update(queue={"number": number}, feishu_row_data={"a": number}))
    assert table.get(TASK).attempts == 0
    table.update(TASK, add_attempt)
    assert held(table)["metadata"]["queue"] == {"number": None}
    assert held(table)["metadata"]["feishu_row_data"] == {"a": None}


def test_a_number_that_is_too_large_for_a_float_harms_nobody(table: WorkflowDatabase) -> None:
    put(table, lambda data: data["metadata"].update(queue={"boot": "a", "number": 10**400}))
    table.update(TASK, add_attempt)
    assert held(table)["metadata"]["queue"] == {"boot": "a", "number": 10**400}


# ------------------------------------------------------------------ what a newer program has written

THEIRS = {"theirs": [1, {"二": None}], "another": {"a": 1.5}}


def levels(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every object in which a newer program may write something more."""
    metadata = data["metadata"]
    return {
        "record": data,
        "metadata": metadata,
        "feishu": metadata["feishu"],
        "feishu.writing": metadata["feishu"]["writing"],
        "queue": metadata["queue"],
        "results[0]": metadata["results"][0],
        "results[1]": metadata["results"][1],
        "nodes[3]": metadata["nodes"]["3"],
        "nodes[3].results[0]": metadata["nodes"]["3"]["results"][0],
        "story[0]": metadata["story"][0],
        "story[1]": metadata["story"][1],
    }


FULL = img(
    1,
    queue=QueuePlace("boot", 1),
    results=(Result("a.png"), Result("b.png")),
    nodes={"3": NodeReport((Result("a.png"),))},
    story=(StoryLine("2026-11-23T10:00:00+08:00", "queued"), StoryLine("2026-11-23T10:00:01+08:00", "lost")),
    outbox=Outbox(FeishuState.PENDING, writing=Sent("G2")),
)
CHANGES: dict[str, Callable[[TaskRecord], TaskRecord]] = {
    "an attempt": add_attempt,
    "a line of the story": lambda task: failed(task, "boom"),
    "the outbox": lambda task: task.with_outbox(attempts=3, last_error="busy", state=FeishuState.BLOCKED),
    "a node": lambda task: dataclasses.replace(task, nodes={**task.nodes, "5": NodeReport(done=True)}),
    # what left for the sheet of a former result is forgotten with it
    "the end": lambda task: finished(dataclasses.replace(task, stage=Stage.RUNNING)).with_outbox(
        writing=task.outbox.writing
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("level", levels(written(FULL)))
def test_what_this_version_does_not_know_survives_its_write(
    table: WorkflowDatabase, level: str, change: Callable[[TaskRecord], TaskRecord]
) -> None:
    put(table, lambda data: (data.update(written(FULL)), levels(data)[level].update(THEIRS)))
    table.update(TASK, change)
    assert THEIRS.items() <= levels(held(table))[level].items()
    assert table.get(TASK) == record_from_json(held(table), TASK)


def test_a_word_of_a_newer_program_for_something_known_survives_too(table: WorkflowDatabase) -> None:
    def newer(data: dict[str, Any]) -> None:
        data.update(written(FULL))
        data["metadata"]["results"][0].update(kind="model", stamp=[1, 2], size="large")
        data["metadata"]["feishu"]["writing"]["before"] = ["x"]

    put(table, newer)
    assert table.get(TASK).results[0].kind is None
    table.update(TASK, add_attempt)
    known = held(table)["metadata"]["results"][0]
    assert known == {"path": "a.png", "kind": "model", "stamp": [1, 2], "size": "large"}
    assert held(table)["metadata"]["feishu"]["writing"] == {"cell": "G2", "before": ["x"]}


def test_another_programs_answer_may_be_of_a_newer_schema() -> None:
    """It is only looked at: main.py need not be as new as the plugin in ComfyUI."""
    data = {**written(FULL), "schema": SCHEMA + 1, "beside": 1}
    assert parsed(data) == dataclasses.replace(FULL, rest={"beside": 1})
    for odd in (None, [], {}, {**data, "schema": "2"}, {**data, "status": "处理完"}):
        with pytest.raises(RecordError):
            parsed(odd)


def test_how_far_another_program_has_delivered() -> None:
    outbox = Outbox(FeishuState.BLOCKED, attempts=2, last_error="gone", superseded_by="img_20261123_002")
    assert delivery_in(written(dataclasses.replace(FULL, outbox=outbox))) == outbox
    assert delivery_in({"metadata": {"feishu": {"state": "pushed"}}}) == Outbox(FeishuState.PUSHED)
    for odd in ({}, {"metadata": []}, {"metadata": {}}, {"metadata": {"feishu": {"state": "of tomorrow"}}}):
        assert delivery_in(odd) is None


# ------------------------------------------------------------------ what somebody edited badly

DAMAGE = [
    *(("story", value) for value in ("x", {"a": 1}, [1, None], 5, True)),
    *(("queue", value) for value in ("x", [], 5, None, True)),
    *(("nodes", value) for value in ("x", [], {"3": "x"})),
    *(("feishu_row_data", value) for value in ("x", ["提示1"], 5, None)),
    *(("processing_start_time", value) for value in (7, ["x"], {})),
    *(("finished_at", 7), ("title", ["x"]), ("adopted", "yes"), ("error_message", 5), ("rebuilt_at", 1)),
    *(("error_message_zh", 5), ("node_outputs", "x")),
]


@pytest.mark.parametrize(("name", "value"), DAMAGE)
def test_what_is_only_shown_is_kept_as_it_is_and_harms_nobody(table: WorkflowDatabase, name: str, value: Any) -> None:
    put(table, lambda data: data["metadata"].update({name: value}))
    before = table.get(TASK)
    table.update(TASK, add_attempt)
    assert held(table)["metadata"][name] == value
    assert [record.task_id for record in table.active()] == [TASK]
    assert [entry.task_id for entry in TaskIndex(table).entries()] == [TASK]
    table.update(TASK, lambda task: task.entering(Stage.RUNNING))
    ended = table.update(TASK, finished)
    assert (ended.stage, ended.feishu_state, ended.identity) == (Stage.FINISHED, FeishuState.PENDING, before.identity)
    assert [line.what for line in ended.story][-1] == "finished"
    assert table.corrupt() == []


def test_our_value_takes_the_place_of_one_that_could_not_be_read(table: WorkflowDatabase) -> None:
    odd = {"feishu_row_data": 5, "processing_start_time": 7, "queue": "x", "finished_at": 8}
    put(table, lambda data: data["metadata"].update(odd))
    new = {"row_data": {"prompt": "海边"}, "started_at": "then", "queue": QueuePlace("a"), "finished_at": "now"}
    changed = table.update(TASK, lambda task: dataclasses.replace(task, **new))
    metadata = held(table)["metadata"]
    assert (metadata["feishu_row_data"], metadata["processing_start_time"]) == ({"prompt": "海边"}, "then")
    assert (metadata["queue"], metadata["finished_at"]) == ({"boot": "a"}, "now")
    again = table.get(TASK)
    assert (again.row_data, again.queue) == (changed.row_data, changed.queue)
    assert not again.more


def test_one_bad_line_costs_no_other_line_of_the_story(table: WorkflowDatabase) -> None:
    good = {"at": "2026-11-23T10:00:00+08:00", "what": "queued"}
    odd = [{"at": 7, "what": "lost"}, {"what": ["x"]}, {"at": "x"}, {}]
    put(table, lambda data: data["metadata"].update(story=[good, *odd, 5, None, good]))
    assert [line.what for line in table.get(TASK).story] == ["queued", "lost", "", "", "", "queued"]
    table.update(TASK, lambda task: failed(task, "boom"))
    *kept, last = held(table)["metadata"]["story"]
    assert kept == [good, *odd, good]
    assert (last["what"], last["text"]) == ("failed", "boom")


# ------------------------------------------------------------------ earlier records, and people's edits


def test_what_schema_1_noted_of_nodes_is_read(table: WorkflowDatabase) -> None:
    old = {"3": ["a.png", "b.png"], "5": [], "7": ["c.png", 5], "9": "x"}
    put(table, lambda data: (data.update(schema=1), data["metadata"].update(node_outputs=old)))
    nodes = {
        "3": NodeReport((Result("a.png"), Result("b.png")), done=True),
        "5": NodeReport(done=True),
        "7": NodeReport((Result("c.png"),), done=True),
    }
    assert table.get(TASK).nodes == nodes
    table.update(TASK, add_attempt)
    data = held(table)
    assert data["schema"] == SCHEMA
    assert data["metadata"]["nodes"]["3"] == {"results": [{"path": "a.png"}, {"path": "b.png"}], "done": True}
    assert "node_outputs" not in data["metadata"]
    assert table.get(TASK).nodes == nodes


def test_files_that_a_person_enters_count_more_than_what_is_known_of_results(table: WorkflowDatabase) -> None:
    known = Result("a.png", Kind.PICTURE, node="3", size=5, sha256="aa", stamp=FileStamp(1, 5, 7))
    gone = Result("gone.png", size=9)
    table.update(TASK, lambda task: dataclasses.replace(task, results=(gone, known)))
    assert held(table)["output_files"] == ["gone.png", "a.png"]
    put(table, lambda data: data.update(output_files=["b.png", "a.png"]))
    assert table.get(TASK).results == (Result("b.png"), known)
    table.update(TASK, add_attempt)
    data = held(table)
    assert data["output_files"] == ["b.png", "a.png"]
    assert [result["path"] for result in data["metadata"]["results"]] == ["b.png", "a.png"]
    put(table, lambda data: data.update(output_files=[]))
    assert table.get(TASK).results == ()


@pytest.mark.parametrize("name", ["publisher", "document", "sheet", "twin"])
@pytest.mark.parametrize("value", [7, None, {"a": 1}, ["x"]])
def test_a_publisher_that_is_no_name_is_kept_and_means_nobody(table: WorkflowDatabase, name: str, value: Any) -> None:
    put(table, lambda data: data["metadata"].update({name: value}))
    assert getattr(table.get(TASK), name) is None
    table.update(TASK, add_attempt)
    assert held(table)["metadata"][name] == value
