"""Importing has no side effect, and works in the three ways that the plugin is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

_NO_EFFECT = """
import sys, threading
before = set(sys.modules)
{statement}
assert threading.active_count() == 1, threading.enumerate()
loaded = set(sys.modules) - before
foreign = {{"lark_oapi", "torch", "server", "execution", "folder_paths", "nodes", "PIL", "av", "numpy"}} & loaded
assert not foreign, foreign
assert not [name for name in loaded if "server_routes" in name]
print("fine")
"""


def run(statement: str, folder: Path, **environment: str) -> str:
    code = _NO_EFFECT.format(statement=statement)
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment or None, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert not any(folder.iterdir())
    return ended.stdout.strip()


def test_as_an_installed_package(tmp_path: Path) -> None:
    assert run("from wfrecovery import bridge; bridge.DatabaseManager", tmp_path) == "fine"


def test_as_bridge_with_the_plugin_s_folder_on_the_path(tmp_path: Path) -> None:
    assert run(f"sys.path.insert(0, {str(ROOT)!r}); import bridge; bridge.DatabaseManager", tmp_path) == "fine"


def test_the_plugin_s_own_file_does_nothing_outside_comfyui(tmp_path: Path) -> None:
    assert run("import wfrecovery; assert wfrecovery.NODE_CLASS_MAPPINGS == {}", tmp_path) == "fine"
