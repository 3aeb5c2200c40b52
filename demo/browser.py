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

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Response, sync_playwright

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
_PATIENCE: Final = 60_000
_READY: Final = "() => window.app?.vueAppReady && window.app.extensionManager && document.querySelector('.side-bar-button')"


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
    """A browser without a window; one serves any number of pages."""
    flags = list(_FLAGS)
    if sys.platform == "linux" and os.geteuid() == 0:
        # Chromium's sandbox refuses to work for root, which is what containers run as.
        flags.append("--no-sandbox")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_path(), args=flags)
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
        self.page.set_default_timeout(20_000)
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

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
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
