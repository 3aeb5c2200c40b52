"""The page where a result does not get into the sheet by itself: a person decides, and sees before what that means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")

from page_support import NEWEST, Site, faint_texts, foreign_texts, in_its_language, site_of, until
from PIL import Image
from playwright.sync_api import Locator, expect
from plugin_support import failing, picture, row, slow_save

from wfrecovery.demo.feishu_host.stand_in import Picture
from wfrecovery.demo.screenshots.browser import BrowserMissingError, browser
from wfrecovery.demo.screenshots.front_end import FrontEndMissingError

PICTURE, STATUS = "产品模特合成图", "图片是否已处理"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One ComfyUI and its newest page."""
    try:
        with browser() as chromium, site_of(f"page {NEWEST}", chromium, tmp_path_factory.mktemp("page")) as site:
            yield site
    except (BrowserMissingError, FrontEndMissingError) as error:
        pytest.skip(str(error))


@pytest.fixture
def site(opened: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The page; no test may leave an error of ours in the browser's console. It notes each 409 as well."""
    yield in_its_language(opened, request)
    opened.comfy.idle()
    assert [problem for problem in opened.ours() if "status of 409 " not in problem] == []


def changed(site: Site, number: int) -> str:
    """A prompt whose row got another product's name meanwhile: its picture waits for a person."""
    prompt = site.comfy.queue(picture(f"changed{number}", color=number), row(number, product_name=f"旧名{number}"))
    site.comfy.finished(prompt)
    until(lambda: site.comfy.record(prompt)["metadata"]["feishu"]["state"] == "blocked", what="a blocked result")
    return prompt


def failed(site: Site, number: int) -> str:
    """A prompt that made nothing."""
    prompt = site.comfy.queue(failing(f"failed{number}", "显存不足"), row(number))
    site.comfy.until_stage(prompt, "failed")
    return prompt


def by_hand(site: Site, name: str, color: int) -> bytes:
    """A picture that somebody has put into the output folder."""
    file = site.comfy.output / name
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (60, 50), (color, 99, 199)).save(file)
    return file.read_bytes()


def shown(site: Site, number: int) -> bytes | None:
    """The picture in a row of the sheet."""
    cell = site.feishu.sheet.row(number)[PICTURE]
    return cell.data if isinstance(cell, Picture) else None


def result(site: Site, prompt: str) -> bytes:
    """The picture that a prompt made."""
    (name,) = site.comfy.record(prompt)["output_files"]
    return (site.comfy.output / name).read_bytes()


def ask(site: Site, action: str) -> Locator:
    """Press a button that asks before it does anything."""
    site.hook(f"action-{action}").click()
    dialog = site.hook(f"decide-{action}-dialog")
    expect(dialog).to_be_visible()
    return dialog


def test_the_row_is_named_and_the_result_is_written_there_all_the_same(site: Site) -> None:
    prompt = changed(site, 5)
    detail = site.open_detail(prompt)
    dialog = ask(site, "write")
    expect(site.hook("row")).to_have_count(1)
    expect(site.hook("row")).to_contain_text("Row 5")
    expect(site.hook("row")).to_contain_text("产品5 · 模特A")
    expect(site.hook("row").locator("input")).to_be_checked()
    expect(site.hook("decide-write-leave")).to_be_focused()
    site.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(site.hook("action-write")).to_be_focused()
    assert shown(site, 5) is None
    ask(site, "write")
    site.hook("decide-write").click()
    expect(dialog).to_have_count(0)
    expect(detail).to_have_attribute("data-feishu", "pushed")
    assert shown(site, 5) == result(site, prompt)
    assert site.feishu.sheet.row(5)[STATUS] == "已完成"
    for action in ("write", "leave", "adopt", "retry"):
        expect(site.hook(f"action-{action}")).to_have_count(0)


def test_another_row_is_looked_at_before_it_is_written_and_written_as_it_was_looked_at(site: Site) -> None:
    prompt = changed(site, 6)
    detail = site.open_detail(prompt)
    dialog = ask(site, "write")
    site.hook("other-row").fill("900")
    site.hook("look").click()
    expect(dialog.get_by_role("alert")).to_contain_text("the sheet has no row 900")
    site.hook("other-row").fill("7")
    site.hook("other-row").press("Enter")
    seven = site.hook("row").filter(has_text="产品7 · 模特A")
    expect(seven.locator("input")).to_be_checked()
    site.feishu.sheet.set("B7", "产品7 (改)")
    site.hook("decide-write").click()
    expect(dialog.get_by_role("alert")).to_contain_text("look again")
    assert shown(site, 7) is None
    site.hook("other-row").fill("7")
    site.hook("look").click()
    expect(seven).to_have_count(0)
    expect(site.hook("row").filter(has_text="产品7 (改)").locator("input")).to_be_checked()
    site.hook("decide-write").click()
    expect(detail).to_have_attribute("data-feishu", "pushed")
    assert shown(site, 7) == result(site, prompt)
    assert shown(site, 6) is None


def test_a_result_is_left_only_after_it_was_asked(site: Site) -> None:
    prompt = changed(site, 8)
    detail = site.open_detail(prompt)
    dialog = ask(site, "leave")
    expect(dialog).to_contain_text("Row 8 · 旧名8 · 模特A")
    expect(dialog).to_contain_text("the next batch renders what the row says now")
    site.hook("decide-leave-leave").click()
    expect(dialog).to_have_count(0)
    assert site.comfy.record(prompt)["metadata"]["feishu"]["state"] == "blocked"
    ask(site, "leave")
    site.hook("decide-leave").click()
    expect(detail).to_have_attribute("data-feishu", "off")
    expect(site.hook("action-leave")).to_have_count(0)
    assert shown(site, 8) is None


def test_a_result_is_paid_for_again_only_after_it_was_asked(site: Site) -> None:
    """The row was changed: the same workflow makes what does not belong there either."""
    prompt = changed(site, 15)
    detail = site.open_detail(prompt)
    dialog = ask(site, "retry")
    expect(dialog).to_contain_text("what its row says now does not go into it")
    site.hook("decide-retry-leave").click()
    expect(dialog).to_have_count(0)
    expect(site.hook("action-retry")).to_be_focused()
    assert site.comfy.times(prompt, "finished") == 1
    ask(site, "retry")
    site.hook("decide-retry").click()
    expect(dialog).to_have_count(0)
    until(lambda: site.comfy.times(prompt, "finished") == 2, what="another result")
    expect(detail).to_have_attribute("data-feishu", "blocked")


def test_a_file_is_chosen_by_its_picture_and_goes_into_the_row(site: Site) -> None:
    prompt = failed(site, 9)
    made = by_hand(site, "hand/裙子.png", 50)
    by_hand(site, "hand/other.png", 60)
    detail = site.open_detail(prompt)
    expect(detail).to_contain_text("显存不足")
    dialog = ask(site, "adopt")
    chosen = site.hook("candidate").filter(has_text="hand/裙子.png")
    expect(chosen.locator("img")).to_be_visible()
    assert chosen.locator("img").evaluate("image => image.naturalWidth") > 0
    expect(site.hook("decide-adopt")).to_be_disabled()
    chosen.click()
    expect(site.hook("decide-adopt")).to_be_enabled()
    site.hook("decide-adopt").click()
    expect(dialog).to_have_count(0)
    expect(detail).to_have_attribute("data-stage", "finished")
    expect(detail).to_have_attribute("data-feishu", "pushed")
    assert shown(site, 9) == made
    expect(site.hook("story").locator('[data-what="given"]')).to_contain_text("hand/裙子.png")
    expect(site.hook("file").locator("a")).to_have_text("hand/裙子.png")
    expect(detail.locator("img")).to_be_visible()


def test_a_file_is_named_by_its_path_and_what_speaks_against_it_is_said(site: Site) -> None:
    prompt = site.comfy.queue(picture("away", color=10), row(10))
    site.comfy.finished(prompt)
    until(lambda: shown(site, 10), what="the picture in its row")
    until(lambda: site.comfy.record(prompt)["metadata"]["feishu"]["state"] == "pushed", what="its record")
    (name,) = site.comfy.record(prompt)["output_files"]
    (site.comfy.output / name).unlink()
    far = by_hand(site, "far/away.png", 70)
    os.utime(site.comfy.output / "far/away.png", (1, 1))
    detail = site.open_detail(prompt)
    dialog = ask(site, "adopt")
    site.hook("candidate").first.click()
    site.hook("other-file").fill("../away.png")
    expect(site.hook("candidate").locator("input:checked")).to_have_count(0)
    site.hook("decide-adopt").click()
    expect(dialog.get_by_role("alert")).to_contain_text("does not lie inside the output folder")
    site.hook("other-file").fill("far/away.png")
    expect(dialog.get_by_role("alert")).to_have_count(0)
    site.hook("decide-adopt").click()
    expect(dialog).to_have_count(0)
    expect(site.hook("file").locator("a")).to_have_text("far/away.png")
    until(lambda: shown(site, 10) == far, what="the named picture in its row")
    expect(detail).to_have_attribute("data-feishu", "pushed")


def lost_with_a_file(site: Site, name: str) -> tuple[str, str]:
    """A prompt without a row that ComfyUI's end took with one of its two pictures made: it waits for a decision. Its
    id, and the picture."""
    prompt = site.comfy.queue(slow_save(name, batch=2))
    until(lambda: len(site.comfy.pictures(f"{name}*")) == 2, what="two pictures")
    kept, gone = sorted(site.comfy.pictures(f"{name}*"))
    gone.unlink()
    site.comfy.kill()
    site.comfy.start()
    until(lambda: site.comfy.stage(prompt) == "asking", what="the question")
    return prompt, kept.name


def test_before_a_lost_prompt_is_queued_again_what_it_made_is_seen(site: Site) -> None:
    """And taken, where that will do. It is shown by itself once."""
    prompt, name = lost_with_a_file(site, "half")
    folder = os.environ.get("WFRECOVERY_SHOTS")
    looks = [("en", "dark"), ("en", "light"), ("zh", "dark"), ("zh", "light")]
    on_disk = {"en": "files that it made are on disk", "zh": "它生成过的文件在磁盘上"}
    for number, (language, palette) in enumerate(looks if folder else looks[::3]):
        site.speak(language)
        site.set("Comfy.ColorPalette", palette)
        if number:
            site.open_list()
            site.hook("review").click()
        entry = site.hook("preview-task", task_id=site.task_id(prompt))
        expect(entry.locator("img")).to_be_visible()
        expect(entry).to_contain_text(on_disk[language])
        assert entry.locator("img").evaluate("image => image.naturalWidth") > 0
        assert faint_texts(site.hook("preview")) == []
        if folder:
            site.page.screenshot(path=Path(folder, f"preview-{language}-{palette}.png"))
        site.hook("preview-close").click()
        detail = site.open_detail(prompt)
        expect(site.hook("found")).to_have_text(name)
        expect(site.hook("found").locator("img")).to_be_visible()
        assert faint_texts(site.hook("panel")) == []
        assert language == "en" or foreign_texts(site.hook("panel")) == []
        if folder:
            site.page.screenshot(path=Path(folder, f"asking-{language}-{palette}.png"))
    dialog = ask(site, "adopt")
    site.hook("candidate").filter(has_text=name).click()
    site.hook("decide-adopt").click()
    expect(dialog).to_have_count(0)
    expect(detail).to_have_attribute("data-stage", "finished")
    expect(site.hook("file").locator("a")).to_have_text(name)
    expect(site.hook("found")).to_have_count(0)
    site.comfy.idle()
    assert site.comfy.pending() == [], "nothing is rendered again"


@pytest.mark.parametrize("language", ["zh", "en"], scope="module")  # as the test before it leaves the page
def test_decisions_can_be_read_in_both_languages_and_themes(site: Site, language: str) -> None:
    """With WFRECOVERY_SHOTS=DIR pictures of them are kept."""
    number = {"en": 11, "zh": 13}[language]
    waits, without = changed(site, number), failed(site, number + 1)
    by_hand(site, f"hand/{language}.png", 80)
    folder = os.environ.get("WFRECOVERY_SHOTS")
    for palette in ("light", "dark"):
        site.set("Comfy.ColorPalette", palette)
        for prompt, actions in ((waits, ("write", "leave", "retry")), (without, ("adopt",))):
            site.open_detail(prompt)
            for action in actions:
                dialog = ask(site, action)
                ready = {"write": "row", "adopt": "candidate"}.get(action)
                if ready:
                    site.hook(ready).first.click()
                if action == "write":
                    assert faint_texts(site.hook("panel")) == []
                assert faint_texts(dialog) == []
                assert language == "en" or foreign_texts(dialog) == []
                if folder:
                    site.page.wait_for_timeout(500)
                    site.page.screenshot(path=Path(folder, f"{action}-{language}-{palette}.png"))
                site.hook(f"decide-{action}-leave").click()
                expect(dialog).to_have_count(0)
            assert language == "en" or foreign_texts(site.hook("panel")) == []
            if folder:
                site.page.screenshot(path=Path(folder, f"detail-{actions[0]}-{language}-{palette}.png"))
