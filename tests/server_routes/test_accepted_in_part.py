"""ComfyUI accepts a prompt of which one output is valid, and leaves the others out: what else it makes is not the
row's result, and what is queued again is so for all outputs, or not at all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image
from plugin_support import Comfy, Shared, Start, all_hosts, one_host, picture, row

from wfrecovery import bridge
from wfrecovery.bridge.engines.history import ABSENT, Place
from wfrecovery.bridge.engines.in_part import seen_in
from wfrecovery.bridge.engines.refusals import refusal_text
from wfrecovery.bridge.recovery.decisions import Action, Decision
from wfrecovery.bridge.results.contents import Contents
from wfrecovery.bridge.results.expected import NodeClass
from wfrecovery.bridge.results.left_out import left_out
from wfrecovery.bridge.table.changes import new_task
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import Kind, Result
from wfrecovery.bridge.wording import Wording
from wfrecovery.server_routes.queue.ending import Endings
from wfrecovery.server_routes.queue.intake import Intake
from wfrecovery.server_routes.queue.prompts import Prompts
from wfrecovery.server_routes.recovery.startup import StartupRecovery


def with_mask(name: str, *, row_task: int | None = None) -> dict[str, Any]:
    """A graph with two savers: 9 needs a file in the input folder, 20 does not. What 9 saves is the row's: Row Task
    names it, or it is the last one of the graph."""
    graph = picture(name)
    graph["7"] = {"class_type": "LoadImage", "inputs": {"image": f"{name}.png"}}
    graph["9"]["inputs"]["images"] = ["7", 0]
    graph["20"] = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"{name}_mask"}}
    if row_task is not None:
        widgets = {**row(row_task), "prompt": "", "product_image": "", "model_image": ""}
        graph["5"] = {"class_type": "WfrecoveryRowTask", "inputs": widgets}
        graph["9"]["inputs"]["filename_prefix"] = ["5", 1]
        return graph
    graph["9"] = graph.pop("9")
    return graph


def lay(comfy: Comfy, name: str) -> None:
    """Put there what node 7 needs."""
    Image.new("RGB", (16, 16)).save(comfy.base / "input" / f"{name}.png")


def take_away(comfy: Comfy, name: str) -> None:
    (comfy.base / "input" / f"{name}.png").unlink()


def in_part(comfy: Comfy, graph: dict[str, Any], tag: Any = None) -> str:
    """Queue a graph of which ComfyUI leaves a part out, and says so; its prompt_id."""
    answer = comfy.post(graph, tag)
    assert answer.status_code == 200
    assert answer.json()["node_errors"]
    return str(answer.json()["prompt_id"])


def outputs(comfy: Comfy, prompt: str) -> set[str]:
    """Those in the graph file."""
    return set(json.loads(comfy.graph_file(prompt).read_text("utf-8"))["outputs_to_execute"])


def names(record: dict[str, Any]) -> list[str]:
    """What its files are called before their numbers."""
    return sorted(path.rpartition("_0")[0] for path in record["output_files"])


@all_hosts
@pytest.mark.parametrize("by_node", [True, False], ids=["Row Task", "extra_data"])
def test_a_row_never_gets_what_else_the_prompt_makes(host: Any, by_node: bool, shared: Shared) -> None:
    comfy, name = shared(host), f"result_{by_node}"
    prompt = in_part(comfy, with_mask(name, row_task=2 if by_node else None), None if by_node else row(2))
    record = comfy.until_stage(prompt, "finished", "failed")
    assert record["status"] == "失败"
    assert "node 9" in record["error_message"]
    assert "LoadImage (node 7)" in record["error_message"]
    assert len(comfy.whole_pictures(f"{name}_mask*.png")) == 1  # ComfyUI was asked for that
    lay(comfy, name)
    assert comfy.act(record["task_id"], "retry").status_code == 202
    record = comfy.finished(prompt)
    assert len(record["output_files"]) == 2
    assert not by_node or "_mask" not in record["metadata"]["feishu"]["file"]


@one_host
def test_what_the_row_does_not_need_may_be_left_out(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    graph = picture("preview")
    graph["7"] = {"class_type": "LoadImage", "inputs": {"image": "never.png"}}
    graph["30"] = {"class_type": "PreviewImage", "inputs": {"images": ["7", 0]}}
    assert names(comfy.finished(in_part(comfy, graph, row(2)))) == ["preview"]
    graph = with_mask("not_last")  # what is not delivered
    graph["20"] = graph.pop("20")
    assert names(comfy.finished(in_part(comfy, graph, row(2)))) == ["not_last_mask"]
    graph = with_mask("named", row_task=2)
    graph["9"]["inputs"]["images"], graph["20"]["inputs"]["images"] = ["1", 0], ["7", 0]
    assert len(comfy.finished(in_part(comfy, graph))["output_files"]) == 1
    assert names(comfy.finished(in_part(comfy, with_mask("no_row")))) == ["no_row_mask"]


@one_host
def test_what_nobody_asked_for_is_not_left_out(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    prompt = comfy.queue(with_mask("asked"), row(2), partial_execution_targets=["20"])
    assert names(comfy.finished(prompt)) == ["asked_mask"]


@all_hosts
def test_what_is_queued_again_is_so_for_all_its_outputs_or_not_at_all(host: Any, start: Start) -> None:
    """A file that a graph needs is gone when ComfyUI comes back."""
    comfy = start(host)
    lay(comfy, "row")
    lay(comfy, "no_row")
    gate = comfy.queue(picture("first", gate="first"), row(2))
    comfy.until_at_gate("first")
    prompts = [comfy.queue(with_mask("row"), row(3)), comfy.queue(with_mask("no_row"))]
    in_part_before = in_part(comfy, with_mask("in_part"), row(4))
    take_away(comfy, "row")
    take_away(comfy, "no_row")
    comfy.crash()
    comfy.open_gate("first")
    comfy.finished(gate)
    for prompt in (*prompts, in_part_before):
        record = comfy.until_stage(prompt, "failed", "finished", "asking")
        if record["row_number"] is None:  # asks first
            comfy.act(record["task_id"], "retry")
            record = comfy.until_stage(prompt, "failed", "finished")
        assert record["status"] == "失败"
        assert "LoadImage (node 7)" in record["error_message"]
        assert outputs(comfy, prompt) == {"9", "20"}
    assert comfy.pictures("*mask*") == []
    lay(comfy, "row")
    assert comfy.act(comfy.record(prompts[0])["task_id"], "retry").status_code == 202
    assert names(comfy.finished(prompts[0])) == ["row", "row_mask"]


@one_host
def test_a_main_py_hears_it_of_the_plugin(host: Any, shared: Shared, tmp_path: Path) -> None:
    """It refuses nothing, and stops nothing, where the plugin knows."""
    comfy = shared(host)
    db = bridge.DatabaseManager(tmp_path)
    recovery = bridge.TaskRecoveryManager(db, bridge.ComfyUIClient(comfy.url, poll_seconds=0.02))

    graph = with_mask("sent")
    graph["2"] = {"class_type": "TryGate", "inputs": {"image": ["1", 0], "gate": "sent.open"}}
    graph["20"]["inputs"]["images"] = ["2", 0]

    async def story() -> str:
        task_id = db.add_workflow_task(row(2), "图片合成")
        await recovery.submit(task_id, graph)
        comfy.open_gate("sent")
        await recovery.finish(task_id)
        return task_id

    task = db.get_task(asyncio.run(story()))
    assert task is not None
    assert task["status"] == "失败"
    assert "LoadImage (node 7)" in task["error_message"]
    assert comfy.stage(task["comfyui_task_id"]) == "failed"
    assert len(comfy.whole_pictures("sent_mask*.png")) == 1


def test_what_is_no_output_any_more_is_left_out_as_well(tmp_path: Path) -> None:
    """A pack was updated: its class saves nothing now, which ComfyUI has no word for."""
    intake = Intake(DatabaseManager(tmp_path), cast(Any, None), Prompts(), lambda: True)
    verdict = (True, None, ["20"], {})
    assert intake.accepted({}, verdict, ()) == verdict
    with intake.post(whole=["20"]):
        assert intake.accepted({}, verdict, ()) == verdict
    with intake.post(whole=["9", "20"]):
        valid, error, outputs, _ = intake.accepted({}, verdict, ())
    assert (valid, outputs) == (False, [])
    assert "9" in refusal_text({"error": error})


def test_what_ran_without_an_output_is_not_the_end_of_the_task(tmp_path: Path) -> None:
    """Its end could not be written down, and the recovery looks into the history."""
    db = DatabaseManager(tmp_path)
    done = {"status_str": "success", "completed": True, "messages": []}
    entry = {"prompt": [0, "a prompt", {}, {}, ["20"]], "outputs": {}, "status": done}
    host: Any = SimpleNamespace(queued=lambda: ([], []), history_entry=lambda _: entry)
    others: dict[str, Any] = dict.fromkeys(
        ("requeueing", "requests", "writer", "endings", "settings", "on_change", "on_progress")
    )
    recovery = StartupRecovery(host=host, db=db, **others)
    task = new_task(db.table.claim_id("图片合成"), Stage.RUNNING, comfyui_task_id="a prompt")
    assert recovery._sighting(task, {"outputs_to_execute": ["20"]}).place is Place.SUCCEEDED
    assert recovery._sighting(task, {"outputs_to_execute": ["9", "20"]}).place is Place.ABSENT


@pytest.mark.parametrize("saved", ["9", "20"])
def test_what_is_adopted_after_a_crash_is_the_row_s_own_or_nothing(saved: str, tmp_path: Path) -> None:
    """All nodes had ended before, and what saves the row's file was blocked."""
    db = DatabaseManager(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    endings = Endings(tmp_path, Contents(db.table.files, tmp_path))
    others: dict[str, Any] = dict.fromkeys(
        ("host", "requeueing", "requests", "writer", "settings", "on_change", "on_progress")
    )
    recovery = StartupRecovery(db=db, endings=endings, **others)
    task = db.table.get(db.add_workflow_task(row(2), "图片合成"))
    graph = {"prompt": with_mask("a", row_task=2), "outputs_to_execute": ["9", "20"]}
    adopt = Decision(Action.ADOPT, Wording("found", "找到"))
    done = recovery._change(task, adopt, ABSENT, graph, (Result("a.png", Kind.PICTURE, node=saved),))(task)
    assert (done.stage is Stage.FINISHED, done.adopted) == (saved == "9", saved == "9")
    assert saved == "9" or "node 9" in str(done.error_message)


def test_what_is_no_answer_of_comfyui_s_tells_of_nothing_left_out() -> None:
    for odd in (None, [], "no", {"9": None}, {"9": "no"}, {"9": {}}, {"9": {"dependent_outputs": "9"}}):
        assert left_out(odd) == []
    assert left_out({"7": {"dependent_outputs": ["9", "20"]}, "8": {"dependent_outputs": [9]}}) == ["9", "20"]


@pytest.mark.parametrize("through", [True, False], ids=["hands its picture on", "ends there"])
def test_comfyui_is_asked_about_a_prompt_that_has_ended_only_where_something_may_be_missing(through: bool) -> None:
    """A `main.py` looks up hundreds when it starts."""
    graph = with_mask("asked", row_task=2)
    if through:  # the row's saver hands its picture on to one that shows it
        graph["30"] = {"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}}
    outputs = [node for node in ("9", "20", "30") if node in graph]
    item = [0, "p", graph, {"wfrecovery": row(2)}, outputs]
    entry = {"prompt": item, "outputs": {}, "status": {"status_str": "success", "completed": True, "messages": []}}
    asked: list[str] = []

    async def classes(prompt: Any) -> dict[str, NodeClass]:
        asked.extend(prompt)
        return {
            name: NodeClass(name, "nodes", output_node=name in ("SaveImage", "PreviewImage"))
            for name in ("SaveImage", "PreviewImage", "LoadImage", "EmptyImage")
        }

    def seen() -> Place:
        return asyncio.run(seen_in({"p": entry}, "p", classes, heard=False)).place

    assert seen() is Place.SUCCEEDED
    assert asked == []
    item[4] = ["20"]
    assert seen() is Place.FAILED
    assert asked
