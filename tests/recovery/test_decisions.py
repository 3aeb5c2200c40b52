"""The table of decisions, line by line, and what ComfyUI's history says in all its shapes."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from wfrecovery.bridge.engines.history import (
    ABSENT,
    UNKNOWN,
    Place,
    ResultFile,
    Sighting,
    files_of_outputs,
    sighting_of_history,
)
from wfrecovery.bridge.recovery.decisions import Action, decide
from wfrecovery.bridge.settings import MAX_ATTEMPTS, LostPrompts
from wfrecovery.bridge.table.records import TaskRecord
from wfrecovery.bridge.wording import Wording

ROW_TASK = TaskRecord("img_20261123_001", row_number=67, product_name="产品A", model_name="模特B")
OTHER_TASK = TaskRecord("job_20261123_001")


def attempted(task: TaskRecord, attempts: int) -> TaskRecord:
    return dataclasses.replace(task, attempts=attempts)


# ------------------------------------------------------------------ the table


@pytest.mark.parametrize(
    ("place", "action"),
    [
        (Place.UNKNOWN, Action.LEAVE),
        (Place.WAITING, Action.FOLLOW),
        (Place.RUNNING, Action.FOLLOW),
        (Place.ASKING, Action.FOLLOW),
        (Place.SUCCEEDED, Action.COLLECT),
        (Place.FAILED, Action.FAIL),
        (Place.INTERRUPTED, Action.CANCEL),
    ],
)
def test_what_comfyui_says_decides_whatever_else_is_known(place: Place, action: Action) -> None:
    for task, attempts, on_disk, has_graph, can_queue, lost in itertools.product(
        (ROW_TASK, OTHER_TASK), (0, 99), (True, False), (True, False), (True, False), LostPrompts
    ):
        decision = decide(
            attempted(task, attempts),
            Sighting(place),
            on_disk=on_disk,
            has_graph=has_graph,
            can_queue=can_queue,
            lost_prompts=lost,
        )
        assert decision.action is action
        assert decision.reason


def test_the_nodes_own_message_is_the_reason_of_a_failure() -> None:
    assert decide(
        ROW_TASK,
        Sighting(Place.FAILED, message=Wording("KSampler: boom", "KSampler: boom")),
        on_disk=False,
        has_graph=True,
    ).reason.en == ("KSampler: boom")


@pytest.mark.parametrize("attempts", [0, 2, 3, 50])
@pytest.mark.parametrize("has_graph", [True, False])
def test_a_whole_result_on_disk_is_adopted_whatever_the_attempts(attempts: int, has_graph: bool) -> None:
    assert decide(attempted(ROW_TASK, attempts), ABSENT, on_disk=True, has_graph=has_graph).action is Action.ADOPT


def test_a_lost_row_is_queued_again() -> None:
    for lost in LostPrompts:
        decision = decide(ROW_TASK, ABSENT, on_disk=False, has_graph=True, lost_prompts=lost)
        assert decision.action is Action.REQUEUE, "a row does not depend on the setting for other prompts"


def test_without_a_graph_a_lost_task_fails_as_never_submitted() -> None:
    decision = decide(ROW_TASK, ABSENT, on_disk=False, has_graph=False)
    assert (decision.action, decision.reason.en) == (Action.FAIL, "lost before it was submitted")


@pytest.mark.parametrize("task", [ROW_TASK, OTHER_TASK])
def test_a_task_that_took_comfyui_down_three_times_is_given_up(task: TaskRecord) -> None:
    for attempts in range(MAX_ATTEMPTS + 3):
        decision = decide(
            attempted(task, attempts), ABSENT, on_disk=False, has_graph=True, lost_prompts=LostPrompts.AUTO
        )
        assert decision.action is (Action.REQUEUE if attempts < 3 else Action.FAIL)
    assert "5 times" in decision.reason.en
    assert "5 次" in decision.reason.zh


def test_the_limit_of_attempts_is_a_setting() -> None:
    once = attempted(ROW_TASK, 1)
    assert decide(once, ABSENT, on_disk=False, has_graph=True, max_attempts=1).action is Action.FAIL
    assert decide(once, ABSENT, on_disk=False, has_graph=True, max_attempts=2).action is Action.REQUEUE


@pytest.mark.parametrize(
    ("lost", "action"),
    [(LostPrompts.ASK, Action.ASK), (LostPrompts.AUTO, Action.REQUEUE), (LostPrompts.OFF, Action.CANCEL)],
)
def test_a_lost_prompt_without_a_row_follows_the_setting(lost: LostPrompts, action: Action) -> None:
    assert decide(OTHER_TASK, ABSENT, on_disk=False, has_graph=True, lost_prompts=lost).action is action


def test_asking_is_the_default_for_prompts_without_a_row() -> None:
    assert decide(OTHER_TASK, ABSENT, on_disk=False, has_graph=True).action is Action.ASK


def test_where_another_plugin_hides_pending_prompts_nothing_is_queued_unasked() -> None:
    for task, lost in itertools.product((ROW_TASK, OTHER_TASK), (LostPrompts.ASK, LostPrompts.AUTO)):
        decision = decide(task, ABSENT, on_disk=False, has_graph=True, can_queue=False, lost_prompts=lost)
        assert decision.action is Action.ASK


def test_absent_is_never_concluded_from_a_failed_look_up() -> None:
    assert decide(ROW_TASK, UNKNOWN, on_disk=False, has_graph=False).action is Action.LEAVE


# ------------------------------------------------------------------ the history's shapes

STARTED = ["execution_start", {"prompt_id": "p", "timestamp": 1}]
CACHED = ["execution_cached", {"nodes": [], "prompt_id": "p", "timestamp": 2}]
SUCCESS = ["execution_success", {"prompt_id": "p", "timestamp": 3}]
PICTURE = {"filename": "test_00001_.png", "subfolder": "wf", "type": "output"}


def error(**changes: Any) -> list[Any]:
    data = {
        "prompt_id": "p",
        "node_id": "2",
        "node_type": "KSampler",
        "executed": ["1"],
        "exception_message": "boom\n",
        "exception_type": "ValueError",
        "traceback": ["Traceback: api_key=sk-abcdefghijklmnopqrst"],
        "current_inputs": {"text": ["a secret prompt"]},
        "current_outputs": [],
        "timestamp": 4,
    }
    return ["execution_error", {**data, **changes}]


INTERRUPTED = [
    "execution_interrupted",
    {"prompt_id": "p", "node_id": "2", "node_type": "KSampler", "executed": [], "timestamp": 4},
]


def entry(status_str: str, *messages: Any, outputs: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "prompt": [1, "p", {}, {}, []],
        "outputs": outputs or {},
        "status": {"status_str": status_str, "completed": status_str == "success", "messages": list(messages)},
        "meta": {},
    }


def test_success_names_its_files() -> None:
    seen = sighting_of_history(entry("success", STARTED, CACHED, SUCCESS, outputs={"2": {"images": [PICTURE]}}))
    assert seen == Sighting(Place.SUCCEEDED, (ResultFile("test_00001_.png", "wf"),))
    assert seen.files[0].path == "wf/test_00001_.png"


def test_a_video_stands_under_images_and_animated_is_no_file() -> None:
    video = {"filename": "wf_00001_.mp4", "subfolder": "video", "type": "output"}
    outputs = {"3": {"images": [video], "animated": [True]}}
    assert [file.path for file in sighting_of_history(entry("success", SUCCESS, outputs=outputs)).files] == [
        "video/wf_00001_.mp4"
    ]


def test_other_keys_are_read_and_previews_texts_and_doubles_are_no_results() -> None:
    outputs = {
        "1": {"images": [{**PICTURE, "type": "temp"}]},
        "2": {"gifs": [{"filename": "a.mp4", "subfolder": "", "type": "output", "frame_rate": 8, "metadata": {}}]},
        "3": {"images": [PICTURE, PICTURE], "text": ["hello"], "value": 5, "title": "output"},
        "4": None,
        "5": {"images": [None, {"type": "output"}, {"type": "output", "filename": 7}]},
    }
    assert [file.path for file in files_of_outputs(outputs)] == ["a.mp4", "wf/test_00001_.png"]


def test_windows_subfolders_become_paths_as_records_hold_them() -> None:
    assert ResultFile("a.png", "x\\y\\").path == "x/y/a.png"
    for path in ("a.png", "x/a.png", "x/y/a.png"):
        assert ResultFile.from_path(path).path == path


def test_a_node_error_keeps_the_nodes_message_and_no_inputs_traceback_or_half_results() -> None:
    seen = sighting_of_history(entry("error", STARTED, CACHED, error(), outputs={"1": {"images": [PICTURE]}}))
    assert (seen.place, seen.files, str(seen.message)) == (Place.FAILED, (), "KSampler (node 2): boom")


def test_an_interruption_is_told_from_an_error_by_its_message_alone() -> None:
    assert sighting_of_history(entry("error", STARTED, INTERRUPTED)).place is Place.INTERRUPTED
    assert sighting_of_history(entry("error", STARTED)).place is Place.FAILED


def test_the_last_terminal_message_wins_over_status_str() -> None:
    assert sighting_of_history(entry("success", STARTED, error())).place is Place.FAILED
    assert sighting_of_history(entry("success", STARTED, INTERRUPTED)).place is Place.INTERRUPTED
    later = ["some_plugins_event", {"timestamp": 9}]
    assert sighting_of_history(entry("success", STARTED, error(), later)).place is Place.FAILED


@pytest.mark.parametrize("status", [None, {}, {"status_str": "success", "completed": True, "messages": []}])
def test_a_missing_status_counts_as_done(status: Any) -> None:
    seen = sighting_of_history({"outputs": {"2": {"images": [PICTURE]}}, "status": status})
    assert (seen.place, len(seen.files)) == (Place.SUCCEEDED, 1)


@pytest.mark.parametrize("outputs", [None, {}])
def test_success_without_outputs_has_no_files(outputs: Any) -> None:
    assert sighting_of_history({"outputs": outputs, "status": None}) == Sighting(Place.SUCCEEDED)


def test_in_memory_tuples_read_like_lists_over_http() -> None:
    assert sighting_of_history(entry("error", tuple(STARTED), tuple(INTERRUPTED))).place is Place.INTERRUPTED


def test_out_of_gpu_memory_is_said_in_one_line_with_advice() -> None:
    message = "Allocation on device\nThis error means you ran out of memory on your GPU.\n\nTIPS: …"
    seen = sighting_of_history(
        entry("error", error(exception_type="torch.OutOfMemoryError", exception_message=message))
    )
    assert str(seen.message) == (
        "KSampler (node 2): Allocation on device (out of GPU memory: a smaller picture or fewer frames may fit)"
    )


def test_out_of_gpu_memory_without_a_message_is_still_named() -> None:
    seen = sighting_of_history(entry("error", error(exception_type="torch.OutOfMemoryError", exception_message=None)))
    assert "OutOfMemoryError" in str(seen.message)


@pytest.mark.parametrize("data", [None, {}, {"exception_message": None}])
def test_an_error_without_words_still_has_a_reason(data: Any) -> None:
    assert sighting_of_history(entry("error", ["execution_error", data])).message


@pytest.mark.parametrize(
    "text",
    [
        "401: Authorization: Bearer abcdef0123456789",
        "bad request api_key=abcdef0123456789",
        'server said {"auth_token": "abcdef0123456789"}',
        "key sk-abcdef0123456789 is not valid",
    ],
)
def test_a_secret_in_a_nodes_message_is_not_kept(text: str) -> None:
    message = sighting_of_history(entry("error", error(exception_message=text))).message
    assert message
    assert "abcdef0123456789" not in message.en + message.zh
