"""What the tests of savers share: graphs that save in many ways, and a ComfyUI with a sheet to save them for."""

from __future__ import annotations

import io
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from plugin_support import RENDER_NODES, ROOT, Comfy, row, until

from wfrecovery.bridge.table.records import parse_time
from wfrecovery.demo.feishu_host.cells import Picture
from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn

SAVER_NODES = Path(__file__).with_name("saver_nodes")
PICTURE, STATUS, VIDEO = "产品模特合成图", "图片是否已处理", "视频是否已实现"
ROWS = 200
#: What must not stand in anything that a person reads.
REPR = re.compile(r" object at 0x|<class|Posix|Windows|Traceback|Wording\(|NoneType")
#: JPEG and video change colours a little; marks are farther apart.
_NEAR = 16

Graph = dict[str, dict[str, Any]]


def saved(kind: str, prefix: str, mark: int, **inputs: Any) -> Graph:
    """A graph with one saver of that kind."""
    own = {"images": ["1", 0], "kind": kind, "filename_prefix": prefix, "mark": mark, **inputs}
    return {"1": _picture(mark), "9": {"class_type": "TrySaver", "inputs": own}}


def core(class_type: str, prefix: str, mark: int, *, batch: int = 1, **inputs: Any) -> Graph:
    """A graph with one of ComfyUI's own savers."""
    own = {"images": ["1", 0], "filename_prefix": prefix, **inputs}
    return {"1": _picture(mark, batch), "9": {"class_type": class_type, "inputs": own}}


def _picture(mark: int, batch: int = 1) -> dict[str, Any]:
    return {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": batch, "color": mark}}


def with_slow_branch(graph: Graph, seconds: float = 600.0) -> Graph:
    """A second branch that takes its time, and saves nothing."""
    return {
        **graph,
        "20": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "21": {"class_type": "WfrSleep", "inputs": {"image": ["20", 0], "seconds": seconds}},
        "22": {"class_type": "PreviewImage", "inputs": {"images": ["21", 0]}},
    }


def mark_of(source: Path | bytes) -> int:
    """The colour of a picture's or a film's first pixel."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    if content[4:8] == b"ftyp" or content[:4] == b"\x1a\x45\xdf\xa3":
        import av  # noqa: PLC0415 - few tests need it

        with av.open(io.BytesIO(content)) as film:
            picture = next(film.decode(video=0)).to_image()
    else:
        with Image.open(io.BytesIO(content)) as opened:
            picture = opened.convert("RGB")
    red, green, blue = picture.getpixel((1, 1))
    return red << 16 | green << 8 | blue


def same_mark(source: Path | bytes, mark: int) -> bool:
    """Whether a picture shows this mark."""
    found = mark_of(source)
    return all(abs((found >> shift & 0xFF) - (mark >> shift & 0xFF)) <= _NEAR for shift in (0, 8, 16))


class Shop:
    """A ComfyUI with savers of every kind, and a sheet with a fresh row for each task."""

    def __init__(self, base: Path, host: Any, **options: Any) -> None:
        self.host = host
        self.control = base / "control"
        self.control.mkdir(parents=True)
        values = {PICTURE: "", STATUS: "否", VIDEO: "否", "模特名": "模特A"}
        self.feishu = FeishuStandIn([{"产品名": f"产品{n}", **values} for n in range(2, ROWS)])
        self.feishu.limits.sheet_calls_per_second = None
        self.feishu.start()
        env = {**self.feishu.environment(), "SAVER_CONTROL": str(self.control), **options.pop("env", {})}
        self.comfy = Comfy(base / "comfyui", host, plugins=[SAVER_NODES], env=env, **options)
        self._numbers, self._marks, self._orders = itertools.count(2), itertools.count(1), itertools.count(1)

    def close(self) -> None:
        """End both."""
        self.comfy.__exit__(None, None, None)
        self.feishu.stop()

    # ------------------------------------------------------------------ what goes in

    def row(self, **more: Any) -> dict[str, Any]:
        """The tag of a row that no task has had."""
        return row(next(self._numbers), **more)

    def mark(self) -> int:
        """A colour that no task has had."""
        number = next(self._marks)
        return (25 + 50 * (number % 5)) << 16 | (25 + 50 * (number // 5 % 5)) << 8 | 25 + 50 * (number // 25 % 5)

    def name(self) -> str:
        """A beginning for file names."""
        return f"f{next(self._orders):03}"

    @contextmanager
    def feishu_away(self) -> Iterator[None]:
        """Nothing can be delivered meanwhile."""
        self.feishu.stop()
        try:
            yield
        finally:
            self.feishu.start()

    # ------------------------------------------------------------------ SIGKILL

    def stop_after(self, prefix: str, files: int, *, half: bool = False) -> None:
        """Have the saver of that name stop when it has written so many files, or one half of the last of them."""
        (self.control / "stopped").unlink(missing_ok=True)
        order = {"prefix": prefix, "files": files, "half": half, "order": next(self._orders)}
        (self.control / "stop.tmp").write_text(json.dumps(order))
        (self.control / "stop.tmp").rename(self.control / "stop.json")

    def kill_when_stopped(self, prompt: str) -> dict[str, Any]:
        """SIGKILL at that moment, and start again; what the recovery has done."""
        what = f"a saver that stops\n{self.comfy.log()[-3000:]}"
        until((self.control / "stopped").exists, what=what)
        assert self.comfy.stage(prompt) == "running"
        return self.comfy.crash()

    def runs(self, prefix: str) -> int:
        """How often a saver has begun to save under that name."""
        try:
            lines = (self.control / "runs.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return 0
        return sum(json.loads(line)["prefix"] == prefix for line in lines)

    # ------------------------------------------------------------------ what comes out

    def shown(self, row_number: int) -> bytes | None:
        """The picture in a row of the sheet."""
        cell = self.feishu.sheet.row(row_number)[PICTURE]
        return cell.data if isinstance(cell, Picture) else None

    def pushed(self, prompt: str) -> dict[str, Any]:
        """Wait until a task's result is in the sheet; its record."""
        self.comfy.finished(prompt)
        self._until_outbox(prompt, "pushed")
        return self.comfy.record(prompt)

    def blocked(self, prompt: str) -> dict[str, Any]:
        """Wait until a task's result waits for a person; its record."""
        self.comfy.finished(prompt)
        self._until_outbox(prompt, "blocked")
        return self.comfy.record(prompt)

    def push(self, *prompts: str) -> list[dict[str, Any]]:
        """Have results delivered that wait for their next try; their records. What is about to be tried anyway is left:
        a result that just went in would be pushed another time, and is not kept any more."""
        for prompt in prompts:
            record = self.comfy.record(prompt)
            if parse_time(record["metadata"]["feishu"].get("next_try_at")) > time.time() + 1:
                assert self.comfy.act(record["task_id"], "push").status_code == 202
        return [self.pushed(prompt) for prompt in prompts]

    def ended(self, prompt: str) -> dict[str, Any]:
        """Wait for the end of a task; its record."""
        return self.comfy.until_stage(prompt, "finished", "failed", "cancelled")

    def _until_outbox(self, prompt: str, wanted: str) -> None:
        def is_there() -> bool:
            outbox = self.comfy.record(prompt)["metadata"]["feishu"]
            assert outbox["state"] in ("pending", wanted), outbox
            return outbox["state"] == wanted

        until(is_there, what=f"{prompt} {wanted}")

    def results(self, task_id: str) -> list[dict[str, Any]]:
        """What the page is told of a task's files."""
        return self.comfy.call("GET", f"/wfrecovery/tasks/{task_id}/results").json()["results"]


def plain_comfy_plugins() -> list[Path]:
    """What a ComfyUI without us has."""
    return [RENDER_NODES, SAVER_NODES]


def strict(text: str) -> Any:
    """JSON that every program can read."""

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def readable(reason: str | None) -> str:
    """A reason that was made for people."""
    assert reason
    assert not REPR.search(reason), reason
    return reason


def texts_of(record: Mapping[str, Any]) -> str:
    """All that a person may read of a record."""
    return json.dumps(record, ensure_ascii=False)


Shops = Callable[[Any], Shop]
__all__ = ["ROOT", "Shop", "Shops"]
