"""Which nodes have written which files in this ComfyUI.

A prompt that ComfyUI answers from its cache writes nothing and names the files of the prompt that did. By the time of
the second answer such a file may be another one: a saver that overwrites, a prompt in between.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...bridge.table.disk import FileStamp
from ...bridge.table.values import Result

#: Files and answers remembered; ComfyUI's own history holds 10 000 prompts.
_REMEMBERED: Final = 20_000


class Origins:
    """Remembers for as long as ComfyUI runs, which is as long as its cache lives."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._files: OrderedDict[str, tuple[str, FileStamp]] = OrderedDict()
        self._found: OrderedDict[str, tuple[Result, ...]] = OrderedDict()
        self._shown: OrderedDict[str, str] = OrderedDict()

    def wrote(self, signature: str, result: Result) -> None:
        """A node with this signature wrote the file just now."""
        if result.stamp is not None:
            with self._mutex:
                _remember(self._files, result.path, (signature, result.stamp))

    def still(self, signature: str, result: Result, *, sure: bool = True) -> bool:
        """Whether a file that comes from the cache is still the one that a node with this signature wrote. Where nobody
        has seen it written that is believed, if it is sure that a file was meant."""
        with self._mutex:
            known = self._files.get(result.path)
        return sure if known is None else known == (signature, result.stamp)

    def shown(self, signature: str, path: str) -> None:
        """A node with this signature named a file that it had not written."""
        with self._mutex:
            _remember(self._shown, f"{signature} {path}", path)

    def was_shown(self, signature: str, path: str) -> bool:
        """Whether that is how it came to name the file."""
        with self._mutex:
            return f"{signature} {path}" in self._shown

    def found(self, signature: str, results: tuple[Result, ...]) -> None:
        """A prompt that was really run had written these, whether its nodes named them or not."""
        with self._mutex:
            _remember(self._found, signature, results)

    def found_before(self, signature: str) -> tuple[Result, ...]:
        """What the same prompt had written when it was really run."""
        with self._mutex:
            return self._found.get(signature, ())


def _remember(known: OrderedDict[str, Any], key: str, value: Any) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)


def signatures(prompt: Mapping[str, Any]) -> dict[str, str]:
    """For each node a digest of what it is made of: its class, its values, and all that comes before it. As in
    ComfyUI's cache, the nodes' own numbers do not matter."""
    found: dict[str, str] = {}
    waiting = list(prompt)
    under_way: set[str] = set()
    while waiting:
        node_id = waiting[-1]
        before = [source for source in _sources(prompt, node_id) if source not in found]
        if before and node_id not in under_way:
            under_way.add(node_id)
            waiting += before
            continue
        waiting.pop()
        if node_id not in found:
            found[node_id] = _signature(prompt, node_id, found)
    return found


def signature_of(prompt: Mapping[str, Any], outputs: Iterable[str]) -> str:
    """The same for a whole prompt, by the nodes that it runs for."""
    known = signatures(prompt)
    return _digest(sorted(known.get(node_id, "") for node_id in outputs))


def _sources(prompt: Mapping[str, Any], node_id: str) -> list[str]:
    return [str(value[0]) for value in _inputs(prompt, node_id).values() if _is_link(value) and str(value[0]) in prompt]


def _signature(prompt: Mapping[str, Any], node_id: str, known: Mapping[str, str]) -> str:
    node = prompt[node_id]
    kind = node.get("class_type") if isinstance(node, Mapping) else None
    inputs = {
        str(name): ["link", known.get(str(value[0]), "circle"), value[1]] if _is_link(value) else ["value", value]
        for name, value in _inputs(prompt, node_id).items()
    }
    return _digest([kind, sorted(inputs.items())])


def _inputs(prompt: Mapping[str, Any], node_id: str) -> Mapping[str, Any]:
    node = prompt.get(node_id)
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode("utf-8", "replace")).hexdigest()
