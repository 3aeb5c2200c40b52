"""What the tests of the page need: a ComfyUI with our plugin, a sheet to deliver to, and its page in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Route, expect
from plugin_support import EVERYWHERE, ROOT, Comfy, until

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.demo.screenshots.browser import ComfyPage, page_settings
from wfrecovery.demo.screenshots.front_end import NEWEST, OLDEST, front_end

__all__ = [
    "HOSTS",
    "NEWEST",
    "OLDEST",
    "Site",
    "both_languages",
    "faint_texts",
    "foreign_texts",
    "in_its_language",
    "one_language",
    "site_of",
    "until",
]

#: The page that ComfyUI 0.3.64 pins on a host that behaves so, the newest page on the newer one.
HOSTS = {f"page {OLDEST}": (5, OLDEST), f"page {NEWEST}": (6, NEWEST), "real ComfyUI": ("real", None)}
both_languages = pytest.mark.parametrize("language", ["en", "zh"], scope="module")
#: For what is the same in both but for its words.
one_language = both_languages if EVERYWHERE else pytest.mark.parametrize("language", ["zh"], scope="module")
#: Rows 2 to this one are in the sheet: 产品2 and 模特A, 产品3 and 模特A …
LAST_ROW = 60
# Two busy cores are slow, not wrong.
expect.set_options(timeout=120_000)


class Site(ComfyPage):
    """A ComfyUI, the sheet behind it, and its page."""

    def __init__(self, chromium: Browser, comfy: Comfy, feishu: FeishuStandIn) -> None:
        super().__init__(chromium, comfy.url)
        self.comfy, self.feishu = comfy, feishu
        self._opened, self._spoken = 0, "en"

    def open(self, *, ours: bool = True) -> Site:
        """Load the page, also again; with `ours`, until our part of it shows what the server says."""
        self._opened += 1
        days = 1000 + self._opened
        self.comfy.call("POST", "/wfrecovery/settings", json={"keep_days": days})
        super().open()
        if ours:
            until(lambda: self.setting("wfrecovery.keepDays") == days, what="the server's settings in the page")
        return self

    def speak(self, language: str) -> None:
        """Have the page in that language; it is loaded anew, which takes seconds, only where it speaks another one."""
        if language != self._spoken:
            self._spoken = language
            self.set("Comfy.Locale", language)
            self.open()

    def ours(self) -> list[str]:
        """What went wrong in the browser by our doing. It notes each 410 as well: a result that is gone."""
        return [problem for problem in self.problems_of(ROOT.name) if "status of 410 " not in problem]

    def task(self, prompt_id: str) -> Locator:
        """A task's row in the list."""
        return self.hook("task", task_id=self.task_id(prompt_id))

    def task_id(self, prompt_id: str) -> str:
        """The task of a prompt."""
        return str(self.comfy.record(prompt_id)["task_id"])

    def open_detail(self, prompt_id: str) -> Locator:
        """A task's page in the panel."""
        detail = self.hook("detail", task_id=self.task_id(prompt_id))

        def opened() -> bool:
            if not detail.is_visible():  # a task that comes in at that moment pushes the list down under the click
                self.open_list()
                self.task(prompt_id).click()
            return detail.is_visible()

        until(opened, what=f"the page of {prompt_id}")
        return detail

    def open_list(self) -> Locator:
        """The panel with its whole list, from wherever an earlier test left it."""
        self.open_panel()
        if self.hook("detail").is_visible():
            self.hook("back").click()
        if self.hook("search").input_value():
            self.hook("search").fill("")
            self.hook("search").press("Enter")
        for name in ("filter-status", "filter-workflow"):
            if self.hook(name).input_value():
                self.hook(name).select_option("")
        return self.hook("list")

    def toast(self, words: str | re.Pattern[str]) -> Locator:
        """A message with these words."""
        return self.page.locator(".p-toast-message, [data-testid='toast']").filter(has_text=words)

    def graph_types(self) -> list[str]:
        """The types of the nodes on the canvas."""
        types: list[str] = self.page.evaluate("() => window.app.graph.nodes.map(node => node.type).sort()")
        return types

    def server_settings(self) -> dict[str, Any]:
        """The plugin's settings, as the server has them."""
        settings: dict[str, Any] = self.comfy.call("GET", "/wfrecovery/settings").json()["settings"]
        return settings

    def setting(self, name: str) -> Any:
        """One of ComfyUI's settings."""
        return self.page.evaluate("id => window.app.extensionManager.setting.get(id)", name)

    @contextmanager
    def answering(self, path: str, answer: Callable[[Route], None]) -> Iterator[None]:
        """Answer some requests of the page in the server's place."""
        pattern = re.compile(path)
        self.page.route(pattern, answer)
        try:
            yield
        finally:
            self.page.unroute(pattern)


@contextmanager
def site_of(host: str, chromium: Browser, folder: Path) -> Iterator[Site]:
    """Start it all, open the page; raises FrontEndMissingError when the page cannot be had."""
    shape, version = HOSTS[host]
    args = [] if version is None else ["--front-end-root", str(front_end(version))]
    rows = [{"产品名": f"产品{n}", "模特名": "模特A", "图片是否已处理": "否"} for n in range(2, LAST_ROW + 1)]
    base = folder / "comfyui"
    page_settings(base)
    with ExitStack() as stack:
        feishu = stack.enter_context(FeishuStandIn(rows))
        # A setting that the page cannot change.
        env = {**feishu.environment(), "WFRECOVERY_MAX_ATTEMPTS": "4"}
        comfy = stack.enter_context(Comfy(base, shape, env=env, args=args))
        yield stack.enter_context(Site(chromium, comfy, feishu))


def in_its_language(site: Site, request: pytest.FixtureRequest) -> Site:
    """The page in the language that the test has among its parameters, else in English. Of module scope: pytest then
    has the tests of one language together."""
    callspec = getattr(request.node, "callspec", None)
    site.speak(callspec.params.get("language", "en") if callspec is not None else "en")
    return site


def foreign_texts(element: Locator) -> list[str]:
    """Lines in a Chinese page that are not Chinese: no Chinese character, but a word of Latin letters.

    What people named themselves is marked `translate="no"`, and left out.
    """
    names = {"comfyui", "feishu", "prompt id"}
    own = set(element.locator("[translate=no]").all_inner_texts())
    lines = [line.strip() for line in element.inner_text().splitlines()]
    latin = [line for line in lines if line not in own and not _CHINESE.search(line) and re.search("[A-Za-z]{3}", line)]
    return [line for line in latin if line.lower() not in names and not _IDENTIFIER.search(line)]


_CHINESE = re.compile("[\u4e00-\u9fff]")
#: Task and prompt ids, file names, and what a node said of itself.
_IDENTIFIER = re.compile(r"(img|vid|job)_\d{8}_\d+|[0-9a-f]{8}-[0-9a-f]{4}-|\.(png|mp4)$|Error|Wfr")


def faint_texts(element: Locator) -> list[str]:
    """Texts whose contrast against what is painted behind them is below 4.5 (WCAG AA), with the ratio."""
    faint: list[str] = element.evaluate(_FAINT)
    return faint


_FAINT = """root => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parts = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = colour => {
    const [r, g, b] = colour.map(value => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = element => {
    const layers = [];
    let shown = 1;
    for (let at = element; at; at = at.parentElement) {
      layers.push(parts(getComputedStyle(at).backgroundColor));
      shown *= Number(getComputedStyle(at).opacity);
    }
    const behind = layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
    const [r, g, b, a] = parts(getComputedStyle(element).color);
    const [low, high] = [light(over([r, g, b, a * shown], behind)), light(behind)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const ownText = element =>
    [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.textContent.trim()).join("");
  return [...root.querySelectorAll("*")]
    .filter(element => ownText(element) && element.checkVisibility() && !element.disabled)
    .map(element => [ownText(element), contrast(element)])
    .filter(([, ratio]) => ratio < 4.5)
    .map(([text, ratio]) => `${text}: ${ratio.toFixed(1)}`);
}"""
