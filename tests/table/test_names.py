"""No id from outside becomes a path: whoever asks the table with one, nothing elsewhere is read, made or removed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_support import GRAPH, job

from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.disk import Disk
from wfrecovery.bridge.table.files import TableFiles
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.names import UnknownTaskError
from wfrecovery.bridge.table.records import TaskRecord

OURS = re.compile(r"(img|vid|job)_[0-9]{8}_[0-9]{3,12}")
FILES = TableFiles(Path("/nowhere/output"), Disk())
#: Each way from an id to a path, and the folder that it stays in.
PATHS: dict[str, tuple[Callable[[str], Path], Path]] = {
    "active": (FILES.active_path, FILES.active),
    "done": (FILES.done_path, FILES.done),
    "graph": (FILES.graph_path, FILES.graphs),
    "kept": (FILES.kept_path, FILES.kept),
    "claim": (FILES.claim_path, FILES.ids),
    "quarantine": (FILES.quarantine_path, FILES.corrupt),
}
#: What leads elsewhere on some system, or is none of ours by a hair.
ELSEWHERE = [
    "/some/where_else",
    "../img_20261123_001",
    "img_20261123_001/../../../x",
    "img_20261123_001\n",
    "img_20261123_001.json",
    "img_20261123_٠٠١",
    "IMG_20261123_001",
    "C:img_20261123_001",
    r"..\img_20261123_001",
    r"\\host\share\img_20261123_001",
    "img_20261123_001\0",
    "img_20261123_001:stream",
    "nul",
    ".",
    "..",
    "",
    "a" * 5000,
]

ids = st.one_of(
    st.text(),
    st.sampled_from(ELSEWHERE),
    st.from_regex(OURS, fullmatch=True),
    st.from_regex(r"(img|vid|job)_[0-9]{8}_[0-9]{3,12}[\s./\\:\0]?", fullmatch=True),
)


@pytest.mark.parametrize("way", PATHS)
@given(task_id=ids)
def test_an_id_is_a_name_in_its_folder_or_refused(way: str, task_id: str) -> None:
    path_of, folder = PATHS[way]
    if OURS.fullmatch(task_id):
        path = path_of(task_id)
        assert path.is_relative_to(folder)
        assert path.name.startswith(task_id)
        assert ".." not in path.parts
    else:
        with pytest.raises(UnknownTaskError):
            path_of(task_id)


@pytest.mark.parametrize("task_id", [None, 5, b"img_20261123_001", ["img_20261123_001"], Path("img_20261123_001")])
def test_what_is_no_text_is_no_id(task_id: Any) -> None:
    for path_of, _ in PATHS.values():
        with pytest.raises(UnknownTaskError):
            path_of(task_id)


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


#: What takes an id: the table's own methods, past the checks of routes and commands.
CALLS: dict[str, Callable[[WorkflowDatabase, str], object]] = {
    "create": lambda table, task_id: table.create(TaskRecord(task_id), GRAPH),
    "get": lambda table, task_id: table.get(task_id),
    "look": lambda table, task_id: table.look(task_id),
    "graph": lambda table, task_id: table.graph(task_id),
    "update": lambda table, task_id: table.update(task_id, lambda record: record),
    "write_graph": lambda table, task_id: table.write_graph(task_id, GRAPH, replace=True),
    "release_id": lambda table, task_id: table.release_id(task_id),
    "write": lambda table, task_id: table.files.write(TaskRecord(task_id)),
    "find": lambda table, task_id: table.files.find(task_id),
    "quarantine": lambda table, task_id: table._mending.quarantine(task_id),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("where", ["absolute", "up", "beside", "nul"])
def test_nothing_elsewhere_is_read_made_or_removed(call: str, where: str, tmp_path: Path) -> None:
    """`record.json` lies where each of these leads, and would be a valid record."""
    output = tmp_path / "output"
    table = WorkflowDatabase(output)
    table.create(job(1), GRAPH)
    outside = tmp_path / "record"
    for name in ("record", "record.json", "record.download"):
        (tmp_path / name).write_bytes((table.files.active / "job_20261123_001.json").read_bytes())
    task_id = {
        "absolute": str(outside),
        "up": "../../../record",
        "beside": "../active/job_20261123_001",
        "nul": "job_20261123_001\0",
    }[where]
    before = everything(tmp_path)
    with pytest.raises(UnknownTaskError):
        CALLS[call](table, task_id)
    assert everything(tmp_path) == before


def test_wanted_ids_and_strangers_among_the_kept_copies(tmp_path: Path) -> None:
    table = WorkflowDatabase(tmp_path)
    assert OURS.fullmatch(table.claim_id(None, wanted="/some/where_else"))
    assert not table.forget("../../x", before=1e12)
    table.files.kept.mkdir()
    (table.files.kept / "a person's.txt").touch()
    (table.files.kept / "img_20261123_009.download").touch()
    table.sweep()
    assert [path.name for path in table.files.kept.iterdir()] == ["a person's.txt"]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the time zone of a process")
@pytest.mark.parametrize("zones", [("Pacific/Kiritimati", "Etc/GMT+12"), ("Etc/GMT+12", "Pacific/Kiritimati")])
def test_a_claim_lasts_where_another_program_has_another_date(
    zones: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One of them in a container, say: 26 hours apart at most. It may also be midnight just now."""

    def go_to(zone: str) -> WorkflowDatabase:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        return WorkflowDatabase(tmp_path)

    try:
        claimed = go_to(zones[0]).claim_id("图片合成")
        (tmp_path / "wfrecovery" / "ids" / "img_20260101_001").touch()
        go_to(zones[1]).sweep()
        assert [path.name for path in (tmp_path / "wfrecovery" / "ids").iterdir()] == [claimed]
        assert go_to(zones[0]).claim_id("图片合成") != claimed
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("task_id", ELSEWHERE)
def test_the_specifications_own_methods_answer_no(task_id: str, tmp_path: Path) -> None:
    db = DatabaseManager(tmp_path)
    assert db.get_task(task_id) is None
    assert not db.update_task_comfyui_id(task_id, "x")
    assert not db.mark_task_failed(task_id, "x")
    assert not db.push_again(task_id)
    assert everything(tmp_path) == {}
