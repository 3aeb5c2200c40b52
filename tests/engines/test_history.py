"""What ComfyUI's history says, in all its shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wfrecovery.bridge.engines.history import (
    Place,
    ResultFile,
    Sighting,
    files_of_node,
    files_of_outputs,
    sighting_of_history,
)
from wfrecovery.bridge.engines.refusals import refusal_text

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


@pytest.mark.parametrize(
    ("ui", "named"),
    [
        ({"images": [{"filename": "a.png"}]}, [("", "a.png")]),
        ({"images": [{"filename": "a.png", "subfolder": "s"}]}, [("s", "a.png")]),
        ({"result": ["wf/a.png", "b.mp4"]}, [("wf", "a.png"), ("", "b.mp4")]),
        ({"gifs": [{"fullpath": "/out/x.mp4"}]}, [("/out", "x.mp4")]),
        ({"3d": {"model": {"filename": "m.glb", "subfolder": "3d", "type": "output"}}}, [("3d", "m.glb")]),
        ({"text": ["a red shoe", "one\ntwo.png", "", "no suffix"]}, []),
        ({"images": [{"filename": "a.png", "type": "temp"}, {"filename": "b.png", "type": "input"}]}, []),
        ({"images": [{"filename": Path("a.png"), "subfolder": Path("s")}]}, [("s", "a.png")]),
        ({"images": [{"filename": 3}, None, 4, {"x": {"y": {"z": {"deep": ["a.png"]}}}}]}, []),
        (None, []),
        ({}, []),
        ([], []),
    ],
)
def test_files_are_named_in_many_ways(ui: Any, named: list[tuple[str, str]]) -> None:
    assert [(file.subfolder, file.filename) for file in files_of_node(ui)] == named


def test_a_text_that_looks_like_a_name_is_not_sure_to_be_one() -> None:
    (file,) = files_of_node({"text": ["version 1.50"]}, "7")
    assert (file.sure, file.node) == (False, "7")
    (other,) = files_of_node({"images": [{"filename": "a.png"}]}, "7")
    assert other.sure


# ------------------------------------------------------------------ what errors quote


def test_a_node_s_message_quotes_no_key_of_its_graph() -> None:
    """Also without the plugin: `main.py` reads the history, which has the prompt beside the message."""
    graph = {"2": {"class_type": "Remote", "inputs": {"api_key": "W1DGET-key", "text": "a cat"}}}
    told = entry("error", STARTED, error(exception_message="W1DGET-key and x-H1DDEN for a cat"))
    told["prompt"] = [1, "p", graph, {"calls": [{"hf_token": "x-H1DDEN"}]}, []]
    message = sighting_of_history(told).message
    assert message is not None
    assert message.en == "KSampler (node 2): [hidden] and [hidden] for a cat"
    assert "W1DGET" not in message.zh


def test_a_refusal_quotes_no_key() -> None:
    """As ComfyUI's validation says it: it quotes what stands in the input."""
    quoted = {
        "type": "invalid_input_type",
        "message": "Failed to convert an input value to a INT value",
        "details": "pin_password, W1DGET-key, invalid literal for int() with base 10: 'W1DGET-key'",
        "extra_info": {"input_name": "pin_password", "received_value": "W1DGET-key"},
    }
    plain = {**quoted, "details": "steps, many", "extra_info": {"input_name": "steps", "received_value": "many"}}
    node = {"class_type": "Remote", "errors": [quoted, plain, {"message": "x", "extra_info": None}]}
    text = refusal_text({"error": {"message": "refused"}, "node_errors": {"2": node}})
    assert "W1DGET" not in text
    assert "steps, many" in text
