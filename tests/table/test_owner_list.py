"""The owners of a table as people are told of them, and the one that is meant."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from wfrecovery.bridge.table.lives import Life, OwnerFile
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.bridge.table.owner_list import (
    AmbiguousOwnerError,
    BadOwnerError,
    KnownOwner,
    OwnOwnerError,
    UnknownOwnerError,
    meant,
    owners_of,
)
from wfrecovery.bridge.table.records import Stage
from wfrecovery.bridge.table.values import OwnerKind


def test_who_has_tasks_is_listed_also_when_his_files_are_gone(tmp_path: Path) -> None:
    db = DatabaseManager(tmp_path)
    for number in (2, 3):
        db.add_workflow_task({"row_number": number}, "图生视频")
    [owner] = owners_of(db.index, db.owners)
    assert (owner.kind, owner.life, owner.tasks) == ("main", Life.OURS, 2)
    assert owner.name.en.startswith("main.py on ")
    assert "上的 main.py（进程 " in owner.name.zh
    db.owners.close()
    for file in db.owners.folder.iterdir():
        file.unlink()
    [silent] = owners_of(db.index, db.owners)
    assert (silent.boot, silent.life, silent.tasks) == (owner.boot, Life.DOUBT, 2)
    assert silent.name.zh == "一个 main.py"


def test_the_dead_are_listed_while_they_have_tasks(tmp_path: Path) -> None:
    db = DatabaseManager(tmp_path)
    task_id = db.add_workflow_task({"row_number": 2}, "图生视频")
    db.owners.close()
    looking = DatabaseManager(tmp_path)
    [dead] = owners_of(looking.index, looking.owners)
    assert (dead.life, dead.tasks) == (Life.DEAD, 1)
    looking.mark_task_failed(task_id, "x")
    assert owners_of(looking.index, looking.owners) == []


def test_comfyuis_of_two_computers_are_told_apart_where_both_have_one_address(tmp_path: Path) -> None:
    db = DatabaseManager(tmp_path, kind=OwnerKind.COMFYUI)
    db.owners.name = "ComfyUI 0.0.0.0:8188"
    db.owners.me  # noqa: B018 - an owner from then on
    beats = {"ours": db.owners.host, "theirs": "gpu7"}
    for boot, host in beats.items():
        beat = OwnerFile(boot, "comfyui", db.owners.name, host=host).to_json()
        (db.owners.folder / f"{boot}.json").write_bytes(beat)
    names = {owner.boot: owner.name for owner in owners_of(db.index, db.owners)}
    assert names["ours"].zh == names[db.owners.me.boot].en == "ComfyUI 0.0.0.0:8188"
    assert (names["theirs"].en, names["theirs"].zh) == (
        "ComfyUI 0.0.0.0:8188 on gpu7",
        "gpu7 上的 ComfyUI 0.0.0.0:8188",
    )


def test_what_is_told_is_read_again_and_a_newer_version_does_no_harm() -> None:
    told = {"boot": "abcd1234", "kind": "main", "name": "a", "name_zh": "甲", "life": "dead", "tasks": 3}
    assert KnownOwner.of(json.loads(json.dumps(KnownOwner.of(told).to_json()))).to_json() == told
    strange = KnownOwner.of({"boot": "abcd12345", "life": "frozen", "tasks": None})
    assert (strange.life, strange.tasks, strange.name.zh) == (Life.DOUBT, 0, "abcd1234")


def test_the_beginning_of_a_token_means_its_owner() -> None:
    boots = ["aaaa1111", "aaaa2222", "bbbb"]
    assert meant("bbbb", boots) == "bbbb"
    assert meant("aaaa1", boots) == "aaaa1111"
    assert meant("aaaa", ["aaaa", "aaaa2222"]) == "aaaa"  # a whole token is no beginning
    for text, error in (
        ("aaaa", AmbiguousOwnerError),
        ("cccc", UnknownOwnerError),
        ("aaa", BadOwnerError),
        ("a" * 65, BadOwnerError),
        (None, BadOwnerError),
        (1234, BadOwnerError),
    ):
        with pytest.raises(error):
            meant(text, boots)
    with pytest.raises(OwnOwnerError):
        meant("bbbb", boots, {"bbbb"})
    alike = ["a" * 12 + "1", "a" * 12 + "2"]
    with pytest.raises(AmbiguousOwnerError, match=r"a{12}1, a{12}2"):
        meant("aaaa", alike)


def test_a_comfyui_frees_rows_that_it_was_never_sent(tmp_path: Path) -> None:
    main = DatabaseManager(tmp_path)
    task_id = main.add_workflow_task({"row_number": 2}, "图生视频")
    comfyui = DatabaseManager(tmp_path, kind=OwnerKind.COMFYUI)
    assert comfyui.take_over(main.owners.me.boot) == 1
    assert comfyui.table.get(task_id).owner is None
    other = DatabaseManager(tmp_path)
    main.owners.close()
    assert other.add_workflow_task({"row_number": 2}, "图生视频") == task_id
    assert other.owners.is_me(other.table.get(task_id).owner)


@pytest.mark.parametrize(
    ("engine", "taken"), [("runninghub:team", False), ("comfyui:127.0.0.1:1", False), ("comfyui", True)]
)
def test_a_comfyui_keeps_nothing_that_another_engine_renders(tmp_path: Path, engine: str, taken: bool) -> None:
    """It would be at work on it for as long as it lives, and never bring it to an end."""
    main = DatabaseManager(tmp_path)
    task_id = main.add_workflow_task({"row_number": 2}, "图生视频")
    main.table.update(task_id, lambda task: dataclasses.replace(task, stage=Stage.QUEUED, engine=engine))
    comfyui = DatabaseManager(tmp_path, kind=OwnerKind.COMFYUI)
    comfyui.take_over(main.owners.me.boot)
    assert comfyui.table.get(task_id).owner == (comfyui.owners.me if taken else None)
