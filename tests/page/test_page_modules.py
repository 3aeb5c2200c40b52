"""The page's modules, by node's own test runner: what they decide, without a browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
NODE = shutil.which("node")
#: The first with all that the tests use (`mock.timers`).
NEEDED = (20, 4)


def _version() -> tuple[int, ...]:
    assert NODE is not None
    text = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in text.strip().lstrip("v").split(".")[:2])


@pytest.mark.skipif(NODE is None, reason="node is not installed: the page's modules are tested with it")
def test_page_modules() -> None:
    """Every test of the modules passes."""
    assert NODE is not None
    if _version() < NEEDED:
        pytest.skip(f"node {'.'.join(map(str, _version()))} is older than {'.'.join(map(str, NEEDED))}")
    files = sorted(map(str, FOLDER.glob("*.test.mjs")))
    assert files
    ran = subprocess.run(
        [NODE, "--test", *files], check=False, capture_output=True, text=True, encoding="utf-8", timeout=600
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
