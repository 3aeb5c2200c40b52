"""The command line, as a person and a script use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from wfrecovery import bridge
from wfrecovery.demo.launch import ComfyProcess

ROOT = Path(__file__).parent.parent
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyProcess]:
    with ComfyProcess(tmp_path_factory.mktemp("comfyui"), plugins=[ROOT]) as process:
        yield process


def wfrecovery(*arguments: str, url: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FEISHU_", "WFRECOVERY_"))}
    environment = {**kept, "COMFYUI_URL": url, "NO_PROXY": "127.0.0.1", **settings}
    command = [sys.executable, "-m", "wfrecovery.bridge.command_line", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def test_help_lists_every_command(tmp_path: Path) -> None:
    ended = wfrecovery("--help", url=NOWHERE, folder=tmp_path)
    assert ended.returncode == 0
    assert all(name in ended.stdout for name in ("status", "tasks", "recover", "push", "demo"))


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
    assert requests.post(comfy.url + "/prompt", json=body, timeout=30).status_code == 200
    assert "row 7" in wfrecovery("tasks", "--search", "包 & 杯", url=comfy.url, folder=tmp_path).stdout
    assert "no tasks" in wfrecovery("tasks", "--search", "nothing", url=comfy.url, folder=tmp_path).stdout
    assert "no tasks" in wfrecovery("tasks", "--status", "失败", url=comfy.url, folder=tmp_path).stdout


def test_a_failed_task_of_main_py_is_shown_and_asks_for_attention(comfy: ComfyProcess, tmp_path: Path) -> None:
    db = bridge.DatabaseManager(tmp_path / "output")
    task_id = db.add_workflow_task({"row_number": 3, "product_name": "杯", "model_name": "杰"}, "图生视频")
    db.mark_task_failed(task_id, "it broke")
    ended = wfrecovery("tasks", "--local", url=NOWHERE, folder=tmp_path)
    assert ended.returncode == 0
    assert "it broke" in ended.stdout
    assert wfrecovery("status", url=comfy.url, folder=tmp_path).returncode == 1


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
