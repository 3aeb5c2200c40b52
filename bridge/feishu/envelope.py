"""What every answer of Feishu's is wrapped in, read with suspicion: a proxy or a gateway may have answered instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

#: Characters of Feishu's own words, and of a link, that are taken over.
_LONGEST_MESSAGE: Final = 600
_LONGEST_LINK: Final = 1000
_MOST_SCOPES: Final = 20
_LARGEST_CODE: Final = 10**12
_SCOPE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_LINK: Final = re.compile(r"[!-~]+")
#: What ends a link for whoever reads it in a text.
_NO_LINK: Final = frozenset("\"'<>\\`")

#: What the parts of an answer that we use are, by their names. Where they are null they are not there.
_OBJECTS: Final = frozenset({"valueRange", "node", "spreadsheet", "grid_properties"})
_LISTS: Final = frozenset({"sheets", "merges", "files", "metas"})
_ROWS: Final = "values"
#: How deep they lie in one another.
_DEPTH: Final = 4


@dataclass(frozen=True)
class Envelope:
    """An answer that is Feishu's: `body` is all of it, `data` what was asked for."""

    code: int
    message: str
    body: Mapping[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """Empty where there is none."""
        data = self.body.get("data")
        return data if isinstance(data, dict) else {}

    @property
    def well_formed(self) -> bool:
        """Whether the parts that we know are what they should be."""
        return all(map(_is_as_named, self.data.items()))

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes that the app lacks: any one of them would do. Called `subject` or, on Feishu's page, `scope`."""
        named = (item.get("subject") or item.get("scope") for item in self._listed("permission_violations"))
        valid = (name for name in named if isinstance(name, str) and _SCOPE.fullmatch(name))
        return tuple(dict.fromkeys(valid))[:_MOST_SCOPES]

    @property
    def grant_link(self) -> str:
        """The page that grants them, as Feishu sends it; empty where it sends none that a browser opens."""
        items = (*self._listed("helps"), *self._listed("permission_violations"))
        return next(_links(item.get("url") for item in items), "")

    def _listed(self, name: str) -> Iterator[Mapping[str, Any]]:
        error = self.body.get("error")
        listed = error.get(name) if isinstance(error, Mapping) else None
        yield from (item for item in (listed if isinstance(listed, list) else ()) if isinstance(item, Mapping))


def envelope_of(content: bytes) -> Envelope | None:
    """None for what is not Feishu's: another page, half an answer, JSON of another form."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    # The group's bot once answered {"StatusCode": …, "StatusMessage": …}, and old ones still do.
    code = _code(body["StatusCode"] if body.get("code") is None and "StatusCode" in body else body.get("code"))
    message = next((body[name] for name in ("msg", "StatusMessage") if isinstance(body.get(name), str)), "")
    return None if code is None else Envelope(code, _one_line(message), body)


def _code(value: Any) -> int | None:
    digits = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 12
    if digits or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return value if type(value) is int and abs(value) < _LARGEST_CODE else None


def _one_line(text: str) -> str:
    """Printable, so that it can be stored and shown."""
    return "".join(filter(str.isprintable, " ".join(text.split())))[:_LONGEST_MESSAGE]


def _links(urls: Iterable[Any]) -> Iterator[str]:
    for url in urls:
        if not isinstance(url, str) or len(url) > _LONGEST_LINK or not _LINK.fullmatch(url) or _NO_LINK & set(url):
            continue
        try:
            parts = urlsplit(url)
            opens = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        except ValueError:
            continue
        if opens:
            yield url


def _is_as_named(item: tuple[str, Any], depth: int = _DEPTH) -> bool:
    name, value = item
    if value is None or depth == 0:
        return True
    if name in _OBJECTS:
        return isinstance(value, dict) and all(_is_as_named(part, depth - 1) for part in value.items())
    if name in _LISTS:
        objects = isinstance(value, list) and all(isinstance(one, dict) for one in value)
        return objects and all(_is_as_named(part, depth - 1) for one in value for part in one.items())
    if name == _ROWS:
        return isinstance(value, list) and all(row is None or isinstance(row, list) for row in value)
    return True
