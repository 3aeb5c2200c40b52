"""The page in a real browser: ComfyUI's own front end, oldest and newest, and the real ComfyUI where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")

from page_support import HOSTS, NO_REAL, REAL, Site, site_of, until
from playwright.sync_api import Browser, Route
from plugin_support import picture

from wfrecovery.demo.browser import BrowserMissingError, browser
from wfrecovery.demo.front_end import FrontEndMissingError


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all."""
    try:
        started = browser()
        with started as chromium:
            yield chromium
    except BrowserMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=HOSTS)
def opened(
    request: pytest.FixtureRequest, chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """One ComfyUI and one page for each host; the tests leave them running."""
    if request.param == "real ComfyUI" and REAL is None:
        pytest.skip(NO_REAL)
    try:
        with site_of(request.param, chromium, tmp_path_factory.mktemp("page")) as site:
            yield site
    except FrontEndMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def site(opened: Site) -> Iterator[Site]:
    """The page, in which no test may leave an error of ours."""
    yield opened
    assert opened.ours() == []


def test_comfyui_works_when_our_script_is_broken(opened: Site) -> None:
    """Not a byte of our script can be run: the page opens, queues a prompt, and shows what came of it."""

    def nonsense(route: Route) -> None:
        route.fulfill(content_type="text/javascript", body="this is no JavaScript")

    with opened.answering(r"/extensions/.*wfrecovery.*\.m?js", nonsense):
        opened.open()
        graph = picture("from_the_page", color=3)
        opened.page.evaluate("graph => window.app.loadApiJson(graph, 'test')", graph)
        opened.page.evaluate("() => window.app.queuePrompt(0)")
        until(lambda: opened.comfy.pictures("from_the_page*.png"), what="the picture that the page asked for")
        assert opened.tab().count() == 0
    opened.problems.clear()
    opened.open()
