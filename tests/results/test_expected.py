"""How many files a prompt makes comes from its node classes, and "cannot tell" wherever one of them is not known."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfrecovery.bridge.results.core_nodes import CORE_NODES
from wfrecovery.bridge.results.expected import NodeClass, expected_files, node_classes, node_classes_of_object_info

Prompt = dict[str, dict[str, Any]]
#: As ComfyUI has them.
CORE = {
    name: NodeClass(name, module, output_node=node.writes is not None)
    for module, nodes in CORE_NODES.items()
    for name, node in nodes.items()
}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def empty(batch_size: Any = 1) -> dict[str, Any]:
    return node("EmptyImage", width=64, height=48, batch_size=batch_size, color=0)


def save(source: str, kind: str = "SaveImage") -> dict[str, Any]:
    return node(kind, images=[source, 0], filename_prefix="a")


def chain(*nodes: dict[str, Any]) -> Prompt:
    return {str(number): one for number, one in enumerate(nodes, 1)}


def pack(name: str, declared: Any = None, **more: Any) -> dict[str, NodeClass]:
    return {name: NodeClass(name, "custom_nodes.pack", declared=declared, **more)}


def files(prompt: Mapping[str, Any], *outputs: str, frames: Any = None, **more: NodeClass) -> dict[str, int | None]:
    return expected_files(prompt, outputs, {**CORE, **more}, lambda _: frames)


def count(prompt: Mapping[str, Any], **more: Any) -> int | None:
    """Of the one output node."""
    (number,) = files(prompt, **more).values()
    return number


# ------------------------------------------------------------------ ComfyUI's own classes


@pytest.mark.parametrize("batch", [1, 3])
def test_pictures_of_a_batch_are_counted_along_the_graph(batch: int) -> None:
    scaled = node("ImageScale", image=["1", 0], width=8, height=8, upscale_method="area", crop="disabled")
    assert files(chain(empty(batch), scaled, save("2")), "3") == {"3": batch}
    two = chain(empty(batch), empty(4), node("ImageBatch", image1=["1", 0], image2=["2", 0]), save("3"))
    assert files(two, "4") == {"4": batch + 4}
    assert count(chain(empty(batch), node("RepeatImageBatch", image=["1", 0], amount=5), save("2"))) == batch * 5
    stitched = node("ImageStitch", image1=["1", 0], image2=["2", 0])
    assert count(chain(empty(batch), empty(2), stitched, save("3"))) == max(batch, 2)
    assert count(chain(empty(batch), node("ImageStitch", image1=["1", 0]), save("2"))) == batch


@pytest.mark.parametrize(("start", "length", "made"), [(0, 1, 1), (0, 9, 3), (1, 9, 2), (2, 1, 1), (9, 4, 1)])
def test_a_part_of_a_batch(start: int, length: int, made: int) -> None:
    part = node("ImageFromBatch", image=["1", 0], batch_index=start, length=length)
    assert count(chain(empty(3), part, save("2"))) == made
    negative = node("ImageFromBatch", image=["1", 0], batch_index=-1, length=length)
    assert count(chain(empty(3), negative, save("2"))) is None, "the versions differ"


@pytest.mark.parametrize("value", [["5", 0], "3", 3.0, True, 0, -1, None, 10**400])
def test_a_number_that_is_not_written_in_the_graph_is_unknown(value: Any) -> None:
    prompt = chain(empty(value), save("1"))
    prompt["5"] = node("PrimitiveInt", value=3)
    assert files(prompt, "2") == {"2": None}
    del prompt["1"]["inputs"]["batch_size"]
    assert files(prompt, "2") == {"2": None}


def text_to_image(latent: dict[str, Any]) -> Prompt:
    return chain(
        node("CheckpointLoaderSimple", ckpt_name="a"),
        node("CLIPTextEncode", clip=["1", 1], text="a"),
        latent,
        node("KSampler", model=["1", 0], positive=["2", 0], negative=["2", 0], latent_image=["3", 0], seed=1),
        node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        save("5"),
    )


def test_pictures_of_a_model() -> None:
    assert count(text_to_image(node("EmptyLatentImage", width=8, height=8, batch_size=4))) == 4
    encoded = node("VAEEncode", pixels=["7", 0], vae=["1", 2])
    for batch, made in ((1, 1), (3, None)):  # the VAE of a video model takes three pictures for three frames
        assert count({**text_to_image(encoded), "7": empty(batch)}) == made
    repeated = node("RepeatLatentBatch", samples=["7", 0], amount=2)
    assert count({**text_to_image(repeated), "7": encoded | {"inputs": {"pixels": ["8", 0]}}, "8": empty()}) == 2
    assert count(text_to_image(node("EmptyHunyuanLatentVideo", length=25, batch_size=1))) is None


@pytest.mark.parametrize("saver", ["SaveVideo", "SaveWEBM", "SaveAnimatedPNG", "SaveAnimatedWEBP"])
def test_a_video_is_one_file_however_many_frames_it_has(saver: str) -> None:
    prompt = text_to_image(node("EmptyHunyuanLatentVideo", length=25, batch_size=1))
    prompt["6"] = save("5", saver)
    if saver == "SaveVideo":
        prompt["6"] = node(saver, video=["7", 0], filename_prefix="v")
        prompt["7"] = node("CreateVideo", images=["5", 0], fps=8)
    assert files(prompt, "6") == {"6": 1}
    assert files(prompt) == {"6": 1}


def test_every_frame_of_an_unknown_video_is_a_file_of_its_own_for_save_image() -> None:
    prompt = chain(node("LoadVideo", file="a.mp4"), node("GetVideoComponents", video=["1", 0]), save("2"))
    assert count(prompt) is None
    assert count(chain(node("LoadVideo", file="a.mp4"), node("SaveVideo", video=["1", 0]))) == 1


@pytest.mark.parametrize("kind", ["LoadImage", "LoadImageOutput"])
def test_a_loaded_picture_has_as_many_frames_as_its_file(kind: str) -> None:
    prompt = chain(node(kind, image="a.gif"), save("1"))
    for frames in (1, 3):
        assert count(prompt, frames=frames) == frames
    for frames in (None, 0, -2, True, 1.0, "1"):
        assert count(prompt, frames=frames) is None, frames
    assert expected_files(prompt, ["2"], CORE) == {"2": None}
    asked: list[Any] = []
    expected_files(prompt, ["2"], CORE, asked.append)
    assert asked == [{"image": "a.gif"}]


def test_a_mask_of_several_frames_is_one_or_several() -> None:
    prompt = chain(node("LoadImageMask", image="a.gif", channel="red"), node("MaskToImage", mask=["1", 0]), save("2"))
    assert count(prompt, frames=1) == 1
    assert count(prompt, frames=3) is None


def test_the_second_batch_may_decide() -> None:
    for mask_frames, made in ((2, 2), (3, None)):
        mask = node("ImageToMask", image=["3", 0], channel="red")
        joined = node("JoinImageWithAlpha", image=["1", 0], alpha=["2", 0])
        prompt = {"1": empty(2), "2": mask, "3": empty(mask_frames), "4": joined, "5": save("4")}
        assert count(prompt) == made


@pytest.mark.parametrize(
    ("kind", "name"), [("PreviewImage", "images"), ("MaskPreview", "mask"), ("PreviewAny", "source")]
)
def test_a_preview_writes_nothing_into_the_output_folder(kind: str, name: str) -> None:
    assert count(chain(empty(3), node(kind, **{name: ["1", 0]}))) == 0
    assert count(chain(node("LoadImage", image="a"), node(kind, **{name: ["1", 0]}))) == 0


def test_each_output_node_is_told_apart() -> None:
    prompt = chain(empty(2), save("1"), node("PreviewImage", images=["1", 0]), node("Pack", image=["1", 0]), save("4"))
    assert files(prompt, "2", "3", "5") == {"2": 2, "3": 0, "5": None}
    assert files(prompt, "2") == {"2": 2}, "only what runs"
    known = pack("Pack", "same")
    assert files(prompt, **known) == {"2": 2, "3": 0, "5": 2}


def test_an_output_node_that_another_one_needs_runs_with_it() -> None:
    assert files(chain(empty(2), save("1"), save("2")), "3") == {"2": 2, "3": 2}
    prompt = chain(empty(2), node("Pack", images=["1", 0]), save("2"))
    assert files(prompt, "3", **pack("Pack", output_node=True)) == {"2": None, "3": None}
    assert files(prompt, "3", **pack("Pack", "none", output_node=True)) == {"2": 0, "3": None}


# ------------------------------------------------------------------ what is not known


@pytest.mark.parametrize(
    "stranger",
    [
        None,
        NodeClass("ImageInvert", "custom_nodes.pack"),
        NodeClass("ImageInvert", ""),
        NodeClass("ImageInvert", "comfy_extras.nodes_images"),
        NodeClass("ImageInvert", "nodes", output_is_list=True),
        NodeClass("ImageInvert", "nodes", input_is_list=True),
        NodeClass("ImageInvert", "nodes", output_node=True),
        NodeClass("ImageInvert", "custom_nodes.pack", declared="same", output_is_list=True),
        NodeClass("ImageInvert", "custom_nodes.pack", declared="same", input_is_list=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("saver", ["SaveImage", "SaveWEBM", "PreviewImage"])
def test_below_a_class_that_is_not_known_nothing_is(stranger: NodeClass | None, saver: str) -> None:
    prompt = chain(empty(), node("ImageInvert", image=["1", 0]), save("2", saver))
    assert files(prompt, "3") == {"3": 0 if saver == "PreviewImage" else 1}
    classes = {name: class_ for name, class_ in CORE.items() if name != "ImageInvert"}
    found = expected_files(prompt, ["3"], classes if stranger is None else {**classes, "ImageInvert": stranger})
    assert found["3"] is None


def test_a_saver_that_is_not_known() -> None:
    prompt = chain(empty(), save("1", "Pack"))
    assert files(prompt, "2") == files(prompt) == {"2": None}, "without its class it may be an output node"
    assert files(prompt, "2", **pack("Pack", output_node=True)) == {"2": None}
    for changed in ({"module": "custom_nodes.pack"}, {"output_node": False}, {"input_is_list": True}):
        other = dataclasses.replace(CORE["SaveImage"], **changed)
        assert files(chain(empty(), save("1")), "2", SaveImage=other) == {"2": None}


@pytest.mark.parametrize(
    "prompt",
    [
        chain(save("1")),
        chain(save("2"), node("ImageInvert", image=["1", 0])),
        chain(save("2"), node("ImageInvert", image=["3", 0]), node("ImageInvert", image=["2", 0])),
        chain(save("9")),
        chain(save("2"), node("ImageInvert", image=["9", 0])),
        chain(save("2"), node("ImageBatch", image1=["3", 0], image2=["9", 0]), empty()),
        chain(save("2"), {"class_type": "EmptyImage"}),
        chain(save("2"), {"class_type": ["EmptyImage"], "inputs": {"batch_size": 1}}),
        chain(save("2"), {"class_type": "EmptyImage", "inputs": [1]}),
        {"1": save("2"), "2": "EmptyImage"},
        {"1": save("2"), "2": None},
        {"1": node("SaveImage"), "2": empty()},
        {"1": node("SaveImage", images=["2", 0], other=["2", 0, 0]), "2": empty()},
        {"1": node("SaveImage", images=["2", "0"]), "2": empty()},
        {"1": node("SaveImage", images=[2, 0]), "2": empty()},
        {"1": node("SaveImage", images=[["2", 0]]), "2": empty()},
        {"1": node("SaveImage", images={"2": 0}), "2": empty()},
        {"1": node("SaveImage", images=["2", 0]), "2": node("CheckpointLoaderSimple")},
        {"1": node("EmptyImage", batch_size=1)},
        {"2": empty()},
    ],
    ids=repr,
)
def test_a_damaged_graph_is_unknown(prompt: dict[str, Any]) -> None:
    assert files(prompt, "1") == {"1": None}


def test_a_loop_beside_it_does_not_matter() -> None:
    loop = {"8": node("ImageInvert", image=["9", 0]), "9": node("ImageInvert", image=["8", 0])}
    assert files({**chain(empty(2), save("1")), **loop}, "2") == {"2": 2}
    below = {"3": node("ImageBatch", image1=["1", 0], image2=["8", 0]), "4": save("3")}
    assert files({**chain(empty(2), save("1")), **loop, **below}, "2", "4") == {"2": 2, "4": None}


def test_a_graph_of_any_depth_and_width() -> None:
    deep = {str(n): node("ImageInvert", image=[str(n - 1), 0]) for n in range(1, 5000)} | {"0": empty(3)}
    assert files({**deep, "s": save("4999")}, "s") == {"s": 3}
    # Paths double with each pair: a walk along all of them would not end.
    wide = {str(n): node("ImageBatch", image1=[str(n - 1), 0], image2=[str(n - 1), 0]) for n in range(1, 5000)}
    found = files({**wide, "0": empty(), "s": save("10"), "t": save("4999")}, "s", "t")
    assert found == {"s": 2**10, "t": None}
    assert json.dumps(found)


# ------------------------------------------------------------------ an unknown node anywhere


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Prompt, int]:
    """A graph of known nodes with one saver, and the number of its files."""
    prompt, made = chain(empty(2)), [2]
    for number in range(2, draw(st.integers(2, 8))):
        first, second = draw(st.integers(1, number - 1)), draw(st.integers(1, number - 1))
        one: dict[str, tuple[dict[str, Any], int]] = {
            "EmptyImage": (empty(3), 3),
            "ImageInvert": (node("ImageInvert", image=[str(first), 0]), made[first - 1]),
            "ImageBatch": (
                node("ImageBatch", image1=[str(first), 0], image2=[str(second), 0]),
                made[first - 1] + made[second - 1],
            ),
            "ImageStitch": (
                node("ImageStitch", image1=[str(first), 0], image2=[str(second), 0]),
                max(made[first - 1], made[second - 1]),
            ),
        }
        prompt[str(number)], pictures = one[draw(st.sampled_from(sorted(one)))]
        made.append(pictures)
    last = str(len(made))
    saver = draw(st.sampled_from(["SaveImage", "SaveWEBM", "PreviewImage"]))
    return {**prompt, "s": save(last, saver)}, {"SaveImage": made[-1], "SaveWEBM": 1, "PreviewImage": 0}[saver]


def upstream(prompt: Prompt) -> list[tuple[str, str]]:
    """Every link above the saver: the node, and the input by which it comes."""
    found, waiting = [], ["s"]
    while waiting:
        one = waiting.pop()
        links = [(name, value[0]) for name, value in prompt[one]["inputs"].items() if isinstance(value, list)]
        found += [(one, name) for name, _ in links if (one, name) not in found]
        waiting += [origin for _, origin in links]
    return found


STRANGERS = [{}, pack("Strange"), pack("Strange", "same", output_is_list=True), pack("Strange", "twice")]


@given(graphs(), st.data())
def test_an_unknown_node_anywhere_above_a_saver_makes_its_files_unknown(
    graph: tuple[Prompt, int], data: st.DataObject
) -> None:
    prompt, number = graph
    assert files(prompt, "s") == {"s": number}
    strange = data.draw(st.sampled_from(STRANGERS))
    changed = copy.deepcopy(prompt)
    below, name = data.draw(st.sampled_from(upstream(prompt)))
    if data.draw(st.booleans()):  # between two nodes, as the only way or beside a known one
        changed["strange"] = node("Strange", image=changed[below]["inputs"][name])
        changed[below]["inputs"][data.draw(st.sampled_from([name, "more"]))] = ["strange", 0]
    else:
        changed[changed[below]["inputs"][name][0]]["class_type"] = "Strange"
    assert files(changed, "s", **strange) == {"s": None}
    declared = pack("Strange", 1)
    assert files(changed, "s", **declared)["s"] is not None, "the same graph of known nodes can be told"


# ------------------------------------------------------------------ what a class declares


@pytest.mark.parametrize(
    ("declared", "made"), [("same", 3), (1, 1), (7, 7), ("some", None), (0, None), ("each", None), ("one", None)]
)
def test_a_pack_s_class_says_what_it_makes(declared: Any, made: int | None) -> None:
    prompt = chain(empty(3), node("Pack", image=["1", 0]), save("2"), save("2", "SaveWEBM"))
    found = files(prompt, "3", "4", **pack("Pack", declared))
    assert found == {"3": made, "4": None if declared in ("each", "one") else 1}


@pytest.mark.parametrize(("declared", "made"), [("each", 3), ("one", 1), ("none", 0), ("same", None), (1, None)])
def test_a_pack_s_saver_says_how_many_files_it_writes(declared: Any, made: int | None) -> None:
    prompt = chain(empty(3), node("Pack", images=["1", 0], text=["3", 0]), node("PrimitiveString", value="a"))
    assert files(prompt, "2", **pack("Pack", declared, output_node=True)) == {"2": made}


@pytest.mark.parametrize("declared", [None, "", "Same", "none", -1, 1.0, True, ("same",), {"same": 1}, ["same"], int])
def test_any_other_declaration_is_none(declared: Any) -> None:
    prompt = chain(empty(3), node("Pack", image=["1", 0]), save("2"))
    assert files(prompt, "3", **pack("Pack", declared)) == {"3": None}
    assert declared == "none" or files(
        chain(empty(), node("Pack", image=["1", 0])), "2", **pack("Pack", declared, output_node=True)
    ) == {"2": None}


def test_as_many_as_it_gets_is_unknown_when_it_gets_different_numbers() -> None:
    for second, made in ((3, 3), (2, None)):
        prompt = chain(empty(3), empty(second), node("Pack", a=["1", 0], b=["2", 0]), save("3"))
        assert count(prompt, **pack("Pack", "same")) == made
    nothing = chain(node("PrimitiveInt", value=3), node("Pack", a=["1", 0]), save("2"))
    assert count(nothing, **pack("Pack", "same")) is None


# ------------------------------------------------------------------ where the classes come from


def in_module(module: str, **attributes: Any) -> type:
    def run(self: Any) -> None: ...

    run.__module__ = module
    return type("Some", (), {"FUNCTION": "run", "run": run, "__module__": module, **attributes})


def described(class_: Any) -> NodeClass | None:
    return node_classes({"A": class_}, {"1": {"class_type": "A"}}).get("A")


def test_a_class_is_described_as_comfyui_describes_it() -> None:
    assert described(in_module("nodes")) == NodeClass("A", "nodes")
    extra = in_module("/comfyui/comfy_extras/nodes_x", RELATIVE_PYTHON_MODULE="comfy_extras.nodes_x", OUTPUT_NODE=True)
    assert described(extra) == NodeClass("A", "comfy_extras.nodes_x", output_node=True)
    for lists in ([False, True], (True,)):
        one = described(in_module("nodes", OUTPUT_IS_LIST=lists, INPUT_IS_LIST=True))
        assert one == NodeClass("A", "nodes", output_is_list=True, input_is_list=True)
    assert described(in_module("nodes", OUTPUT_IS_LIST=None)) == NodeClass("A", "nodes")


def test_a_pack_s_class_in_the_place_of_a_core_class_is_not_taken_for_it() -> None:
    """Put into the mapping by hand it carries no module, and `/object_info` calls it "nodes"."""
    core = in_module("nodes")
    for stranger in (in_module("pack"), type("Some", (core,), {"__module__": "pack"})):
        assert described(stranger) == NodeClass("A", "")
    inherited = type("Some", (in_module("x", RELATIVE_PYTHON_MODULE="nodes"),), {"__module__": "pack"})
    assert described(inherited) == NodeClass("A", "")
    core.run = in_module("pack").run  # type: ignore[attr-defined]
    assert described(core) == NodeClass("A", ""), "its work is done by somebody else's function"


def test_a_declaration_holds_for_the_class_itself_only() -> None:
    declared = in_module("pack", RELATIVE_PYTHON_MODULE="custom_nodes.pack", WFRECOVERY_MAKES="same")
    assert described(declared) == NodeClass("A", "custom_nodes.pack", declared="same")
    heir = type("Heir", (declared,), {"RELATIVE_PYTHON_MODULE": "custom_nodes.pack", "__module__": "pack"})
    assert described(heir) == NodeClass("A", "custom_nodes.pack")


class _Raises:
    def __get__(self, instance: Any, owner: Any) -> Any:
        raise RuntimeError("odd")


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "text",
        object(),
        in_module("nodes", OUTPUT_NODE=_Raises()),
        in_module("nodes", OUTPUT_IS_LIST=3),
        in_module("nodes", INPUT_IS_LIST=_Raises()),
        in_module("nodes", FUNCTION=None),
        in_module("nodes", execute=_Raises()),
        type("NoFunction", (), {}),
    ],
)
def test_one_odd_class_is_unknown_and_the_others_are_not(odd: Any) -> None:
    prompt = {**chain(node("Odd"), node("Good"), node("Absent"), node("Good")), "9": None, "8": {"class_type": 3}}
    found = node_classes({"Odd": odd, "Good": in_module("nodes"), "Unused": in_module("nodes")}, prompt)
    assert found == {"Good": NodeClass("Good", "nodes")}


def test_what_object_info_says() -> None:
    said = {"python_module": "nodes", "output_node": True, "output_is_list": []}
    info = {
        "SaveImage": said,
        "Lists": {**said, "output_node": False, "output_is_list": [False, True], "is_input_list": True},
        "Odd": {"python_module": "nodes"},
        "Odder": None,
        "Oddest": {**said, "output_is_list": 3},
    }
    assert node_classes_of_object_info(info) == {
        "SaveImage": NodeClass("SaveImage", "nodes", output_node=True),
        "Lists": NodeClass("Lists", "nodes", output_is_list=True, input_is_list=True),
    }
