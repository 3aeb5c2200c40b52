"""The page in a real browser: ComfyUI's own front end, oldest and newest, and the real ComfyUI where there is one.

Page and ComfyUI are started once for each host, because both take seconds; a test leaves them working.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")

from page_support import (
    HOSTS,
    OLDEST,
    Site,
    both_languages,
    faint_texts,
    foreign_texts,
    in_its_language,
    site_of,
    until,
)
from PIL import Image
from playwright.sync_api import Browser, Request, Route, expect
from plugin_support import NO_REAL, REAL, REAL_SHAPE, failing, picture, row

from wfrecovery.demo.screenshots.browser import BrowserMissingError, browser
from wfrecovery.demo.screenshots.front_end import FrontEndMissingError


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all."""
    try:
        with browser() as started:
            yield started
    except BrowserMissingError as error:
        pytest.skip(str(error))


#: On the real ComfyUI as well.
on_real = pytest.mark.on_real


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The hosts of a test."""
    if "opened" in metafunc.fixturenames:
        everywhere = metafunc.definition.get_closest_marker("on_real") is not None
        left_out = {f"page {OLDEST}"} if REAL_SHAPE == 5 else set()  # the real one shows that page
        left_out |= set() if everywhere else {"real ComfyUI"}
        hosts = [host for host in HOSTS if host not in left_out]
        metafunc.parametrize("opened", hosts, indirect=True, scope="module")


@pytest.fixture(scope="module")
def opened(
    request: pytest.FixtureRequest, chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """One ComfyUI and one page for each host."""
    if request.param == "real ComfyUI" and REAL is None:
        pytest.skip(NO_REAL)
    try:
        with site_of(request.param, chromium, tmp_path_factory.mktemp("page")) as site:
            yield site
    except FrontEndMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def site(opened: Site, request: pytest.FixtureRequest) -> Iterator[Site]:
    """The page; no test may leave an error of ours in the browser's console."""
    yield in_its_language(opened, request)
    opened.comfy.idle()
    assert opened.ours() == []


# ------------------------------------------------------------------ what is seen


@on_real
def test_the_menu_starts_a_recovery_and_one_message_sums_it_up(site: Site) -> None:
    before = site.comfy.status()["recovery"]["started_at"]
    site.choose("Extensions", "Workflow Recovery", "Recover tasks")
    expect(site.toast("Nothing to recover")).to_have_count(1)
    assert site.comfy.status()["recovery"]["started_at"] != before
    expect(site.hook("panel")).to_be_visible()


def test_a_running_recovery_shows_how_far_it_is(site: Site) -> None:
    site.open_list()
    held = site.comfy.queue(picture("held", seconds=600), row(2))
    others = [site.comfy.queue(picture(f"held{n}"), row(n)) for n in (3, 4)]
    site.comfy.until_stage(held, "running")
    with site.comfy.table_locked():
        site.hook("recover").click()
        expect(site.hook("recovery-progress")).to_be_visible()
        expect(site.hook("recover")).to_be_disabled()
    expect(site.hook("recovery-progress")).to_be_hidden()
    expect(site.toast("3 in the queue already")).to_have_count(1)
    site.comfy.call("POST", "/interrupt")
    for prompt in others:
        site.comfy.finished(prompt)


@on_real
def test_tasks_appear_as_they_are_queued_and_move_as_they_run(site: Site) -> None:
    site.open_list()
    prompt = site.comfy.queue(picture("live", gate="live", color=0x40A0C0), row(5))
    task = site.task(prompt)
    expect(task).to_have_attribute("data-stage", "running")
    bar = task.locator('[data-wfr="task-progress"]')
    expect(bar).to_be_visible()
    expect(bar).to_have_attribute("data-value", re.compile(r"^[1-9]\d*/\d+$"))
    seen = bar.get_attribute("data-value")
    expect(bar).not_to_have_attribute("data-value", str(seen))
    site.comfy.open_gate("live")
    expect(task).to_have_attribute("data-stage", "finished")
    expect(task).to_have_attribute("data-feishu", "pushed")
    expect(bar).to_be_hidden()
    expect(task).to_contain_text("产品5")
    image = task.locator("img")
    expect(image).to_be_visible()
    until(lambda: image.evaluate("image => image.complete && image.naturalWidth > 0"), what="the thumbnail")


def test_counts_are_those_of_the_table_and_the_newest_is_first(site: Site) -> None:
    prompts = [site.comfy.queue(picture(f"count{n}"), row(n)) for n in (6, 7)]
    for prompt in prompts:
        site.comfy.finished(prompt)
    site.open_list()
    for status, count in site.comfy.status()["tasks"].items():
        expect(site.hook("counts").locator(f'[data-status="{status}"]')).to_contain_text(str(count))
    newest = site.hook("list").locator('[data-wfr="task"][aria-posinset="1"]')
    expect(newest).to_have_attribute("data-task-id", site.task_id(prompts[-1]))


def test_search_and_filter_narrow_the_list(site: Site) -> None:
    good = site.comfy.queue(picture("find"), row(8))
    bad = site.comfy.queue(failing("find", "out of memory"), row(9))
    site.comfy.finished(good)
    site.comfy.until_stage(bad, "failed")
    site.open_list()
    site.hook("search").fill("产品8")
    expect(site.hook("task")).to_have_count(1)
    expect(site.task(good)).to_be_visible()
    site.hook("search").fill("no such product")
    expect(site.hook("empty")).to_be_visible()
    site.hook("search").fill("")
    site.hook("filter-status").select_option("失败")
    expect(site.task(bad)).to_be_visible()
    expect(site.task(good)).to_have_count(0)
    site.hook("filter-status").select_option("")
    site.hook("filter-workflow").select_option("图生视频")
    expect(site.task(good)).to_have_count(0)
    site.hook("filter-workflow").select_option("")
    expect(site.task(good)).to_be_visible()


def test_the_keyboard_opens_a_task_and_comes_back(site: Site) -> None:
    prompt = site.comfy.queue(picture("keys"), row(10))
    site.comfy.finished(prompt)
    site.open_list()
    expect(site.task(prompt)).to_be_visible()
    site.hook("list").focus()
    site.page.keyboard.press("Home")
    site.page.keyboard.press("Enter")
    expect(site.hook("detail", task_id=site.task_id(prompt))).to_be_visible()
    site.page.keyboard.press("Escape")
    expect(site.hook("detail")).to_have_count(0)
    expect(site.hook("list")).to_be_focused()


# ------------------------------------------------------------------ what can be done with a task


@on_real
def test_a_failed_task_says_why_and_at_which_node_and_is_retried(site: Site) -> None:
    prompt = site.comfy.queue(failing("retry", "the model file is gone"), row(11))
    site.comfy.until_stage(prompt, "failed")
    detail = site.open_detail(prompt)
    expect(detail).to_contain_text("the model file is gone")
    expect(detail).to_contain_text("WfrFail")
    expect(site.hook("story").locator("[data-what]")).not_to_have_count(0)
    site.hook("action-retry").click()
    expect(site.hook("story").locator('[data-what="retried"]')).to_have_count(1)
    expect(site.hook("story").locator('[data-what="failed"]')).to_have_count(2)
    expect(detail).to_have_attribute("data-stage", "failed")


@on_real
def test_a_running_task_is_cancelled_and_stays_so(site: Site) -> None:
    prompt = site.comfy.queue(picture("cancel", seconds=600), row(12))
    site.comfy.until_stage(prompt, "running")
    site.open_detail(prompt)
    site.hook("action-cancel").click()
    expect(site.hook("detail")).to_have_attribute("data-stage", "cancelled")
    assert site.comfy.until_stage(prompt, "cancelled")["status"] == "失败"
    until(lambda: not site.comfy.pending(), what="an idle ComfyUI")
    expect(site.hook("action-cancel")).to_have_count(0)


def test_what_could_not_be_written_is_pushed_again_one_and_all(site: Site) -> None:
    numbers = (13, 14)
    prompts = [site.comfy.queue(picture(f"push{n}"), row(n, product_name=f"改名{n}")) for n in numbers]
    site.open_list()
    for prompt in prompts:
        expect(site.task(prompt)).to_have_attribute("data-feishu", "blocked")
    for number in numbers:
        site.feishu.sheet.set(f"B{number}", f"改名{number}")
    detail = site.open_detail(prompts[0])
    expect(detail).to_contain_text("改名13")
    site.hook("action-push").click()
    expect(detail).to_have_attribute("data-feishu", "pushed")
    site.open_list()
    expect(site.task(prompts[1])).to_have_attribute("data-feishu", "blocked")
    site.hook("bulk-push").click()
    expect(site.task(prompts[1])).to_have_attribute("data-feishu", "pushed")
    assert site.feishu.sheet.row(14)["图片是否已处理"] == "已完成"


def test_all_failed_tasks_are_retried_at_once_and_cancelled_ones_are_not(site: Site) -> None:
    failed = [site.comfy.queue(failing("bulk", "no memory"), row(n)) for n in (15, 16)]
    for prompt in failed:
        site.comfy.until_stage(prompt, "failed")
    cancelled = [r for r in site.comfy.records() if r["metadata"]["stage"] == "cancelled"]
    site.open_list()
    site.hook("bulk-retry").click()
    for prompt in failed:
        until(lambda prompt=prompt: site.comfy.times(prompt, "failed") == 2, what="a second failure")
    until(lambda: not site.comfy.pending(), what="an idle ComfyUI")
    assert [r for r in site.comfy.records() if r["metadata"]["stage"] == "cancelled"] == cancelled


@on_real
def test_the_result_and_the_graph_of_a_task_open(site: Site) -> None:
    workflow = {
        "version": 0.4,
        "last_node_id": 7,
        "last_link_id": 0,
        "links": [],
        "groups": [],
        "config": {},
        "extra": {},
    }
    note = {"id": 7, "type": "Note", "pos": [10, 10], "size": [200, 100], "flags": {}, "order": 0, "mode": 0}
    workflow["nodes"] = [{**note, "properties": {}, "widgets_values": ["as it was"]}]
    bare = site.comfy.queue(picture("graph"), row(17))
    whole = site.comfy.queue(
        picture("graph"), row(18), extra_data={"extra_pnginfo": {"workflow": workflow}, "client_id": "x"}
    )
    site.comfy.finished(whole)
    site.open_detail(bare)
    with site.page.context.expect_page() as result:
        site.hook("action-output").click()
    assert f"/wfrecovery/tasks/{site.task_id(bare)}/file?path=graph_00001_.png" in result.value.url
    result.value.wait_for_load_state()
    assert result.value.locator("img").evaluate("image => image.naturalWidth") == 16
    result.value.close()
    site.hook("action-workflow").click()
    until(lambda: site.graph_types() == ["EmptyImage", "SaveImage"], what="the prompt as a graph")
    site.open_detail(whole)
    site.hook("action-workflow").click()
    until(lambda: site.graph_types() == ["Note"], what="the workflow that came with the prompt")


# ------------------------------------------------------------------ files that are not what they were


def delivered(site: Site, prompt: str) -> dict[str, Any]:
    """Wait until a task's result is in the sheet, so that no copy of it is kept any more; its record."""
    record = site.comfy.finished(prompt)
    kept = site.comfy.table / "kept" / f"{record['task_id']}.part"
    until(lambda: site.comfy.record(prompt)["metadata"]["feishu"]["state"] == "pushed", what="the picture in the sheet")
    until(lambda: not kept.exists(), what="no copy")
    return record


def another_picture(file: Path) -> None:
    """What another program saves under a result's name."""
    Image.new("RGB", (32, 16), "orange").save(file)


def test_results_that_are_gone_are_never_shown_and_are_rendered_again(site: Site) -> None:
    """Both are gone before the page is loaded, which takes seconds."""
    prompts = {
        became: site.comfy.queue(picture(f"gone_{became}", color=0x40A0C0), row(number))
        for became, number in (("missing", 40), ("replaced", 41))
    }
    names = {became: delivered(site, prompt)["output_files"][0] for became, prompt in prompts.items()}
    (site.comfy.output / names["missing"]).unlink()
    another_picture(site.comfy.output / names["replaced"])
    site.open()
    for became, prompt in prompts.items():
        is_gone_and_rendered_again(site, prompt, names[became], became)


def is_gone_and_rendered_again(site: Site, prompt: str, name: str, became: str) -> None:
    words, reason = {
        "missing": ("Not there any more", "put the file back, or render the row again"),
        "replaced": ("Replaced by another file", "was replaced by another file"),
    }[became]
    site.open_list()
    expect(site.task(prompt).locator('[data-wfr="gone"]')).to_have_attribute("title", words)
    expect(site.task(prompt).locator("img")).to_have_count(0)

    detail = site.open_detail(prompt)
    expect(site.hook("result-gone")).to_contain_text(words)
    expect(site.hook("file", state=became)).to_contain_text(f"{name}{words}")
    expect(site.hook("file").locator("a")).to_have_count(0)
    expect(detail).to_contain_text(reason)
    expect(site.hook("action-output")).to_have_count(0)
    opened = f"/wfrecovery/tasks/{site.task_id(prompt)}/file?path={name}"
    answered = "address => fetch(address).then(answer => answer.status)"
    assert site.page.evaluate(answered, opened) == 410

    expect(site.hook("action-retry")).to_have_text("Render again")
    site.hook("action-retry").click()
    expect(site.hook("story").locator('[data-what="retried"]')).to_have_count(1)
    expect(detail).to_have_attribute("data-feishu", "pushed")
    expect(site.hook("action-retry")).to_have_count(0)
    expect(site.hook("result-gone")).to_have_count(0)
    expect(site.hook("file").locator("a")).to_have_count(1)
    image = detail.locator("img")
    expect(image).to_be_visible()
    until(lambda: image.evaluate("image => image.naturalWidth > 0"), what="the picture")
    # A file of the same name is new to the browser.
    if became == "missing":
        assert site.comfy.record(prompt)["output_files"] == [name]
        assert site.page.evaluate(answered, opened) == 200


def test_a_file_that_is_put_back_is_shown_again(site: Site) -> None:
    prompt = site.comfy.queue(picture("back", batch=2))
    names = site.comfy.finished(prompt)["output_files"]
    file = site.comfy.output / names[0]
    content = file.read_bytes()
    file.unlink()
    detail = site.open_detail(prompt)
    expect(site.hook("file", state="missing")).to_have_count(1)
    expect(site.hook("file").locator("a")).to_have_text([names[1]])
    file.write_bytes(content)
    site.open_list()
    site.open_detail(prompt)
    expect(site.hook("file").locator("a")).to_have_text(names)
    expect(detail.locator("img")).to_be_visible()
    expect(site.hook("action-retry")).to_have_count(0)


def test_of_several_files_the_one_for_the_sheet_is_marked_and_a_blocked_row_is_rendered_again(site: Site) -> None:
    prompt = site.comfy.queue(picture("several", batch=3), row(42, product_name="改名42"))
    names = site.comfy.finished(prompt)["output_files"]
    detail = site.open_detail(prompt)
    expect(detail).to_have_attribute("data-feishu", "blocked")
    expect(site.hook("file")).to_have_text([names[0], names[1], f"{names[2]}Goes into the sheet"])
    finished = site.hook("story").locator('[data-what="finished"]')
    expect(finished).to_contain_text(f"Goes into the sheet: {names[2]}")
    expect(site.hook("action-push")).to_be_visible()
    expect(site.hook("action-retry")).to_have_text("Render again")
    site.hook("action-retry").click()
    site.hook("decide-retry").click()
    expect(finished).to_have_count(2)
    expect(detail).to_have_attribute("data-feishu", "blocked")
    site.feishu.sheet.set("B42", "改名42")
    site.hook("action-push").click()
    expect(detail).to_have_attribute("data-feishu", "pushed")
    expect(site.hook("file").last).to_contain_text("In the sheet")
    expect(site.hook("action-retry")).to_have_count(0)


def test_a_video_is_played_as_this_tasks(site: Site) -> None:
    frames = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 4, "color": 1}}
    film = {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8}}
    saver = {"video": ["2", 0], "filename_prefix": "video/played", "format": "mp4", "codec": "h264"}
    prompt = site.comfy.queue({"1": frames, "2": film, "3": {"class_type": "SaveVideo", "inputs": saver}})
    [name] = site.comfy.finished(prompt)["output_files"]
    video = site.open_detail(prompt).locator("video")
    address = str(video.evaluate("video => video.src"))
    assert f"/wfrecovery/tasks/{site.task_id(prompt)}/file?path=" in address
    until(lambda: video.evaluate("video => video.readyState > 0"), what="the video's first frame")
    site.open_list()
    (site.comfy.output / name).unlink()
    site.open_detail(prompt)
    expect(site.hook("result-gone")).to_be_visible()
    expect(video).to_have_count(0)


# ------------------------------------------------------------------ crashes, and a server that is not as it should be


@on_real
def test_after_a_kill_the_page_comes_back_and_asks_once(site: Site) -> None:
    site.open_list()
    running = site.comfy.queue(picture("killed", seconds=600), row(20))
    site.comfy.until_stage(running, "running")
    waiting = site.comfy.queue(picture("waits"), row(21))
    jobs = [site.comfy.queue(picture(f"job{n}", color=n)) for n in range(3)]
    expect(site.task(jobs[-1])).to_be_visible()
    site.comfy.kill()
    expect(site.hook("offline")).to_be_visible()
    site.comfy.start()
    expect(site.hook("offline")).to_have_count(0)
    expect(site.toast("2 queued again")).to_have_count(1)
    expect(site.hook("preview-task")).to_have_count(3)
    site.hook("preview-close").click()
    expect(site.hook("preview")).to_have_count(0)

    site.open()
    site.open_list()
    expect(site.task(running)).to_have_attribute("data-stage", "running")
    expect(site.task(jobs[0])).to_have_attribute("data-stage", "asking")
    expect(site.hook("preview")).to_have_count(0)
    assert not [text for text in site.toasts() if "queued again" in text]

    site.hook("review").click()
    site.hook("preview-task", task_id=site.task_id(jobs[0])).locator("input").uncheck()
    site.hook("preview-queue").click()
    expect(site.hook("preview-task")).to_have_count(1)
    site.hook("preview-task").locator("input").check()
    site.hook("preview-discard").click()
    expect(site.hook("preview")).to_have_count(0)
    expect(site.task(jobs[0])).to_have_attribute("data-stage", "cancelled")
    assert site.comfy.pending() == [running, waiting, *jobs[1:]]
    site.comfy.call("POST", "/interrupt")
    for prompt in (waiting, *jobs[1:]):
        site.comfy.finished(prompt)


def test_a_server_side_that_is_missing_or_older_is_said_so(opened: Site) -> None:
    def missing(route: Route) -> None:
        route.fulfill(status=404, content_type="text/plain", body="404: Not Found")

    def older(route: Route) -> None:
        status: dict[str, Any] = {"version": "0.1.0", "boot_id": "x", "tasks": {"在处理中": 0, "已完成": 0, "失败": 0}}
        route.fulfill(json={**status, "recovery": {"state": "idle"}, "feishu": {"configured": False}})

    for answer, message in ((missing, "server-missing"), (older, "server-older")):
        opened.close_panel()
        with opened.answering(r"/wfrecovery/", answer):
            opened.open_panel()
            expect(opened.hook(message)).to_be_visible()
            expect(opened.hook("list")).to_be_hidden()
            opened.close_panel()
    opened.open_list()
    expect(opened.hook("server-missing").or_(opened.hook("server-older"))).to_have_count(0)
    # The browser itself notes each 404.
    assert not [problem for problem in opened.ours() if "404" not in problem]
    opened.problems.clear()


def test_comfyui_works_when_our_script_is_broken(opened: Site) -> None:
    """Not a byte of our script can be run: the page opens, queues a prompt, and shows what came of it. In a tab of its
    own, so that what the others have loaded stays."""

    def nonsense(route: Route) -> None:
        route.fulfill(content_type="text/javascript", body="this is no JavaScript")

    whole, opened.page = opened.page, opened.page.context.new_page()
    try:
        with opened.answering(r"/extensions/.*wfrecovery.*\.m?js", nonsense):
            opened.open(ours=False)
            graph = picture("from_the_page", color=3)
            opened.page.evaluate("graph => window.app.loadApiJson(graph, 'test')", graph)
            opened.page.evaluate("() => window.app.queuePrompt(0)")
            until(lambda: opened.comfy.pictures("from_the_page*.png"), what="the picture that the page asked for")
            assert opened.tab().count() == 0
    finally:
        opened.page.close()
        opened.page = whole
        opened.page.bring_to_front()
        opened.problems.clear()


# ------------------------------------------------------------------ settings, languages, themes


HEARS_TOASTS = """() => {
  window.toastsHeard = []
  const note = () => document.querySelectorAll('.p-toast-message, [data-testid="toast"]').forEach(
    (toast) => window.toastsHeard.push(toast.textContent))
  new MutationObserver(note).observe(document.body, { childList: true, subtree: true, characterData: true })
}"""


@contextmanager
def telling(site: Site) -> Iterator[None]:
    """A failure says how things stand in the page."""
    unanswered: list[str] = []

    def note(request: Request) -> None:
        if "/wfrecovery/settings" in request.url:
            unanswered.append(f"{request.method}: {request.failure}")

    site.page.on("requestfailed", note)
    try:
        yield
    except AssertionError as error:
        shown, toasts = site.setting("wfrecovery.lostPrompts"), site.page.evaluate("() => window.toastsHeard")
        seen = site.page.evaluate("() => document.visibilityState")
        said = f"the page is {seen} and has {shown!r}; {toasts}; {site.problems}; without an answer: {unanswered}"
        raise AssertionError(f"{error}; {said}") from error
    finally:
        site.page.remove_listener("requestfailed", note)


@on_real
def test_settings_are_the_servers_and_what_is_fixed_says_where(site: Site) -> None:
    assert site.setting("wfrecovery.maxAttempts") == 4
    site.page.evaluate(HEARS_TOASTS)  # one goes by itself, on a slow machine before anybody looks
    with telling(site):
        site.set("wfrecovery.lostPrompts", "auto")
        until(lambda: site.server_settings()["lost_prompts"] == "auto", what="the server's setting")
        site.set("wfrecovery.maxAttempts", 9)
        said = "() => window.toastsHeard.some((text) => text.includes('WFRECOVERY_MAX_ATTEMPTS'))"
        until(lambda: site.page.evaluate(said), what="a toast that says what fixes it")
        until(lambda: site.setting("wfrecovery.maxAttempts") == 4, what="the setting as it is")
        site.set("wfrecovery.lostPrompts", "ask")
        until(lambda: site.server_settings()["lost_prompts"] == "ask", what="the server's setting")


@on_real
def test_who_comes_back_to_the_page_sees_what_another_one_has_set(site: Site) -> None:
    site.comfy.call("POST", "/wfrecovery/settings", json={"keep_days": 77})
    site.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    until(lambda: site.setting("wfrecovery.keepDays") == 77, what="the other page's setting")


@on_real
def test_a_setting_counts_also_where_the_page_is_closed_at_once(site: Site) -> None:
    site.page.evaluate(
        """() => {
          window.app.extensionManager.setting.set('wfrecovery.standstillMinutes', 21)
          window.location.replace('about:blank')
        }"""
    )
    site.page.wait_for_url("about:blank")
    site.open()
    until(lambda: site.server_settings()["standstill_minutes"] == 21, what="the server's setting")


def test_a_setting_that_comfyui_did_not_answer_for_is_sent_again_by_itself(site: Site) -> None:
    with (
        site.answering(r"/wfrecovery/settings\?", lambda route: route.abort()),
        site.page.expect_event("requestfailed", lambda request: "/wfrecovery/settings" in request.url),
    ):
        site.set("wfrecovery.keepDays", 88)
    until(lambda: site.server_settings()["keep_days"] == 88, what="the server's setting")
    assert site.setting("wfrecovery.keepDays") == 88


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_every_text_can_be_read_in_both_themes(site: Site, palette: str) -> None:
    prompts = [site.comfy.queue(failing("theme", "no memory"), row(30)), site.comfy.queue(picture("theme"), row(31))]
    site.comfy.finished(prompts[1])
    site.set("Comfy.ColorPalette", palette)
    try:
        site.open_list()
        expect(site.task(prompts[1])).to_have_attribute("data-feishu", "pushed")
        assert faint_texts(site.hook("panel")) == []
        site.open_detail(prompts[0])
        assert faint_texts(site.hook("panel")) == []
    finally:
        site.set("Comfy.ColorPalette", "dark")


@both_languages
def test_what_is_said_of_files_can_be_read_in_both_languages_and_themes(site: Site, language: str) -> None:
    prompt = site.comfy.queue(picture(f"theme_{language}", batch=3), row({"en": 43, "zh": 44}[language]))
    names = delivered(site, prompt)["output_files"]
    (site.comfy.output / names[0]).unlink()
    another_picture(site.comfy.output / names[2])
    for palette in ("light", "dark"):
        site.set("Comfy.ColorPalette", palette)
        site.open_detail(prompt)
        expect(site.hook("file", state="missing")).to_have_count(1)
        expect(site.hook("file", state="replaced")).to_have_count(1)
        retry, in_sheet = {"en": ("Render again", "In the sheet"), "zh": ("重新生成", "已写入表格")}[language]
        expect(site.hook("action-retry")).to_have_text(retry)
        expect(site.hook("file").last).to_contain_text(in_sheet)
        assert faint_texts(site.hook("panel")) == []
        assert language == "en" or foreign_texts(site.hook("panel")) == []


@pytest.mark.parametrize("language", ["zh"], scope="module")
def test_everything_is_chinese_when_comfyui_is(site: Site, language: str) -> None:
    assert site.setting("Comfy.Locale") == language
    prompt = site.comfy.queue(failing("中文", "显存不足"), row(32))
    site.comfy.until_stage(prompt, "failed")
    site.choose("扩展", "工作流恢复", "恢复任务")
    expect(site.toast("没有")).to_have_count(1)
    site.open_list()
    expect(site.task(prompt)).to_be_visible()
    assert foreign_texts(site.hook("panel")) == []
    site.open_detail(prompt)
    assert foreign_texts(site.hook("panel")) == []
