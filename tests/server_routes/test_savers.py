"""Savers of every kind: their files are the task's, all of them and no others, whatever they are named by."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from plugin_support import newer_stand_in, one_host, real_only, until
from saver_support import STATUS, VIDEO, Shop, Shops, core, readable, same_mark, saved, strict, with_slow_branch

# ------------------------------------------------------------------ a task that ended normally

#: kind of saver → how its files are called after the prefix, the one that is delivered first
_ENDED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("plain", "empty_ui", "no_ui", "empty_images", "strings", "one_string", "no_type", "no_subfolder"),
        ("_00001.png",),
    ),
    **dict.fromkeys(("fullpath_only", "nested", "temp_and_output", "untagged"), ("_00001.png",)),
    **dict.fromkeys(("jpeg_in_png", "bytes_after_the_end"), ("_00001.png",)),
    **{f"under_{key}": ("_00001.png",) for key in ("gifs", "video", "audio", "3d", "result")},
    **dict.fromkeys(("overwrite", "overwrite_in_place"), (".png",)),
    "paths": ("from pathlib/", "_00001.png"),
    "absolute_inside": ("sub dir/", "_00001.png"),
    "absolute_name": ("sub dir/", "_00001.png"),
    "dots_inside": ("here/", "_00001.png"),
}


@one_host
@pytest.mark.parametrize("kind", list(_ENDED))
def test_the_picture_goes_into_its_row(host: Any, kind: str, shops: Shops) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    record = shop.pushed(shop.comfy.queue(saved(kind, prefix, mark), tag))
    folder, _, name = "".join(_ENDED[kind]).rpartition("/")
    path = f"{folder}/{prefix}{name}" if folder else f"{prefix}{name}"
    assert record["output_files"] == [path]
    assert record["metadata"]["feishu"]["file"] == path
    assert same_mark(shop.comfy.output / path, mark)
    _in_the_sheet(shop, tag, mark)
    _shown(shop, record)


def _in_the_sheet(shop: Shop, tag: Mapping[str, Any], mark: int) -> None:
    content = shop.shown(tag["row_number"])
    assert content is not None
    assert same_mark(content, mark)
    assert shop.feishu.sheet.row(tag["row_number"])[STATUS] == "已完成"


def _shown(shop: Shop, record: Mapping[str, Any]) -> None:
    """The page shows the very file."""
    address = f"/wfrecovery/tasks/{record['task_id']}"
    assert shop.comfy.call("GET", f"{address}/thumbnail").status_code == 200
    delivered = shop.comfy.output / record["metadata"]["feishu"]["file"]
    assert shop.comfy.call("GET", f"{address}/file").content == delivered.read_bytes()
    assert {(item["path"], item["state"]) for item in shop.results(record["task_id"])} == {
        (path, "there") for path in record["output_files"]
    }


@one_host
@pytest.mark.parametrize(
    ("kind", "files", "delivered"),
    [
        ("frames", ("_00001.001.png", "_00001.002.png", "_00001.003.png"), "_00001.003.png"),
        ("three", ("_front_00001.png", "_side_00001.png", "_back_00001.png"), "_back_00001.png"),
        ("text_first", ("_00001.txt", "_00001.png"), "_00001.png"),
        ("text_named_alone", ("_00001.txt", "_00001.png"), "_00001.png"),
    ],
)
def test_of_several_files_the_right_one(
    host: Any, kind: str, files: tuple[str, ...], delivered: str, shops: Shops
) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    record = shop.pushed(shop.comfy.queue(saved(kind, prefix, mark), tag))
    assert record["output_files"] == [f"{prefix}{name}" for name in files]
    assert record["metadata"]["feishu"]["file"] == f"{prefix}{delivered}"
    _in_the_sheet(shop, tag, mark)
    _shown(shop, record)


@one_host
@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("poster", ("_00001.mp4", "_00001.png")),
        ("vhs", ("_00001-audio.mp4",)),
        ("vhs_unnamed", ("_00001-audio.mp4", "_00001.mp4", "_00001.png")),
    ],
)
def test_of_a_film_the_film(host: Any, kind: str, files: tuple[str, ...], shops: Shops) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row(workflow_type="图生视频")
    record = shop.pushed(shop.comfy.queue(saved(kind, prefix, mark), tag))
    assert sorted(record["output_files"]) == [f"{prefix}{name}" for name in files]
    assert record["metadata"]["feishu"]["file"] == f"{prefix}{files[0]}"
    assert same_mark(shop.comfy.output / f"{prefix}{files[0]}", mark)
    assert shop.feishu.sheet.row(tag["row_number"])[VIDEO] == "已完成"
    _shown(shop, record)


@one_host
def test_a_prompt_without_a_row_has_its_files(host: Any, shops: Shops) -> None:
    shop = shops(host)
    for kind in ("sound", "no_ui", "untagged", "vhs", "no_file"):
        prefix = shop.name()
        record = shop.comfy.finished(shop.comfy.queue(saved(kind, prefix, shop.mark())))
        assert len(record["output_files"]) == (kind != "no_file"), kind
        assert record["metadata"]["feishu"]["state"] == "off"


@one_host
@pytest.mark.parametrize(("class_type", "files"), [("TryCropFaces", 3), ("TryAsList", 3)])
def test_what_becomes_several_pictures_has_them_all(host: Any, class_type: str, files: int, shops: Shops) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    graph = core("SaveImage", prefix, mark)
    graph["5"] = {"class_type": class_type, "inputs": {"image": ["1", 0]}}
    graph["9"]["inputs"]["images"] = ["5", 0]
    record = shop.pushed(shop.comfy.queue(graph, tag))
    assert record["output_files"] == [f"{prefix}_{number:05}_.png" for number in range(1, files + 1)]
    _in_the_sheet(shop, tag, mark)


# ------------------------------------------------------------------ what lies outside


@one_host
@pytest.mark.parametrize(("kind", "setting"), [("outside", "output_path"), ("dots_outside", None)])
def test_what_lies_outside_is_nobody_s(host: Any, kind: str, setting: str | None, shops: Shops, tmp_path: Path) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    graph = saved(kind, prefix, mark, output_path=str(tmp_path / "pictures"))
    record = shop.comfy.until_stage(shop.comfy.queue(graph, tag), "failed", "finished")
    assert record["status"] == "失败"
    assert record["output_files"] == []
    reason = readable(record["error_message"])
    readable(record["metadata"]["error_message_zh"])
    assert "TrySaver (node 9)" in reason
    assert "outside" in reason
    assert setting is None or setting in reason
    address = f"/wfrecovery/tasks/{record['task_id']}"
    assert shop.comfy.call("GET", f"{address}/thumbnail").status_code == 404
    for path in (None, str(tmp_path / "pictures" / f"{prefix}_00001.png"), f"../elsewhere/{prefix}_00001.png"):
        query = {} if path is None else {"path": path}
        assert shop.comfy.call("GET", f"{address}/file", params=query).status_code == 404
    assert shop.results(record["task_id"]) == []
    until(lambda: shop.feishu.sheet.row(tag["row_number"])[STATUS] == "失败", what="the sheet says so")
    assert shop.shown(tag["row_number"]) is None


@one_host
def test_what_lies_outside_does_not_keep_the_rest_from_the_row(host: Any, shops: Shops, tmp_path: Path) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    graph = core("SaveImage", prefix, mark)
    graph["10"] = saved("outside", prefix, shop.mark(), output_path=str(tmp_path))["9"]
    record = shop.pushed(shop.comfy.queue(graph, tag))
    assert record["output_files"] == [f"{prefix}_00001_.png"]
    _in_the_sheet(shop, tag, mark)


@one_host
def test_a_row_without_a_file_fails_with_a_reason(host: Any, shops: Shops) -> None:
    shop = shops(host)
    record = shop.comfy.until_stage(
        shop.comfy.queue(saved("no_file", shop.name(), shop.mark()), shop.row()), "failed", "finished"
    )
    assert record["status"] == "失败"
    assert "no file" in readable(record["error_message"])


# ------------------------------------------------------------------ whose a file is


@one_host
@pytest.mark.parametrize("class_type", ["TryShowText", "TryShowFile"])
@pytest.mark.parametrize("kind", ["plain", "untagged"])
def test_a_file_that_is_only_shown_is_not_the_task_s(host: Any, class_type: str, kind: str, shops: Shops) -> None:
    """A node that names a picture of another task."""
    shop = shops(host)
    other, prefix, mark, tag = shop.name(), shop.name(), shop.mark(), shop.row()
    shop.comfy.finished(shop.comfy.queue(saved(kind, other, shop.mark()), shop.row()))
    graph = saved("plain", prefix, mark)
    graph["10"] = {"class_type": class_type, "inputs": {"text": f"{other}_00001.png"}}
    record = shop.pushed(shop.comfy.queue(graph, tag))
    assert record["output_files"] == [f"{prefix}_00001.png"]
    _in_the_sheet(shop, tag, mark)

    alone = {**saved("no_file", prefix, mark), "10": graph["10"]}
    record = shop.comfy.until_stage(shop.comfy.queue(alone, shop.row()), "failed", "finished")
    assert record["status"] == "失败"
    readable(record["error_message"])


@one_host
def test_what_the_node_behind_row_task_saved_goes_before_what_others_name(host: Any, shops: Shops) -> None:
    """It names nothing; a node that saves a picture on the way does."""
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    graph = core("SaveImage", shop.name(), shop.mark())
    names = ("row_number", "product_name", "model_name", "workflow_type")
    graph["11"] = {"class_type": "WfrecoveryRowTask", "inputs": {**{name: tag[name] for name in names}, "prompt": ""}}
    graph["10"] = saved("no_ui", prefix, mark)["9"]
    graph["10"]["inputs"]["output_path"] = ["11", 1]
    record = shop.pushed(shop.comfy.queue(graph))
    assert record["metadata"]["feishu"]["file"] == f"{prefix}_00001.png"
    _in_the_sheet(shop, tag, mark)


def _behind_row_task(shop: Shop, tag: Mapping[str, Any], saver: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A graph whose saver takes its file name from Row Task, and one more that saves what it saw on the way, last."""
    names = ("row_number", "product_name", "model_name", "workflow_type")
    graph: dict[str, Any] = {**core("SaveImage", shop.name(), shop.mark())}
    graph["11"] = {"class_type": "WfrecoveryRowTask", "inputs": {**{key: tag[key] for key in names}, "prompt": ""}}
    graph["12"] = {"class_type": saver["class_type"], "inputs": {**saver["inputs"], name: ["11", 1]}}
    graph["9"] = graph.pop("9")
    return graph


@one_host
def test_nothing_takes_the_place_of_what_the_saver_behind_row_task_did_not_save(host: Any, shops: Shops) -> None:
    shop = shops(host)
    tag = shop.row()
    graph = _behind_row_task(shop, tag, saved("no_file", shop.name(), shop.mark())["9"], "output_path")
    record = shop.ended(shop.comfy.queue(graph))
    assert record["status"] == "失败"
    assert "node 12" in readable(record["error_message"])
    until(lambda: shop.feishu.sheet.row(tag["row_number"])[STATUS] == "失败")
    assert shop.shown(tag["row_number"]) is None


@real_only
def test_nor_of_what_was_blocked(host: Any, shops: Shops) -> None:
    shop = shops(host)
    tag = shop.row()
    graph = _behind_row_task(shop, tag, core("SaveImage", shop.name(), shop.mark())["9"], "filename_prefix")
    graph["13"] = {"class_type": "TryBlocks", "inputs": {"images": ["1", 0]}}
    graph["12"]["inputs"]["images"] = ["13", 0]
    record = shop.ended(shop.comfy.queue(graph))
    assert record["status"] == "失败"
    assert "node 12" in readable(record["error_message"])
    assert "not for children" in record["error_message"]
    assert shop.shown(tag["row_number"]) is None


@real_only
def test_what_comes_from_the_cache_without_a_name_is_known_beside_what_is_made_anew(host: Any, shops: Shops) -> None:
    """A node that makes savers: of those ComfyUI's cache tells nothing."""
    shop = shops(host)
    prefix, mark = shop.name(), shop.mark()
    own, other = core("SaveImage", prefix, mark), core("SaveImage", "", shop.mark())
    expands = {"class_type": "TryExpands", "inputs": {"images": ["1", 0], "savers": 1, "filename_prefix": prefix}}
    for _ in range(2):
        tag = shop.row()
        graph = {"1": own["1"], "8": other["1"], "9": core("SaveImage", shop.name(), 0)["9"], "30": expands}
        graph["9"]["inputs"]["images"] = ["8", 0]
        shop.pushed(shop.comfy.queue(graph, tag))
        _in_the_sheet(shop, tag, mark)
    assert shop.runs(prefix) == 1


@real_only
def test_what_is_behind_row_task_may_make_the_nodes_that_save(host: Any, shops: Shops) -> None:
    shop = shops(host)
    tag, mark = shop.row(), shop.mark()
    expands = {"class_type": "TryExpands", "inputs": {"images": ["14", 0], "savers": 1}}
    graph = _behind_row_task(shop, tag, expands, "filename_prefix")
    graph["14"] = core("SaveImage", "", mark)["1"]
    shop.pushed(shop.comfy.queue(graph))
    _in_the_sheet(shop, tag, mark)


@one_host
def test_what_is_left_of_a_broken_result_goes_nowhere(host: Any, shops: Shops) -> None:
    shop = shops(host)
    prefix, tag = shop.name(), shop.row()
    record = shop.ended(shop.comfy.queue(saved("last_one_cut", prefix, shop.mark()), tag))
    assert record["status"] == "失败"
    assert f"{prefix}_back_00001.png" in readable(record["error_message"])
    until(lambda: shop.feishu.sheet.row(tag["row_number"])[STATUS] == "失败")
    assert shop.shown(tag["row_number"]) is None


# ------------------------------------------------------------------ another file under the same name


@one_host
@pytest.mark.parametrize("kind", ["overwrite", "overwrite_in_place"])
def test_each_row_gets_its_own_picture_from_a_saver_that_overwrites(host: Any, kind: str, shops: Shops) -> None:
    shop = shops(host)
    prefix, marks, tags = shop.name(), [shop.mark() for _ in range(3)], [shop.row() for _ in range(3)]
    with shop.feishu_away():
        prompts = [shop.comfy.queue(saved(kind, prefix, mark), tag) for mark, tag in zip(marks, tags, strict=True)]
        for prompt in prompts:
            assert shop.comfy.finished(prompt)["output_files"] == [f"{prefix}.png"]
    shop.push(*prompts)
    for mark, tag in zip(marks, tags, strict=True):
        _in_the_sheet(shop, tag, mark)


@one_host
def test_each_row_gets_its_own_picture_when_the_next_one_replaced_it_before_that_could_be_recorded(
    host: Any, shops: Shops
) -> None:
    """Somebody holds the table's lock for so long that ComfyUI goes on without the record."""
    shop = shops(host)
    prefix, marks, tags = shop.name(), [shop.mark(), shop.mark()], [shop.row(), shop.row()]
    first = with_slow_branch(saved("overwrite", prefix, marks[0]))
    first["21"] = {"class_type": "TryGate", "inputs": {"image": ["20", 0], "gate": f"{prefix}.open"}}
    with shop.feishu_away():
        prompts = [shop.comfy.queue(first, tags[0])]
        shop.comfy.until_stage(prompts[0], "running")
        with shop.comfy.table_locked():
            shop.comfy.open_gate(prefix)
            prompts.append(shop.comfy.queue(saved("overwrite", prefix, marks[1]), tags[1]))
            until(lambda: _shows(shop.comfy.output / f"{prefix}.png", marks[1]))
        for prompt in prompts:
            shop.comfy.finished(prompt)
    shop.push(*prompts)
    for mark, tag in zip(marks, tags, strict=True):
        _in_the_sheet(shop, tag, mark)


def _shows(path: Path, mark: int) -> bool:
    return path.exists() and same_mark(path, mark)


@one_host
def test_a_name_that_is_used_again_is_another_file(host: Any, shops: Shops, tmp_path: Path) -> None:
    """A person moves the finished file away, and ComfyUI counts from the beginning."""
    shop = shops(host)
    prefix, marks, tags = shop.name(), [shop.mark(), shop.mark()], [shop.row(), shop.row()]
    prompts = []
    with shop.feishu_away():
        for mark, tag in zip(marks, tags, strict=True):
            prompts.append(shop.comfy.queue(core("SaveImage", prefix, mark), tag))
            assert shop.comfy.finished(prompts[-1])["output_files"] == [f"{prefix}_00001_.png"]
            if mark == marks[0]:
                (shop.comfy.output / f"{prefix}_00001_.png").rename(tmp_path / "mine.png")
        task_id = shop.comfy.record(prompts[0])["task_id"]
        shown = shop.comfy.call("GET", f"/wfrecovery/tasks/{task_id}/file")
        assert same_mark(shown.content, marks[0])
    shop.push(*prompts)
    for mark, tag in zip(marks, tags, strict=True):
        _in_the_sheet(shop, tag, mark)


@one_host
def test_what_was_pushed_and_overwritten_is_shown_as_replaced(host: Any, shops: Shops) -> None:
    shop = shops(host)
    prefix = shop.name()
    first = shop.pushed(shop.comfy.queue(saved("overwrite", prefix, shop.mark()), shop.row()))
    shop.pushed(shop.comfy.queue(saved("overwrite", prefix, shop.mark()), shop.row()))
    address = f"/wfrecovery/tasks/{first['task_id']}"
    assert [item["state"] for item in shop.results(first["task_id"])] == ["replaced"]
    for path in ("thumbnail", "file"):
        answer = shop.comfy.call("GET", f"{address}/{path}")
        assert answer.status_code in (404, 409, 410), answer.status_code
        readable(answer.json()["error"]["message"])


# ------------------------------------------------------------------ answers from ComfyUI's cache


@one_host
@pytest.mark.parametrize("kind", ["plain", "no_ui", "strings", "vhs"])
def test_an_answer_from_the_cache_is_the_task_s_result(host: Any, kind: str, shops: Shops) -> None:
    shop = shops(host)
    workflow = "图生视频" if kind == "vhs" else "图片合成"
    prefix, mark, tags = shop.name(), shop.mark(), [shop.row(workflow_type=workflow), shop.row(workflow_type=workflow)]
    records = [shop.pushed(shop.comfy.queue(saved(kind, prefix, mark), tag)) for tag in tags]
    assert records[0]["output_files"] == records[1]["output_files"] != []
    assert shop.runs(prefix) == 1
    if workflow == "图片合成":
        _in_the_sheet(shop, tags[1], mark)


@one_host
@pytest.mark.parametrize("kind", ["overwrite", "overwrite_silently"])
def test_an_answer_from_the_cache_is_never_another_s_picture(host: Any, kind: str, shops: Shops) -> None:
    shop = shops(host)
    prefix, mark, tags = shop.name(), shop.mark(), [shop.row() for _ in range(3)]
    graph = saved(kind, prefix, mark)
    shop.pushed(shop.comfy.queue(graph, tags[0]))
    other = {**graph, "10": saved(kind, prefix, shop.mark())["9"]}
    shop.pushed(shop.comfy.queue(other, tags[1], partial_execution_targets=["10"]))
    again = shop.comfy.queue(graph, tags[2])
    record = shop.ended(again)
    assert shop.runs(prefix) == 2
    assert record["status"] == "失败"
    assert f"{prefix}.png was replaced" in readable(record["error_message"])
    assert shop.comfy.act(record["task_id"], "retry").status_code == 202
    shop.pushed(again)
    assert shop.runs(prefix) == 3
    _in_the_sheet(shop, tags[0], mark)
    _in_the_sheet(shop, tags[2], mark)


@one_host
@pytest.mark.parametrize("kind", ["plain", "no_ui", "overwrite"])
@pytest.mark.parametrize("with_row", [True, False])
def test_a_retry_makes_what_is_gone_anew_and_nothing_else(host: Any, kind: str, with_row: bool, shops: Shops) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    prompt = shop.comfy.queue(saved(kind, prefix, mark), tag if with_row else None)
    record = shop.pushed(prompt) if with_row else shop.comfy.finished(prompt)
    refused = shop.comfy.act(record["task_id"], "retry")
    assert refused.status_code == 409
    readable(refused.json()["error"]["message"])
    (name,) = record["output_files"]
    (shop.comfy.output / name).unlink()
    assert shop.comfy.act(record["task_id"], "retry").status_code == 202
    record = shop.pushed(prompt) if with_row else shop.comfy.finished(prompt)
    assert shop.runs(prefix) == 2
    assert record["output_files"] == [name]
    assert same_mark(shop.comfy.output / name, mark)
    assert shop.comfy.act(record["task_id"], "retry").status_code == 409


# ------------------------------------------------------------------ SIGKILL in the midst of it


def _rendered_again(shop: Shop, prompt: str, prefix: str, tag: Mapping[str, Any], mark: int, files: set[str]) -> None:
    """After the kill: nothing that was there counted, and now the row has what the second run has made."""
    record = shop.pushed(prompt)
    assert record["metadata"]["attempts"] == 2
    assert not record["metadata"].get("adopted")
    assert {name.removeprefix(prefix) for name in record["output_files"]} == files
    if record["workflow_type"] == "图片合成":
        _in_the_sheet(shop, tag, mark)
        writes = [write for write in shop.feishu.sheet.picture_writes if write.row == tag["row_number"]]
        assert len(writes) == 1


#: kind of saver, what its second run leaves, whole files before the kill
_KILLED: list[tuple[str, set[str], list[float]]] = [
    ("plain", {"_00002.png"}, [0.5, 1]),
    ("untagged", {"_00002.png"}, [1]),
    ("overwrite_in_place", {".png"}, [0.5, 1]),
    ("three", {"_front_00002.png", "_side_00002.png", "_back_00002.png"}, [0.5, 1, 1.5, 2, 2.5, 3]),
    ("frames", {f"_00002.00{number}.png" for number in (1, 2, 3)}, [2, 3]),
    ("poster", {"_00002.mp4", "_00002.png"}, [0.5, 1, 2]),
    ("vhs", {"_00002-audio.mp4"}, [1, 1.5, 2, 2.5, 3]),
    ("vhs_unnamed", {"_00002.png", "_00002.mp4", "_00002-audio.mp4"}, [2, 3]),
]


@newer_stand_in
@pytest.mark.parametrize(
    ("kind", "files", "written"), [(kind, files, number) for kind, files, numbers in _KILLED for number in numbers]
)
def test_killed_inside_a_saver_that_nobody_knows_it_is_rendered_again(
    host: Any, kind: str, files: set[str], written: float, shops: Shops
) -> None:
    _kill_inside(shops(host), kind, files, written)


@real_only
def test_killed_inside_a_saver_that_nobody_knows_in_comfyui(host: Any, shops: Shops) -> None:
    _kill_inside(shops(host), "three", _KILLED[3][1], 2)


def _kill_inside(shop: Shop, kind: str, files: set[str], written: float) -> None:
    workflow = "图生视频" if kind in ("poster", "vhs", "vhs_unnamed") else "图片合成"
    prefix, mark, tag = shop.name(), shop.mark(), shop.row(workflow_type=workflow)
    shop.stop_after(prefix, math.ceil(written), half=written % 1 > 0)
    prompt = shop.comfy.queue(saved(kind, prefix, mark), tag)
    state = shop.kill_when_stopped(prompt)
    assert (state["recovered"], state["requeued"], state["failed"]) == (0, 1, 0)
    _rendered_again(shop, prompt, prefix, tag, mark, files)
    assert shop.runs(prefix) == 2


@newer_stand_in
@pytest.mark.parametrize("class_type", ["TryCropFaces", "TryAsList"])
@pytest.mark.parametrize("files", [1, 2, 3])
def test_killed_where_one_picture_becomes_three_it_is_rendered_again(
    host: Any, class_type: str, files: int, shops: Shops
) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    graph = core("SaveImage", prefix, mark)
    graph["5"] = {"class_type": class_type, "inputs": {"image": ["1", 0]}}
    graph["9"]["inputs"]["images"] = ["5", 0]
    shop.stop_after(prefix, files)
    prompt = shop.comfy.queue(graph, tag)
    assert shop.kill_when_stopped(prompt)["requeued"] == 1
    again = {f"_{number:05}_.png" for number in range(files + 1, files + 4)}
    _rendered_again(shop, prompt, prefix, tag, mark, again)


@one_host
@pytest.mark.parametrize("files", [2, 3])
def test_of_comfyui_s_own_saver_the_whole_batch_counts(host: Any, files: int, shops: Shops) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    shop.stop_after(prefix, files)
    prompt = shop.comfy.queue(core("SaveImage", prefix, mark, batch=3), tag)
    state = shop.kill_when_stopped(prompt)
    if files == 3:
        assert (state["recovered"], state["requeued"]) == (1, 0)
        record = shop.pushed(prompt)
        assert record["metadata"]["adopted"]
        assert record["output_files"] == [f"{prefix}_{number:05}_.png" for number in (1, 2, 3)]
        assert record["metadata"]["attempts"] == 1
        _in_the_sheet(shop, tag, mark)
    else:
        assert (state["recovered"], state["requeued"]) == (0, 1)
        _rendered_again(shop, prompt, prefix, tag, mark, {f"_{number:05}_.png" for number in range(3, 6)})


#: ComfyUI's own savers of what moves: class, its inputs, how its file ends
_MOVING: list[tuple[str, Mapping[str, Any], str]] = [
    ("SaveAnimatedWEBP", {"fps": 6.0, "lossless": True, "quality": 80, "method": "default"}, ".webp"),
    ("SaveAnimatedPNG", {"fps": 6.0, "compress_level": 4}, ".png"),
    ("SaveWEBM", {"codec": "vp9", "fps": 24.0, "crf": 32.0}, ".webm"),
    ("SaveVideo", {"format": "auto", "codec": "auto"}, ".mp4"),
]


@real_only
@pytest.mark.parametrize(("class_type", "inputs", "suffix"), _MOVING, ids=[name for name, *_ in _MOVING])
def test_of_comfyui_s_own_films_the_whole_file_counts(
    host: Any, class_type: str, inputs: Mapping[str, Any], suffix: str, shops: Shops
) -> None:
    _adopt_film(shops(host), class_type, inputs, suffix)


@newer_stand_in
def test_of_the_stand_in_s_film_the_whole_file_counts(host: Any, shops: Shops) -> None:
    _adopt_film(shops(host), *_MOVING[3])


def _adopt_film(shop: Shop, class_type: str, inputs: Mapping[str, Any], suffix: str) -> None:
    prefix, mark, tag = shop.name(), shop.mark(), shop.row(workflow_type="图生视频")
    graph = core(class_type, prefix, mark, **inputs)
    graph["3"] = core(class_type, prefix, shop.mark())["1"]
    graph["4"] = {"class_type": "ImageBatch", "inputs": {"image1": ["1", 0], "image2": ["3", 0]}}
    graph["9"]["inputs"]["images"] = ["4", 0]
    if class_type == "SaveVideo":
        graph["5"] = {"class_type": "CreateVideo", "inputs": {"images": ["4", 0], "fps": 8.0}}
        graph["9"]["inputs"] = {"video": ["5", 0], "filename_prefix": prefix, **inputs}
    shop.stop_after(prefix, 1)
    prompt = shop.comfy.queue(graph, tag)
    state = shop.kill_when_stopped(prompt)
    assert (state["recovered"], state["requeued"]) == (1, 0)
    record = shop.pushed(prompt)
    assert record["output_files"] == [f"{prefix}_00001_{suffix}"]
    assert same_mark(shop.comfy.output / record["output_files"][0], mark)
    assert shop.feishu.sheet.row(tag["row_number"])[VIDEO] == "已完成"


@one_host
@pytest.mark.parametrize(
    ("kind", "client", "files"),
    [
        ("three", "a client", ["_front_00001.png", "_side_00001.png", "_back_00001.png"]),
        ("no_ui", None, ["_00001.png"]),
    ],
)
def test_what_a_node_wrote_that_had_ended_is_taken_over(
    host: Any, kind: str, client: str | None, files: list[str], shops: Shops
) -> None:
    _adopt_ended(shops(host), kind, client, files)


@newer_stand_in
@pytest.mark.parametrize("client", ["a client", None])
@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("vhs", ["_00001-audio.mp4"]),
        ("vhs_unnamed", ["_00001.png", "_00001.mp4", "_00001-audio.mp4"]),
        ("strings", ["_00001.png"]),
        ("untagged", ["_00001.png"]),
        ("frames", [f"_00001.00{number}.png" for number in (1, 2, 3)]),
    ],
)
def test_what_any_saver_wrote_that_had_ended_is_taken_over(
    host: Any, kind: str, client: str | None, files: list[str], shops: Shops
) -> None:
    _adopt_ended(shops(host), kind, client, files)


def _adopt_ended(shop: Shop, kind: str, client: str | None, files: list[str]) -> None:
    workflow = "图生视频" if kind.startswith("vhs") else "图片合成"
    prefix, mark, tag = shop.name(), shop.mark(), shop.row(workflow_type=workflow)
    body = {} if client is None else {"client_id": client}
    prompt = shop.comfy.queue(with_slow_branch(saved(kind, prefix, mark)), tag, **body)
    _until_noted(shop, prompt, "9")
    assert shop.comfy.stage(prompt) == "running"
    state = shop.comfy.crash()
    assert (state["recovered"], state["requeued"]) == (1, 0)
    record = shop.pushed(prompt)
    assert record["output_files"] == [f"{prefix}{name}" for name in files]
    assert record["metadata"]["feishu"]["file"] == f"{prefix}{files[-1]}"
    assert shop.runs(prefix) == 1
    if workflow == "图片合成":
        _in_the_sheet(shop, tag, mark)


def _until_noted(shop: Shop, prompt: str, node: str) -> None:
    """ComfyUI has said that a node has ended, and that is on disk."""

    def ended() -> bool:
        nodes = shop.comfy.record(prompt)["metadata"].get("nodes") or {}
        return bool(nodes.get(node, {}).get("done"))

    until(ended, what=f"node {node} has ended")


@newer_stand_in
def test_after_a_kill_an_answer_from_the_cache_is_never_another_s_picture(host: Any, shops: Shops) -> None:
    """The saver's answer came from the cache, its file was another row's by then, and the kill came before the end."""
    shop = shops(host)
    prefix, mark, tags = shop.name(), shop.mark(), [shop.row() for _ in range(3)]
    graph = saved("overwrite", prefix, mark)
    shop.pushed(shop.comfy.queue(graph, tags[0]))
    other = {**graph, "10": saved("overwrite", prefix, shop.mark())["9"]}
    shop.pushed(shop.comfy.queue(other, tags[1], partial_execution_targets=["10"]))
    again = shop.comfy.queue(with_slow_branch(graph), tags[2])
    until(lambda: shop.comfy.get("/queue")["queue_running"])
    shop.comfy.until_stage(again, "running")
    time.sleep(0.5)  # its nodes are told
    assert shop.comfy.crash()["requeued"] == 1
    _until_noted(shop, again, "9")
    shop.comfy.crash()
    shop.pushed(again)
    _in_the_sheet(shop, tags[2], mark)


@real_only
def test_what_nodes_of_nodes_have_made(host: Any, shops: Shops) -> None:
    """A node that expands into savers: all of them when it ends, and after a kill nobody can tell."""
    shop = shops(host)
    for savers in (1, 3):
        prefix, mark, tag = shop.name(), shop.mark(), shop.row()
        graph = saved("plain", prefix, mark)
        graph["9"] = {
            "class_type": "TryExpands",
            "inputs": {"images": ["1", 0], "savers": savers, "filename_prefix": prefix},
        }
        record = shop.pushed(shop.comfy.queue(graph, tag))
        assert sorted(record["output_files"]) == [f"{prefix}_{number}_00001_.png" for number in range(savers)]
        _in_the_sheet(shop, tag, mark)
        # the same again comes from the cache
        record = shop.pushed(shop.comfy.queue(graph, shop.row()))
        assert sorted(record["output_files"]) == [f"{prefix}_{number}_00001_.png" for number in range(savers)]

    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    graph["1"] = saved("plain", prefix, mark)["1"]
    graph["9"]["inputs"]["filename_prefix"] = prefix
    shop.stop_after(prefix, 2)
    prompt = shop.comfy.queue(graph, tag)
    assert shop.kill_when_stopped(prompt)["requeued"] == 1
    record = shop.pushed(prompt)
    assert len(record["output_files"]) == 3
    assert record["metadata"]["attempts"] == 2
    _in_the_sheet(shop, tag, mark)


def looped(kind: str, turns: int, prefix: str, mark: int) -> dict[str, Any]:
    """A picture that goes through a loop before it is saved."""
    graph = core("SaveImage", prefix, mark)
    graph["5"] = {"class_type": kind, "inputs": {"image": ["1", 0], "turns": turns}}
    graph["9"]["inputs"]["images"] = ["5", 0]
    return graph


@newer_stand_in
def test_a_long_loop_costs_no_attempt_and_one_write(host: Any, shops: Shops) -> None:
    """It makes nodes, turn by turn, and each gets a longer name. With all these names the record became too large to be
    read, and was begun anew while the prompt ran."""
    _loop(shops(host), "TryLongLoop", 600)


@real_only
def test_a_loop_costs_one_write(host: Any, shops: Shops) -> None:
    """That there are nodes which others have made is all that is noted of them."""
    _loop(shops(host), "TryLoop", 10)


def _loop(shop: Shop, kind: str, turns: int) -> None:
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    shop.stop_after(prefix, 1)
    prompt = shop.comfy.queue(looped(kind, turns, prefix, mark), tag)
    recovery = shop.kill_when_stopped(prompt)
    # though its one file lies there: what the nodes of the loop may have saved, nobody knows
    assert recovery["requeued"] == 1
    record = shop.pushed(prompt)
    assert record["metadata"]["attempts"] == 2
    assert record["revision"] < 25
    assert shop.comfy.status()["corrupt"] == 0
    _in_the_sheet(shop, tag, mark)


# ------------------------------------------------------------------ what is told is JSON


@one_host
def test_what_is_told_of_them_is_plain(host: Any, shops: Shops) -> None:
    shop = shops(host)
    strict(shop.comfy.call("GET", "/wfrecovery/status").text)
    answer = shop.comfy.call("GET", "/wfrecovery/tasks", params={"limit": "200"}).text
    for task in strict(answer)["tasks"]:
        for reason in (task["error_message"], task["metadata"].get("error_message_zh")):
            assert reason is None or readable(reason)
