"""The page beside another ComfyUI that works in the same folder: whose the tasks are, and taking over."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")

from cli_support import died
from page_support import (
    NEWEST,
    Site,
    both_languages,
    faint_texts,
    foreign_texts,
    in_its_language,
    one_language,
    site_of,
    until,
)
from playwright.sync_api import expect
from plugin_support import Comfy, picture, row

from wfrecovery.bridge.standstill.note import Note, Told
from wfrecovery.bridge.table.database import WorkflowDatabase
from wfrecovery.bridge.table.manager import DatabaseManager
from wfrecovery.demo.screenshots.browser import BrowserMissingError, browser
from wfrecovery.demo.screenshots.front_end import FrontEndMissingError


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One ComfyUI and its newest page."""
    try:
        with browser() as chromium, site_of(f"page {NEWEST}", chromium, tmp_path_factory.mktemp("page")) as site:
            yield site
    except (BrowserMissingError, FrontEndMissingError) as error:
        pytest.skip(str(error))


@pytest.fixture
def site(opened: Site, request: pytest.FixtureRequest) -> Site:
    """The page."""
    return in_its_language(opened, request)


@pytest.fixture
def other(site: Site, tmp_path: Path) -> Iterator[Comfy]:
    """Another ComfyUI in its folder, which ends with the test."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "output").symlink_to(site.comfy.output, target_is_directory=True)
    with Comfy(tmp_path / "other") as comfy:
        yield comfy
    until(lambda: not others(site), what="nobody else with tasks")
    site.comfy.idle()
    assert site.ours() == []


def others(site: Site) -> list[dict[str, object]]:
    """Who else has tasks, as the status says."""
    status = site.comfy.status()
    return [owner for owner in status["owners"] if owner["boot"] != status["owner"] and owner["tasks"]]


def name_of(comfy: Comfy) -> str:
    return f"ComfyUI {comfy.url.removeprefix('http://')}"


@contextmanager
def stopped(comfy: Comfy) -> Iterator[None]:
    """It lives, and does nothing meanwhile."""
    with comfy.table_locked():  # which it would keep
        os.kill(comfy.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(comfy.pid, signal.SIGCONT)


def without_proof(site: Site, comfy: Comfy, boot: str) -> None:
    """Nothing proves any more that a stopped ComfyUI lives."""
    (comfy.table / "owners" / f"{boot}.lock").unlink()
    until(lambda: [owner["life"] for owner in others(site)] == ["doubt"], what="doubt")


def test_whose_a_task_is_and_taking_over_from_a_living_one(site: Site, other: Comfy) -> None:
    site.open_list()
    mine = site.comfy.queue(picture("mine", seconds=600), row(2))
    expect(site.task(mine)).to_have_attribute("data-stage", "running")
    expect(site.hook("owners")).to_be_hidden()
    runs = other.queue(picture("runs", seconds=600), row(3))
    waits = other.queue(picture("waits"), row(4))
    for prompt in (runs, waits):
        expect(site.task(prompt).locator(".wfr-note")).to_have_text(f"On {name_of(other)}")
    expect(site.task(mine)).not_to_contain_text("ComfyUI 127")
    expect(site.hook("owners")).to_contain_text(f"{name_of(other)} · 2 tasks")
    site.open_detail(waits)
    expect(site.hook("whose")).to_have_text(f"On {name_of(other)}")

    boot = other.status()["owner"]
    site.hook("owners").locator("summary").focus()
    site.page.keyboard.press("Enter")
    expect(site.hook("owner", boot=boot)).to_contain_text("2 tasks · running")
    ask = site.hook("take-over-ask")
    ask.focus()
    site.page.keyboard.press("Enter")
    dialog = site.hook("take-over-dialog")
    expect(dialog).to_contain_text(f"Take over 2 tasks from {name_of(other)}?")
    expect(dialog).to_contain_text("perhaps twice")
    expect(site.hook("take-over-leave")).to_be_focused()
    site.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(ask).to_be_focused()
    assert site.comfy.record(waits)["metadata"]["owner"]["boot"] == boot

    site.page.keyboard.press("Enter")
    site.hook("take-over").click()
    expect(site.hook("owners")).to_be_hidden()
    expect(site.hook("whose")).to_have_count(0)
    ours = site.comfy.status()["owner"]
    for prompt in (runs, waits):
        assert site.comfy.record(prompt)["metadata"]["owner"]["boot"] == ours
    until(lambda: site.comfy.pending() == [mine, runs, waits], what="all three in our queue")


def test_what_another_one_has_to_end_is_being_cancelled_until_it_has(site: Site, other: Comfy) -> None:
    prompt = other.queue(picture("end", seconds=600), row(5))
    other.until_stage(prompt, "running")
    with stopped(other):
        detail = site.open_detail(prompt)
        site.hook("action-cancel").click()
        expect(site.hook("action-cancel")).to_have_text("Being cancelled…")
        expect(site.hook("action-cancel")).to_have_attribute("aria-disabled", "true")
        expect(detail).to_contain_text("Being cancelled…")
        site.hook("back").click()
        expect(site.task(prompt)).to_contain_text("Being cancelled…")
        site.open_detail(prompt)
    expect(detail).to_have_attribute("data-stage", "cancelled")
    expect(site.hook("action-cancel")).to_have_count(0)


@both_languages
def test_what_is_said_of_others_can_be_read_in_both_languages_and_themes(
    site: Site, other: Comfy, language: str
) -> None:
    words = {
        "en": ("Still running?", "Waits for a ComfyUI that has its nodes", "Being cancelled…", "Take over 3 tasks"),
        "zh": ("还在运行吗？", "等待装有所需节点的 ComfyUI", "正在取消…", "接管 3 个任务"),
    }[language]
    prompts = [other.queue(picture(f"read{n}", seconds=600), row(n)) for n in (6, 7, 8)]
    nodes = other.queue(picture("nodes"), row(9))
    other.until_stage(prompts[0], "running")
    boot = other.status()["owner"]
    table, ours = WorkflowDatabase(site.comfy.output), site.comfy.status()["owner"]
    with stopped(other):
        try:
            table.update(site.task_id(nodes), lambda task: dataclasses.replace(task, owner=None, refused_by=(ours,)))
            without_proof(site, other, boot)
            site.open_detail(prompts[0])
            site.hook("action-cancel").click()
            for palette in ("light", "dark"):
                site.set("Comfy.ColorPalette", palette)
                site.open_list()
                expect(site.task(prompts[1])).to_contain_text(words[0])
                expect(site.task(nodes)).to_contain_text(words[1])
                expect(site.task(prompts[0])).to_contain_text(words[2])
                if not site.hook("take-over-ask").is_visible():
                    site.hook("owners").locator("summary").click()
                seen(site, f"list {palette}", language)
                site.hook("take-over-ask").click()
                expect(site.hook("take-over-dialog")).to_contain_text(words[3])
                seen(site, f"dialog {palette}", language, "take-over-dialog")
                site.hook("take-over-leave").click()
                for prompt in (prompts[0], nodes):
                    site.open_detail(prompt)
                    seen(site, f"detail {prompts.index(prompt) if prompt in prompts else 'nodes'} {palette}", language)
        finally:
            site.set("Comfy.ColorPalette", "dark")
        site.open_list()
        site.hook("take-over-ask").click()
        site.hook("take-over").click()
        until(lambda: site.comfy.pending() == prompts[1:], what="what it left in our queue")
        until(lambda: site.comfy.stage(prompts[0]) == "cancelled", what="the wish is obeyed")
        site.comfy.act(site.task_id(nodes), "cancel")


def seen(site: Site, what: str, language: str, hook: str = "panel") -> None:
    """Every text can be read, in the language that it should have."""
    assert faint_texts(site.hook(hook)) == [], what
    assert language == "en" or foreign_texts(site.hook(hook)) == [], what
    pictures = os.environ.get("WFRECOVERY_TEST_PICTURES")
    if pictures:
        site.page.screenshot(path=Path(pictures) / f"{what.replace(' ', '_')}_{language}.png")


@one_language
def test_changes_that_the_disk_does_not_take_are_told_until_it_does(site: Site, language: str) -> None:
    words = {
        "en": "not on disk yet (another program holds the task table)",
        "zh": "尚未写入磁盘（另一个程序占用着任务表）",
    }
    try:
        site.open_list()
        with site.comfy.table_locked():
            posting = threading.Thread(target=site.comfy.post, args=(picture("late"), row(10)))
            posting.start()
            expect(site.hook("unwritten")).to_contain_text(words[language])
            for palette in ("light", "dark"):
                site.set("Comfy.ColorPalette", palette)
                seen(site, f"unwritten {palette}", language)
        expect(site.hook("unwritten")).to_have_count(0)
        posting.join()
    finally:
        site.comfy.idle()
    assert site.ours() == []


@one_language
def test_a_table_that_cannot_be_read_is_told_until_it_can(site: Site, language: str) -> None:
    """What was read last stays in the list."""
    words = {
        "en": ("The task table cannot be read (", "What you see is what was read last."),
        "zh": ("任务表无法读取（", "显示的是上次读到的内容。"),
    }
    kept = site.comfy.finished(site.comfy.queue(picture("kept"), row(11)))["comfyui_task_id"]
    active = site.comfy.table / "active"
    site.open_list()
    shown = site.task(kept)
    expect(shown).to_be_visible()
    aside = active.rename(active.with_name("aside"))
    try:
        active.symlink_to(active)  # whoever follows it gets an error, root as well
        for text in words[language]:
            expect(site.hook("unwritten")).to_contain_text(text)
        expect(site.hook("unwritten")).not_to_contain_text(str(active))
        for palette in ("light", "dark"):
            site.set("Comfy.ColorPalette", palette)
            seen(site, f"unread {palette}", language)
        expect(shown).to_be_visible()
        site.hook("unwritten").locator("strong").evaluate("heading => { heading.textContent = 'x'.repeat(500) }")
        assert site.hook("unwritten").evaluate("banner => banner.scrollWidth <= banner.clientWidth")
    finally:
        active.unlink()
        aside.rename(active)
    expect(site.hook("unwritten")).to_have_count(0)
    site.problems.clear()  # of pictures that could not be had meanwhile


@one_language
def test_a_batch_that_stands_still_is_one_line_for_as_long_as_it_does(site: Site, language: str) -> None:
    words = {
        "en": ("At a standstill", "has ended, and 3 tasks wait for it: nobody has taken over → start main.py again"),
        "zh": ("停滞", "已退出，3 个任务在等它，没有程序接手 → 请重新运行 main.py"),
    }
    boot = died(site.comfy.output)
    db = DatabaseManager(site.comfy.output)
    tasks = [entry.task_id for entry in db.index.entries() if entry.owner is not None and entry.owner.boot == boot]
    Note(db.table).claim({f"gone:{boot}": Told(tasks=tuple(tasks))})  # else it stands after two minutes
    try:
        site.open_list()
        for palette in ("light", "dark"):
            site.set("Comfy.ColorPalette", palette)
            for text in words[language]:
                expect(site.hook("standstill")).to_contain_text(text)
            seen(site, f"standstill {palette}", language)
    finally:
        for task in tasks:
            assert db.cancel_task(task, "不需要了")
    site.open_list()
    expect(site.hook("standstill")).to_have_count(0)
    assert site.ours() == []
