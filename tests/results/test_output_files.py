"""Result files: only a whole file counts, only its own task gets it, and a part of a result is never taken for all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wfrecovery.bridge.results.output_files import (
    embedded_task,
    expected_files,
    find_results,
    whole_result,
    why_not_whole,
)

av = pytest.importorskip("av")
numpy = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
PngInfo = pytest.importorskip("PIL.PngImagePlugin").PngInfo

TASK, PROMPT = "img_20261123_001", "0b9e6a3c-3f0e-4d56-9a53-2f3a5c1d7e10"
Maker = Callable[..., Path]


def make_png(path: Path, task_id: str = TASK, prompt_id: str = PROMPT, *, text: str | None = None) -> Path:
    """A picture as SaveImage writes it."""
    info = PngInfo()
    info.add_text("prompt", json.dumps({"1": {"class_type": "SaveImage", "inputs": {}}}))
    info.add_text("wfrecovery", json.dumps({"task_id": task_id, "prompt_id": prompt_id}) if text is None else text)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), (200, 30, 30)).save(path, pnginfo=info, compress_level=4)
    return path


def make_mp4(path: Path, task_id: str = TASK, prompt_id: str = PROMPT, *, faststart: bool = False) -> Path:
    """A video as SaveVideo writes it: tags in the container, since 0.33 with the index in front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = "use_metadata_tags+faststart" if faststart else "use_metadata_tags"
    with av.open(str(path), "w", options={"movflags": flags}) as container:
        container.metadata["prompt"] = json.dumps({"3": {"class_type": "SaveVideo"}})
        container.metadata["wfrecovery"] = json.dumps({"task_id": task_id, "prompt_id": prompt_id})
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for shade in (0, 128, 255):
            frame = av.VideoFrame.from_ndarray(numpy.full((16, 16, 3), shade, numpy.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_mp4_faststart(path: Path, task_id: str = TASK, prompt_id: str = PROMPT) -> Path:
    return make_mp4(path, task_id, prompt_id, faststart=True)


MAKERS = [
    pytest.param(make_png, "a.png", id="png"),
    pytest.param(make_mp4, "a.mp4", id="mp4"),
    pytest.param(make_mp4_faststart, "a.mp4", id="mp4-faststart"),
]


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_a_finished_file_is_whole_and_names_its_task(make: Maker, name: str, tmp_path: Path) -> None:
    path = make(tmp_path / name)
    assert why_not_whole(path) is None
    assert embedded_task(path) == (TASK, PROMPT)


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_a_file_cut_off_at_any_length_is_never_whole(make: Maker, name: str, tmp_path: Path) -> None:
    path = make(tmp_path / name)
    data = path.read_bytes()
    assert len(data) < 10_000
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert why_not_whole(path), f"{length} of {len(data)} bytes are taken for a whole file"
        assert embedded_task(path) in (None, (TASK, PROMPT))


def test_any_flipped_byte_of_a_png_is_found(tmp_path: Path) -> None:
    path = make_png(tmp_path / "a.png")
    data = path.read_bytes()
    for position in range(len(data)):
        spoilt = bytearray(data)
        spoilt[position] ^= 0x41
        path.write_bytes(spoilt)
        assert why_not_whole(path), f"byte {position} was changed"


def test_a_damaged_length_does_not_make_us_read_gigabytes(tmp_path: Path) -> None:
    import tracemalloc  # noqa: PLC0415

    path = make_png(tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    data[8] = 0x7F  # IHDR now claims 2 GB
    path.write_bytes(data)
    tracemalloc.start()
    try:
        assert why_not_whole(path) == "it ends in the middle"
        assert embedded_task(path) is None
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.png", "a.mp4", "a.jpg", "a.webp", "a.gif", "a.wav", "a.flac"])
def test_a_missing_and_an_empty_file_are_not_whole(name: str, tmp_path: Path) -> None:
    assert why_not_whole(tmp_path / name) == "it is not there"
    (tmp_path / name).touch()
    assert why_not_whole(tmp_path / name) == "it is empty"


@pytest.mark.parametrize("suffix", ["jpg", "gif", "webp"])
def test_other_pictures_are_whole_only_to_their_last_byte(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (8, 8), (10, 90, 200)).save(path)
    assert why_not_whole(path) is None
    path.write_bytes(path.read_bytes()[:-1])
    assert why_not_whole(path)


@pytest.mark.parametrize("text", ["", "no json", "null", "[]", "5", "{}", '{"task_id": "img_20261123_001"}', '"a"'])
def test_a_strange_tag_is_nobodys(text: str, tmp_path: Path) -> None:
    assert embedded_task(make_png(tmp_path / "a.png", text=text)) is None


def test_a_task_is_read_from_international_png_text_too(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_itxt("wfrecovery", json.dumps({"task_id": TASK, "prompt_id": PROMPT, "note": "产品"}, ensure_ascii=False))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    assert embedded_task(tmp_path / "a.png") == (TASK, PROMPT)


# ------------------------------------------------------------------ find_results


def test_results_are_found_by_task_and_prompt_in_any_folder(tmp_path: Path) -> None:
    make_png(tmp_path / "wf" / "b_00002_.png")
    make_png(tmp_path / "wf" / "b_00001_.png")
    make_mp4(tmp_path / "video" / "v_00001_.mp4", "vid_20261123_001", "p2")
    make_png(tmp_path / "other_00001_.png", "img_20261123_009", "p9")
    found = find_results(tmp_path, {TASK: PROMPT, "vid_20261123_001": "p2", "img_20261123_002": "p3"}, since=0)
    assert found == {TASK: ["wf/b_00001_.png", "wf/b_00002_.png"], "vid_20261123_001": ["video/v_00001_.mp4"]}


@pytest.mark.parametrize(
    ("task_id", "prompt_id"), [(TASK, "another prompt"), ("img_20261123_002", PROMPT), ("img_20261122_001", PROMPT)]
)
def test_a_file_of_another_prompt_or_task_is_never_taken(task_id: str, prompt_id: str, tmp_path: Path) -> None:
    make_png(tmp_path / "a.png", task_id, prompt_id)
    assert find_results(tmp_path, {TASK: PROMPT}, since=0) == {}


def test_a_torn_result_is_not_found(tmp_path: Path) -> None:
    for name, make in (("a.png", make_png), ("a.mp4", make_mp4_faststart)):
        path = make(tmp_path / name)
        path.write_bytes(path.read_bytes()[:-3])
    assert find_results(tmp_path, {TASK: PROMPT}, since=0) == {}


def test_the_tables_own_folder_holds_no_results(tmp_path: Path) -> None:
    make_png(tmp_path / "wfrecovery" / "active" / "a.png")
    assert find_results(tmp_path, {TASK: PROMPT}, since=0) == {}
    make_png(tmp_path / "img" / "wfrecovery" / "a.png")  # a folder of the user's with the same name
    assert find_results(tmp_path, {TASK: PROMPT}, since=0) == {TASK: ["img/wfrecovery/a.png"]}


def test_files_from_long_before_the_task_are_not_read(tmp_path: Path) -> None:
    path = make_png(tmp_path / "a.png")
    os.utime(path, (1_000_000, 1_000_000))
    assert find_results(tmp_path, {TASK: PROMPT}, since=1_000_000 + 3 * 86_400) == {}
    assert find_results(tmp_path, {TASK: PROMPT}, since=1_000_000 + 3_600) == {TASK: ["a.png"]}, (
        "the clock was set back"
    )


def test_nothing_wanted_reads_nothing(tmp_path: Path) -> None:
    make_png(tmp_path / "a.png")
    assert find_results(tmp_path, {}, since=0) == {}
    assert find_results(tmp_path / "absent", {TASK: PROMPT}, since=0) == {}


# ------------------------------------------------------------------ all of a result, or a part


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def save(source: str = "1", prefix: str = "a", kind: str = "SaveImage") -> dict[str, Any]:
    return node(kind, images=[source, 0], filename_prefix=prefix)


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}_{number:05}_.png" for number in range(1, count + 1)]


def graph(**prompt: dict[str, Any]) -> dict[str, Any]:
    nodes = {name.removeprefix("n"): value for name, value in prompt.items()}
    outputs = [key for key, value in nodes.items() if "Save" in value["class_type"]]
    return {"prompt": nodes, "outputs_to_execute": outputs}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_all_files_of_a_batch_are_a_result_and_fewer_or_more_are_not(batch_size: int) -> None:
    image = node("EmptyImage", width=64, height=48, batch_size=batch_size, color=255)
    scaled = node("ImageScale", image=["1", 0], width=32, height=32)
    whole = graph(n1=image, n2=scaled, n3=save("2", "wf/a"))
    for count in range(5):
        expected = names("wf/a", count) if count == batch_size else None
        assert whole_result(whole, names("wf/a", count), {}) == expected, count


def test_what_comfyui_reported_of_a_node_is_believed_over_the_graph() -> None:
    unknown = graph(n1=node("VHS_LoadVideo", video="x.mp4"), n2=save("1"))
    assert whole_result(unknown, names("a", 7), {}) is None
    assert whole_result(unknown, names("a", 7), {"2": names("a", 7)}) == names("a", 7)
    assert whole_result(unknown, names("a", 6), {"2": names("a", 7)}) is None, "one that was reported is not on disk"


def test_several_savers_are_told_apart_by_their_prefixes() -> None:
    both = graph(n1=node("EmptyImage", batch_size=1), n2=save("1", "big"), n3=save("1", "sub/small"))
    files = ["big_00001_.png", "sub/small_00004_.png"]
    assert whole_result(both, files, {}) == files
    assert whole_result(both, ["big_00001_.png"], {}) is None
    assert whole_result(both, ["big_00001_.png", "big_00002_.png"], {}) is None
    evidence = {"2": ["big_00001_.png"]}
    assert whole_result(both, ["big_00001_.png"], evidence) is None, "nothing is known of the second saver"
    assert whole_result(both, ["big_00001_.png", "sub/small_00004_.png"], evidence) is not None


def test_savers_with_one_prefix_cannot_be_told_apart() -> None:
    both = graph(n1=node("EmptyImage", batch_size=1), n2=save("1"), n3=save("1"))
    assert whole_result(both, names("a", 1), {}) is None
    assert whole_result(both, names("a", 2), {}) is None, "two of one saver, or one of each?"
    assert whole_result(both, names("a", 2), {"2": names("a", 1)}) == names("a", 2), "the first is accounted for"
    assert whole_result(both, names("a", 1), {"2": names("a", 1)}) is None


@pytest.mark.parametrize(
    "upstream",
    [
        node("VHS_LoadVideo", video="x.mp4"),
        node("ImageBatch", image1=["9", 0]),
        node("RepeatImageBatch", image=["9", 0], amount=4),
        node("LoadImagesFromFolder", folder="x"),
        node("ImageListToBatch", images=["9", 0]),
        node("SomeApiNode", num_images=4),
        node("SomeApiNode", n=2),
        node("KSampler", batch_size=2),
        node("EmptyLatentImage", batch_size=["9", 0]),
        node("EmptyHunyuanLatentVideo", length=25, batch_size=1),
    ],
    ids=lambda value: value["class_type"],
)
def test_nodes_that_may_hand_on_many_pictures_make_the_count_unknown(upstream: dict[str, Any]) -> None:
    unsure = graph(n1=upstream, n2=node("ImageInvert", image=["1", 0]), n3=save("2"))
    assert expected_files(unsure["prompt"], "3") is None
    for count in range(1, 5):
        assert whole_result(unsure, names("a", count), {}) is None


def test_a_node_that_may_do_more_but_is_set_to_one_makes_one() -> None:
    assert expected_files(graph(n1=node("SomeApiNode", num_images=1), n2=save())["prompt"], "2") == 1


def test_save_video_writes_one_file_however_many_frames_there_are() -> None:
    video = graph(
        n1=node("EmptyImage", batch_size=8),
        n2=node("CreateVideo", images=["1", 0], fps=8),
        n3=node("SaveVideo", video=["2", 0], filename_prefix="video/wf"),
    )
    assert whole_result(video, ["video/wf_00001_.mp4"], {}) == ["video/wf_00001_.mp4"]
    assert whole_result(video, [], {}) is None
    assert whole_result(video, ["video/wf_00001_.mp4", "video/wf_00002_.mp4"], {}) is None


def test_a_video_node_that_may_write_a_picture_beside_it_is_unknown() -> None:
    video = graph(n1=node("EmptyImage", batch_size=8), n2=save("1", "v", "VHS_VideoCombine"))
    video["outputs_to_execute"] = ["2"]
    assert whole_result(video, ["v_00001.mp4"], {}) is None


def test_two_batches_of_different_size_make_the_count_unknown() -> None:
    mixed = graph(
        n1=node("EmptyImage", batch_size=2),
        n2=node("EmptyImage", batch_size=3),
        n3=node("ImageBlend", image1=["1", 0], image2=["2", 0]),
        n4=save("3"),
    )
    assert expected_files(mixed["prompt"], "4") is None


def test_a_loop_in_a_damaged_graph_ends() -> None:
    looped = graph(n1=node("ImageInvert", image=["2", 0]), n2=node("ImageInvert", image=["1", 0]), n3=save("2"))
    assert expected_files(looped["prompt"], "3") == 1


def test_a_prefix_is_text_and_no_pattern() -> None:
    both = graph(n1=node("EmptyImage", batch_size=1), n2=save("1", "a.b"), n3=save("1", "c(1)"))
    assert whole_result(both, ["a.b_00001_.png", "c(1)_00001_.png"], {}) is not None
    assert whole_result(both, ["axb_00001_.png", "c(1)_00001_.png"], {}) is None
