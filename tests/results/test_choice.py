"""Which file is delivered does not depend on chance: not on the order in which ComfyUI runs and names output nodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from table_support import img

from wfrecovery.bridge.results.choice import Savers, chosen
from wfrecovery.bridge.results.contents import Contents
from wfrecovery.bridge.results.find import Found
from wfrecovery.bridge.results.left_out import lacking
from wfrecovery.bridge.results.whole_result import whole_result
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.values import Kind, Result

HERE = Path()


def saver(prefix: Any = "a") -> dict[str, Any]:
    return {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}}


def row_task(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "WfrecoveryRowTask", "inputs": {"row_number": 2, **inputs}}


def picture(node: str | None, name: str = "", kind: Kind = Kind.PICTURE) -> Result:
    return Result(name or f"{node}.png", kind, node=node)


def choice(
    prompt: dict[str, Any], results: Sequence[Result], outputs: Sequence[str] = (), folder: Path = HERE
) -> str | None:
    """The path of what is delivered."""
    task = dataclasses.replace(img(1), results=tuple(results))
    found = chosen(task, folder, Savers.of(prompt, outputs))
    return found.path if found is not None else None


# ------------------------------------------------------------------ the last one


@given(nodes=st.permutations(["30", "9", "10", "7", "12:4"]), told=st.data())
def test_the_last_one_is_the_last_of_the_graph(nodes: list[str], told: st.DataObject) -> None:
    """Also of what nodes have made that expand, and of a batch the last picture."""
    results = [picture(node, f"{node}_{number}.png") for node in nodes for number in range(2)]
    expanded = picture(f"{nodes[-1]}.0.0.1", "made.png")
    in_any_order = told.draw(st.permutations(nodes))
    results.sort(key=lambda result: in_any_order.index(result.node or ""))
    prompt = {node: saver() for node in nodes}
    assert choice(prompt, results) == f"{nodes[-1]}_1.png"
    others = [result for result in results if result.node != nodes[-1]]
    assert choice(prompt, [expanded, *others]) == "made.png"


def test_what_no_node_is_known_of_has_come_last() -> None:
    """An older version's record, and files that were found on disk."""
    assert choice({"9": saver()}, [picture(None, "b.png"), picture(None, "c.png"), picture("9")]) == "c.png"


# ------------------------------------------------------------------ the one behind Row Task


@pytest.mark.parametrize("node", ["5", "5.0.0.1", "5.7"])
@pytest.mark.parametrize("before", [True, False])
def test_what_the_node_behind_row_task_has_made_goes_before_all_others(node: str, before: bool) -> None:
    savers = {"5": saver(["2", 1]), "20": saver()}
    prompt = {"2": row_task(), **(savers if before else dict(reversed(savers.items())))}
    for results in ([picture(node), picture("20")], [picture("20"), picture(node)]):
        assert choice(prompt, results, ["5", "20"]) == f"{node}.png"


def test_nothing_takes_the_place_of_what_the_saver_behind_row_task_did_not_save() -> None:
    """It was blocked. But what nobody has named may be its own, and where it saved something else the kind decides."""
    prompt = {"2": row_task(), "5": saver(["2", 1]), "20": saver()}
    assert choice(prompt, [picture("20")], ["5", "20"]) is None
    assert choice(prompt, [picture("20"), picture(None, "found.png")], ["5", "20"]) == "found.png"
    assert choice(prompt, [picture("20"), picture("5", "5.mp4", Kind.VIDEO)], ["5", "20"]) == "20.png"


def test_what_takes_only_the_row_s_picture_or_its_words_need_not_save_anything() -> None:
    """A preview, a node that shows the prompt, or the file name; and a saver that this prompt does not run for."""
    shows = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0], "text": ["2", 2]}}
    name = {"class_type": "PreviewAny", "inputs": {"source": ["2", 1]}}
    prompt = {"2": row_task(), "3": shows, "4": name, "5": saver(["2", 1]), "20": saver()}
    assert choice(prompt, [picture("20")], ["3", "4", "20"]) == "20.png"
    assert choice(prompt, [picture("20")]) == "20.png", "nobody knows for which nodes it ran"


def test_of_two_savers_that_row_task_names_the_last_one_counts() -> None:
    """The mask does not take the place of the picture that was blocked, and needs not be there for it."""
    prompt = {"2": row_task(), "20": saver(["2", 1]), "9": saver(["2", 1])}
    assert choice(prompt, [picture("20")], ["20", "9"]) is None
    assert choice(prompt, [picture("9")], ["20", "9"]) == "9.png"


# ------------------------------------------------------------------ what ComfyUI leaves out

IMAGE, VIDEO = "图片合成", "图生视频"


def needs(prompt: dict[str, Any], node: str, workflow_type: str | None = IMAGE) -> bool:
    """Whether the row has no result without that node; of no class is anything known."""
    return lacking(prompt, [node], {}, workflow_type) == (node,)


def test_the_row_needs_the_output_whose_file_would_be_delivered() -> None:
    prompt = {"30": saver("mask"), "9": saver("picture")}
    assert needs(prompt, "9")
    assert needs(prompt, "9", None)
    assert lacking(prompt, ["30", "9"], {}, IMAGE) == ("9",)
    prompt["2"], prompt["30"]["inputs"]["filename_prefix"] = row_task(), ["2", 1]
    assert needs(prompt, "30")
    assert lacking(prompt, ["30", "9"], {}, IMAGE) == ("30",)


@pytest.mark.parametrize(
    "other", ["SaveAudio", "SaveAudioMP3", "SaveLatent", "SaveVideo", "SaveWEBM", "VHS_VideoCombine", "SaveText"]
)
def test_it_does_not_need_what_is_of_another_kind(other: str) -> None:
    """Nor what shows a text."""
    filmed = {"class_type": other, "inputs": {"filename_prefix": "x"}}
    prompt = {"9": saver("picture"), "12": filmed, "13": {"class_type": "ShowAnything", "inputs": {"source": ["9", 0]}}}
    assert lacking(prompt, ["12", "13"], {}, IMAGE) == ()
    assert needs(prompt, "12", VIDEO) == (other in ("SaveVideo", "SaveWEBM", "VHS_VideoCombine"))


# ------------------------------------------------------------------ after a crash


def found_on_disk(folder: Path, prompt: dict[str, Any], *names: str) -> str | None:
    """What is delivered of a prompt whose files lie there whole, and of which nobody has told anything."""
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (4, 4)).save(folder / name)
    table = DatabaseManager(folder).table
    savers = [node for node in prompt if prompt[node]["class_type"] == "SaveImage"]
    graph = {"prompt": prompt, "outputs_to_execute": savers, "files": dict.fromkeys(savers, 1)}
    found = [Found(name, 1, 80) for name in names]
    whole = whole_result(img(1, attempts=1), graph, found, Contents(table.files, folder))
    return None if whole is None else choice(prompt, whole, savers, folder)


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("behind", ["30", "9"])
def test_after_a_crash_the_same_one_is_delivered(behind: str, turned: bool, tmp_path: Path) -> None:
    """In whatever order they were written: by their prefixes, or because no other one is left."""
    prompt = {"2": row_task(), "30": saver("pose"), "9": saver("pose_b")}
    names = {"30": "pose_00001_.png", "9": "pose_b_00001_.png"}
    in_order = sorted(names.values(), reverse=turned)
    assert found_on_disk(tmp_path, prompt, *in_order) == names["9"]
    prompt[behind] = saver(["2", 1])
    assert found_on_disk(tmp_path, prompt, *in_order) == names[behind]


def test_where_nobody_can_tell_which_one_is_the_row_s_it_is_rendered_again(tmp_path: Path) -> None:
    prompt = {"30": saver("ComfyUI"), "9": saver("ComfyUI")}
    assert found_on_disk(tmp_path, prompt, "ComfyUI_00001_.png", "ComfyUI_00002_.png") is None
    assert found_on_disk(tmp_path / "one", {"9": saver("%date%/x")}, "a_00001_.png") == "a_00001_.png"
