"""Nodes for tests that save in every way that packs do: what they name, what they name it by, and in which order.

Each draws a mark (the colour of an integer) into what it writes. The product never looks at it: a test knows by it
whose picture this is. With `SAVER_CONTROL` in the environment, a folder, each run is a line in `runs.jsonl` there, and
whoever writes files (ComfyUI's own nodes as well) stops where `stop.json` says: the moment for a SIGKILL.
"""
# ruff: noqa: N802, PLC0415 - ComfyUI names the class methods; the libraries are loaded with the first picture

from __future__ import annotations

import functools
import importlib
import importlib.util
import io
import json
import os
import threading
import time
import uuid
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RENDER_NODES = Path(__file__).resolve().parents[3] / "demo" / "render_nodes" / "__init__.py"
_spec = importlib.util.spec_from_file_location("wfr_render_nodes", _RENDER_NODES)
render_nodes: Any = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(render_nodes)  # type: ignore[union-attr]

CONTROL = os.environ.get("SAVER_CONTROL")
#: How long a saver that was told to stop waits for its end.
_PATIENCE = 600
_SIDE = 32


# ---------------------------------------------------------------------- what tests see and steer


def note_run(node: str, prefix: str) -> None:
    """A saver begins."""
    if CONTROL:
        handle = os.open(Path(CONTROL) / "runs.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, (json.dumps({"node": node, "prefix": prefix}) + "\n").encode())
        os.close(handle)


_written: dict[str, int] = {}


def written(path: str | os.PathLike[str], *, half: bool = False) -> None:
    """A file (or the first half of it) has been written: stop here, where a test has asked for it."""
    order = Path(CONTROL or "nowhere") / "stop.json"
    try:
        wanted = json.loads(order.read_text())
    except (OSError, ValueError):
        return
    if not Path(path).name.startswith(wanted["prefix"]):
        return
    place = f"{wanted['order']}"
    _written[place] = _written.get(place, 0) + (not half)
    if _written[place] + half == wanted["files"] and half == wanted["half"]:
        order.rename(order.with_name("stopped"))
        time.sleep(_PATIENCE)


def _watch_libraries() -> None:
    """ComfyUI's own savers write with Pillow and PyAV: they are stopped there."""
    import av
    from PIL import Image

    save = Image.Image.save

    @functools.wraps(save)
    def watched(self: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        save(self, target, *args, **kwargs)
        if isinstance(target, str | os.PathLike):
            written(target)

    Image.Image.save = watched  # type: ignore[method-assign]
    open_container = av.open

    @functools.wraps(open_container)
    def opened(file: Any, mode: Any = None, *args: Any, **kwargs: Any) -> Any:
        container = open_container(file, mode, *args, **kwargs)
        return _Film(container, file) if mode == "w" and isinstance(file, str) else container

    av.open = opened  # type: ignore[assignment]


class _Film:
    """A container that tells when it is closed."""

    def __init__(self, container: Any, path: str) -> None:
        self.__dict__.update(container=container, path=path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.container, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.container, name, value)

    def __enter__(self) -> _Film:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the end of the file."""
        self.container.close()
        written(self.path)


if CONTROL:
    _watch_libraries()


# ---------------------------------------------------------------------- one saver at work


@dataclass
class Job:
    """What a saver was given, and the ways in which it writes."""

    prefix: str
    mark: int
    output_path: str
    prompt: Any
    extra_pnginfo: Any

    @property
    def out(self) -> Path:
        """ComfyUI's output folder."""
        return Path(importlib.import_module("folder_paths").get_output_directory())

    def picture(self) -> Any:
        """A picture in the mark's colour."""
        from PIL import Image

        return Image.new("RGB", (_SIDE, _SIDE), tuple(self.mark >> shift & 0xFF for shift in (16, 8, 0)))

    def free(self, suffix: str = ".png", *, folder: Path | None = None, more: str = "") -> Path:
        """A path that nobody has."""
        folder = folder or self.out
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while any(folder.glob(f"{self.prefix}{more}_{number:05}*")):
            number += 1
        return folder / f"{self.prefix}{more}_{number:05}{suffix}"

    def write(self, path: Path, data: bytes) -> Path:
        """In two halves."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            written(path, half=True)
            file.write(data[len(data) // 2 :])
        written(path)
        return path

    def png(self, path: Path | None = None, *, tagged: bool = True, tail: bytes = b"") -> Path:
        """A PNG as SaveImage writes it."""
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        for key, value in {"prompt": self.prompt, **(self.extra_pnginfo or {})}.items() if tagged else ():
            info.add_text(key, json.dumps(value))
        content = io.BytesIO()
        self.picture().save(content, "PNG", pnginfo=info)
        return self.write(path or self.free(), content.getvalue() + tail)

    def jpeg(self, path: Path) -> Path:
        """A JPEG whose metadata stand in Exif, as ComfyUI writes them into WebP."""
        from PIL import Image

        exif = Image.Exif()
        for tag, (key, value) in zip(range(0x010F, 0x0100, -1), (self.extra_pnginfo or {}).items(), strict=False):
            exif[tag] = f"{key}:{json.dumps(value)}"
        content = io.BytesIO()
        self.picture().save(content, "JPEG", quality=95, exif=exif)
        return self.write(path, content.getvalue())

    def film(self, path: Path, *, sound: bool = False) -> Path:
        """An MP4 whose metadata stand in the tag `comment` alone."""
        import av

        content = io.BytesIO()
        with av.open(content, "w", format="mp4") as container:
            told = {"prompt": json.dumps(self.prompt), **(self.extra_pnginfo or {})}
            container.metadata["comment"] = json.dumps(told)
            stream: Any = container.add_stream("libx264", rate=8)
            stream.width = stream.height = _SIDE
            stream.pix_fmt = "yuv420p"
            audio: Any = container.add_stream("aac", rate=16000, layout="mono") if sound else None
            for _ in range(4):
                container.mux(stream.encode(av.VideoFrame.from_image(self.picture())))
            container.mux(stream.encode(None))
            if audio is not None:
                frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
                frame.sample_rate = 16000
                frame.planes[0].update(bytes(frame.planes[0].buffer_size))
                container.mux(audio.encode(frame))
                container.mux(audio.encode(None))
        return self.write(path, content.getvalue())

    def item(self, path: Path, **more: Any) -> dict[str, Any]:
        """How SaveImage names a file."""
        folder = path.parent.relative_to(self.out).as_posix()
        return {"filename": path.name, "subfolder": "" if folder == "." else folder, "type": "output", **more}


Ui = dict[str, Any] | None
Kind = Callable[[Job], Ui]
KINDS: dict[str, Kind] = {}


def _kind(function: Kind) -> Kind:
    KINDS[function.__name__] = function
    return function


# ---------------------------------------------------------------------- how the file is named


@_kind
def plain(job: Job) -> Ui:
    return {"images": [job.item(job.png())]}


@_kind
def empty_ui(job: Job) -> Ui:
    job.png()
    return {}


@_kind
def no_ui(job: Job) -> Ui:
    job.png()
    return None


@_kind
def empty_images(job: Job) -> Ui:
    job.png()
    return {"images": []}


@_kind
def strings(job: Job) -> Ui:
    return {"images": [job.png().name]}


@_kind
def one_string(job: Job) -> Ui:
    """ComfyUI takes it apart into its letters."""
    return {"image": job.png().name}


@_kind
def no_type(job: Job) -> Ui:
    path = job.png()
    return {"images": [{"filename": path.name, "subfolder": ""}]}


@_kind
def no_subfolder(job: Job) -> Ui:
    path = job.png()
    return {"images": [{"filename": path.name, "type": "output"}]}


@_kind
def paths(job: Job) -> Ui:
    path = job.png(job.free(folder=job.out / "from pathlib"))
    return {"images": [{"filename": Path(path.name), "subfolder": path.parent, "type": "output"}], "path": [path]}


@_kind
def absolute_inside(job: Job) -> Ui:
    path = job.png(job.free(folder=job.out / "sub dir"))
    return {"images": [{"filename": path.name, "subfolder": str(path.parent), "type": "output"}]}


@_kind
def absolute_name(job: Job) -> Ui:
    path = job.png(job.free(folder=job.out / "sub dir"))
    return {"images": [{"filename": str(path), "subfolder": "", "type": "output"}]}


@_kind
def dots_inside(job: Job) -> Ui:
    path = job.png(job.free(folder=job.out / "here"))
    return {"images": [{"filename": path.name, "subfolder": "there/../here", "type": "output"}]}


@_kind
def dots_outside(job: Job) -> Ui:
    path = job.png(job.free(folder=job.out.parent / "elsewhere"))
    return {"images": [{"filename": path.name, "subfolder": "../elsewhere", "type": "output"}]}


@_kind
def fullpath_only(job: Job) -> Ui:
    return {"images": [{"fullpath": str(job.png()), "type": "output"}]}


@_kind
def frames(job: Job) -> Ui:
    """The name is a pattern for the files of a sequence."""
    stem = job.free().stem
    for number in range(3):
        job.png(job.out / f"{stem}.{number + 1:03}.png")
    pattern = job.out / f"{stem}.%03d.png"
    return {"gifs": [job.item(pattern, format="video/16bit-png", workflow=f"{stem}.png", fullpath=str(pattern))]}


def _under(key: str) -> Kind:
    return lambda job: {key: [job.item(job.png())]}


KINDS.update({f"under_{key}": _under(key) for key in ("gifs", "video", "audio", "3d", "result")})


@_kind
def nested(job: Job) -> Ui:
    return {"outputs": [{"files": [{"saved": job.item(job.png())}]}]}


@_kind
def temp_and_output(job: Job) -> Ui:
    temp = Path(importlib.import_module("folder_paths").get_temp_directory()) / f"{job.prefix}_temp.png"
    job.png(temp)
    preview = {"filename": temp.name, "subfolder": "", "type": "temp"}
    return {"images": [preview, job.item(job.png()), preview]}


@_kind
def no_file(job: Job) -> Ui:
    """Sends the picture over the websocket."""
    return {}


# ---------------------------------------------------------------------- what lies in it, and beside it


@_kind
def text_first(job: Job) -> Ui:
    text = job.write(job.free(".txt"), b"a red shoe")
    return {"files": [job.item(text), job.item(job.png(text.with_suffix(".png")))], "text": ["a red shoe"]}


@_kind
def text_named_alone(job: Job) -> Ui:
    text = job.write(job.free(".txt"), b"a red shoe")
    job.png(text.with_suffix(".png"))
    return {"files": [job.item(text)]}


@_kind
def jpeg_in_png(job: Job) -> Ui:
    return {"images": [job.item(job.jpeg(job.free(".png")))]}


@_kind
def bytes_after_the_end(job: Job) -> Ui:
    return {"images": [job.item(job.png(tail=b"made by a pack that signs its files"))]}


@_kind
def untagged(job: Job) -> Ui:
    return {"images": [job.item(job.png(tagged=False))]}


@_kind
def overwrite(job: Job) -> Ui:
    """Always the same name, replaced in one step."""
    path, temp = job.out / f"{job.prefix}.png", job.out / f".{job.prefix}.png"
    job.png(temp).replace(path)
    return {"images": [job.item(path)]}


@_kind
def overwrite_in_place(job: Job) -> Ui:
    return {"images": [job.item(job.png(job.out / f"{job.prefix}.png"))]}


@_kind
def overwrite_silently(job: Job) -> Ui:
    overwrite(job)
    return {}


@_kind
def outside(job: Job) -> Ui:
    path = job.png(job.free(folder=Path(job.output_path)))
    return {"images": [{"filename": path.name, "subfolder": str(path.parent), "type": "output"}]}


@_kind
def three(job: Job) -> Ui:
    name = job.free(more="_front").name
    views = (job.out / name.replace("_front", f"_{view}") for view in ("front", "side", "back"))
    return {"images": [job.item(job.png(path)) for path in views]}


@_kind
def last_one_cut(job: Job) -> Ui:
    """The disk took no more, and the node did not look."""
    first, last = job.png(job.free(more="_front")), job.png(job.free(more="_back"))
    last.write_bytes(last.read_bytes()[:-20])
    return {"images": [job.item(first), job.item(last)]}


@_kind
def poster(job: Job) -> Ui:
    """A picture of the first frame beside the film, named after it."""
    film = job.film(job.free(".mp4"))
    return {"images": [job.item(film), job.item(job.png(film.with_suffix(".png")))], "animated": [True]}


@_kind
def vhs(job: Job) -> Ui:
    """First frame, silent film, film with sound; only the last is named."""
    sound = _vhs_files(job)
    return {"gifs": [job.item(sound, format="video/h264-mp4", workflow=f"{sound.stem}.png", fullpath=str(sound))]}


@_kind
def vhs_unnamed(job: Job) -> Ui:
    _vhs_files(job)
    return {"gifs": []}


def _vhs_files(job: Job) -> Path:
    first = job.png()
    job.film(first.with_suffix(".mp4"))
    return job.film(first.with_name(f"{first.stem}-audio.mp4"), sound=True)


@_kind
def sound(job: Job) -> Ui:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return {"audio": [job.item(job.write(job.free(".wav"), content.getvalue()))]}


# ---------------------------------------------------------------------- the nodes

_PICTURE = ("IMAGE",)
_HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO", "unique_id": "UNIQUE_ID"}
_TEXT = ("STRING", {"default": ""})
_INT = ("INT", {"default": 0, "min": 0, "max": 1 << 40})


class TrySaver:
    """Saves as `kind` says."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "wfrecovery/tests", "save", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        own = {"images": _PICTURE, "kind": _TEXT, "filename_prefix": _TEXT, "mark": _INT}
        return {"required": own, "optional": {"output_path": _TEXT, "strength": ("FLOAT", {})}, "hidden": _HIDDEN}

    def save(
        self, images: Any, kind: str, filename_prefix: str, mark: int, output_path: str = "", **hidden: Any
    ) -> dict[str, Any]:
        """Save."""
        note_run(kind, filename_prefix)
        ui = KINDS[kind](Job(filename_prefix, mark, output_path, hidden.get("prompt"), hidden.get("extra_pnginfo")))
        return {"result": ()} if ui is None else {"ui": ui}


class TryMetaBatch:
    """Queues its own prompt again under a new id until the last part; writes with each part, or with the last alone."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "wfrecovery/tests", "save", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        own = {"images": _PICTURE, "parts": _INT, "each": ("BOOLEAN", {}), "filename_prefix": _TEXT, "mark": _INT}
        return {"required": own, "optional": {"requeue": _INT, "seconds": ("FLOAT", {})}, "hidden": _HIDDEN}

    def save(
        self,
        images: Any,
        parts: int,
        each: bool,
        filename_prefix: str,
        mark: int,
        requeue: int = 0,
        seconds: float = 0.0,
        **hidden: Any,
    ) -> dict[str, Any]:
        """One part."""
        note_run("metabatch", filename_prefix)
        last = requeue + 1 >= parts
        if not last:
            self._queue_again(str(hidden["unique_id"]), requeue + 1)
        render_nodes.spend(seconds)
        if not each and not last:
            return {"ui": {"unfinished_batch": [True]}}
        job = Job(filename_prefix, mark, "", hidden.get("prompt"), hidden.get("extra_pnginfo"))
        return {"ui": {"images": [job.item(job.png())]}}

    @staticmethod
    def _queue_again(node_id: str, requeue: int) -> None:
        server = importlib.import_module("server").PromptServer.instance
        running = next(iter(server.prompt_queue.currently_running.values()))
        prompt = json.loads(json.dumps(running[2]))
        prompt[node_id]["inputs"]["requeue"] = requeue
        server.prompt_queue.put((-server.number, str(uuid.uuid4()), prompt, *running[3:]))
        server.number += 1


class TryQueuesLater:
    """Queues a prompt of its own from another thread: that is no part of this one."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "wfrecovery/tests", "run", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {"required": {"filename_prefix": _TEXT, "mark": _INT, "again": _INT}, "hidden": _HIDDEN}

    def run(self, filename_prefix: str, mark: int, again: int, **hidden: Any) -> dict[str, Any]:
        """Save, and queue the same with another mark."""
        job = Job(filename_prefix, mark, "", hidden.get("prompt"), hidden.get("extra_pnginfo"))
        saved = job.item(job.png())
        if again:
            server = importlib.import_module("server").PromptServer.instance
            running = next(iter(server.prompt_queue.currently_running.values()))
            prompt = json.loads(json.dumps(running[2]))
            prompt[str(hidden["unique_id"])]["inputs"].update(mark=again, again=0)
            item = (server.number, str(uuid.uuid4()), prompt, *running[3:])
            thread = threading.Thread(target=server.prompt_queue.put, args=(item,))
            thread.start()
            thread.join()
        return {"ui": {"images": [saved]}}


class TryCropFaces:
    """One picture in, three out: nothing says so."""

    CATEGORY, FUNCTION, RETURN_TYPES = "wfrecovery/tests", "crop", _PICTURE

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {"required": {"image": _PICTURE}}

    def crop(self, image: Any) -> tuple[Any]:
        """Three of it."""
        import numpy as np

        return (render_nodes.like(np.concatenate([render_nodes.to_numpy(image)] * 3), image),)


class TryAsList(TryCropFaces):
    """The same as a list: what comes after it runs three times."""

    OUTPUT_IS_LIST = (True,)

    def crop(self, image: Any) -> tuple[Any]:
        """Three of it."""
        return ([image] * 3,)


class TryShowText:
    """Shows a text, which may be the name of a file."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "wfrecovery/tests", "show", (), True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {"required": {"text": _TEXT}}

    def show(self, text: str) -> dict[str, Any]:
        """Show it."""
        return {"ui": {"text": [text]}}


class TryShowFile(TryShowText):
    """Shows a picture that lies in the output folder already, and writes nothing."""

    def show(self, text: str) -> dict[str, Any]:
        """Show it."""
        return {"ui": {"images": [{"filename": text, "subfolder": "", "type": "output"}]}}


class TryExpands:
    """Makes nodes of its own that save, as many as it is told."""

    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "wfrecovery/tests", "expand", _PICTURE, True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {"required": {"images": _PICTURE, "savers": _INT, "filename_prefix": _TEXT}}

    def expand(self, images: Any, savers: int, filename_prefix: str) -> dict[str, Any]:
        """Expand."""
        note_run("expands", filename_prefix)
        graph = importlib.import_module("comfy_execution.graph_utils").GraphBuilder()
        for number in range(savers):
            graph.node("SaveImage", images=images, filename_prefix=f"{filename_prefix}_{number}")
        return {"result": (images,), "expand": graph.finalize()}


class TryLoop(TryCropFaces):
    """Makes the nodes of a turn, and with them the loop that makes those of the next one."""

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {"required": {"image": _PICTURE, "turns": _INT}}

    def crop(self, image: Any, turns: int) -> dict[str, Any]:
        """One turn."""
        graph = importlib.import_module("comfy_execution.graph_utils").GraphBuilder()
        for _ in range(4):
            image = graph.node("ImageInvert", image=image).out(0)
        if turns > 1:
            image = graph.node("TryLoop", image=image, turns=turns - 1).out(0)
        return {"result": (image,), "expand": graph.finalize()}


class TryLongLoop(TryLoop):
    """ComfyUI says of it what it says of nodes that others have made: in a long loop their names are long."""

    def crop(self, image: Any, turns: int) -> Any:
        """All turns."""
        server = importlib.import_module("server").PromptServer.instance
        for turn in range(turns):
            node = "5." + f"{turn:04}.0.Recurse." * 500
            state = {"value": 0.0, "max": 1.0, "state": "running", "node_id": node, "display_node_id": "5"}
            told = {"prompt_id": server.last_prompt_id, "nodes": {node: state}}
            server.send_sync("progress_state", told, server.client_id)
        return (image,)


class TryBlocks:
    """Hands nothing on: what needs it does not run, and the prompt is a success all the same."""

    CATEGORY, FUNCTION, RETURN_TYPES = "wfrecovery/tests", "check", _PICTURE

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """Inputs."""
        return {"required": {"images": _PICTURE}}

    def check(self, images: Any) -> tuple[Any]:
        """Check."""
        blocker: Any = importlib.import_module("comfy_execution.graph").ExecutionBlocker
        return (blocker("not for children"),)


NODE_CLASS_MAPPINGS: dict[str, type] = {
    class_.__name__: class_
    for class_ in (
        TrySaver,
        TryMetaBatch,
        TryQueuesLater,
        TryCropFaces,
        TryAsList,
        TryShowText,
        TryShowFile,
        TryExpands,
        TryBlocks,
        TryLoop,
        TryLongLoop,
    )
}
