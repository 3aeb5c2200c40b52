"""What every story has: the sheet, a main.py in a process of its own, and what must be right of both in the end."""

from __future__ import annotations

import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Final

from ..bridge.results.whole import why_not_whole
from ..bridge.table.database import WorkflowDatabase
from .feishu_host.cells import Picture
from .feishu_host.stand_in import DEFAULT_HEADER, FeishuStandIn
from .rows import DONE, DemoRow, demo_rows, first_cells

#: Seconds for one step of the story; the whole takes about a minute.
_PATIENCE: Final = 180.0


class StoryError(RuntimeError):
    """The story cannot go on."""


class Batch(ABC):
    """The sheet and main.py of one run, in one folder."""

    #: how main.py is started
    command: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = demo_rows()
        self.goal = sum(row.results for row in self.rows)
        self.feishu = FeishuStandIn(first_cells(self.rows), header=(*DEFAULT_HEADER, "任务号"))
        self._stack = ExitStack()
        self._main: subprocess.Popen[bytes] | None = None
        self._began, self._shown = time.monotonic(), -1

    def __enter__(self) -> Batch:
        self._stack.enter_context(self.feishu)
        self._stack.callback(self.kill_main)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @abstractmethod
    def play(self) -> None:
        """The story; raises StoryError where it cannot go on."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Everything that is not as it must be in the end."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """The settings of main.py, apart from where it saves."""

    @abstractmethod
    def is_made_for(self, row: DemoRow, picture: bytes) -> bool:
        """Whether a result was made of this row, by its content."""

    @abstractmethod
    def tables(self) -> list[WorkflowDatabase]:
        """All task tables."""

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

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for `condition`, showing how far the sheet is."""
        ends = time.monotonic() + _PATIENCE
        while not condition():
            if time.monotonic() > ends:
                raise StoryError(f"{what} did not come within {_PATIENCE:g} s; logs are in {self.folder}")
            if self._main is not None and self._main.poll() not in (None, 0):
                raise StoryError(f"main.py ended early: {self.main_log_tail(15)}")
            self._show_progress()
            time.sleep(0.1)

    def _show_progress(self) -> None:
        """Where it has changed."""
        if (now := self.results()) != self._shown:
            self._shown = now
            self.tell(f"   {'█' * now}{'░' * (self.goal - now)} {now}/{self.goal}")

    def tell(self, text: str) -> None:
        """A line with the time since the beginning."""
        say(f"{time.monotonic() - self._began:5.1f} s  {text}")

    # ------------------------------------------------------------------ main.py

    @property
    def main_output(self) -> Path:
        return self.folder / "output"

    def main_environment(self) -> dict[str, str]:
        """Of main.py, and of the command line beside it."""
        return {
            **os.environ,
            **self.feishu.environment(),
            **self.environment(),
            "WFRECOVERY_OUTPUT": str(self.main_output),
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONUTF8": "1",
        }

    def start_main(self) -> None:
        """Start main.py with a table and files of its own, as on another machine."""
        with (self.folder / "main.log").open("ab") as log:
            self._main = subprocess.Popen(
                self.command, env=self.main_environment(), cwd=self.folder, stdout=log, stderr=log
            )

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
        ends = time.monotonic() + _PATIENCE
        while (code := self._main.poll()) is None:
            if time.monotonic() > ends:
                raise StoryError(f"main.py did not come to its end: {self.main_log_tail(15)}")
            self._show_progress()
            time.sleep(0.1)
        self._show_progress()
        return code

    def last_run_ends_well(self) -> None:
        """Wait for that; raises StoryError."""
        code = self.wait_main()
        self.tell(f"main.py ended with code {code}: {self.main_log_tail()}")
        if code != 0:
            raise StoryError(f"main.py failed, its log ends: {self.main_log_tail(15)}")

    def main_log_tail(self, lines: int = 1) -> str:
        """The end of what it has said."""
        return "\n".join((self.folder / "main.log").read_text("utf-8", "replace").splitlines()[-lines:])

    # ------------------------------------------------------------------ checking

    def wrong_in_sheet(self) -> Iterator[str]:
        """What is not as it must be in cells, numbers and pictures."""
        yield from self._wrong_cells()
        yield from self._wrong_numbers()
        yield from self._wrong_writes()

    def wrong_saved_files(self) -> Iterator[str]:
        """The same of the files that main.py has saved."""
        for row in self.rows:
            for needed, folder, suffix in row.files:
                fetched = whole_files(self.main_output / folder, f"*/{row.name}_*.{suffix}")
                if len(fetched) != needed:
                    yield f"{row.name}: main.py saved {len(fetched)} {suffix} files instead of {int(needed)}"

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
            elif row.needs_picture and not self.is_made_for(row, picture.data):
                yield f"{row.name}: the picture was made for another row"

    def _wrong_numbers(self) -> Iterator[str]:
        tables = self.tables()
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


def whole_files(folder: Path, pattern: str) -> list[Path]:
    """Those that nothing is missing of."""
    return [path for path in folder.glob(pattern) if why_not_whole(path) is None]


def say(text: str) -> None:
    """To the person at the terminal, at once."""
    print(text, flush=True)
