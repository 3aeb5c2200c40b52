"""Which of the files that the nodes of a prompt have named are its own.

A node may name what it did not write: an answer from ComfyUI's cache names the files of the prompt that did, and by
then such a file may be another one; a node that shows a picture names whatever lies there; and a text may happen to be
the name of a file.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ...bridge.inside import inside
from ...bridge.results.embedded import embedded_tag
from ...bridge.table.values import Result
from .ending import Ended, unchanged
from .origins import Origins, signature_of, signatures
from .prompts import Prompt

#: By which a disk's clock may be behind the computer's; FAT has ticks of 2 s.
_CLOCK_NS: Final = 2_000_000_000


class OwnFiles:
    """Looks at what a prompt has named, at its end and before."""

    def __init__(self, output_dir: Path) -> None:
        self._output_dir, self._origins = output_dir, Origins()

    def of(self, prompt: Prompt, ended: Ended, cached: frozenset[str]) -> Ended:
        """`ended` with the prompt's own files alone; `cached` are the nodes that ComfyUI took from its cache."""
        kept, replaced, shown = [], [], []
        known = signatures(prompt.item.prompt) if ended.results else {}
        for result in ended.results:
            root = _root(result)
            signature = f"{known.get(root or '')}/{result.node if result.node != root else ''}"
            sure = result.path not in ended.unsure
            if root not in cached:
                if self._only_shown(prompt, result, sure):
                    self._origins.shown(signature, result.path)
                    shown.append(result.path)
                    continue
                self._origins.wrote(signature, result)
            elif self._origins.was_shown(signature, result.path):
                shown.append(result.path)
                continue
            elif not self._origins.still(signature, result, sure=sure):
                replaced += [result.path] if sure else []
                continue
            kept.append(result)
        return replace(ended, results=tuple(kept), replaced=tuple(replaced), shown=tuple(shown))

    def before(self, prompt: Prompt, ended: Ended, cached: frozenset[str]) -> Ended:
        """With what was written when the same was really run, for each output node that ComfyUI took from its cache
        without naming a file: of nodes that others have made, its cache tells nothing."""
        told = {_root(result) for result in (*ended.named, *ended.results)} | set(ended.outside.values())
        quiet = [node for node in prompt.item.outputs if node in cached and node not in told]
        known = signatures(prompt.item.prompt) if quiet else {}
        # by a node with the same inputs, which another prompt may have called by another id
        before = ((node, self._origins.found_before(known.get(node, ""))) for node in quiet)
        written = [
            result if _root(result) == node else replace(result, node=node)
            for node, results in before
            for result in results
        ]
        if quiet == list(prompt.item.outputs):
            written += self._origins.found_before(signature_of(prompt.item.prompt, quiet))
        there = [result for result in written if unchanged(self._output_dir, result)]
        gone = [result.path for result in written if result not in there]
        return replace(
            ended,
            results=(*ended.results, *there),
            replaced=(*ended.replaced, *gone),
            named=(*ended.named, *written),
        )

    def found(self, prompt: Prompt, results: Iterable[Result]) -> None:
        """A prompt that really ran has written these: each node its own; whose the others are, nobody knows."""
        known, by_node = signatures(prompt.item.prompt), defaultdict[str, list[Result]](list)
        for result in results:
            by_node[known.get(_root(result) or "", "")].append(result)
        others = by_node.pop("", [])
        for signature, written in by_node.items():
            self._origins.found(signature, tuple(written))
        self._origins.found(signature_of(prompt.item.prompt, prompt.item.outputs), tuple(others))

    def _only_shown(self, prompt: Prompt, result: Result, sure: bool) -> bool:
        """Whether a file was there before the prompt began, and nothing says that it is the prompt's all the same."""
        path, began = inside(self._output_dir, result.path), prompt.began
        if path is None or began is None:
            return False
        try:
            status = path.stat()
        except OSError:
            return False
        same_clock = began.device == status.st_dev
        if _newest(status) >= began.at - (0 if same_clock else _CLOCK_NS):
            return False
        tag = embedded_tag(path)
        if tag is not None:
            return tag.task_id not in (prompt.task_id, prompt.item.tag and prompt.item.tag[0])
        return same_clock or not sure


def cached_nodes(messages: Any) -> frozenset[str]:
    """The nodes that ComfyUI took from its cache, by the messages in a prompt's status."""
    for message in messages if isinstance(messages, list | tuple) else ():
        if isinstance(message, list | tuple) and len(message) == 2 and message[0] == "execution_cached":
            return nodes_in(message[1])
    return frozenset()


def nodes_in(data: Any) -> frozenset[str]:
    """The nodes that ComfyUI's message `execution_cached` names."""
    nodes = data.get("nodes") if isinstance(data, Mapping) else None
    return frozenset(map(str, nodes)) if isinstance(nodes, list | tuple | set) else frozenset()


def _root(result: Result) -> str | None:
    """The node of the graph, where that has made others."""
    return result.node and result.node.partition(".")[0]


def _newest(status: os.stat_result) -> int:
    """A file that is moved or copied keeps one of the two."""
    return max(status.st_mtime_ns, status.st_ctime_ns)
