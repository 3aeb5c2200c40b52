"""The Row Task node: the row that a graph names is the right one or none, whatever became of its widgets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin_support import Comfy, all_hosts, picture, row

from wfrecovery.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from wfrecovery.nodes.row_task import RowTask
from wfrecovery.server_routes.queue.row_tag import RowTag, row_tag_of


def graph_with(*nodes: dict[str, Any], **others: Any) -> dict[str, Any]:
    """A graph with a Row Task for each set of widgets, as nodes 30, 31 …"""
    graph = picture("unused")
    for number, widgets in enumerate(nodes, start=30):
        graph[str(number)] = {"class_type": RowTask.NAME, "inputs": widgets}
    return {**graph, **others}


def constant(value: Any, kind: str = "PrimitiveInt", name: str = "value") -> dict[str, Any]:
    return {"class_type": kind, "inputs": {name: value}}


# ------------------------------------------------------------------ what the graph says


#: Anything that JSON can hold, often where a cell's parts stand.
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["text", "1%", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "values", "fileToken"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["product_name", "prompt", "model_image", "feishu_row_data", "row"]), ANYTHING))
def test_whatever_else_a_client_says_of_its_row_the_row_is_known(said: dict[str, Any]) -> None:
    """A prompt of which the row could not be read was not recorded at all."""
    tag = row_tag_of({}, {"wfrecovery": row(67, **said)})
    assert (tag.row_number, tag.problem) == (67, None)


def test_the_widgets_name_the_row_with_or_without_its_prompt() -> None:
    plain = row_tag_of(graph_with(row(67)), {})
    assert (plain.row_number, plain.product_name, plain.model_name) == (67, "产品67", "模特A")
    assert (plain.workflow_type, plain.feishu_row_data, plain.problem) == ("图片合成", {}, None)
    assert row_tag_of(graph_with(row(67, prompt="")), {}) == plain
    told = row_tag_of(graph_with(row(67, prompt="白底，柔光")), {})
    assert told.feishu_row_data == {
        "row_number": 67,
        "product_name": "产品67",
        "model_name": "模特A",
        "prompt": "白底，柔光",
    }


def test_what_main_py_sends_along_wins_over_the_node() -> None:
    assert row_tag_of(graph_with(row(67)), {"wfrecovery": row(5)}).row_number == 5


def test_a_graph_without_the_node_is_for_no_row() -> None:
    assert row_tag_of(picture("x"), {}) == RowTag()


def test_a_widget_that_became_an_input_is_followed_to_its_constant() -> None:
    widgets = row(1, row_number=["40", 0], product_name=["41", 0], prompt=["42", 0])
    others = {
        "40": constant(67),
        "41": {"class_type": "Reroute (any)", "inputs": {"input": ["43", 0]}},
        "42": constant("白底", "PrimitiveStringMultiline"),
        "43": constant("杯子", "StringConstant", "string"),
    }
    tag = row_tag_of(graph_with(widgets, **others), {})
    assert (tag.row_number, tag.product_name, tag.problem) == (67, "杯子", None)
    assert tag.feishu_row_data["prompt"] == "白底"


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ({"class_type": "MathInt", "inputs": {"a": 5}}, "node 40 (MathInt)"),
        ({"class_type": "PrimitiveInt", "inputs": {"value": 5, "plus": 1}}, "node 40 (PrimitiveInt)"),
        ({"class_type": "Reroute", "inputs": {"input": ["40", 0]}}, "without an end"),
        ({"class_type": "Reroute", "inputs": {"input": ["99", 0]}}, "node 99 (not in the graph)"),
        ({"class_type": "PrimitiveInt"}, "node 40 (PrimitiveInt)"),
        (None, "node 40 (not in the graph)"),
    ],
)
@pytest.mark.parametrize("widget", ["row_number", "product_name", "model_name", "workflow_type"])
def test_a_row_that_is_known_only_while_it_runs_is_no_row(source: Any, named: str, widget: str) -> None:
    others = {"40": source} if source else {}
    tag = row_tag_of(graph_with(row(67, **{widget: ["40", 0]}), **others), {})
    assert tag.row_number is None
    assert widget in (tag.problem or "")
    assert named in (tag.problem or "")
    assert "type it in" in (tag.problem or "")


def test_a_prompt_that_is_known_only_while_it_runs_costs_nothing() -> None:
    tag = row_tag_of(graph_with(row(67, prompt=["40", 0])), {})
    assert (tag.row_number, tag.feishu_row_data, tag.problem) == (67, {}, None)


def test_the_pictures_of_a_row_tell_it_apart_as_they_do_in_extra_data() -> None:
    pictures = {"product_image": "boxcnProduct", "model_image": "boxcnModel"}
    node = row_tag_of(graph_with(row(67, prompt="白底", **pictures)), {})
    tag = row_tag_of({}, {"wfrecovery": row(67, prompt="白底", **pictures)})
    assert node.row == tag.row
    assert node.row is not None
    assert (node.row.product_image, node.row.model_image) == ("boxcnProduct", "boxcnModel")
    old = row_tag_of(graph_with(row(67, prompt="白底")), {})
    assert old == row_tag_of(graph_with(row(67, prompt="白底", product_image="", model_image=["40", 0])), {})
    assert old.row is not None
    assert old.row.product_image is None, "what nobody has said is not known"


def test_several_nodes_have_to_agree() -> None:
    assert row_tag_of(graph_with(row(67), row(67)), {}).row_number == 67
    tag = row_tag_of(graph_with(row(67), row(68)), {})
    assert tag.row_number is None
    assert "node 30: row 67, node 31: row 68" in (tag.problem or "")


@pytest.mark.parametrize("inputs", [None, "x", [], {}])
def test_a_node_that_is_no_node_stops_nothing(inputs: Any) -> None:
    graph = picture("x")
    graph["30"] = {"class_type": RowTask.NAME, "inputs": inputs}
    assert row_tag_of(graph, {}).row_number is None


# ------------------------------------------------------------------ the node itself


def test_its_inputs_stay_where_saved_workflows_expect_them() -> None:
    inputs = RowTask.INPUT_TYPES()
    assert list(inputs["required"]) == ["row_number", "product_name", "model_name", "workflow_type"]
    assert list(inputs["optional"]) == ["image", "prompt", "product_image", "model_image"], "new ones come last"
    assert inputs == RowTask.INPUT_TYPES()
    assert inputs["required"]["workflow_type"] == (["图片合成", "图生视频"],)
    assert RowTask.RETURN_NAMES[:2] == ("image", "filename_prefix")
    assert {"WfrecoveryRowTask": RowTask} == NODE_CLASS_MAPPINGS
    assert NODE_DISPLAY_NAME_MAPPINGS == {"WfrecoveryRowTask": "Row Task"}


def test_its_outputs_depend_on_its_inputs_alone_so_that_the_cache_works() -> None:
    assert not hasattr(RowTask, "IS_CHANGED")
    image = object()
    first, second = (RowTask().run(**row(67), image=image, prompt="白底") for _ in range(2))
    assert first == second
    assert (first[0], first[2]) == (image, "白底")
    assert first[1].startswith("img/%year%-%month%-%day%/产品67_模特A_")
    assert RowTask().run(**row(67, workflow_type="图生视频"))[1].startswith("video/")


def test_no_name_leads_out_of_the_output_folder() -> None:
    prefix = RowTask().run(**row(1, product_name="../../etc", model_name="a/b\\c:d"))[1]
    assert prefix.count("/") == 2
    assert ".." not in prefix.split("/")
    assert not set('\\:*?"<>|') & set(prefix)
    assert RowTask().run(**row(1, product_name=" ", model_name=""))[1].split("/")[2].startswith("产品_模特_")


@all_hosts
def test_a_graph_is_recorded_for_its_row_and_saved_in_the_house_style(host: Any, tmp_path: Path) -> None:
    comfy = Comfy(tmp_path / "comfyui", host)
    with comfy:
        graph = graph_with(row(31, image=["1", 0], prompt="白底"))
        graph["9"]["inputs"] = {"images": ["30", 0], "filename_prefix": ["30", 1]}
        record = comfy.finished(comfy.queue(graph))
        assert (record["row_number"], record["product_name"], record["workflow_type"]) == (31, "产品31", "图片合成")
        assert record["metadata"]["feishu_row_data"]["prompt"] == "白底"
        assert record["metadata"]["feishu"]["state"] == "pending"
        (file,) = record["output_files"]
        assert re.fullmatch(r"img/\d{4}-\d\d-\d\d/产品31_模特A_\d{8}_\d{6}_00001_\.png", file)
        again = comfy.finished(comfy.queue(graph))
        assert again["task_id"] != record["task_id"]
        assert again["output_files"] == [file], "the same inputs: nothing is rendered or saved twice"
        unclear = graph_with(row(32, image=["1", 0]), row(33, image=["1", 0]))
        unclear["9"]["inputs"] = {"images": ["30", 0], "filename_prefix": ["31", 1]}
        lost = comfy.finished(comfy.queue(unclear))
        assert lost["row_number"] is None
        assert "do not agree" in lost["metadata"]["error_message"]
        info = comfy.get("/object_info/WfrecoveryRowTask")["WfrecoveryRowTask"]
        assert info["input_order"]["optional"][:2] == ["image", "prompt"] or host != "real"
