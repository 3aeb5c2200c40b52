"""The number of files that is recorded with a prompt is the number that ComfyUI writes, or nobody can tell."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from plugin_support import NO_REAL, REAL, Comfy, Shared, Start, one_host, picture, row, slow_save, until

from wfrecovery.bridge.results.core_nodes import CORE_NODES
from wfrecovery.bridge.results.expected import expected_files, node_classes_of_object_info
from wfrecovery.server_routes.host import Host
from wfrecovery.server_routes.queue.item import QueueItem
from wfrecovery.server_routes.queue.recording import files_of

Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def empty(batch: int, color: int = 1) -> dict[str, Any]:
    return node("EmptyImage", width=32, height=32, batch_size=batch, color=color)


def save(source: str, prefix: str, kind: str = "SaveImage") -> dict[str, Any]:
    return node(kind, images=[source, 0], filename_prefix=prefix)


def save_video(source: str, prefix: str) -> dict[str, Any]:
    return node("SaveVideo", video=[source, 0], filename_prefix=prefix, format="mp4", codec="h264")


def recorded(comfy: Comfy, prompt_id: str) -> dict[str, int | None]:
    """What was written down when the prompt was accepted."""
    files: dict[str, int | None] = json.loads(comfy.graph_file(prompt_id).read_text("utf-8"))["files"]
    return files


def ended(comfy: Comfy, prompt_id: str) -> dict[str, Any]:
    """ComfyUI's own entry of a prompt that has ended."""
    entry: dict[str, Any] = until(lambda: comfy.get(f"/history/{prompt_id}").get(prompt_id))
    return entry


def written(comfy: Comfy, prompt_id: str, name: str) -> dict[str, int]:
    """The files of each output node in the output folder; they are all whose names begin with `name`."""
    entry = ended(comfy, prompt_id)
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    counts = {}
    for node_id, shown in entry["outputs"].items():
        files = [one for values in shown.values() for one in values if isinstance(one, Mapping)]
        counts[node_id] = sum(one.get("type") == "output" for one in files)
    assert len(list(comfy.output.glob(f"{name}_*"))) == sum(counts.values()), name
    return counts


def both(comfy: Comfy, graph: Graph, name: str) -> tuple[dict[str, int | None], dict[str, int]]:
    """What was recorded and what was written."""
    prompt_id = comfy.queue(graph, row(2))
    return recorded(comfy, prompt_id), written(comfy, prompt_id, name)


# ------------------------------------------------------------------ stand-ins and the real one


def graphs(name: str) -> dict[str, tuple[Graph, dict[str, int]]]:
    """Graphs that every host can run, with their files."""
    scaled = node("ImageScale", image=["1", 0], upscale_method="area", width=8, height=8, crop="disabled")
    composite = node("WfrComposite", product=["1", 0], model=["1", 0], prompt="a", seconds=0)
    animated = node("WfrAnimate", image=["1", 0], frames=4, seconds=0)
    video = node("CreateVideo", images=["2", 0], fps=8)
    task = {"row_number": 2, "product_name": "a", "model_name": "b", "workflow_type": "图片合成"}
    return {
        "one": (picture(name), {"9": 1}),
        "three": (picture(name, batch=3), {"9": 3}),
        "slow": (slow_save(name, 0, 3), {"9": 3}),
        "scaled": ({"1": empty(3), "2": scaled, "9": save("2", name)}, {"9": 3}),
        "joined": (
            {
                "1": empty(3),
                "2": empty(2, 5),
                "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
                "7": save("1", name),
                "8": node("PreviewImage", images=["3", 0]),
                "9": save("3", name),
            },
            {"7": 3, "8": 0, "9": 5},
        ),
        "declared": (
            {
                "1": empty(3),
                "2": composite,
                "3": node("WfrSleep", image=["1", 0], seconds=0),
                "4": node("WfrecoveryRowTask", **task, image=["3", 0], prompt=""),
                "8": save("2", name),
                "9": save("4", name),
            },
            {"8": 1, "9": 3},
        ),
        "video": ({"1": empty(4), "2": scaled, "3": video, "9": save_video("3", name)}, {"9": 1}),
        "animated": ({"1": empty(1), "2": animated, "3": video, "9": save_video("3", name)}, {"9": 1}),
    }


@one_host
def test_what_is_recorded_is_what_is_written(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    for name in graphs(""):
        graph, files = graphs(f"files-{name}")[name]
        for one in graph.values():
            if one["class_type"] == "EmptyImage":  # no other test has rendered it
                one["inputs"]["color"] += 4000 + len(name)
        found, counts = both(comfy, graph, f"files-{name}")
        assert found == files, name
        assert counts == {node_id: count for node_id, count in files.items() if count or node_id in counts}, name


@one_host
def test_frames_of_an_input_file(host: Any, shared: Shared) -> None:
    comfy = shared(host)
    shots = [Image.effect_noise((24, 16), 60).convert("RGB") for _ in range(3)]
    folder = comfy.base / "input"
    shots[0].save(folder / "one.png")
    shots[0].save(folder / "one.jpg")
    shots[0].save(folder / "three.gif", save_all=True, append_images=shots[1:])
    shots[0].save(folder / "three.png", save_all=True, append_images=shots[1:])
    shots[0].save(folder / "three.tiff", save_all=True, append_images=shots[1:])
    (folder / "twice.png").write_bytes((folder / "one.png").read_bytes() * 2)
    wanted = {"one.png": 1, "one.jpg": 1, "three.gif": 3, "three.png": 3, "three.tiff": None, "twice.png": None}
    for name, count in wanted.items():
        graph = {"1": node("LoadImage", image=name), "2": save("1", f"loaded-{name}")}
        found, counts = both(comfy, graph, f"loaded-{name}")
        assert found == {"2": count}, name
        assert count in (None, counts["2"]), name


_PACK = """
import nodes


class Double:
    CATEGORY, FUNCTION, RETURN_TYPES = "test", "upscale", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def upscale(self, image, **_):
        return (image.repeat(2, 1, 1, 1) if hasattr(image, "cpu") else image.repeat(2, 0),)


class List(Double):
    OUTPUT_IS_LIST = (True,)
    WFRECOVERY_MAKES = "same"

    def upscale(self, image):
        return ([image, image],)


class Saver(nodes.NODE_CLASS_MAPPINGS["SaveImage"]):
    pass


def save_images(self, *args, original=nodes.NODE_CLASS_MAPPINGS["SaveImage"].save_images, **more):
    return original(self, *args, **more)


nodes.NODE_CLASS_MAPPINGS["ImageScale"] = Double
nodes.NODE_CLASS_MAPPINGS["SaveImage"].save_images = save_images
NODE_CLASS_MAPPINGS = {"WfrDouble": Double, "WfrList": List, "WfrSaver": Saver}
"""


@one_host
def test_nodes_of_a_pack_and_what_it_puts_in_the_place_of_comfyui_s_own_are_unknown(
    host: Any, start: Start, tmp_path: Path
) -> None:
    pack = tmp_path / "odd_nodes"
    pack.mkdir()
    (pack / "__init__.py").write_text(_PACK)
    comfy = start(host, plugins=[pack])
    for kind, count in (("WfrDouble", 2), ("ImageScale", 2), ("WfrList", 2)):
        through = {"1": empty(1), "2": node(kind, image=["1", 0]), "9": save("2", kind)}
        through["8"] = save_video("3", kind)
        through["3"] = node("CreateVideo", images=["2", 0], fps=8)
        found, counts = both(comfy, through, kind)
        assert found == {"8": None, "9": None}
        assert counts == {"8": 2 if kind == "WfrList" else 1, "9": count}
    for kind in ("WfrSaver", "SaveImage"):
        assert both(comfy, {"1": empty(1), "9": save("1", kind, kind)}, kind) == ({"9": None}, {"9": 1})
    assert both(comfy, slow_save("known", 0), "known") == ({"9": 1}, {"9": 1})


class Alone(Host):
    """Without a ComfyUI."""

    def __init__(self) -> None:
        pass


def test_frames_of_what_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = SimpleNamespace(get_annotated_filepath=lambda name: str(tmp_path / name))
    monkeypatch.setitem(sys.modules, "folder_paths", folders)
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    assert Alone().frames_of({"image": "good.png"}) == 1
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "large.png").write_bytes((tmp_path / "good.png").read_bytes())
    with (tmp_path / "large.png").open("ab") as file:
        file.truncate(200_000_000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")  # who opens it waits for ever
    for name in ("text.png", "large.png", "pipe.png", "absent.png", ".", "\0", ["1", 0], None, 3):
        assert Alone().frames_of({"image": name}) is None, name
    assert Alone().frames_of({}) is None


def test_an_error_of_ours_makes_all_unknown() -> None:
    class Broken(Alone):
        def node_classes(self, prompt: Mapping[str, Any]) -> Any:
            raise RecursionError(prompt)

    item = QueueItem(1, "a", picture("a"), {}, ("9", "12"))
    assert files_of(item, Broken()) == {"9": None, "12": None}


# ------------------------------------------------------------------ the table against the real one


@pytest.fixture(scope="module")
def info(real: Comfy) -> dict[str, Any]:
    answer: dict[str, Any] = real.get("/object_info")
    return answer


@pytest.fixture(scope="module")
def real(shared: Shared) -> Comfy:
    if REAL is None:
        pytest.skip(NO_REAL)
    return shared("real")


def test_the_table_is_about_classes_of_comfyui_that_make_no_lists(info: dict[str, Any]) -> None:
    classes = node_classes_of_object_info(info)
    for module, nodes in CORE_NODES.items():
        for name, known in nodes.items():
            assert (classes[name].module, classes[name].output_node) == (module, known.writes is not None), name
            assert not classes[name].output_is_list, name
            assert not classes[name].input_is_list, name


def source(type_: str, batch: int, color: int, name: str) -> Graph | None:
    """Nodes of which `name` makes as many things of this type; None when that needs a model."""
    match type_:
        case "IMAGE":
            return {name: empty(batch, color)}
        case "MASK":
            return {name: node("ImageToMask", image=[f"{name}i", 0], channel="red"), f"{name}i": empty(batch, color)}
        case "LATENT":
            encoded = node("VAEEncode", pixels=[f"{name}i", 0], vae=[f"{name}v", 0])
            graph = {name: node("RepeatLatentBatch", samples=[f"{name}e", 0], amount=batch), f"{name}e": encoded}
            return {**graph, f"{name}i": empty(1, color), f"{name}v": node("VAELoader", vae_name="pixel_space")}
        case "AUDIO":
            return {name: node("EmptyAudio", duration=1.0, sample_rate=44100, channels=2)}
        case "VIDEO":
            sound = node("EmptyAudio", duration=1.0, sample_rate=44100, channels=2)
            video = node("CreateVideo", images=[f"{name}i", 0], audio=[f"{name}a", 0], fps=8)
            return {name: video, f"{name}a": sound, f"{name}i": empty(batch, color)}
        case "VAE":
            return {name: node("VAELoader", vae_name="pixel_space")}
    return None


def saver(type_: str, slot: int, prefix: str) -> Graph:
    """Nodes that write what the node under test hands on there."""
    name, link = f"s{slot}", ["n", slot]
    match type_:
        case "IMAGE":
            return {name: node("SaveImage", images=link, filename_prefix=prefix)}
        case "MASK":
            return {name: save(f"{name}m", prefix), f"{name}m": node("MaskToImage", mask=link)}
        case "LATENT":
            return {name: node("SaveLatent", samples=link, filename_prefix=prefix)}
        case "AUDIO":
            return {name: node("SaveAudio", audio=link, filename_prefix=prefix)}
        case "VIDEO":
            return {name: save_video("n", prefix)}
    return {name: node("PreviewAny", source=link)}


#: Beside the defaults.
WIDGETS = {"format": "mp4", "batch_index": 1, "length": 2, "amount": 2, "megapixels": 0.01}
SIZES = ("width", "height", "target_width", "target_height", "largest_size")


def widget(key: str, type_: Any, options: Mapping[str, Any]) -> Any:
    """A value that the input takes; None when there is none, because it names a model."""
    if key in WIDGETS and not isinstance(type_, list):
        return WIDGETS[key]
    if key in SIZES:
        return 64
    if isinstance(type_, list) or type_ == "COMBO":
        choices = type_ if isinstance(type_, list) else options.get("options", [])
        return choices[0] if choices and choices[0] != "None" else None
    return options.get("default", "1") if type_ in ("INT", "FLOAT", "STRING", "BOOLEAN") else None


def graph_of(kind: str, said: Mapping[str, Any], first: int, others: int, prefix: str) -> Graph | None:
    """This one node between sources and savers: a batch of `first` at its first link, of `others` at the others.

    None when it needs a model.
    """
    graph: Graph = {}
    values: dict[str, Any] = {}
    for key, (type_, *more) in [*said["input"]["required"].items(), *said["input"].get("optional", {}).items()]:
        batch = others if graph else first
        made = source(str(type_) if type_ != "*" else "IMAGE", batch, 70 + len(graph), f"i{len(graph)}")
        if made is not None:
            values[key] = [next(iter(made)), 0]
            graph |= made
        elif key in said["input"]["required"]:
            ours = {
                "filename_prefix": prefix,
                "batch_size": first,
                "image": f"table{first}.{'gif' if first > 1 else 'png'}",
            }
            values[key] = ours[key] if key in ours else widget(key, type_, more[0] if more else {})
    if None in values.values():
        return None
    graph["n"] = node(kind, **values)
    for slot, type_ in enumerate(() if said["output_node"] else said["output"]):
        graph |= saver(str(type_), slot, prefix)
    return graph


#: They load other files than pictures from the input folder, or take the VAE of their own model only.
LEFT_OUT = {"LoadImageOutput", "LoadAudio", "LoadVideo", "Wan22ImageToVideoLatent"}
UNSURE = {"GetVideoComponents", "EmptyHunyuanLatentVideo", "EmptyLTXVLatentVideo"}
UNSURE_OF_SEVERAL = {
    *("LoadImageMask", "ImagePadForOutpaint", "JoinImageWithAlpha"),
    *("VAEEncode", "VAEEncodeTiled", "VAEEncodeForInpaint"),
}


def latents(path: Path) -> int:
    """The pictures in a file of latents, which begins with the size of its JSON header."""
    data = path.read_bytes()
    return int(json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["latent_tensor"]["shape"][0])


def test_each_class_of_the_table_that_needs_no_model_makes_what_it_says(real: Comfy, info: dict[str, Any]) -> None:
    shots = [Image.effect_noise((24, 16), 60).convert("RGB") for _ in range(3)]
    shots[0].save(real.base / "input" / "table1.png")
    shots[0].save(real.base / "input" / "table3.gif", save_all=True, append_images=shots[1:])
    prompts: dict[tuple[str, int, int], tuple[str, Graph]] = {}
    for kind in (name for nodes in CORE_NODES.values() for name in nodes if name not in LEFT_OUT):
        for first, others in ((1, 1), (3, 3), (1, 3), (3, 1)):
            graph = graph_of(kind, info[kind], first, others, f"table-{kind}-{first}{others}")
            if graph is not None and (first == others or sum(node_id.startswith("i") for node_id in graph) > 1):
                prompts[kind, first, others] = real.queue(graph, row(2)), graph
    assert len({kind for kind, _, _ in prompts}) >= 80
    classes = node_classes_of_object_info(info)
    for (kind, first, others), (prompt_id, graph) in prompts.items():
        if first != others and ended(real, prompt_id)["status"]["status_str"] == "error":
            continue  # it takes no two batches of different size
        name = f"table-{kind}-{first}{others}"
        told, counts = recorded(real, prompt_id), written(real, prompt_id, name)
        if info[kind]["output"] == ["LATENT"] and not info[kind]["output_node"]:
            decoded = {**graph, "d": node("VAEDecode", samples=["n", 0], vae=["v", 0]), "v": node("VAELoader")}
            told = expected_files({**decoded, "x": save("d", name)}, ["x"], classes)
            (file,) = real.output.glob(f"{name}_*.latent")
            counts = {"x": latents(file)}
        for node_id, count in told.items():
            unsure = count is None and (kind in UNSURE or (kind in UNSURE_OF_SEVERAL and max(first, others) > 1))
            assert unsure or count == counts.get(node_id, 0), (kind, first, others)
