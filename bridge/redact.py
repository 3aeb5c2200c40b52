"""Keeping secrets out of records, logs, routes and errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

HIDDEN: Final = "[hidden]"
#: Longer texts than this are no error messages, but dumps of a prompt.
MAX_MESSAGE: Final = 2000

_SECRET_NAME: Final = re.compile(
    r"(auth|access|api|app|secret|private|tenant|bearer)[_-]?(token|key|secret)|password|passwd|credential",
    re.IGNORECASE,
)
_NAMED_VALUE: Final = re.compile(
    r"""(?ix)
    \b([\w-]*(?:token|secret|password|passwd|api[_-]?key|credential)[\w-]*["']?\s*[:=]\s*["']?)  # name and separator
    (?!\[hidden\])([^\s"',;&)}\]]{4,})                                                            # its value
    """
)
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{6,}")
_KNOWN_SHAPES: Final = re.compile(r"\b(?:sk|pk|ghp|hf|comfyui|t|u)-[A-Za-z0-9_-]{12,}\b")
#: How Python shows an object that has no words of its own.
_OBJECT: Final = re.compile(r"<([\w.]+)(?: object)?(?: [^<>]{0,200})? at 0x[0-9a-fA-F]+>")
#: Objects and lists inside one another; what lies deeper is left out.
_DEPTH: Final = 40
_HOOK: Final = re.compile(r"(/bot/v2/hook/)[\w-]+")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without `secrets` and without what looks like a secret, cut to a readable length."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        if len(secret) >= 4:
            text = text.replace(secret, HIDDEN)
    text = _NAMED_VALUE.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    text = _KNOWN_SHAPES.sub(HIDDEN, text)
    text = _OBJECT.sub(lambda match: match[1].rpartition(".")[2], text)
    text = _HOOK.sub(rf"\1{HIDDEN}", text)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]} …"


def without_secrets(data: Mapping[str, Any], secret_names: Iterable[str] = ()) -> dict[str, Any]:
    """A copy of `data` without the keys of `secret_names`, and at any depth without keys that name a secret. What is
    nested deeper than anybody means is left out."""
    return _without(data, frozenset(secret_names), _DEPTH)


def secret_values(data: Mapping[str, Any], secret_names: Iterable[str] = ()) -> list[str]:
    """The texts in `data` that `without_secrets` leaves out at the top, so that messages can be cleaned of them."""
    kept = without_secrets(data, secret_names)
    return [value for key, value in data.items() if key not in kept and isinstance(value, str)]


def _without(data: Mapping[str, Any], names: frozenset[str], depth: int) -> dict[str, Any]:
    return {
        key: _clean(value, depth - 1)
        for key, value in data.items()
        if key not in names and not _SECRET_NAME.search(str(key))
    }


def _clean(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return _without(value, frozenset(), depth) if depth > 0 else None
    if isinstance(value, list | tuple):
        return [_clean(item, depth - 1) for item in value] if depth > 0 else None
    return value
