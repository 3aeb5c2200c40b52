"""Finding our tag in the metadata of a file, however a saver wrapped it.

The tag is the value of the key `wfrecovery` of `extra_pnginfo`. Savers write each key under its own name, or all of
them as one JSON text in a comment, sometimes escaped once more, in one of several character codes.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ..table.records import canonical_uuid, is_task_id

KEY: Final = "wfrecovery"
#: A tag in there is that of an older file, which the workflow was loaded from.
_OLDER: Final = frozenset({"prompt", "workflow"})
#: Every tag contains it, in every character code.
_SIGN: Final = "task_id"
#: JSON in JSON in JSON.
_DEEP: Final = 4
#: Places in one text that look like JSON and are none.
_MOST_FAILURES: Final = 50
_WORD: Final = re.compile(r"([A-Za-z_][\w.-]*)[^\w{}]*$")
_LOOSE: Final = re.compile(KEY + r"[^{}]{0,64}(\{[^{}]{10,4096}\})", re.IGNORECASE)
_ESCAPED: Final = re.compile(r'\\(["\\/])')
#: A number of a million digits takes minutes to read, and is none of ours.
_JSON: Final = json.JSONDecoder(strict=False, parse_int=lambda digits: int(digits) if len(digits) < 20 else 0)

#: Where a tag was found, the surest first: under its own name, in the outermost JSON of a text, deeper, in the midst
#: of something that could not be read.
_OWN, _OUTERMOST, _DEEPER, _SOMEWHERE = range(4)


@dataclass(frozen=True)
class Tag:
    """Whose a file is: a task, the prompt that made it, and which run of that prompt, where it says so."""

    task_id: str
    prompt_id: str
    run: int | None = None


class TagSearch:
    """Looks into one text after the other."""

    def __init__(self) -> None:
        self._found: dict[int, set[Tag]] = {}
        self._taken = 0

    def look(self, key: str | None, data: bytes) -> None:
        """Into the value of `key`; None when the format gave it no name."""
        name = (key or "").lower()
        text = readable(data)
        if not text or name in _OLDER:
            return
        if name == KEY:
            self._take(text, _OWN)
        else:
            self._look_in(text, _OUTERMOST, _DEEP)

    def result(self) -> Tag | None:
        """The tag in the surest place; None when there is none, or another one in a place as sure."""
        best = self._found[min(self._found)] if self._found else set()
        return next(iter(best)) if len(best) == 1 else None

    def _take(self, value: Any, place: int) -> None:
        tag = _tag_of(value)
        if tag is not None:
            self._taken += 1
            self._found.setdefault(place, set()).add(tag)

    def _look_in(self, text: str, place: int, deep: int) -> None:
        if not deep or _SIGN not in text or KEY not in text.lower():
            return
        changed = text
        for _ in range(_DEEP):
            if self._look_at_pieces(changed, place, deep):
                return
            if "&quot;" in changed or "&#34;" in changed:
                changed = html.unescape(changed)
            elif "\\" in changed:
                changed = _unescaped(changed)
            else:
                break
        for match in _LOOSE.finditer(text):
            self._take(match[1], _SOMEWHERE)

    def _look_at_pieces(self, text: str, place: int, deep: int) -> bool:
        """Whether the text could be read, or a tag was in it nevertheless."""
        before, well = self._taken, False
        for key, value, broken in _pieces(text):
            if key == KEY:
                self._take(value, _SOMEWHERE if broken else place)
            elif key not in _OLDER:
                self._walk(value, _SOMEWHERE if broken else place, deep)
            well = not broken
        return well or self._taken > before

    def _walk(self, value: Any, place: int, deep: int) -> None:
        waiting = [(value, place)]
        while waiting:
            item, place = waiting.pop()
            deeper = max(place, _DEEPER)
            if isinstance(item, dict):
                for key, inner in item.items():
                    if key.lower() == KEY:
                        self._take(inner, place)
                    elif key.lower() not in _OLDER:
                        waiting.append((inner, deeper))
            elif isinstance(item, list):
                waiting += [(inner, deeper) for inner in item]
            elif isinstance(item, str):
                self._look_in(item, deeper, deep - 1)


def readable(data: bytes) -> str:
    """The text in `data`, in whichever character code; empty when it holds no tag."""
    if _SIGN.encode() in data:
        return _clean(data.decode("utf-8", "replace"))
    places = {code: data.find(_SIGN.encode(code)) for code in ("utf-16-le", "utf-16-be")}
    found = {code: place for code, place in places.items() if place >= 0}
    for code, place in found.items():
        if place % 2 == 0:  # with the bytes of each character in the wrong order it is found at an odd place
            return _clean(data.decode(code, "replace"))
    return next((_clean(data[1:].decode(code, "replace")) for code in found), "")


def _clean(text: str) -> str:
    return text.strip("\0 \t\r\n\ufeff")


def _pieces(text: str) -> Iterator[tuple[str, Any, bool]]:
    """The JSON objects in a text: the word before each, its value, and whether something before could not be read."""
    position, failures = 0, 0
    while (start := text.find("{", position)) >= 0 and failures < _MOST_FAILURES:
        try:
            value, end = _JSON.raw_decode(text, start)
        except ValueError:
            failures, position = failures + 1, start + 1
            continue
        except RecursionError:
            return
        word = _WORD.search(text[max(start - 64, 0) : start])
        # `a:b` is a name with its space in XML, and `key:` is what ComfyUI writes before a value in Exif
        yield (word[1].rpartition(":")[2].lower() if word else ""), value, failures > 0
        position = end


def _tag_of(value: Any) -> Tag | None:
    """The tag that a value is: an object, or JSON of it, escaped or not."""
    for _ in range(_DEEP):
        if not isinstance(value, str):
            break
        if "&" in value:
            value = html.unescape(value)
        loaded = _loaded(value)
        if loaded is None:
            loaded = next((piece for _, piece, _ in _pieces(value)), None)
        value = _unescaped(value) if loaded is None else loaded
    if not isinstance(value, dict):
        return None
    task_id, prompt_id, run = value.get("task_id"), value.get("prompt_id"), value.get("run")
    if not isinstance(task_id, str) or not is_task_id(task_id) or canonical_uuid(prompt_id) != prompt_id:
        return None
    if not isinstance(prompt_id, str) or (run is not None and type(run) is not int):
        return None
    return Tag(task_id, prompt_id, run)


def _unescaped(text: str) -> str:
    """One escape less, of a text in quotes or without them."""
    text = text.strip()
    loaded = _loaded(text if text.startswith('"') else f'"{text}"')
    return loaded if isinstance(loaded, str) else _ESCAPED.sub(r"\1", text)


def _loaded(text: str) -> Any:
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        return None
