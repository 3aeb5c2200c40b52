"""What belongs to the program that we are in stays as it left it: the numbers that it draws, and what it warns of."""

from __future__ import annotations

import io
import random
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from publishing_support import Team

from wfrecovery.bridge.feishu.cell_pictures import picture_for_cell
from wfrecovery.bridge.feishu.errors import FeishuError
from wfrecovery.bridge.table import owners
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.server_routes.page import thumbnails
from wfrecovery.server_routes.page.result_files import NoThumbnailError


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The threads that draw from the program's own `random`, by their names: this one, and those of wfrecovery."""
    names: set[str] = set()
    this = threading.current_thread()

    def note() -> None:
        thread = threading.current_thread()
        if thread is this or thread.name.startswith("wfrecovery"):
            names.add(thread.name)

    class Watched(random.Random):
        def random(self) -> float:
            note()
            return super().random()

        def getrandbits(self, k: int) -> int:
            note()
            return super().getrandbits(k)

    generator = Watched(1)
    for name in (
        "random",
        "shuffle",
        "choice",
        "randrange",
        "randint",
        "uniform",
        "sample",
        "getrandbits",
        "randbytes",
    ):
        monkeypatch.setattr(random, name, getattr(generator, name))
    return names


def test_no_number_of_the_program_s_own_is_drawn(feishu: FeishuStandIn, tmp_path: Path, drawn: set[str]) -> None:
    """A node that picks by its seed, or a `main.py` that does, gets the same with us as without."""
    random.shuffle([1, 2])
    assert drawn == {threading.current_thread().name}, "a test that sees nothing"
    drawn.clear()
    team = Team(feishu, tmp_path)
    everyone = [DatabaseManager(tmp_path / str(number)) for number in range(8)]
    for manager in everyone:
        manager.add_workflow_task({"row_number": 2, "product_name": "a", "model_name": "b"}, "图片合成")
    owners._round([manager.owners for manager in everyone])
    finished = team.finished(2)
    feishu.stop()
    assert team.publisher.flush().waiting.keys() == {finished}
    assert team.record(finished).outbox.next_try_at
    assert drawn == set()


def large(kind: str) -> bytes:
    """Of which Pillow warns, in the tests that want it."""
    target = io.BytesIO()
    Image.new("RGB", (120, 120), "red").save(target, kind)
    return target.getvalue()


def in_a_cell(tmp_path: Path) -> None:
    """A picture that has to be converted."""
    picture_for_cell("a.webp", large("WEBP"))


def in_the_list(tmp_path: Path) -> None:
    """A small one of it."""
    (tmp_path / "a.png").write_bytes(large("PNG"))
    made = thumbnails._tried(tmp_path / "a.png")
    if isinstance(made, NoThumbnailError):
        raise made


@pytest.mark.parametrize(("make", "refused"), [(in_a_cell, FeishuError), (in_the_list, NoThumbnailError)])
def test_what_the_program_warns_of_is_its_own_affair(
    make: Callable[[Path], None], refused: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings are the whole program's: two threads that change them for a moment leave them changed for good."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    filters: list[Any] = []
    opened = Image.open

    def watched(*arguments: Any, **options: Any) -> Any:
        filters.append(list(warnings.filters))
        return opened(*arguments, **options)

    monkeypatch.setattr(Image, "open", watched)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = list(warnings.filters)
        make(tmp_path)
        assert filters == [before]
        warnings.simplefilter("error")  # python -W error
        with pytest.raises(refused, match="14400 pixels"):
            make(tmp_path)
