"""ComfyUI's page in a real Chromium, for the tests of the page, its pictures and its benchmark.

Needs playwright (``pip install 'wfrecovery[test]'``) and a Chromium, Chrome or Edge of the system.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, Response, sync_playwright

__all__ = ["BrowserMissingError", "ComfyPage", "browser", "browser_path", "page_settings"]

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
_PLACES: Final = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
#: Nothing leaves this computer: ComfyUI's page asks its maker for news, the browser for updates.
_FLAGS: Final = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-first-run",
)
#: A cold start compiles some 10 MB of JavaScript.
_PATIENCE: Final = 180_000
_READY: Final = (
    "() => window.app?.vueAppReady && window.app.extensionManager && document.querySelector('.side-bar-button')"
)
#: Both generations of the page, 1.27 (PrimeVue) and 1.58.
_MENU: Final = ".comfyui-logo-wrapper, [data-testid='comfy-menu-button']"
_TAB: Final = ".{id}-tab-button, [data-testid='{id}-tab-button']"
_TOAST: Final = ".p-toast-message, [data-testid='toast']"


class BrowserMissingError(RuntimeError):
    """No browser that playwright could drive."""


def browser_path() -> str:
    """The system's Chromium, Chrome or Edge; raises BrowserMissingError."""
    found = next(filter(None, map(shutil.which, _NAMES)), None) or next(filter(os.path.exists, _PLACES), None)
    if found is None:
        raise BrowserMissingError("no Chromium, Chrome or Edge on this computer (Debian: apt-get install chromium)")
    return found


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window; one serves any number of pages. Raises BrowserMissingError."""
    path, flags = browser_path(), list(_FLAGS)
    if sys.platform == "linux" and os.geteuid() == 0:
        # Chromium's sandbox refuses to work for root, which is what containers run as.
        flags.append("--no-sandbox")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield chromium
        finally:
            chromium.close()


def page_settings(base: Path, **more: Any) -> None:
    """Write the page's settings into ComfyUI's base folder, before it is opened: no tour, few frames, quiet corners."""
    settings = {
        "Comfy.TutorialCompleted": True,
        "Comfy.Graph.CanvasInfo": False,
        "Comfy.Locale": "en",
        "Comfy.Minimap.Visible": False,
        "Comfy.Workflow.ShowMissingModelsWarning": False,
        "Comfy.Workflow.ShowMissingNodesWarning": False,
        "LiteGraph.Canvas.MaximumFps": 5,
        **{name.replace("_", "."): value for name, value in more.items()},
    }
    file = base / "user" / "default" / "comfy.settings.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings), encoding="utf-8")


class ComfyPage:
    """ComfyUI's page at `url`, and what went wrong in it."""

    def __init__(self, chromium: Browser, url: str, *, width: int = 1280, height: int = 800, scale: float = 1) -> None:
        self.url = url
        self._context = chromium.new_context(
            viewport={"width": width, "height": height}, device_scale_factor=scale, locale="en-US"
        )
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(_PATIENCE)
        #: Errors of the console, uncaught exceptions and refused requests, with the place they came from.
        self.problems: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", self._on_error)
        self.page.on("response", self._on_response)

    def __enter__(self) -> ComfyPage:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def open(self) -> ComfyPage:
        """Load the page, also again; returns when ComfyUI has set up its extensions."""
        self.page.goto(self.url, wait_until="commit", timeout=_PATIENCE)
        self.page.wait_for_function(_READY, timeout=_PATIENCE)
        return self

    # ------------------------------------------------------------------ what a person does

    def choose(self, *path: str) -> None:
        """An entry of ComfyUI's menu, by the labels on the way to it."""
        self.page.locator(_MENU).first.click()
        for label in path[:-1]:
            self.page.get_by_role("menuitem", name=label, exact=True).first.hover()
        self.page.get_by_role("menuitem", name=path[-1], exact=True).last.click()

    def tab(self, name: str = "wfrecovery") -> Locator:
        """The button of a sidebar tab."""
        return self.page.locator(_TAB.format(id=name)).first

    def open_panel(self) -> Locator:
        """Our sidebar tab, opened when it is not."""
        panel = self.hook("panel")
        if not panel.is_visible():
            self.tab().click()
        panel.wait_for()
        return panel

    def close_panel(self) -> None:
        """Close our sidebar tab when it is open."""
        if self.hook("panel").is_visible():
            self.tab().click()
        self.hook("panel").wait_for(state="detached")

    def hook(self, name: str, **attributes: str) -> Locator:
        """Elements of our page by their `data-wfr`, and by further data attributes (`task_id="…"`)."""
        more = "".join(f'[data-{key.replace("_", "-")}="{value}"]' for key, value in attributes.items())
        return self.page.locator(f'[data-wfr="{name}"]{more}')

    def toasts(self) -> list[str]:
        """The texts of the messages shown now."""
        return self.page.locator(_TOAST).all_inner_texts()

    def open_settings(self, *category: str) -> None:
        """ComfyUI's settings dialog at one of these categories, whichever its language shows."""
        self.page.evaluate("() => window.app.extensionManager.command.execute('Comfy.ShowSettingsDialog')")
        names = "|".join(map(re.escape, category))
        self.page.get_by_role("dialog").get_by_text(re.compile(f"^({names})$")).first.click()

    def set(self, setting: str, value: Any) -> None:
        """Change one of ComfyUI's settings, as its dialog does."""
        self.page.evaluate("([id, value]) => window.app.extensionManager.setting.set(id, value)", [setting, value])

    # ------------------------------------------------------------------ what went wrong

    def _on_console(self, message: ConsoleMessage) -> None:
        # The browser's own note of a server that does not answer is no fault of the page.
        if message.type == "error" and "net::ERR_" not in message.text:
            self.problems.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _on_error(self, error: Error) -> None:
        self.problems.append(f"uncaught: {error.message}\n{error.stack or ''}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 500:
            self.problems.append(f"{response.status} {response.url}")

    def problems_of(self, folder: str) -> list[str]:
        """Those that come from, or speak of, one plugin: its folder under custom_nodes, its routes, its name."""
        ours = re.compile(rf"/extensions/{re.escape(folder)}/|wfrecovery", re.IGNORECASE)
        return [problem for problem in self.problems if ours.search(problem)]
