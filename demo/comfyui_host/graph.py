"""In which order the nodes of a prompt run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from . import nodes
from .caching import Graph, is_link


class ExecutionOrder:
    """The nodes that are still to run; cached ones block nobody and their ancestors are not looked at."""

    def __init__(self, graph: Graph, is_cached: Callable[[str], bool]) -> None:
        self.graph = graph
        self.is_cached = is_cached
        #: node -> the nodes that it waits for
        self.needs: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self.needs)

    def add(self, node_id: str) -> None:
        """Take a node and all that it needs."""
        stack = [node_id]
        while stack:
            one = stack.pop()
            if one in self.needs:
                continue
            origins = {value[0] for value in self.graph[one]["inputs"].values() if is_link(value)}
            self.needs[one] = {origin for origin in origins if not self.is_cached(origin)}
            stack += sorted(self.needs[one])

    def next(self) -> str | None:
        """The next node to run; None when all wait for each other.

        Output nodes (and async ones) come first when they can run, then nodes that an output waits for:
        a preview is shown as early as it can be.
        """
        ready = [node_id for node_id, needs in self.needs.items() if not needs]
        if not ready:
            return None
        for choice in (self._is_early, self._feeds_output):
            for node_id in ready:
                if choice(node_id):
                    return node_id
        return ready[0]

    def done(self, node_id: str) -> None:
        """The node has run."""
        del self.needs[node_id]
        for needs in self.needs.values():
            needs.discard(node_id)

    def waiting(self) -> list[str]:
        """The nodes that have not run."""
        return list(self.needs)

    def _class(self, node_id: str) -> Any:
        return nodes.NODE_CLASS_MAPPINGS[self.graph[node_id]["class_type"]]

    def _is_output(self, node_id: str) -> bool:
        return bool(getattr(self._class(node_id), "OUTPUT_NODE", False))

    def _is_early(self, node_id: str) -> bool:
        node_class = self._class(node_id)
        return self._is_output(node_id) or inspect.iscoroutinefunction(getattr(node_class, node_class.FUNCTION))

    def _feeds_output(self, node_id: str) -> bool:
        return any(node_id in needs and self._is_output(other) for other, needs in self.needs.items())
