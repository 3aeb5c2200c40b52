"""Savers of every kind: their files are the task's, all of them and no others, whatever they are named by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from plugin_support import all_hosts, until
from saver_support import STATUS, VIDEO, Shop, Shops, core, readable, same_mark, saved, strict

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


@all_hosts
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


@all_hosts
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


@all_hosts
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


@all_hosts
def test_a_prompt_without_a_row_has_its_files(host: Any, shops: Shops) -> None:
    shop = shops(host)
    for kind in ("sound", "no_ui", "untagged", "vhs", "no_file"):
        prefix = shop.name()
        record = shop.comfy.finished(shop.comfy.queue(saved(kind, prefix, shop.mark())))
        assert len(record["output_files"]) == (kind != "no_file"), kind
        assert record["metadata"]["feishu"]["state"] == "off"


@all_hosts
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


@all_hosts
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


@all_hosts
def test_what_lies_outside_does_not_keep_the_rest_from_the_row(host: Any, shops: Shops, tmp_path: Path) -> None:
    shop = shops(host)
    prefix, mark, tag = shop.name(), shop.mark(), shop.row()
    graph = core("SaveImage", prefix, mark)
    graph["10"] = saved("outside", prefix, shop.mark(), output_path=str(tmp_path))["9"]
    record = shop.pushed(shop.comfy.queue(graph, tag))
    assert record["output_files"] == [f"{prefix}_00001_.png"]
    _in_the_sheet(shop, tag, mark)


@all_hosts
def test_a_row_without_a_file_fails_with_a_reason(host: Any, shops: Shops) -> None:
    shop = shops(host)
    record = shop.comfy.until_stage(
        shop.comfy.queue(saved("no_file", shop.name(), shop.mark()), shop.row()), "failed", "finished"
    )
    assert record["status"] == "失败"
    assert "no file" in readable(record["error_message"])


# ------------------------------------------------------------------ whose a file is


@all_hosts
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


@all_hosts
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


@all_hosts
def test_what_is_left_of_a_broken_result_goes_nowhere(host: Any, shops: Shops) -> None:
    shop = shops(host)
    prefix, tag = shop.name(), shop.row()
    record = shop.ended(shop.comfy.queue(saved("last_one_cut", prefix, shop.mark()), tag))
    assert record["status"] == "失败"
    assert f"{prefix}_back_00001.png" in readable(record["error_message"])
    until(lambda: shop.feishu.sheet.row(tag["row_number"])[STATUS] == "失败")
    assert shop.shown(tag["row_number"]) is None


# ------------------------------------------------------------------ another file under the same name


@all_hosts
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


@all_hosts
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


@all_hosts
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


@all_hosts
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


@all_hosts
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


@all_hosts
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


# ------------------------------------------------------------------ what is told is JSON


@all_hosts
def test_what_is_told_of_them_is_plain(host: Any, shops: Shops) -> None:
    shop = shops(host)
    strict(shop.comfy.call("GET", "/wfrecovery/status").text)
    answer = shop.comfy.call("GET", "/wfrecovery/tasks", params={"limit": "200"}).text
    for task in strict(answer)["tasks"]:
        for reason in (task["error_message"], task["metadata"].get("error_message_zh")):
            assert reason is None or readable(reason)
