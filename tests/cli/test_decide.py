"""`wfrecovery decide`, in ComfyUI's table and in main.py's: told by the sheet."""

from __future__ import annotations

import json
from pathlib import Path

from cli_support import NOWHERE, wfrecovery
from PIL import Image
from plugin_support import Comfy, failing, picture, until

from wfrecovery import bridge
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn, Picture

SHEET = [
    {"产品名": "裙子", "模特名": "模特A", "提示词": f"颜色{number}", "图片是否已处理": "否"} for number in (1, 2, 3)
]
PICTURE, STATUS = "产品模特合成图", "图片是否已处理"


def shown(feishu: FeishuStandIn) -> list[tuple[str, bool]]:
    rows = [feishu.sheet.row(number) for number in range(2, feishu.sheet.last_row + 1)]
    return [(row[STATUS], isinstance(row[PICTURE], Picture)) for row in rows]


OPEN, DONE = ("否", False), ("已完成", True)


def test_a_prompt_that_did_not_say_which_row_goes_where_a_person_says(tmp_path: Path) -> None:
    with FeishuStandIn(SHEET) as feishu, Comfy(tmp_path / "comfyui", env=feishu.environment()) as comfy:
        tag = {"row_number": 3, "product_name": "裙子", "model_name": "模特A", "workflow_type": "图片合成"}
        prompt = comfy.queue(picture("dress"), tag)
        comfy.finished(prompt)
        until(lambda: comfy.record(prompt)["metadata"]["feishu"]["state"] == "blocked")
        task_id = comfy.record(prompt)["task_id"]
        assert shown(feishu) == [OPEN, OPEN, OPEN]
        ended = wfrecovery("decide", task_id, "write", url=comfy.url, folder=tmp_path)
        assert ended.returncode == 2
        assert "say which row: 2, 3, 4" in ended.stderr
        ended = wfrecovery("decide", task_id, "write", "--row", "4", url=comfy.url, folder=tmp_path)
        assert ended.returncode == 0, ended.stderr
        until(lambda: comfy.record(prompt)["metadata"]["feishu"]["state"] == "pushed")
        assert shown(feishu) == [OPEN, OPEN, DONE]
        ended = wfrecovery("decide", task_id, "leave", url=comfy.url, folder=tmp_path)
        assert ended.returncode == 2, "it is in the sheet"


def test_a_prompt_that_says_its_row_s_text_goes_there_after_a_row_above_is_gone(tmp_path: Path) -> None:
    with FeishuStandIn(SHEET) as feishu, Comfy(tmp_path / "comfyui", env=feishu.environment()) as comfy:
        tag = {"row_number": 3, "product_name": "裙子", "model_name": "模特A", "workflow_type": "图片合成"}
        prompt = comfy.queue(picture("dress", seconds=2.0), {**tag, "prompt": "颜色2"})
        comfy.until_stage(prompt, "running")
        feishu.sheet.delete_row(2)
        comfy.finished(prompt)
        until(lambda: shown(feishu) == [DONE, OPEN])


def test_a_result_of_main_py_is_written_or_left(tmp_path: Path) -> None:
    with FeishuStandIn(SHEET) as feishu:
        db = bridge.DatabaseManager(tmp_path / "output")
        settings = bridge.load_settings(environ=feishu.environment())
        rows = bridge.FeishuClient(settings).read_rows()
        tasks = []
        for row in rows[:2]:
            tasks.append(db.add_workflow_task(row, "图片合成"))
            Image.new("RGB", (4, 4)).save(tmp_path / "output" / f"{tasks[-1]}.png")
            db.complete_task(tasks[-1], [f"{tasks[-1]}.png"])
            feishu.sheet.set(f"E{row.row_number}", f"新颜色{row.row_number}")
        run = {"url": NOWHERE, "folder": tmp_path, **feishu.environment()}
        ended = wfrecovery("decide", tasks[0], "write", "--local", "--json", **run)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["metadata"]["feishu"]["state"] == "pushed"
        ended = wfrecovery("decide", tasks[1], "again", "--local", **run)
        assert ended.returncode == 0, ended.stderr
        assert "the next batch renders the row" in ended.stdout
        assert shown(feishu) == [DONE, OPEN, OPEN]
        assert db.add_workflow_task(bridge.FeishuClient(settings).read_rows()[1], "图片合成") not in tasks


def test_a_file_that_a_person_names_goes_into_the_row_of_a_failed_task(tmp_path: Path) -> None:
    with FeishuStandIn(SHEET) as feishu, Comfy(tmp_path / "comfyui", env=feishu.environment()) as comfy:
        tag = {"row_number": 3, "product_name": "裙子", "model_name": "模特A", "workflow_type": "图片合成"}
        prompt = comfy.queue(failing("dress", "out of memory"), {**tag, "prompt": "颜色2"})
        task_id = comfy.until_stage(prompt, "failed")["task_id"]
        made = comfy.output / "by hand" / "裙子.png"
        made.parent.mkdir()
        Image.new("RGB", (6, 5), (9, 99, 199)).save(made)
        run = {"url": comfy.url, "folder": tmp_path}
        ended = wfrecovery("decide", task_id, "file", "--file", "by hand/不在.png", "--lang", "zh", **run)
        assert ended.returncode == 2
        assert "输出文件夹里没有文件 by hand/不在.png" in ended.stderr
        ended = wfrecovery("decide", task_id, "file", "--file", "by hand/裙子.png", **run)
        assert ended.returncode == 0, ended.stderr
        assert "the file is its result now" in ended.stdout
        until(lambda: shown(feishu) == [OPEN, DONE, OPEN])
        cell = feishu.sheet.row(3)[PICTURE]
        assert isinstance(cell, Picture)
        assert cell.data == made.read_bytes()


def test_a_file_for_a_task_of_main_py(tmp_path: Path) -> None:
    with FeishuStandIn(SHEET) as feishu:
        db = bridge.DatabaseManager(tmp_path / "output")
        rows = bridge.FeishuClient(bridge.load_settings(environ=feishu.environment())).read_rows()
        task_id = db.add_workflow_task(rows[1], "图片合成")
        assert db.mark_task_failed(task_id, "KSampler: boom")
        made = tmp_path / "output" / "made.png"
        Image.new("RGB", (6, 5), (9, 99, 199)).save(made)
        run = {"url": NOWHERE, "folder": tmp_path, **feishu.environment()}
        ended = wfrecovery("decide", task_id, "file", "--file", "/etc/hostname", "--local", **run)
        assert ended.returncode == 2
        assert "/etc/hostname does not lie inside the output folder" in ended.stderr
        ended = wfrecovery("decide", task_id, "file", "--file", str(made), "--local", "--json", **run)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["output_files"] == ["made.png"]
        assert shown(feishu) == [OPEN, DONE, OPEN]
        cell = feishu.sheet.row(3)[PICTURE]
        assert isinstance(cell, Picture)
        assert cell.data == made.read_bytes()


def test_what_cannot_be_decided_is_said(tmp_path: Path) -> None:
    bridge.DatabaseManager(tmp_path / "output").table.keep_table_id()
    for arguments, words in (
        (["img_20200101_001", "leave", "--local"], "img_20200101_001"),
        (["img_20200101_001", "leave", "--local", "--row", "3"], "--row goes with write"),
        (["img_20200101_001", "file", "--local"], "file and --file PATH go together"),
        (["img_20200101_001", "write", "--local", "--file", "a.png"], "file and --file PATH go together"),
        (["img_20200101_001", "write"], "Start ComfyUI"),
    ):
        ended = wfrecovery("decide", *arguments, url=NOWHERE, folder=tmp_path)
        assert ended.returncode == 2
        assert words in ended.stderr


def test_without_feishu_settings_a_row_cannot_be_named(tmp_path: Path) -> None:
    with Comfy(tmp_path / "comfyui") as comfy:
        tag = {"row_number": 3, "product_name": "裙子", "model_name": "模特A", "workflow_type": "图片合成"}
        prompt = comfy.queue(picture("dress"), tag)
        task_id = comfy.finished(prompt)["task_id"]
        path = f"/wfrecovery/tasks/{task_id}/write"
        refused = comfy.call("POST", path, json={})
        assert (refused.status_code, refused.json()["error"]["type"]) == (409, "not_configured")
        for number in (0, -1, "3", 2.5, True):
            refused = comfy.call("POST", path, json={"row_number": number})
            assert (refused.status_code, refused.json()["error"]["type"]) == (400, "bad_row_number"), number
        refused = comfy.call("POST", "/wfrecovery/tasks/write", json={"task_ids": [task_id]})
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "bad_selection")
        assert comfy.call("POST", f"/wfrecovery/tasks/{task_id}/leave", json={}).status_code == 202
        assert comfy.record(prompt)["metadata"]["feishu"]["state"] == "off"
