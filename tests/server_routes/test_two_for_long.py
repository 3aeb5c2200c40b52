"""Two ComfyUIs on one folder for a while, and one of them dies again and again: every row is rendered once.

`WFRECOVERY_SOAK_MINUTES=10` for long; `WFRECOVERY_SOAK_SECOND=DIR` makes the second one a real ComfyUI of another
version; `WFRECOVERY_SEED` tells another story.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import requests
from PIL import Image
from plugin_support import REAL, Comfy, picture, row, until

MINUTES = float(os.environ.get("WFRECOVERY_SOAK_MINUTES", "0.4"))
SECOND = os.environ.get("WFRECOVERY_SOAK_SECOND")
SEED = int(os.environ.get("WFRECOVERY_SEED", "0"))
#: A row that is killed more often than by its own fault.
MANY = {"WFRECOVERY_MAX_ATTEMPTS": "1000"}
#: So many rows wait at most.
WAITING = 12

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, and a folder that is shared by a link")


def pair(base: Path, *, real: bool) -> tuple[Comfy, Comfy]:
    """Two with one output folder."""
    (base / "b").mkdir()
    (base / "a" / "output").mkdir(parents=True)
    (base / "b" / "output").symlink_to(base / "a" / "output")
    first, second = (Comfy(base / name, "real" if real else shape, env=MANY) for name, shape in (("a", 5), ("b", 6)))
    if real and SECOND:
        second.real = Path(SECOND)
    return first, second


def disturb(chance: random.Random, comfy: Comfy) -> str:
    """One of the things that happen to a ComfyUI; it lives again afterwards."""
    what = chance.choice(("kill", "kill", "term", "stop"))
    if what == "stop":
        os.kill(comfy.pid, signal.SIGSTOP)
        time.sleep(chance.uniform(0.5, 6.0))
        os.kill(comfy.pid, signal.SIGCONT)
        return what
    os.kill(comfy.pid, signal.SIGKILL if what == "kill" else signal.SIGTERM)
    comfy.wait()
    time.sleep(chance.uniform(0.0, 6.0))  # the other one may have taken over, or not yet
    comfy.start()
    return what


def tell(chance: random.Random, comfies: tuple[Comfy, Comfy]) -> tuple[dict[int, str], Counter[str]]:
    """The rows that were accepted, each with its prompt; and what happened."""
    rows: dict[int, str] = {}
    happened: Counter[str] = Counter()
    ends, number = time.monotonic() + 60 * MINUTES, 2
    while time.monotonic() < ends:
        for _ in range(chance.randint(1, 6)):
            comfy = chance.choice(comfies)
            if len(comfy.pending()) < WAITING:
                graph = picture(f"row{number}", seconds=chance.choice((0.0, 0.2, 1.5)), color=number)
                rows[number] = comfy.queue(graph, row(number))
                number += 1
        time.sleep(chance.uniform(0.0, 2.0))
        happened[disturb(chance, chance.choice(comfies))] += 1
    return rows, happened


@pytest.mark.parametrize(
    "real",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(REAL is None or MINUTES < 1, reason="WFRECOVERY_SOAK_MINUTES, and a real ComfyUI"),
        ),
    ],
)
def test_every_row_once(tmp_path: Path, real: bool) -> None:
    chance = random.Random(SEED)
    comfies = pair(tmp_path, real=real)
    try:
        for comfy in comfies:
            comfy.start()
        rows, happened = tell(chance, comfies)
        print(f"seed {SEED}: {len(rows)} rows, {dict(happened)}")
        until(lambda: _settled(comfies[0], rows), what=f"all rows have ended: {_open(comfies[0])}")
        # What the other one has taken over leaves a queue when its turn comes.
        until(lambda: not any(comfy.pending() for comfy in comfies), what="empty queues")
        ended = Counter((record["row_number"], record["status"]) for record in comfies[0].records())
        assert ended == Counter((number, "已完成") for number in rows)
        for number in rows:
            whole = comfies[0].whole_pictures(f"row{number}_*.png")
            assert len(whole) == 1, whole
            with Image.open(whole[0]) as image:
                red, green, blue = image.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
            assert (red << 16) + (green << 8) + blue == number
    except requests.RequestException as error:
        pytest.fail(f"{error}\n{comfies[0].log()[-3000:]}\n{comfies[1].log()[-3000:]}")
    finally:
        for comfy in comfies:
            comfy.kill()


def _settled(comfy: Comfy, rows: dict[int, str]) -> bool:
    records = comfy.records()
    return len(records) >= len(rows) and not _open(comfy)


def _open(comfy: Comfy) -> list[tuple[int, str]]:
    records = comfy.records()
    return [(r["row_number"], r["metadata"]["stage"]) for r in records if r["status"] == "在处理中"]
