"""Pictures of invented products and models, drawn for demonstrations."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Final

from PIL import Image, ImageDraw

__all__ = ["MODELS", "PRODUCTS", "draw_model", "draw_product"]

SIZE: Final = (384, 480)
_PAPER: Final = "#f4f1ec"
_SKIN: Final = "#e3b590"


def _mug(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.ellipse((235, 190, 325, 310), outline=colour, width=24)
    draw.rounded_rectangle((95, 150, 270, 350), 24, fill=colour)
    draw.ellipse((95, 130, 270, 176), fill="#fbf7f0")


def _bag(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.arc((130, 60, 254, 300), 180, 360, fill=colour, width=16)
    draw.polygon(((80, 180), (304, 180), (324, 400), (60, 400)), fill=colour)
    draw.line((70, 330, 314, 330), fill=_PAPER, width=6)


def _lamp(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.polygon(((140, 90), (244, 90), (310, 230), (74, 230)), fill=colour)
    draw.rectangle((184, 230, 200, 380), fill="#6b5b4b")
    draw.ellipse((120, 365, 264, 405), fill="#6b5b4b")


def _bottle(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.rounded_rectangle((160, 70, 224, 130), 10, fill="#3d3d3d")
    draw.rounded_rectangle((128, 120, 256, 410), 40, fill=colour)
    draw.rounded_rectangle((128, 240, 256, 320), 4, fill="#8fb59a")


def _hat(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.ellipse((40, 250, 344, 340), fill=colour)
    draw.pieslice((110, 140, 274, 400), 180, 360, fill=colour)
    draw.rectangle((112, 245, 272, 268), fill="#5a3e36")


def _shoe(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.polygon(((70, 200), (150, 200), (210, 270), (300, 300), (320, 340), (70, 340)), fill=colour)
    draw.rounded_rectangle((60, 335, 330, 368), 14, fill="#ffffff")
    for step in range(3):
        draw.line((165 + 24 * step, 232 + 22 * step, 195 + 24 * step, 212 + 22 * step), fill="#ffffff", width=8)


PRODUCTS: Final[Mapping[str, tuple[str, Callable[[ImageDraw.ImageDraw, str], None]]]] = {
    "陶瓷马克杯": ("#2d6a8e", _mug),
    "帆布托特包": ("#c8553d", _bag),
    "亚麻台灯": ("#d9a441", _lamp),
    "保温水壶": ("#4f7f5b", _bottle),
    "草编遮阳帽": ("#c79a5b", _hat),
    "轻便跑鞋": ("#7a5ea8", _shoe),
}
#: The colour of the wall behind, and of the clothes.
MODELS: Final[Mapping[str, tuple[str, str]]] = {
    "模特A": ("#d8e2dc", "#37506b"),
    "模特B": ("#f5e0d3", "#8f4f5c"),
    "模特C": ("#dfe3f0", "#56705a"),
}


def draw_product(name: str) -> bytes:
    """A PNG of a product on paper."""
    colour, draw = PRODUCTS[name]
    return _png(_PAPER, lambda canvas: draw(canvas, colour))


def draw_model(name: str) -> bytes:
    """A PNG of a person before a wall."""
    wall, clothes = MODELS[name]

    def person(canvas: ImageDraw.ImageDraw) -> None:
        canvas.rounded_rectangle((82, 262, 302, 520), 84, fill=clothes)
        canvas.rectangle((168, 215, 216, 285), fill=_SKIN)
        canvas.ellipse((130, 78, 254, 238), fill=_SKIN)
        canvas.pieslice((118, 62, 266, 236), 175, 365, fill="#3b2a24")

    return _png(wall, person)


def _png(paper: str, draw: Callable[[ImageDraw.ImageDraw], None]) -> bytes:
    picture = Image.new("RGB", SIZE, paper)
    draw(ImageDraw.Draw(picture))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
