"""A path in a record is a stranger's word: whatever stands there, nothing outside the output folder is opened."""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from wfrecovery.bridge.inside import inside, is_windows_trap
from wfrecovery.bridge.results.choice import chosen
from wfrecovery.bridge.results.contents import Contents, ResultGoneError
from wfrecovery.bridge.table.content import stamp_of, stamped, taken
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.files import TableFiles
from wfrecovery.bridge.table.records import Stage, TaskRecord, WorkflowType
from wfrecovery.bridge.table.values import FeishuState, Kind, Outbox, Result

ROOT = Path(__file__).parents[2]
TASK_ID = "img_20261123_001"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder beside a secret picture, with links of all kinds that lead to it."""
    base = tmp_path_factory.mktemp("house")
    output, private = base / "output", base / "private"
    for folder in (output / "sub", private / "deep"):
        folder.mkdir(parents=True)
    for place in (
        private / "secret.png",
        private / "deep" / "secret.png",
        output / "own.png",
        output / "sub" / "a.png",
    ):
        Image.new("RGB", (4, 4), "red").save(place)
    (output / "file_link.png").symlink_to(private / "secret.png")
    (output / "dangling.png").symlink_to(private / "none.png")
    (output / "circle.png").symlink_to(output / "circle.png")
    (output / "own_link.png").symlink_to(output / "own.png")
    (output / "disk").symlink_to(private / "deep")
    os.mkfifo(output / "pipe.png")
    return output


OUTSIDE = [
    "../private/secret.png",
    "sub/../../private/secret.png",
    "disk/../secret.png",  # the system goes up from where the link leads
    "disk/../../private/secret.png",
    "../private/\ud800.png",  # a name that no file can have: what a node says is no text of ours
    "file_link.png",
    "circle.png",
    "own.png\0",
    "",
    ".",
    "..",
    "/etc/passwd",
    "~/secret.png",
    "file:///etc/passwd",
    r"..\private\secret.png",
    r"C:\private\secret.png",
    r"\\host\share\secret.png",
    "x" * 5000 + ".png",
]
EVERY_WAY = ("read", "verified", "shown", "there", "hashed", "keep", "looked_at", "taken", "stamped", "chosen")


@cache
def _digest_of(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123 - past the watch on what is opened
        return hashlib.sha256(file.read()).hexdigest()


def all_opened(house: Path, name: str, how: str) -> object:
    """Use a stored path in one of the ways in which records are used; what was got of the file."""
    secret = house.parent / "private" / "secret.png"
    result = Result(
        name, size=secret.stat().st_size, sha256=_digest_of(str(secret)), kind=Kind.PICTURE, stamp=stamp_of(secret)
    )
    task = TaskRecord(
        TASK_ID,
        stage=Stage.FINISHED,
        workflow_type=WorkflowType.IMAGE_COMPOSITION.value,
        results=(result,),
        outbox=Outbox(FeishuState.PENDING, file=name),
    )
    contents = Contents(TableFiles(house, Disk()), house)
    bare = Result(name, stamp=result.stamp)
    try:
        match how:
            case "read":
                return contents.read(task, result)
            case "verified":
                return contents.verified(task, result)
            case "shown":
                return contents.shown(task, result)
            case "there":
                return contents.there(task)
            case "hashed":
                return contents.hashed(bare).sha256
            case "keep":
                return contents.keep(TASK_ID, result)
            case "looked_at":
                return contents.looked_at(bare).kind
            case "taken":
                return taken(house, name).stamp
            case "stamped":
                return stamped(house, name).stamp
            case _:
                return chosen(TaskRecord(TASK_ID, workflow_type=task.workflow_type, results=(bare,)), house)
    except ResultGoneError:
        return None


@pytest.mark.parametrize("how", EVERY_WAY)
@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_is_opened(name: str, how: str, house: Path, opened: list[str]) -> None:
    private = str(house.parent / "private")
    assert all_opened(house, name, how) in (None, False, Kind.OTHER)
    assert [path for path in opened if os.path.realpath(path).startswith((private, "/etc"))] == []


@pytest.fixture
def opened(house: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are opened from now on."""
    paths: list[str] = []
    path_open = Path.open

    def noted(self: Path, *arguments: Any, **options: Any) -> Any:
        paths.append(str(self))
        return path_open(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", noted)
    return paths


@pytest.mark.parametrize("name", ["own.png", "sub/a.png", "sub/../own.png", "own_link.png", "disk/secret.png"])
def test_what_lies_inside_is_used(name: str, house: Path) -> None:
    path = inside(house, name)
    assert path is not None
    assert path.is_file()
    assert taken(house, name).sha256 is not None
    assert chosen(TaskRecord(TASK_ID, workflow_type="图片合成", results=(Result(name),)), house) is not None


@pytest.mark.parametrize("how", EVERY_WAY)
def test_a_pipe_is_not_waited_for(how: str, house: Path) -> None:
    assert all_opened(house, "pipe.png", how) in (None, False, Kind.OTHER)


parts = st.sampled_from(
    ["..", ".", "", "disk", "sub", "own.png", "private", "secret.png", "file_link.png", "circle.png"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.one_of(st.lists(parts, max_size=7).map("/".join), st.text(max_size=20)), absolute=st.booleans())
def test_what_is_inside_stays_inside_when_it_is_opened(name: str, absolute: bool, house: Path) -> None:
    """Folders that are links to another disk are inside; nothing else leads out of the folder."""
    path = inside(house, f"{house}/{name}" if absolute else name)
    if path is None:
        return
    assert path.is_relative_to(house)
    assert ".." not in path.parts
    if not path.exists():
        return
    real = Path(os.path.realpath(path))
    assert real.is_relative_to(house) or "disk" in path.relative_to(house).parts


@pytest.mark.parametrize(
    "name",
    [
        r"\\host\share\x.png",
        "//host/share/x.png",
        r"\\?\C:\x.png",
        r"\\.\C:",
        "NUL",
        "nul.png",
        "a/CON",
        "a.png:b",
        "com1",
    ],
)
def test_windows_own_ways_out(name: str) -> None:
    assert is_windows_trap(name, "C:")


@pytest.mark.parametrize(
    ("name", "drive"),
    [("a/b.png", "C:"), (r"C:\out\a.png", "C:"), (r"\\nas\out\a.png", r"\\nas\out"), ("console.png", "C:")],
)
def test_ordinary_names_on_windows(name: str, drive: str) -> None:
    assert not is_windows_trap(name, drive)


# ------------------------------------------------------------------ nobody makes such paths by hand


def joined_by_hand() -> Iterator[str]:
    """Where a stored path is put behind a folder without `inside`."""
    for room in ("bridge", "server_routes"):
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and _is_stored(node.right):
                    yield f"{file.relative_to(ROOT)}:{node.lineno}"


def _is_stored(node: ast.expr) -> bool:
    names = ("path", "file") if isinstance(node, ast.Attribute) else ("output_files",)
    inner = node.value if isinstance(node, ast.Subscript) else node
    return isinstance(inner, ast.Attribute) and inner.attr in (*names, "output_files")


def test_stored_paths_become_paths_in_one_place() -> None:
    assert list(joined_by_hand()) == []
