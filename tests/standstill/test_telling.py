"""The group is told once, whatever the bot, the disk and the other programs do; and nobody waits for it."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standstill_support import HOUR, MINUTE, Program, Table
from table_processes import QuickDisk

from wfrecovery.bridge.feishu.group_bot import send_text
from wfrecovery.bridge.standstill.note import MOST_KEYS, MOST_TASKS, Note, Told
from wfrecovery.bridge.standstill.view import Blocked
from wfrecovery.bridge.standstill.words import Gone, Words, blocked_words, gone_words, still_words
from wfrecovery.bridge.table.records import Stage, TaskRecord
from wfrecovery.bridge.wording import Wording
from wfrecovery.demo.feishu_host.stand_in import Fault, FeishuStandIn


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    with FeishuStandIn(webhook_secret="demo") as bot:
        yield Table(tmp_path, bot)


class FullDisk(QuickDisk):
    full = False

    def open_temp(self, target: Path) -> Any:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().open_temp(target)


def standing(table: Table, **options: Any) -> Program:
    """A program whose row has not moved for long, as soon as it looks."""
    comfy = table.program(feishu_webhook_secret="demo", **options)
    comfy.enter(7, Stage.RUNNING)
    return comfy


def test_a_bot_that_is_busy_is_asked_again_after_a_minute(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    comfy = standing(table)
    table.bot.faults.add(Fault.BOT_LIMITED_11232, "bot_hook", times=2)
    table.passes(15 * MINUTE + 5)
    assert (table.texts(), comfy.note.read()) == ([], {})
    assert "half hours" in caplog.text
    table.passes(55)
    assert len(table.bot.calls) == 1
    table.passes(3 * MINUTE)
    assert len(table.texts()) == 1
    assert len(table.bot.calls) == 3
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 1


def test_who_cannot_reach_the_bot_leaves_it_to_another(table: Table) -> None:
    standing(table, language="en")
    other = table.program(feishu_webhook_secret="demo", language="zh")
    table.programs[0].settings = replace(other.settings, feishu_webhook_url="http://127.0.0.1:9/gone", language="en")
    table.passes(16 * MINUTE)
    (text,) = table.texts()
    assert text.startswith("wfrecovery：")


def test_a_refusal_for_good_is_said_once_and_another_may_tell(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    comfy = standing(table)
    comfy.settings = replace(comfy.settings, feishu_webhook_secret="wrong")
    table.passes(HOUR, step=15)
    assert table.texts() == []
    assert caplog.text.count("FEISHU_WEBHOOK_SECRET") == 1
    table.program(feishu_webhook_secret="demo")
    table.passes(16 * MINUTE, step=15)
    assert len(table.texts()) == 1


def test_a_lost_answer_is_not_sent_again(table: Table) -> None:
    standing(table)
    table.program(feishu_webhook_secret="demo")
    table.bot.faults.add(Fault.RESET_AFTER, "bot_hook")
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 1


def test_one_that_dies_after_noting_it_does_not_make_another_tell_twice(table: Table) -> None:
    comfy = standing(table)
    table.passes(14 * MINUTE)
    claim = comfy.note.claim
    comfy.note.claim = lambda told: (claim(told), frozenset())[1]  # type: ignore[method-assign, func-returns-value]
    other = table.program(feishu_webhook_secret="demo")
    table.passes(30 * MINUTE)
    assert other.stands() == ["still"]
    assert len(table.texts()) == 0


def test_what_is_told_takes_no_lock_at_each_look(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    comfy = standing(table)
    table.passes(16 * MINUTE)

    def locked(*_: object) -> None:
        raise AssertionError("it is told already")

    monkeypatch.setattr(comfy.db.table, "locked", locked)
    table.passes(MINUTE)
    assert comfy.stands() == ["still"]


def test_on_a_full_disk_it_is_told_and_once(table: Table) -> None:
    disk = FullDisk()
    comfy = standing(table, disk=disk)
    disk.full = True
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 1
    disk.full = False
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 1
    assert len(comfy.note.read()) == 1
    comfy.start_again()
    table.passes(HOUR, step=15)
    assert len(table.texts()) == 1


def test_a_full_disk_of_a_moment_is_waited_out(table: Table) -> None:
    disk = FullDisk()
    comfy = standing(table, disk=disk)
    table.passes(15 * MINUTE - 5)
    disk.full = True
    table.passes(15)
    assert table.texts() == []
    disk.full = False
    table.passes(5)
    assert len(table.texts()) == 1
    assert len(comfy.note.read()) == 1


def test_a_table_that_is_locked_for_long_holds_nobody_up(table: Table) -> None:
    comfy, other = standing(table), Table(table.folder, table.bot).program()
    table.passes(15 * MINUTE - 5)
    with other.db.table.locked():
        table.passes(10)
    assert table.texts() == []
    table.passes(5)
    assert len(table.texts()) == 1
    assert comfy.stands() == ["still"]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"told": []}', b'{"told": {"x": 5, "still:": {"tasks": 7}}}', b"[" * 100_000]
)
@pytest.mark.usefixtures("_nothing_collected")
def test_a_damaged_note_stops_nobody(table: Table, damage: bytes) -> None:
    comfy = standing(table)
    (table.folder / "wfrecovery" / "standstill.json").write_bytes(damage)
    table.passes(16 * MINUTE, step=15)
    assert len(table.texts()) == 1
    assert [key.partition(":")[0] for key in comfy.note.read()] == ["still"]


def test_the_note_does_not_grow(table: Table) -> None:
    note = Note(table.program().db.table)
    for number in range(200):
        told = Told(since="x", tasks=tuple(f"img_20261123_{n:03}" for n in range(500)))
        assert note.claim({f"gone:{number:03}": told}) == {f"gone:{number:03}"}
        assert note.claim({f"gone:{number:03}": told}) == frozenset()
    assert len(note.read()) == MOST_KEYS
    assert "gone:199" in note.read()
    assert {len(told.tasks) for told in note.read().values()} == {MOST_TASKS}
    assert (table.folder / "wfrecovery" / "standstill.json").stat().st_size < 256 * 1024


def test_what_somebody_has_deleted_is_made_again(table: Table) -> None:
    comfy = standing(table)
    table.passes(16 * MINUTE)
    (table.folder / "wfrecovery" / "standstill.json").unlink()
    table.passes(5)
    assert len(table.texts()) == 2, "nobody knows any more that it was told"
    assert len(comfy.note.read()) == 1


def test_no_secret_and_no_name_stands_in_the_note(table: Table) -> None:
    standing(table)
    table.passes(16 * MINUTE)
    noted = (table.folder / "wfrecovery" / "standstill.json").read_text("utf-8")
    assert "hook" not in noted
    assert "产品" not in noted
    assert set(json.loads(noted)) == {"told"}


@pytest.mark.parametrize("letter", ["字", "😀", '"', "\x01", "\\", "<at"])
def test_any_words_fit_into_a_message(table: Table, letter: str) -> None:
    comfy = table.program(feishu_webhook_secret="demo")
    name, long = Wording(letter * 500, letter * 500), Wording(letter * 9000, letter * 9000)
    task = TaskRecord("img_20261123_001", row_number=10**9, product_name=letter * 500, model_name=letter * 500)
    told: list[Words] = [
        gone_words([Gone(name, "main", 5), Gone(name, "comfyui", 1, silent=True), Gone(name, "comfyui", 7)] * 500),
        still_words(table.clock(), 10**6, [task] * 500, 10**6, long),
        blocked_words([Blocked(f"{n}", long + str(n)) for n in range(500)], 10**6),
    ]
    table.bot.limits.messages_per_second = None
    for words in told:
        for language in ("zh", "en"):
            assert send_text(comfy.settings, words.message(language))
            assert len(words.line.text(language)) < 2000
    assert len(table.texts()) == 6
    assert not [text for text in table.texts() if "<at" in text]


@pytest.mark.parametrize("seed", range(3 * int(os.environ.get("WFRECOVERY_SEEDS", "1"))))
def test_any_mixture_of_restarts_and_movement_tells_each_standstill_once(table: Table, seed: int) -> None:
    """Some programs, that start again at any time; the row moves now and then, and stands for long."""
    dice = random.Random(seed)
    comfy = standing(table)
    others = [table.program(feishu_webhook_secret="demo") for _ in range(2)]
    task, stood = comfy.db.index.entries()[0].task_id, 0
    for _ in range(12):
        for _ in range(dice.randint(1, 4)):
            dice.choice([comfy, *others]).start_again()
            table.passes(dice.choice([5, 30, 300]), step=15)
        if dice.random() < 0.5:
            table.passes(16 * MINUTE, step=15)
        long = len(table.texts()) > stood
        assert len(table.texts()) - stood <= 1
        stood = len(table.texts())
        comfy.bring(task, Stage.QUEUED if long else Stage.RUNNING)
        comfy.bring(task, Stage.RUNNING, started_at=str(stood) + str(dice.random()))
        if dice.random() < 0.5:
            table.passes(5)
