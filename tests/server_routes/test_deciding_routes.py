"""What a person is shown before he decides about a result, and what he may name: over the routes, told by the sheet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from plugin_support import Comfy, embedded, failing, picture, row, until

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture

SHEET = [{"产品名": f"产品{n}", "模特名": "模特A", "提示词": f"颜色{n}", "图片是否已处理": "否"} for n in range(2, 30)]
PICTURE = "产品模特合成图"


@pytest.fixture(scope="module")
def feishu() -> Iterator[FeishuStandIn]:
    with FeishuStandIn(SHEET) as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def comfy(feishu: FeishuStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    with Comfy(tmp_path_factory.mktemp("deciding") / "comfyui", env=feishu.environment()) as started:
        yield started


def task_of(comfy: Comfy, prompt: str, state: str) -> str:
    """A task whose result is so far."""
    until(lambda: comfy.record(prompt)["metadata"]["feishu"]["state"] == state, what=f"{prompt} {state}")
    return str(comfy.record(prompt)["task_id"])


def blocked(comfy: Comfy, feishu: FeishuStandIn, number: int) -> str:
    """A task whose row has got another 提示词."""
    feishu.sheet.set(f"{feishu.sheet.find('提示词')}{number}", "新的提示词")
    return task_of(comfy, comfy.queue(picture(f"blocked{number}", color=number), row(number, prompt="旧的")), "blocked")


def failed(comfy: Comfy, number: int) -> str:
    """A task that made nothing, which its row says."""
    return task_of(comfy, comfy.queue(failing(f"failed{number}", "no memory"), row(number)), "pushed")


def saved(comfy: Comfy, name: str, color: int) -> bytes:
    """A picture that somebody has put into the output folder."""
    file = comfy.output / name
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (6, 5), (color, 99, 199)).save(file)
    return file.read_bytes()


def shown(feishu: FeishuStandIn, number: int) -> bytes | None:
    cell = feishu.sheet.row(number)[PICTURE]
    return cell.data if isinstance(cell, Picture) else None


def post(comfy: Comfy, path: str, body: Any) -> Any:
    return comfy.call("POST", f"/wfrecovery/tasks/{path}", json=body)


def get(comfy: Comfy, path: str) -> Any:
    return comfy.call("GET", f"/wfrecovery/tasks/{path}")


def refusal(answer: Any) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["type"], error["message"]


def test_the_row_is_shown_and_written_if_it_still_is_that_one(comfy: Comfy, feishu: FeishuStandIn) -> None:
    task_id = blocked(comfy, feishu, 5)
    (found,) = get(comfy, f"{task_id}/rows").json()["rows"]
    assert {name: found[name] for name in ("row_number", "product_name", "model_name", "prompt")} == {
        "row_number": 5,
        "product_name": "产品5",
        "model_name": "模特A",
        "prompt": "新的提示词",
    }
    feishu.sheet.set(f"{feishu.sheet.find('提示词')}5", "又改了")
    named = {"row_number": 5, "seen": found["seen"]}
    status, kind, words = refusal(post(comfy, f"{task_id}/write?lang=zh", named))
    assert (status, kind) == (409, "not_possible")
    assert "请重新查看" in words
    assert shown(feishu, 5) is None
    (found,) = get(comfy, f"{task_id}/rows?row_number=5").json()["rows"]
    assert post(comfy, f"{task_id}/write", {"row_number": 5, "seen": found["seen"]}).status_code == 202
    until(lambda: shown(feishu, 5), what="the picture in its row")


def test_what_rows_cannot_be_shown_is_said(comfy: Comfy, feishu: FeishuStandIn) -> None:
    task_id = blocked(comfy, feishu, 6)
    assert refusal(get(comfy, f"{task_id}/rows?row_number=x"))[:2] == (400, "bad_row_number")
    assert refusal(get(comfy, f"{task_id}/rows?row_number=500"))[:2] == (409, "not_possible")
    assert refusal(get(comfy, "img_20200101_001/rows"))[:2] == (404, "unknown_task")
    assert refusal(post(comfy, f"{task_id}/write", {"row_number": 6, "seen": 7}))[:2] == (400, "bad_row_number")


def test_a_file_is_chosen_of_those_that_are_shown(comfy: Comfy, feishu: FeishuStandIn) -> None:
    """The row was rendered once more by hand, by a prompt without a row; its picture says so of itself."""
    task_id = failed(comfy, 7)
    by_hand = comfy.finished(comfy.queue(picture("by_hand/again", color=0x40A0C0)))
    (made,) = by_hand["output_files"]
    files = {file["path"]: file for file in get(comfy, f"{task_id}/candidates").json()["files"]}
    assert files[made]["task_id"] == by_hand["task_id"] == embedded(comfy.output / made)["task_id"]
    assert (files[made]["kind"], files[made]["size"]) == ("picture", (comfy.output / made).stat().st_size)
    answer = post(comfy, f"{task_id}/adopt", {"path": made})
    assert answer.status_code == 202, answer.text
    record = answer.json()
    assert (record["status"], record["output_files"], record["error_message"]) == ("已完成", [made], None)
    assert record["metadata"]["results"][0]["given"] is True
    until(lambda: shown(feishu, 7) == (comfy.output / made).read_bytes(), what="the picture in its row")
    until(lambda: get(comfy, task_id).json()["metadata"]["feishu"]["state"] == "pushed", what="its record")
    assert feishu.sheet.row(7)["图片是否已处理"] == "已完成"
    story = get(comfy, task_id).json()["metadata"]["story"]
    assert [(line["what"], line.get("text")) for line in story if line["what"] == "given"] == [("given", made)]
    (there,) = get(comfy, f"{task_id}/results").json()["results"]
    assert there == {"path": made, "kind": "picture", "delivered": True, "state": "there", "reason": None}


def test_a_result_that_was_replaced_on_purpose_is_taken_as_it_is_now(comfy: Comfy, feishu: FeishuStandIn) -> None:
    prompt = comfy.queue(picture("retouched", color=8), row(8))
    task_id = task_of(comfy, prompt, "pushed")
    (name,) = comfy.record(prompt)["output_files"]
    until(lambda: not (comfy.table / "kept" / f"{task_id}.download").exists(), what="no copy")
    retouched = saved(comfy, name, 200)
    assert get(comfy, f"{task_id}/candidates").json()["files"][0]["path"] == name
    assert post(comfy, f"{task_id}/adopt", {"path": name}).status_code == 202
    until(lambda: shown(feishu, 8) == retouched, what="the picture as it is now")


def test_a_file_of_a_prompt_without_a_row_is_shown_and_goes_nowhere(comfy: Comfy, feishu: FeishuStandIn) -> None:
    prompt = comfy.queue(failing("nowhere", "no memory"))
    task_id = comfy.until_stage(prompt, "failed")["task_id"]
    saved(comfy, "nowhere.png", 77)
    writes = len(feishu.sheet.picture_writes)
    answer = post(comfy, f"{task_id}/adopt", {"path": "nowhere.png"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["metadata"]["feishu"]["state"] == "off"
    assert comfy.call("GET", f"/wfrecovery/tasks/{task_id}/file").content == (comfy.output / "nowhere.png").read_bytes()
    assert len(feishu.sheet.picture_writes) == writes


@pytest.mark.parametrize(
    "path", ["../secret.png", "/etc/hostname", "link.png", "wfrecovery/table_id", "gone.png", "cut.png"]
)
def test_what_is_no_result_is_refused_and_not_read(comfy: Comfy, feishu: FeishuStandIn, path: str) -> None:
    task_id = failed(comfy, 9)
    secret = comfy.output.parent / "secret.png"
    Image.new("RGB", (3, 3)).save(secret)
    if not (comfy.output / "link.png").is_symlink():
        (comfy.output / "link.png").symlink_to(secret)
    (comfy.output / "cut.png").write_bytes(secret.read_bytes()[:-6])
    before = get(comfy, task_id).json()
    status, kind, words = refusal(post(comfy, f"{task_id}/adopt?lang=zh", {"path": path}))
    assert (status, kind) == (409, "not_possible")
    assert any(said in words for said in ("不在输出文件夹内", "任务表自己的文件", "没有文件", "不完整"))
    assert get(comfy, task_id).json() == before
    assert shown(feishu, 9) is None


def test_a_file_is_named_by_one_text_for_one_task(comfy: Comfy) -> None:
    task_id = failed(comfy, 10)
    for path in (None, "", " ", 5, ["a.png"], {"a": 1}):
        assert refusal(post(comfy, f"{task_id}/adopt", {"path": path}))[:2] == (400, "bad_path"), path
    assert refusal(post(comfy, "adopt", {"task_ids": [task_id]}))[:2] == (400, "bad_selection")
    assert refusal(post(comfy, "img_20200101_001/adopt", {"path": "a.png"}))[:2] == (404, "unknown_task")
    assert refusal(post(comfy, "write", {"task_ids": [task_id]}))[:2] == (400, "bad_selection")


def test_what_runs_or_has_its_result_gets_no_other_file(comfy: Comfy, feishu: FeishuStandIn) -> None:
    saved(comfy, "other.png", 66)
    done = task_of(comfy, comfy.queue(picture("has_one", color=11), row(11)), "pushed")
    mine = shown(feishu, 11)
    status, kind, words = refusal(post(comfy, f"{done}/adopt", {"path": "other.png"}))
    assert (status, kind) == (409, "not_possible")
    assert "its result is there" in words
    running = comfy.queue(picture("runs", seconds=600), row(12))
    task_id = comfy.until_stage(running, "running")["task_id"]
    assert refusal(post(comfy, f"{task_id}/adopt", {"path": "other.png"}))[:2] == (409, "not_possible")
    comfy.idle()
    comfy.until_stage(running, "cancelled")
    assert refusal(post(comfy, f"{task_id}/adopt", {"path": "other.png"}))[:2] == (409, "not_possible")
    assert shown(feishu, 11) == mine is not None
    assert shown(feishu, 12) is None


def test_without_feishu_settings_no_row_is_shown_and_a_file_is_taken_all_the_same(tmp_path: Path) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        prompt = comfy.queue(failing("alone", "no memory"), row(3))
        task_id = comfy.until_stage(prompt, "failed")["task_id"]
        assert refusal(get(comfy, f"{task_id}/rows"))[:2] == (409, "not_configured")
        saved(comfy, "made.png", 5)
        answer = post(comfy, f"{task_id}/adopt", {"path": "made.png"})
        assert answer.status_code == 202, answer.text
        assert answer.json()["metadata"]["feishu"]["state"] == "pending"
