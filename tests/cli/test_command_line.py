"""The command line, as a person and a script use it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cli_support import NOWHERE, ROOT, died, wfrecovery

from wfrecovery import bridge
from wfrecovery.bridge.terminal import ProgressBar, cut, language_of, table
from wfrecovery.bridge.wording import width
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.demo.launch import ComfyProcess


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyProcess]:
    with ComfyProcess(tmp_path_factory.mktemp("comfyui"), plugins=[ROOT]) as process:
        yield process


def test_help_lists_every_command(tmp_path: Path) -> None:
    ended = wfrecovery("--help", url=NOWHERE, folder=tmp_path)
    assert ended.returncode == 0
    assert all(name in ended.stdout for name in ("status", "tasks", "recover", "push", "doctor", "demo"))


def test_status_of_a_healthy_comfyui(comfy: ComfyProcess, tmp_path: Path) -> None:
    ended = wfrecovery("status", url=comfy.url, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "在处理中 0" in ended.stdout
    assert "FEISHU_APP_ID" in ended.stdout  # what publishing lacks


def test_status_for_a_script(comfy: ComfyProcess, tmp_path: Path) -> None:
    data = json.loads(wfrecovery("status", "--json", url=comfy.url, folder=tmp_path).stdout)
    assert data["comfyui"]["feishu"]["configured"] is False


def test_recover_waits_for_the_end(comfy: ComfyProcess, tmp_path: Path) -> None:
    ended = wfrecovery("recover", "--json", url=comfy.url, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["comfyui"]["state"] == "idle"


def test_recover_says_when_comfyui_is_not_reachable(tmp_path: Path) -> None:
    ended = wfrecovery("recover", url=NOWHERE, folder=tmp_path)
    assert ended.returncode == 2
    assert "no answer from ComfyUI" in ended.stderr
    assert "COMFYUI_URL" in ended.stderr


def test_tasks_are_listed_with_their_row_and_filtered(comfy: ComfyProcess, tmp_path: Path) -> None:
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    tag = {"row_number": 7, "product_name": "帆布包 & 杯", "model_name": "小雅", "workflow_type": "图片合成"}
    body = {"prompt": graph, "extra_data": {"wfrecovery": tag}}
    assert requests.post(comfy.url + "/prompt", json=body, timeout=180).status_code == 200
    titles, line = wfrecovery("tasks", "--search", "包 & 杯", url=comfy.url, folder=tmp_path).stdout.splitlines()[:2]
    assert line.split()[4] == "7"
    assert width(line[: line.index("帆布包")]) == width(titles[: titles.index("PRODUCT")])
    listed = wfrecovery("tasks", "--json", "--limit", "300", url=comfy.url, folder=tmp_path)
    assert [task["row_number"] for task in json.loads(listed.stdout)] == [7]
    for name, value in (
        ("search", "nothing"),
        ("stage", "failed"),
        ("feishu", "blocked"),
        ("workflow-type", "图生视频"),
    ):
        assert "no tasks" in wfrecovery("tasks", f"--{name}", value, url=comfy.url, folder=tmp_path).stdout
    assert "no tasks" in wfrecovery("tasks", "--status", "失败", url=comfy.url, folder=tmp_path).stdout


def test_a_failed_task_of_main_py_is_shown_and_asks_for_attention(comfy: ComfyProcess, tmp_path: Path) -> None:
    db = bridge.DatabaseManager(tmp_path / "output")
    task_id = db.add_workflow_task({"row_number": 3, "product_name": "杯", "model_name": "杰"}, "图生视频")
    db.mark_task_failed(task_id, "it broke")
    ended = wfrecovery("tasks", "--local", url=NOWHERE, folder=tmp_path)
    assert ended.returncode == 0
    assert "it broke" in ended.stdout
    assert wfrecovery("status", url=comfy.url, folder=tmp_path).returncode == 1


def test_what_a_terminal_would_obey_is_not_shown(tmp_path: Path) -> None:
    """A cell of the sheet, or a node's message, may hold anything."""
    db = bridge.DatabaseManager(tmp_path / "output")
    task_id = db.add_workflow_task({"row_number": 2, "product_name": "\x1b[2J杯\x07子　👩\u200d💻\x9b1m"}, "图片合成")
    db.mark_task_failed(task_id, "boom\x1b]0;mine\x07 and\u3000\non")
    shown = wfrecovery("tasks", "--local", url=NOWHERE, folder=tmp_path).stdout
    assert "杯子 👩\u200d💻" in shown
    assert "boom]0;mine and\u3000" in shown
    assert [letter for letter in shown if not letter.isprintable() and letter not in "\n\u200d\u3000"] == []


def test_push_without_settings_names_what_is_missing(tmp_path: Path) -> None:
    bridge.DatabaseManager(tmp_path / "output").add_workflow_task({"row_number": 3}, "图生视频")
    ended = wfrecovery("push", url=NOWHERE, folder=tmp_path)
    assert ended.returncode == 2
    assert "FEISHU_APP_SECRET" in ended.stderr


def test_a_broken_setting_is_named_without_its_value(tmp_path: Path) -> None:
    ended = wfrecovery("status", url=NOWHERE, folder=tmp_path, FEISHU_DOMAIN="hunter2-secret")
    assert ended.returncode == 2
    assert "FEISHU_DOMAIN" in ended.stderr
    assert "hunter2" not in ended.stderr


@pytest.mark.parametrize("settings", [{"LC_ALL": "zh_CN.UTF-8"}, {"WFRECOVERY_LANGUAGE": "zh"}])
def test_it_speaks_chinese_where_the_system_or_the_setting_does(tmp_path: Path, settings: dict[str, str]) -> None:
    assert "检查 ComfyUI" in wfrecovery("--help", url=NOWHERE, folder=tmp_path, **settings).stdout
    assert "check ComfyUI" in wfrecovery("--lang", "en", "--help", url=NOWHERE, folder=tmp_path, **settings).stdout
    ended = wfrecovery("recover", url=NOWHERE, folder=tmp_path, **settings)
    assert ended.returncode == 2
    assert "请启动 ComfyUI" in ended.stderr
    assert "Start ComfyUI" in wfrecovery("recover", "--lang", "en", url=NOWHERE, folder=tmp_path, **settings).stderr


def test_a_script_gets_the_refusal_as_json(tmp_path: Path) -> None:
    ended = wfrecovery("tasks", "--local", "--json", url=NOWHERE, folder=tmp_path)
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["error"]["type"] == "no_table"
    assert "WFRECOVERY_OUTPUT" in ended.stderr
    assert json.loads(wfrecovery("status", "--json", url=NOWHERE, folder=tmp_path).stdout)["comfyui"] is None


@pytest.mark.parametrize("arguments", [("status", "--config", "nowhere.toml"), ("tasks", "--limit", "0")])
def test_bad_arguments_are_refused_in_a_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = wfrecovery(*arguments, url=NOWHERE, folder=tmp_path)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert arguments[2] in ended.stderr


def test_a_file_in_the_tables_place_is_no_stack_trace(tmp_path: Path) -> None:
    db = bridge.DatabaseManager(tmp_path / "output")
    db.add_workflow_task({"row_number": 3}, "图生视频")
    active = db.table.active_folder
    for file in active.iterdir():
        file.unlink()
    active.rmdir()
    active.write_text("in the way")
    ended = wfrecovery("push", url=NOWHERE, folder=tmp_path, FEISHU_APP_ID="a", FEISHU_APP_SECRET="secret-b")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_push_delivers_the_results_of_main_py(tmp_path: Path) -> None:
    with FeishuStandIn([{"产品名": "杯", "模特名": "杰", "视频是否已实现": "否"}]) as feishu:
        db = bridge.DatabaseManager(tmp_path / "output")
        task_id = db.add_workflow_task({"row_number": 2, "product_name": "杯", "model_name": "杰"}, "图生视频")
        db.mark_task_failed(task_id, "it broke")
        ended = wfrecovery("push", "--json", url=NOWHERE, folder=tmp_path, **feishu.environment())
        assert json.loads(ended.stdout)["main"]["pushed"] == [task_id], ended.stderr
        assert feishu.sheet.row(2)["视频是否已实现"] == "失败"
        assert ended.returncode == 1  # ComfyUI could not be asked


def test_push_says_which_task_cannot_be_pushed(comfy: ComfyProcess, tmp_path: Path) -> None:
    ended = wfrecovery("push", "vid_20200101_001", "--json", url=comfy.url, folder=tmp_path)
    assert ended.returncode == 1
    assert "no task" in json.loads(ended.stdout)["refused"]["vid_20200101_001"]


def test_recover_works_on_main_pys_table_alone_where_comfyui_has_no_plugin(tmp_path: Path) -> None:
    died(tmp_path / "output")
    with ComfyProcess(tmp_path / "bare") as bare:
        ended = wfrecovery("recover", url=bare.url, folder=tmp_path)
        assert ended.returncode == 1, ended.stderr  # they were lost before they were submitted
        assert ended.stdout.count("lost before it was submitted") == 3
        assert "custom_nodes" in ended.stdout
        assert "left alone" not in ended.stdout


def test_a_reader_that_has_seen_enough_is_no_error(comfy: ComfyProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wfrecovery.bridge.cli", "status", "--json"]
    environment = {**os.environ, "COMFYUI_URL": comfy.url, "NO_PROXY": "127.0.0.1"}
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


# ---------------------------------------------------------------------- the terminal


def test_columns_align_with_wide_characters() -> None:
    lines = table(["NAME", "ROW"], [["帆布包", "7"], ["cup", "12"], ["cafe\u0301", "–"]])
    assert lines == ["NAME    ROW", "帆布包  7", "cup     12", "cafe\u0301    –"]
    assert {width(line[: -len(line.split()[-1])]) for line in lines} == {8}


@pytest.mark.parametrize(
    ("text", "cells", "shown"), [("帆布包", 6, "帆布包"), ("帆布包", 5, "帆布…"), ("帆布包", 4, "帆…")]
)
def test_long_cells_are_cut_to_their_place(text: str, cells: int, shown: str) -> None:
    assert cut(text, cells) == shown
    assert width(shown) <= cells


@pytest.mark.parametrize(
    ("asked", "environ", "language"),
    [
        ("zh", {"LANG": "en_US.UTF-8"}, "zh"),
        (None, {"WFRECOVERY_LANGUAGE": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        (None, {"LC_ALL": "zh_TW.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_language_is_the_readers(asked: str | None, environ: dict[str, str], language: str) -> None:
    assert language_of(asked, environ) == language


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_for_a_person_only() -> None:
    person, file = Terminal(), io.StringIO()
    for stream in (person, file):
        bar = ProgressBar("recovering", stream)
        bar.show(0, 0)
        for done in (0, 1, 1, 2):
            bar.show(done, 2)
        bar.end()
    assert file.getvalue() == ""
    assert person.getvalue().count("\r") == 3
    assert person.getvalue().endswith("] 2/2\n")
