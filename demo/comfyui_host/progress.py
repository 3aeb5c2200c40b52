"""Progress of the nodes of the running prompt, told to the page as ``progress`` and ``progress_state``."""

from __future__ import annotations

from typing import Any, Protocol

from . import comfy_utils, model_management
from .execution_context import get_executing_context

__all__ = ["Progress", "PromptWatcher", "install_hook"]


class PromptWatcher(Protocol):
    """What the server knows of the running prompt, and how it tells the pages."""

    #: the page that sent it; None: all are told
    client_id: str | None
    last_prompt_id: str | None
    last_node_id: str | None
    progress: Progress | None

    def send_sync(self, event: str, data: Any, sid: str | None = None) -> None:
        """Send from any thread."""


class Progress:
    """State of each node that has started."""

    def __init__(self, server: PromptWatcher, prompt_id: str) -> None:
        self.server = server
        self.prompt_id = prompt_id
        self.nodes: dict[str, dict[str, Any]] = {}

    def start(self, node_id: str) -> None:
        """The node begins."""
        self._set(node_id, "running", 0.0, 1.0)

    def update(self, node_id: str, value: float, maximum: float) -> None:
        """The node ticks."""
        self._set(node_id, "running", value, maximum)

    def finish(self, node_id: str) -> None:
        """The node is done (or was taken from the cache)."""
        maximum = self.nodes.get(node_id, {}).get("max", 1)
        self._set(node_id, "finished", maximum, maximum)

    def _set(self, node_id: str, state: str, value: float, maximum: float) -> None:
        self.nodes[node_id] = {
            "value": value,
            "max": maximum,
            "state": state,
            "node_id": node_id,
            "prompt_id": self.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        # A copy: the loop's thread turns it into JSON while this one goes on.
        data = {"prompt_id": self.prompt_id, "nodes": {k: dict(v) for k, v in self.nodes.items()}}
        self.server.send_sync("progress_state", data, self.server.client_id)


def install_hook(server: PromptWatcher) -> None:
    """Let the nodes' progress bars reach the page, and let an interruption reach the nodes."""

    def hook(
        value: float, total: float, _preview: object, prompt_id: str | None = None, node_id: str | None = None
    ) -> None:
        context = get_executing_context()
        if context is not None:
            prompt_id = prompt_id or context.prompt_id
            node_id = node_id or context.node_id
        model_management.throw_exception_if_processing_interrupted()
        prompt_id = prompt_id or server.last_prompt_id
        node_id = node_id or server.last_node_id
        if server.progress is not None and node_id is not None:
            server.progress.update(node_id, value, total)
        # With a prompt that names no client, client_id is None: then everybody gets it.
        data = {"value": value, "max": total, "prompt_id": prompt_id, "node": node_id}
        server.send_sync("progress", data, server.client_id)

    comfy_utils.set_progress_bar_global_hook(hook)
