"""``python -m wfrecovery.demo.screenshots DIR``: pictures of the page, in both languages and both themes.

A sheet of invented products, ComfyUI's own front end on the stand-in, a batch, a SIGKILL in the middle of it, and a
browser that looks at what the page says. Needs what ``pip install 'wfrecovery[test]'`` installs, and a Chromium.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from ..feishu_host.stand_in import FeishuStandIn
from ..launch import ComfyProcess
from .browser import BrowserMissingError, ComfyPage, browser, page_settings
from .drawings import MODELS, PRODUCTS, draw_model, draw_product
from .front_end import NEWEST, FrontEndMissingError, front_end

__all__ = ["main", "take_pictures"]

PACKAGE: Final = Path(__file__).resolve().parents[2]
LANGUAGES: Final = ("en", "zh")
PALETTES: Final = ("dark", "light")
_PROMPT: Final = "站在窗边，自然光，拿着{}"
_PATIENCE: Final = 60.0


@dataclass(frozen=True)
class _Row:
    """A row of the sheet, and what becomes of it."""

    number: int
    product: str
    model: str
    #: rendered at once · failing · taken twice, because a crash came in between · still rendering in the pictures
    fate: str = "rendered"

    @property
    def tag(self) -> dict[str, Any]:
        names = {"product_name": self.product, "model_name": self.model}
        return {"row_number": self.number, **names, "workflow_type": "图片合成"}

    def cells(self) -> dict[str, Any]:
        return {
            "产品图": draw_product(self.product),
            "产品名": self.product,
            "模特图": draw_model(self.model),
            "模特名": self.model,
            "提示词": _PROMPT.format(self.product),
            "图片是否已处理": "否",
        }


def _rows() -> list[_Row]:
    """Every product on two models; the last ones are those that a crash, a fault or a changed sheet befalls."""
    pairs = [(product, model) for model in list(MODELS)[:2] for product in PRODUCTS]
    fates = {5: "moved", 7: "failing", 8: "killed", 9: "waiting", 10: "running", 11: "waiting", 12: "waiting"}
    return [_Row(n + 1, product, model, fates.get(n, "rendered")) for n, (product, model) in enumerate(pairs, 1)]


def take_pictures(folder: Path, say: Callable[[str], None] = print) -> list[Path]:
    """Play the batch and write the pictures; raises FrontEndMissingError or BrowserMissingError."""
    folder.mkdir(parents=True, exist_ok=True)
    static = front_end(NEWEST)
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))).resolve()
        chromium = stack.enter_context(browser())
        comfy = stack.enter_context(_batch(temporary, static, say))
        pictures = _Pictures(stack.enter_context(ComfyPage(chromium, comfy.url, height=900)), folder)
        for language in LANGUAGES:
            pictures.begin(language)
            for palette in PALETTES:
                say(f"{language}, {palette}")
                pictures.take(language, palette)
    return pictures.taken


@contextmanager
def _batch(folder: Path, static: Path, say: Callable[[str], None]) -> Iterator[ComfyProcess]:
    """ComfyUI after a crash: results in the sheet, one on its way, one that waits for a person, one that failed."""
    rows = _rows()
    base = folder / "comfyui"
    page_settings(base)
    _draw_inputs(base / "input")
    with FeishuStandIn([row.cells() for row in rows]) as feishu:
        plugins = [PACKAGE, PACKAGE / "demo" / "render_nodes"]
        with ComfyProcess(
            base, plugins=plugins, env=feishu.environment(), args=["--front-end-root", str(static)]
        ) as comfy:
            say("a batch, until ComfyUI is killed")
            for row in rows:
                if row.fate == "moved":
                    feishu.sheet.set(f"B{row.number}", f"{row.product}(新款)")
            _render_first(comfy, [row for row in rows if row.fate in {"rendered", "moved", "failing"}])
            _crash(comfy, [row for row in rows if row.fate in {"killed", "running", "waiting"}])
            yield comfy


def _draw_inputs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for names, draw in ((PRODUCTS, draw_product), (MODELS, draw_model)):
        for name in names:
            (folder / f"{name}.png").write_bytes(draw(name))


def _render_first(comfy: ComfyProcess, rows: Sequence[_Row]) -> None:
    prompts = [_post(comfy, _graph(row), row.tag) for row in rows]
    _until(lambda: all(_settled(_record(comfy, prompt)) for prompt in prompts), "the first rows")


def _crash(comfy: ComfyProcess, rows: Sequence[_Row]) -> None:
    """SIGKILL while the first of these rows renders; it is rendered again, and the next one is under way."""
    prompts = [_post(comfy, _graph(rows[0]), rows[0].tag)]
    for text in ("雪山脚下的露营灯，傍晚", "a lighthouse in fog, 35 mm", "极简海报：一只橘猫"):
        _post(comfy, _sketch(text))
    prompts += [_post(comfy, _graph(row), row.tag) for row in rows[1:]]
    _until(lambda: _stage(comfy, prompts[0]) == "running", "a row that renders")
    comfy.restart()
    _until(lambda: "running" in (_stage(comfy, prompt) for prompt in prompts[1:]), "the rows after it")
    _until(lambda: _settled(_record(comfy, prompts[0])), "its result in the sheet")


def _graph(row: _Row) -> dict[str, Any]:
    seconds = {"killed": 2.0, "running": 180.0}.get(row.fate, 0.3)
    prefix = f"img/row{row.number}_{row.product}_{row.model}"
    graph: dict[str, Any] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": f"{row.product}.png"}},
        "2": {"class_type": "LoadImage", "inputs": {"image": f"{row.model}.png"}},
        "3": {
            "class_type": "WfrComposite",
            "inputs": {
                "product": ["1", 0],
                "model": ["2", 0],
                "prompt": _PROMPT.format(row.product),
                "seconds": seconds,
            },
        },
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": prefix}},
    }
    if row.fate == "failing":
        reason = "CUDA out of memory. Tried to allocate 2.50 GiB"
        graph["5"] = {"class_type": "WfrFail", "inputs": {"image": ["3", 0], "message": reason}}
        graph["4"]["inputs"]["images"] = ["5", 0]
    return graph


def _sketch(text: str) -> dict[str, Any]:
    inputs = {"product": ["1", 0], "model": ["1", 0], "prompt": text, "seconds": 1.0}
    size = {"width": 384, "height": 480, "batch_size": 1, "color": 0x4A5A6A}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "3": {"class_type": "WfrComposite", "inputs": inputs},
        "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "sketch"}},
    }


def _post(comfy: ComfyProcess, graph: Mapping[str, Any], tag: Mapping[str, Any] | None = None) -> str:
    body = {"prompt": graph, "extra_data": {} if tag is None else {"wfrecovery": tag}}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{comfy.url}/prompt", json.dumps(body).encode(), headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return str(json.load(answer)["prompt_id"])


def _record(comfy: ComfyProcess, prompt_id: str) -> dict[str, Any]:
    tasks = comfy.get(f"/wfrecovery/tasks?comfyui_task_id={prompt_id}")["tasks"]
    return dict(tasks[0])


def _stage(comfy: ComfyProcess, prompt_id: str) -> str:
    return str(_record(comfy, prompt_id)["metadata"]["stage"])


def _settled(record: Mapping[str, Any]) -> bool:
    metadata = record["metadata"]
    return metadata["stage"] == "failed" or metadata["feishu"]["state"] in {"pushed", "blocked"}


def _until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {_PATIENCE:g} s: {what}")
        time.sleep(0.1)


class _Pictures:
    """What a person would look at, one after the other."""

    def __init__(self, page: ComfyPage, folder: Path) -> None:
        self._page, self._folder = page, folder
        self.taken: list[Path] = []

    def begin(self, language: str) -> None:
        """Open the page: the task that survived the crash on the canvas, the panel beside it."""
        page = self._page
        page.set("Comfy.Locale", language)
        page.open()
        page.hook("preview-close").or_(page.hook("panel")).or_(page.tab()).first.wait_for()
        if page.hook("preview").is_visible():
            page.hook("preview-close").click()
        page.open_panel()
        self._survivor().click()
        page.hook("action-workflow").click()
        page.hook("back").click()

    def take(self, language: str, palette: str) -> None:
        """All pictures in the present language and this theme."""
        page, name = self._page, f"{language}-{palette}"
        page.set("Comfy.ColorPalette", palette)
        page.hook("list").evaluate("list => { list.scrollTop = 0; }")
        self._save(f"panel-{name}")
        self._survivor().click()
        page.hook("detail").locator("img").wait_for()
        page.hook("story").scroll_into_view_if_needed()
        self._save(f"detail-{name}")
        page.hook("back").click()
        page.hook("review").click()
        page.hook("preview").wait_for()
        self._save(f"preview-{name}")
        page.hook("preview-close").click()
        page.open_settings("Workflow Recovery", "工作流恢复")
        self._save(f"settings-{name}")
        page.page.keyboard.press("Escape")

    def _survivor(self) -> Any:
        """The row that rendered when ComfyUI was killed."""
        killed = next(row for row in _rows() if row.fate == "killed")
        return self._page.hook("task").filter(has_text=f"{killed.product} · {killed.model}")

    def _save(self, name: str) -> None:
        # Half a second for what slides and fades.
        self._page.page.wait_for_timeout(500)
        shot = Image.open(io.BytesIO(self._page.page.screenshot()))
        file = self._folder / f"{name}.png"
        # 256 colours: a third of the size, and no difference that one could see.
        shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
        self.taken.append(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Take them; 0 when all are there."""
    parser = argparse.ArgumentParser(prog="python -m wfrecovery.demo.screenshots", description="Pictures of the page.")
    parser.add_argument("folder", type=Path, help="where the PNG files go")
    given = parser.parse_args(arguments)
    try:
        pictures = take_pictures(given.folder)
    except (BrowserMissingError, FrontEndMissingError) as error:
        print(error, file=sys.stderr)
        return 1
    for picture in pictures:
        print(f"{picture}  {picture.stat().st_size // 1024} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
