"""The whole story in about a minute: a batch on 12 rows, SIGKILL in the middle of it, twice, and every cell checked."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from PIL import Image

from ..bridge.table.database import WorkflowDatabase
from .batch import Batch, StoryError, say, whole_files
from .cloud_story import CloudStory
from .launch import ComfyProcess, find_comfyui
from .rows import DemoRow

PACKAGE: Final = Path(__file__).resolve().parent.parent


def run(*, comfyui: str | None = None, stand_in: bool = False, cloud: bool = False, keep: str | None = None) -> int:
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
        real = None if stand_in or cloud else find_comfyui(Path(comfyui) if comfyui else None)
        if comfyui and real is None:
            say(f"{comfyui} is no ComfyUI: it has no main.py")
            return 2
        try:
            story = stack.enter_context(CloudStory(folder) if cloud else Story(folder, real))
            story.play()
            problems = story.problems()
        except (StoryError, OSError, RuntimeError) as error:
            say(f"✗ {error}")
            return 1
    for problem in problems:
        say(f"✗ {problem}")
    if not problems:
        say(f"✓ every row is right, nothing was {'paid for' if cloud else 'rendered'} twice, nothing is missing")
    return 1 if problems else 0


class Story(Batch):
    """The same with ComfyUI, the stand-in or a real one, and the plugin in it."""

    command = (sys.executable, str(PACKAGE / "demo" / "main.py"))

    def __init__(self, folder: Path, real: Path | None) -> None:
        super().__init__(folder)
        self.real = real
        self.render_log = folder / "renders.jsonl"

    def __enter__(self) -> Story:
        super().__enter__()
        env = {**self.feishu.environment(), "WFR_RENDER_LOG": str(self.render_log)}
        base = self.folder / "comfyui"
        base.mkdir()
        self.comfy = ComfyProcess(base, real=self.real, plugins=[PACKAGE, PACKAGE / "demo" / "render_nodes"], env=env)
        self._stack.callback(self.comfy.kill)
        return self

    def environment(self) -> Mapping[str, str]:
        return {"COMFYUI_URL": self.comfy.url}

    def is_made_for(self, row: DemoRow, picture: bytes) -> bool:
        return _prompt_of(picture) == row.prompt

    def tables(self) -> list[WorkflowDatabase]:
        return [WorkflowDatabase(folder) for folder in (self.comfy.output, self.main_output)]

    # ------------------------------------------------------------------ the story

    def play(self) -> None:
        """Start, kill both, insert a row, start again, kill ComfyUI alone, finish."""
        goal = self.goal
        self.tell(f"the sheet: {self.feishu.url}  ({len(self.rows)} rows, {goal} results to make)")
        self.tell(f"ComfyUI: {self.real or 'the stand-in'} with the plugin; then main.py")
        self.comfy.start()
        self.start_main()
        self.wait_for("3 results in the sheet", lambda: self.results() >= 3 and self.rendering())

        self.comfy.kill()
        self.kill_main()
        before = self.results()
        self.tell(f"⚡ SIGKILL: ComfyUI and main.py, in the middle of a render; {before} of {goal} results are there")
        self.feishu.sheet.insert_row(3, {"产品名": "新品", "模特名": "待定"})
        self.tell("   meanwhile a colleague inserts a row: every row below has another number now")
        self.comfy.restart()
        self.tell("ComfyUI is started again, nobody tells it anything:")
        left = self.tell_recovery()  # on a busy machine main.py may have sent no more than what rendered
        self.wait_for("rows recovered without main.py", lambda: self.results() >= before + min(2, left))

        self.start_main()
        self.tell("main.py is started again: it takes over what is rendering, and goes on")
        self.wait_for("half of the results", self.half_done)
        self.comfy.kill()
        self.tell(f"⚡ SIGKILL: ComfyUI alone; main.py stays and waits; {self.results()} of {goal} results are there")
        self.comfy.restart()
        self.tell_recovery()
        self.wait_for("all results", lambda: self.results() >= goal)
        self.last_run_ends_well()

    def half_done(self) -> bool:
        """Whether half of the results are there, and the next one renders, unless there is none."""
        done = self.results()
        return done >= self.goal or (done >= self.goal // 2 and self.rendering())

    def tell_recovery(self) -> int:
        """What the plugin decided when it started, from its own status; how many results are to come."""
        done: dict[str, Any] = {}

        def idle() -> bool:
            done.update(self.status()["recovery"])
            return done["state"] == "idle" and done["finished_at"] is not None

        self.wait_for("the recovery", idle)
        self.tell(
            f"   {done['total']} unfinished tasks: {done['recovered']} complete on disk and taken over, "
            f"{done['requeued']} queued again, {done['waiting']} in the queue, {done['failed']} failed"
        )
        return int(done["recovered"] + done["requeued"] + done["waiting"])

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

    # ------------------------------------------------------------------ checking

    def problems(self) -> list[str]:
        """Everything that is not as it must be: cells, pictures, files, counts."""
        problems = [*self.wrong_in_sheet(), *self._wrong_rendered_files(), *self.wrong_saved_files()]
        renders = self.renders()
        again = sum(renders.values()) - len(renders)
        self.tell(f"{len(renders)} results rendered; {again} of them were rendered again after a cut-off")
        return problems

    def _wrong_rendered_files(self) -> Iterator[str]:
        for row in self.rows:
            for needed, folder, suffix in row.files:
                rendered = whole_files(self.comfy.output / folder, f"{row.name}_*.{suffix}")
                if len(rendered) != needed:
                    yield f"{row.name}: {len(rendered)} whole {suffix} files were rendered instead of {int(needed)}"

    def renders(self) -> Counter[str]:
        """How often each prompt was rendered to its end, by prompt_id; counted by the render nodes themselves."""
        if not self.render_log.exists():
            return Counter()
        return Counter(json.loads(line)["prompt_id"] for line in self.render_log.read_text("utf-8").splitlines())


def _prompt_of(data: bytes) -> str | None:
    """The row's prompt text inside the picture's own metadata."""
    with Image.open(io.BytesIO(data)) as picture:
        graph = json.loads(picture.info.get("prompt", "{}"))
    texts = [node["inputs"]["prompt"] for node in graph.values() if "prompt" in node.get("inputs", {})]
    return texts[0] if texts else None
