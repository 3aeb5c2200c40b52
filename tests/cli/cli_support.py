"""The command line as a process, and a main.py that lives or has died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import preloaded

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"

#: Enters rows 2 to 4 of 图生视频 and says so; then it lives until its standard input ends, or is killed at once.
MAIN = """
import os, signal, sys
from wfrecovery import bridge

db = bridge.DatabaseManager(sys.argv[1])
for number in range(2, 5):
    db.add_workflow_task({"row_number": number, "product_name": f"杯{number}", "model_name": "杰"}, "图生视频")
print(db.owners.me.boot, flush=True)
if sys.argv[2] == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


def wfrecovery(*arguments: str, url: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command in `folder`, whose `output` is main.py's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FEISHU_", "WFRECOVERY_"))}
    environment = {**kept, "COMFYUI_URL": url, "NO_PROXY": "127.0.0.1", "LC_ALL": "C.UTF-8", **settings}
    command = [sys.executable, "-m", "wfrecovery.bridge.cli", *arguments]
    return preloaded.run(command, env=environment, cwd=folder)


def _command(folder: Path, then: str) -> Sequence[str]:
    return [sys.executable, "-c", MAIN, str(folder), then]


def died(folder: Path) -> str:
    """A main.py has entered three rows and was killed; its token."""
    ended = preloaded.run(_command(folder, "dies"), env=os.environ)
    assert ended.returncode == -signal.SIGKILL
    return ended.stdout.strip()


@contextmanager
def living(folder: Path) -> Iterator[str]:
    """The same while it lives."""
    with preloaded.talking(_command(folder, "lives"), env=os.environ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        boot = process.stdout.readline().strip()
        assert boot
        yield boot
        process.stdin.close()
