"""The whole story in about a minute: a batch on 12 rows, SIGKILL in the middle of it, twice, and every cell checked."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw

from ..bridge.results.whole import why_not_whole
from ..bridge.table.database import WorkflowDatabase
from .feishu_host.cells import Picture
from .feishu_host.stand_in import DEFAULT_HEADER, FeishuStandIn
from .launch import ComfyProcess, find_comfyui

PACKAGE: Final = Path(__file__).resolve().parent.parent
OPEN, DONE = "否", "已完成"
_PRODUCTS: Final = (("帆布包", "#c8553d"), ("保温杯", "#2d6a8e"), ("羊毛围巾", "#6a994e"))
_MODELS: Final = (("小雅", "#f2d0a4"), ("阿杰", "#cfd7c7"), ("Mia", "#d8c4e0"), ("Leo", "#bcd4e6"))
#: Seconds for one step of the story; the whole takes about a minute.
_PATIENCE: Final = 180.0


class StoryError(RuntimeError):
    """The story cannot go on."""


@dataclass(frozen=True)
class DemoRow:
    """A row as the demo begins it: what it shows, and what is still to be made of it."""

    product: str
    model: str
    prompt: str
    needs_picture: bool
    needs_video: bool

    @property
    def name(self) -> str:
        return f"{self.product}_{self.model}"

    @property
    def results(self) -> int:
        return self.needs_picture + self.needs_video

    def cells(self, product: bytes, model: bytes, composite: bytes) -> dict[str, Any]:
        """The row's cells by title."""
        return {
            "产品图": product,
            "产品名": self.product,
            "模特图": model,
            "模特名": self.model,
            "提示词": self.prompt,
            "图片是否已处理": OPEN if self.needs_picture else DONE,
            "产品模特合成图": None if self.needs_picture else composite,
            "视频是否已实现": OPEN if self.needs_video else None,
        }


def demo_rows() -> list[DemoRow]:
    """4 rows that need the picture, 4 that need picture and video, 4 that have their picture and need the video."""
    pairs = [(product, model) for product, _ in _PRODUCTS for model, _ in _MODELS]
    needs = [(True, False)] * 4 + [(True, True)] * 4 + [(False, True)] * 4
    return [
        DemoRow(product, model, f"{model}拿着{product},第{number}组", picture, video)
        for number, ((product, model), (picture, video)) in enumerate(zip(pairs, needs, strict=True), 1)
    ]


def run(*, comfyui: str | None = None, stand_in: bool = False, keep: str | None = None) -> int:
    """Play it and check everything; 0 only if every row is right, none rendered twice and none missing."""
    with ExitStack() as stack:
        if keep is None:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="wfrecovery-", ignore_cleanup_errors=True))
            )
        else:
            folder = Path(keep).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                say(f"{folder} is not empty; give --keep an empty folder")
                return 2
        real = None if stand_in else find_comfyui(Path(comfyui) if comfyui else None)
        if comfyui and real is None:
            say(f"{comfyui} is no ComfyUI: it has no main.py")
            return 2
        try:
            story = stack.enter_context(Story(folder, real))
            story.play()
            problems = story.problems()
        except (StoryError, OSError, RuntimeError) as error:
            say(f"✗ {error}")
            return 1
    for problem in problems:
        say(f"✗ {problem}")
    if not problems:
        say("✓ every row is right, nothing was rendered twice, nothing is missing")
    return 1 if problems else 0


class Story:
    """The sheet, ComfyUI and main.py of one run, in one folder."""

    def __init__(self, folder: Path, real: Path | None) -> None:
        self.folder, self.real = folder, real
        self.rows = demo_rows()
        self.feishu = FeishuStandIn(_first_cells(self.rows), header=(*DEFAULT_HEADER, "任务号"))
        self._stack = ExitStack()
        self._main: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()

    def __enter__(self) -> Story:
        self._stack.enter_context(self.feishu)
        feishu = {
            "FEISHU_APP_ID": self.feishu.app_id,
            "FEISHU_APP_SECRET": self.feishu.app_secret,
            "FEISHU_SPREADSHEET_TOKEN": self.feishu.spreadsheet_token,
            "FEISHU_SHEET_NAME": self.feishu.sheet_title,
            "FEISHU_DOMAIN": self.feishu.url,
        }
        self.render_log = self.folder / "renders.jsonl"
        env = {**feishu, "WFR_RENDER_LOG": str(self.render_log)}
        base = self.folder / "comfyui"
        base.mkdir()
        self.comfy = ComfyProcess(base, real=self.real, plugins=[PACKAGE, PACKAGE / "demo" / "render_nodes"], env=env)
        self._stack.callback(self.comfy.kill)
        self._stack.callback(self.kill_main)
        self._env = feishu
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # ------------------------------------------------------------------ the story

    def play(self) -> None:
        """Start, kill both, insert a row, start again, kill ComfyUI alone, finish."""
        goal = sum(row.results for row in self.rows)
        self.tell(f"the sheet: {self.feishu.url}  ({len(self.rows)} rows, {goal} results to make)")
        self.tell(f"ComfyUI: {self.real or 'the stand-in'} with the plugin; then main.py")
        self.comfy.start()
        self.start_main()
        self.wait_for("3 results in the sheet", lambda: self.results() >= 3 and self.rendering())

        self.comfy.kill()
        self.kill_main()
        self.tell(
            f"⚡ SIGKILL: ComfyUI and main.py, in the middle of a render; {self.results()} of {goal} results are there"
        )
        self.feishu.sheet.insert_row(3, {"产品名": "新品", "模特名": "待定"})
        self.tell("   meanwhile a colleague inserts a row: every row below has another number now")
        self.comfy.restart()
        self.tell("ComfyUI is started again, nobody tells it anything:")
        self.tell_recovery()
        before = self.results()
        self.wait_for("rows recovered without main.py", lambda: self.results() >= min(before + 2, goal))

        self.start_main()
        self.tell("main.py is started again: it takes over what is rendering, and goes on")
        self.wait_for("half of the results", lambda: self.results() >= goal // 2 and self.rendering())
        self.comfy.kill()
        self.tell(f"⚡ SIGKILL: ComfyUI alone; main.py stays and waits; {self.results()} of {goal} results are there")
        self.comfy.restart()
        self.tell_recovery()
        self.wait_for("all results", lambda: self.results() >= goal)
        code = self.wait_main()
        self.tell(f"main.py ended with code {code}: {self._main_log_tail()}")
        if code != 0:
            raise StoryError(f"main.py failed, its log ends: {self._main_log_tail(15)}")

    def tell_recovery(self) -> None:
        """What the plugin decided when it started, from its own status."""
        done: dict[str, Any] = {}

        def idle() -> bool:
            done.update(self.status()["recovery"])
            return done["state"] == "idle" and done["finished_at"] is not None

        self.wait_for("the recovery", idle)
        self.tell(
            f"   {done['total']} unfinished tasks: {done['recovered']} complete on disk and taken over, "
            f"{done['requeued']} queued again, {done['waiting']} in the queue, {done['failed']} failed"
        )

    # ------------------------------------------------------------------ looking

    def results(self) -> int:
        """Finished results in the sheet that the demo asked for."""
        pictures = [row for row, cells in self.found() if row.needs_picture and cells["图片是否已处理"] == DONE]
        return len(pictures) + self.videos()

    def videos(self) -> int:
        """Rows whose video the sheet calls finished."""
        return len([row for row, cells in self.found() if row.needs_video and cells["视频是否已实现"] == DONE])

    def found(self) -> Iterator[tuple[DemoRow, dict[str, Any]]]:
        """Each row of the demo with its cells, wherever it is now."""
        sheet = self.feishu.sheet
        for row in self.rows:
            for number in sheet.find_rows(产品名=row.product, 模特名=row.model):
                yield row, sheet.row(number)

    def rendering(self) -> bool:
        """Whether ComfyUI runs a prompt at this moment."""
        return any(task["metadata"]["stage"] == "running" for task in self.tasks())

    def status(self) -> dict[str, Any]:
        """The plugin's status."""
        answer: dict[str, Any] = self.comfy.get("/wfrecovery/status")
        return answer

    def tasks(self) -> list[dict[str, Any]]:
        """The plugin's tasks."""
        answer: list[dict[str, Any]] = self.comfy.get("/wfrecovery/tasks?limit=200")["tasks"]
        return answer

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for `condition`, showing how far the sheet is."""
        shown, ends = -1, time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > ends:
                raise StoryError(f"{what} did not come within {_PATIENCE:g} s; logs are in {self.folder}")
            if self._main is not None and self._main.poll() not in (None, 0):
                raise StoryError(f"main.py ended early: {self._main_log_tail(15)}")
            if (now := self.results()) != shown:
                shown = now
                goal = sum(row.results for row in self.rows)
                self.tell(f"   {'█' * now}{'░' * (goal - now)} {now}/{goal}")
            time.sleep(0.1)

    def tell(self, text: str) -> None:
        """A line with the time since the beginning."""
        say(f"{time.monotonic() - self._began:5.1f} s  {text}")

    # ------------------------------------------------------------------ main.py

    @property
    def main_output(self) -> Path:
        return self.folder / "output"

    def start_main(self) -> None:
        """Start main.py with a table and files of its own, as on another machine."""
        env = {
            **os.environ,
            **self._env,
            "COMFYUI_URL": self.comfy.url,
            "WFRECOVERY_OUTPUT": str(self.main_output),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONUTF8": "1",
        }
        with (self.folder / "main.log").open("ab") as log:
            command = [sys.executable, str(PACKAGE / "demo" / "main.py")]
            self._main = subprocess.Popen(command, env=env, cwd=self.folder, stdout=log, stderr=log)

    def kill_main(self) -> None:
        """SIGKILL, if it runs."""
        if self._main is not None and self._main.poll() is None:
            self._main.kill()
            self._main.wait()
        self._main = None

    def wait_main(self) -> int:
        """Its exit code."""
        if self._main is None:
            raise StoryError("main.py does not run")
        try:
            return self._main.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            raise StoryError(f"main.py did not come to its end: {self._main_log_tail(15)}") from None

    def _main_log_tail(self, lines: int = 1) -> str:
        return "\n".join((self.folder / "main.log").read_text("utf-8", "replace").splitlines()[-lines:])

    # ------------------------------------------------------------------ checking

    def problems(self) -> list[str]:
        """Everything that is not as it must be: cells, pictures, files, counts."""
        problems = [*self._wrong_cells(), *self._wrong_numbers(), *self._wrong_writes(), *self._wrong_files()]
        renders = self.renders()
        again = sum(renders.values()) - len(renders)
        self.tell(f"{len(renders)} results rendered; {again} of them were rendered again after a cut-off")
        return problems

    def _wrong_cells(self) -> Iterator[str]:
        seen = Counter(row.name for row, _ in self.found())
        for row in self.rows:
            if seen[row.name] != 1:
                yield f"{row.name}: the sheet has it {seen[row.name]} times"
        for row, cells in self.found():
            wanted = {"图片是否已处理": DONE, "视频是否已实现": DONE if row.needs_video else None}
            for title, text in wanted.items():
                if cells[title] != text:
                    yield f"{row.name}: {title} says {cells[title]!r}, not {text!r}"
            picture = cells["产品模特合成图"]
            if not isinstance(picture, Picture):
                yield f"{row.name}: no picture in 产品模特合成图"
            elif row.needs_picture and _prompt_of(picture.data) != row.prompt:
                yield f"{row.name}: the picture was made for {_prompt_of(picture.data)!r}"

    def _wrong_numbers(self) -> Iterator[str]:
        tables = [WorkflowDatabase(folder) for folder in (self.comfy.output, self.main_output)]
        for row, cells in self.found():
            for number in str(cells["任务号"] or "").split():
                named = [table.look(number) for table in tables]
                if row.name not in [f"{task.product_name}_{task.model_name}" for task in named if task is not None]:
                    yield f"{row.name}: 任务号 says {number}, which is no task of this row"

    def _wrong_writes(self) -> Iterator[str]:
        written: Counter[str] = Counter()
        for write in self.feishu.sheet.picture_writes:
            name = f"{write.row_texts['产品名']}_{write.row_texts['模特名']}"
            written[name] += 1
            if write.title != "产品模特合成图":
                yield f"{name}: a picture was written into {write.title}"
        wanted = Counter({row.name: 1 for row in self.rows if row.needs_picture})
        for name in sorted(written | wanted):
            if written[name] != wanted[name]:
                yield f"{name}: {written[name]} pictures were pushed instead of {wanted[name]}"

    def _wrong_files(self) -> Iterator[str]:
        for row in self.rows:
            for needed, folder, suffix in ((row.needs_picture, "img", "png"), (row.needs_video, "video", "mp4")):
                rendered = _whole(self.comfy.output / folder, f"{row.name}_*.{suffix}")
                if len(rendered) != needed:
                    yield f"{row.name}: {len(rendered)} whole {suffix} files were rendered instead of {int(needed)}"
                fetched = _whole(self.main_output / folder, f"*/{row.name}_*.{suffix}")
                if len(fetched) != needed:
                    yield f"{row.name}: main.py saved {len(fetched)} {suffix} files instead of {int(needed)}"

    def renders(self) -> Counter[str]:
        """How often each prompt was rendered to its end, by prompt_id; counted by the render nodes themselves."""
        if not self.render_log.exists():
            return Counter()
        return Counter(json.loads(line)["prompt_id"] for line in self.render_log.read_text("utf-8").splitlines())


def _whole(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if why_not_whole(path) is None]


def _prompt_of(data: bytes) -> str | None:
    """The row's prompt text inside the picture's own metadata."""
    with Image.open(io.BytesIO(data)) as picture:
        graph = json.loads(picture.info.get("prompt", "{}"))
    texts = [node["inputs"]["prompt"] for node in graph.values() if "prompt" in node.get("inputs", {})]
    return texts[0] if texts else None


def _first_cells(rows: list[DemoRow]) -> list[dict[str, Any]]:
    products = {name: _drawing(colour, _draw_product) for name, colour in _PRODUCTS}
    models = {name: _drawing(colour, _draw_model) for name, colour in _MODELS}
    return [
        row.cells(products[row.product], models[row.model], _together(products[row.product], models[row.model]))
        for row in rows
    ]


def _together(product: bytes, model: bytes) -> bytes:
    """The picture that a row has already: what an earlier batch would have made."""
    with Image.open(io.BytesIO(model)) as picture, Image.open(io.BytesIO(product)) as item:
        picture.paste(item.resize((102, 128)), (141, 176))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
    return buffer.getvalue()


def _drawing(colour: str, draw: Callable[[ImageDraw.ImageDraw, str], None]) -> bytes:
    picture = Image.new("RGB", (256, 320), "#f8f9fa")
    draw(ImageDraw.Draw(picture), colour)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _draw_product(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.rounded_rectangle((48, 96, 208, 288), 24, fill=colour)
    draw.arc((88, 40, 168, 152), 180, 360, fill=colour, width=12)


def _draw_model(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.ellipse((92, 40, 164, 120), fill=colour)
    draw.rounded_rectangle((64, 128, 192, 330), 40, fill=colour)


def say(text: str) -> None:
    """To the person at the terminal, at once."""
    print(text, flush=True)
