"""The twelve rows of the demo, and their drawings."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, ImageDraw

OPEN, DONE = "否", "已完成"
_PRODUCTS: Final = (("帆布包", "#c8553d"), ("保温杯", "#2d6a8e"), ("羊毛围巾", "#6a994e"))
_MODELS: Final = (("小雅", "#f2d0a4"), ("阿杰", "#cfd7c7"), ("Mia", "#d8c4e0"), ("Leo", "#bcd4e6"))


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

    @property
    def files(self) -> tuple[tuple[bool, str, str], ...]:
        """Whether each is needed, where it is saved, and its suffix."""
        return (self.needs_picture, "img", "png"), (self.needs_video, "video", "mp4")

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


def first_cells(rows: list[DemoRow]) -> list[dict[str, Any]]:
    """What the sheet says before anything is done."""
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
