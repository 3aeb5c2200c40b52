"""The story that the README invites everybody to see: two crashes in a batch, and every cell right."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from plugin_support import EVERYWHERE

from wfrecovery.demo.launch import find_comfyui
from wfrecovery.demo.rows import demo_rows


def play(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wfrecovery.bridge.cli", "demo", *arguments]
    env = {**os.environ, **settings}
    return subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, env=env)


def test_twelve_rows_of_three_kinds() -> None:
    kinds = [(row.needs_picture, row.needs_video) for row in demo_rows()]
    assert {kind: kinds.count(kind) for kind in kinds} == {(True, False): 4, (True, True): 4, (False, True): 4}


@pytest.mark.skipif(find_comfyui() is not None and not EVERYWHERE, reason="it survives on the real one")
def test_the_batch_survives_on_the_stand_in() -> None:
    ended = play("--stand-in")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL") == 2
    assert "queued again" in ended.stdout


@pytest.mark.skipif(find_comfyui() is None, reason="no real ComfyUI in COMFYUI_PATH or ~/comfy/ComfyUI")
def test_the_batch_survives_on_the_real_comfyui() -> None:
    ended = play("--comfyui", str(find_comfyui()))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL") == 2
    assert "queued again" in ended.stdout


def test_the_batch_survives_in_a_cloud() -> None:
    ended = play("--cloud")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("SIGKILL") == 1
    assert "a person decides: wfrecovery decide" in ended.stdout
    assert "16 renders for 16 results" in ended.stdout


def test_what_is_paid_for_twice_fails_the_story() -> None:
    ended = play("--cloud", WFRECOVERY_UNKNOWN="again")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "times instead of 1" in ended.stdout
    assert "✓" not in ended.stdout


def test_a_folder_that_is_no_comfyui_is_said_so() -> None:
    ended = play("--comfyui", "/nowhere")
    assert ended.returncode == 2
    assert "no ComfyUI" in ended.stdout
