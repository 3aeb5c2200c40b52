"""What tells one prompt without a row from the next, in a few words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_MAX_TITLE: Final = 80
_TEXT_INPUTS: Final = ("text", "prompt", "positive", "positive_prompt", "text_g", "clip_l", "t5xxl")


def title_of(prompt: Mapping[str, Any]) -> str:
    """What tells a prompt from its neighbours: its longest text, else the name of its files, else its nodes."""
    nodes = [node for node in prompt.values() if isinstance(node, Mapping)]
    inputs = [node["inputs"] for node in nodes if isinstance(node.get("inputs"), Mapping)]
    texts = max(_texts(inputs, _TEXT_INPUTS), key=len, default="")
    names = next(_texts(inputs, ("filename_prefix",)), "")
    classes = ", ".join(dict.fromkeys(str(node.get("class_type")) for node in nodes))
    title = " ".join((texts or names or classes).split())
    return title if len(title) <= _MAX_TITLE else f"{title[:_MAX_TITLE]}…"


def _texts(inputs: list[Mapping[str, Any]], names: tuple[str, ...]) -> Iterator[str]:
    for values in inputs:
        for name in names:
            value = values.get(name)
            if isinstance(value, str) and value.strip():
                yield value
