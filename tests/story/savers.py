"""Node classes that save in every way that packs do, one file at a time; and the graphs that are made of them.

Each stops before every file that it writes (`turn`), so that whoever runs the worker decides what happens there.
"""
# ruff: noqa: N802 - ComfyUI names the class methods

from __future__ import annotations

import types
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from marks import mp4, png

from wfrecovery.demo.comfyui_host import folder_paths
from wfrecovery.demo.comfyui_host.execution_context import get_executing_context


@types.coroutine
def turn(what: str) -> Generator[str, None, None]:
    """A moment at which the worker may be stopped for a while, or for good."""
    yield what


@dataclass(frozen=True)
class Sketch:
    """A picture that is not saved yet: of which graph, and which of the batch."""

    graph: int
    index: int
    of: int


@dataclass(frozen=True)
class Studio:
    """Where savers write. `file` gives the content of a new file its number; `put` brings it to the disk."""

    file: Callable[[str, str, Sketch, str, bool], int]
    put: Callable[[Path, bytes], None]
    #: whether a moody node is in the mood, by its prompt
    fails: Callable[[str], bool]
    #: what a deadly node does to the ComfyUI that it runs in
    kills: Callable[[], None] = lambda: None


#: The studio of the story that is told now: nodes are made by ComfyUI, which hands them nothing of ours.
STUDIO: list[Studio] = []


class Node:
    CATEGORY = "story"
    RETURN_TYPES: tuple[str, ...] = ("IMAGE",)
    FUNCTION = "run"
    #: turns that it takes
    SLOW = 0

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}}

    async def run(self, images: tuple[Sketch, ...]) -> tuple[Any, ...]:
        for number in range(self.SLOW):
            await turn(f"{type(self).__name__} {number}")
        return (images,)


class EmptyImage(Node):
    """ComfyUI's own; the colour is the graph's number."""

    RELATIVE_PYTHON_MODULE = "nodes"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"batch_size": ("INT", {}), "color": ("INT", {})}}

    async def run(self, batch_size: int, color: int) -> tuple[Any, ...]:  # type: ignore[override]
        return (tuple(Sketch(color, index, batch_size) for index in range(batch_size)),)


class Think(Node):
    """Takes its time; hands on what it got."""

    WFRECOVERY_MAKES = "same"
    SLOW = 2


class Moody(Node):
    """Fails the first time that its prompt runs."""

    WFRECOVERY_MAKES = "same"

    async def run(self, images: tuple[Sketch, ...]) -> tuple[Any, ...]:
        await turn("mood")
        if STUDIO[-1].fails(get_executing_context().prompt_id):
            raise ValueError("not in the mood")
        return (images,)


class Deadly(Node):
    """Takes ComfyUI down."""

    WFRECOVERY_MAKES = "same"

    async def run(self, images: tuple[Sketch, ...]) -> tuple[Any, ...]:
        await turn("deadly")
        STUDIO[-1].kills()
        return (images,)


class PreviewImage(Node):
    """ComfyUI's own: nothing that it writes is a result."""

    RELATIVE_PYTHON_MODULE = "nodes"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    async def run(self, images: tuple[Sketch, ...]) -> Any:
        return {"ui": {"images": [{"filename": "x.png", "subfolder": "", "type": "temp"} for _ in images]}}


class Saver(Node):
    """Numbers its files, names them, and writes the tag into each."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    #: the product can know how many files it writes
    KNOWN: ClassVar[bool] = False
    #: its files carry the tag
    TAGGED: ClassVar[bool] = True
    #: it names its files; surely: in a way that cannot mean anything else
    NAMES: ClassVar[bool] = True
    SURELY: ClassVar[bool] = True
    #: its files are pictures; else films, each with a poster beside it
    PICTURES: ClassVar[bool] = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    async def run(  # type: ignore[override]
        self, images: tuple[Sketch, ...], filename_prefix: str, prompt: Any = None, extra_pnginfo: Any = None
    ) -> Any:
        texts = {"prompt": prompt, **(extra_pnginfo or {})} if self.TAGGED else {}
        return self.shown([await self.file(sketch, filename_prefix, texts) for sketch in images])

    async def file(self, sketch: Sketch, prefix: str, texts: Mapping[str, Any]) -> str:
        """Write one file; its name."""
        return await self.written(self.path(sketch, prefix), sketch, texts)

    async def written(self, path: Path, sketch: Sketch, texts: Mapping[str, Any], *, counts: bool = True) -> str:
        context, studio = get_executing_context(), STUDIO[-1]
        await turn(f"{type(self).__name__} writes {path.name}")
        number = studio.file(context.prompt_id, context.node_id, sketch, path.name, counts)
        studio.put(path, (mp4 if path.suffix == ".mp4" else png)(number, texts))
        return path.name

    def path(self, sketch: Sketch, prefix: str) -> Path:
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
        return Path(folder) / f"{name}_{counter:05}_.png"

    def shown(self, names: list[str]) -> Any:
        return {"ui": {"images": [{"filename": name, "subfolder": "", "type": "output"} for name in names]}}


class SaveImage(Saver):
    """ComfyUI's own."""

    RELATIVE_PYTHON_MODULE = "nodes"
    KNOWN = True


class HouseSave(Saver):
    """A pack's: nobody knows how many files it writes."""


class OverSave(Saver):
    """The same names each time."""

    WFRECOVERY_MAKES = "each"
    KNOWN = True

    def path(self, sketch: Sketch, prefix: str) -> Path:
        return Path(folder_paths.get_output_directory()) / f"latest{sketch.index}.png"


class SilentSave(Saver):
    """Names nothing."""

    WFRECOVERY_MAKES = "each"
    KNOWN, NAMES, SURELY = True, False, False

    def shown(self, names: list[str]) -> Any:
        return {}


class SilentHouse(SilentSave):
    """The same, and nobody knows how many."""

    KNOWN = False


class StringSave(Saver):
    """Names its files by plain texts."""

    SURELY = False

    def shown(self, names: list[str]) -> Any:
        return {"ui": {"text": [str(Path(folder_paths.get_output_directory()) / name) for name in names]}}


class BareSave(Saver):
    """Started with --disable-metadata, or a pack's that does not know of metadata."""

    WFRECOVERY_MAKES = "each"
    KNOWN, TAGGED = True, False


class TornSave(Saver):
    """Fails behind its first file, the first time that its prompt runs."""

    WFRECOVERY_MAKES = "each"
    KNOWN = True

    async def file(self, sketch: Sketch, prefix: str, texts: Mapping[str, Any]) -> str:
        if sketch.index and STUDIO[-1].fails(get_executing_context().prompt_id):
            raise MemoryError("out of memory")
        return await super().file(sketch, prefix, texts)


class PosterSave(Saver):
    """A film and its first frame beside it, as VideoHelperSuite saves; it names the film alone."""

    PICTURES = False

    async def file(self, sketch: Sketch, prefix: str, texts: Mapping[str, Any]) -> str:
        poster = self.path(sketch, prefix)
        await self.written(poster, sketch, texts, counts=False)
        return await self.written(poster.with_suffix(".mp4"), sketch, texts)

    def shown(self, names: list[str]) -> Any:
        return {"ui": {"gifs": [{"filename": name, "subfolder": "", "type": "output"} for name in names]}}


SAVERS: Mapping[str, type[Saver]] = {
    class_.__name__: class_
    for class_ in (
        SaveImage,
        HouseSave,
        OverSave,
        SilentSave,
        SilentHouse,
        StringSave,
        BareSave,
        TornSave,
        PosterSave,
    )
}
CLASSES: Mapping[str, type[Node]] = {
    **{class_.__name__: class_ for class_ in (EmptyImage, Think, Moody, Deadly, PreviewImage)},
    **SAVERS,
}
for _class in CLASSES.values():
    if "RELATIVE_PYTHON_MODULE" not in vars(_class):
        _class.RELATIVE_PYTHON_MODULE = "custom_nodes.story"

IMAGE, VIDEO = "图片合成", "图生视频"


@dataclass(frozen=True)
class Shape:
    """What a graph looks like: its savers, and what comes before and after them."""

    savers: tuple[str, ...]
    batch: int = 1
    before: str = ""
    #: another branch that goes on for long after the savers' nodes have ended
    tail: bool = False

    @property
    def workflow(self) -> str:
        """What a row would have made by it."""
        return IMAGE if any(SAVERS[name].PICTURES for name in self.savers) else VIDEO

    def graph(self, number: int) -> dict[str, Any]:
        """The graph; `number` is in each of its pictures."""
        graph: dict[str, Any] = {
            "1": {"class_type": "EmptyImage", "inputs": {"batch_size": self.batch, "color": number}}
        }
        source = ["1", 0]
        if self.before:
            graph["2"] = {"class_type": self.before, "inputs": {"images": source}}
            source = ["2", 0]
        for place, name in enumerate(self.savers):
            inputs = {"images": source, "filename_prefix": f"graph{number}"}
            graph[str(9 + place)] = {"class_type": name, "inputs": inputs}
        if self.tail:
            graph["20"] = {"class_type": "Think", "inputs": {"images": source}}
            graph["21"] = {"class_type": "PreviewImage", "inputs": {"images": ["20", 0]}}
        return graph


SHAPES: Mapping[str, Shape] = {
    "one": Shape(("SaveImage",)),
    "several": Shape(("SaveImage",), 2),
    "three": Shape(("SaveImage",), 3),
    "unknown": Shape(("HouseSave",)),
    "several unknown": Shape(("HouseSave",), 2),
    "film": Shape(("PosterSave",)),
    "same name": Shape(("OverSave",)),
    "same names": Shape(("OverSave",), 2),
    "silent": Shape(("SilentSave",)),
    "several silent": Shape(("SilentSave",), 2),
    "silent unknown": Shape(("SilentHouse",), 2),
    "texts": Shape(("StringSave",), 2),
    "no metadata": Shape(("BareSave",)),
    "early": Shape(("SaveImage",), tail=True),
    "early unknown": Shape(("HouseSave",), 2, tail=True),
    "picture and film": Shape(("SaveImage", "PosterSave")),
    "slow": Shape(("SaveImage",), before="Think"),
    "torn": Shape(("TornSave",), 2),
    "moody": Shape(("SaveImage",), 2, before="Moody"),
}
