"""``execution``: the prompt queue in both shapes, and what else plugins look for under this name.

Plugins wrap methods of ``PromptQueue``; so its signatures, what it locks and what it raises are ComfyUI's. They ask
for the module of its methods, too: the queue stays in the module that is called ``execution``.
"""

from __future__ import annotations

import copy
import heapq
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, Protocol

from . import nodes
from .caching import Entry
from .executor import PromptExecutor
from .options import options
from .validation import validate_prompt

__all__ = ["MAXIMUM_HISTORY_SIZE", "SENSITIVE_EXTRA_DATA_KEYS", "PromptExecutor", "PromptQueue", "validate_prompt"]

#: Both generations have it, so it does not tell the shapes apart.
SENSITIVE_EXTRA_DATA_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")
MAXIMUM_HISTORY_SIZE = 10000

Item = tuple[Any, ...]
History = dict[str, Any]


class _Server(Protocol):
    """What the queue wants of the server."""

    def queue_updated(self) -> None:
        """Tell all how much is left to do."""


async def get_output_data(run: Callable[[], Awaitable[Entry]]) -> Entry:
    """All nodes are run in here: plugins put functions of their own in its place."""
    return await run()


class ExecutionStatus(NamedTuple):
    """How a prompt ended."""

    status_str: Literal["success", "error"]
    completed: bool
    messages: list[tuple[str, dict[str, Any]]]


#: Inside the queue's class the name ``ExecutionStatus`` is the attribute that plugins use.
_Status = ExecutionStatus


class _PromptQueue:
    """What both generations share."""

    ExecutionStatus = ExecutionStatus

    def __init__(self, server: _Server) -> None:
        self.server = server
        self.mutex = threading.RLock()
        self.not_empty = threading.Condition(self.mutex)
        self.task_counter = 0
        self.queue: list[Item] = []
        self.currently_running: dict[int, Item] = {}
        self.history: dict[str, History] = {}
        self.flags: dict[str, Any] = {}

    def put(self, item: Item) -> None:
        """Queue an item. Equal number and prompt_id raise TypeError when the item is in the heap already."""
        with self.mutex:
            heapq.heappush(self.queue, item)
            self.server.queue_updated()
            self.not_empty.notify()

    def get(self, timeout: float | None = None) -> tuple[Item, int] | None:
        """The next item and a number for it; None after the timeout."""
        with self.not_empty:
            while not self.queue:
                self.not_empty.wait(timeout=timeout)
                if timeout is not None and not self.queue:
                    return None
            item = heapq.heappop(self.queue)
            item_id = self.task_counter
            self.currently_running[item_id] = copy.deepcopy(item)
            self.task_counter += 1
            self.server.queue_updated()
            return item, item_id

    def _finish(
        self, item_id: int, history_result: History, status: _Status | None, clean: Callable[[Item], Item]
    ) -> None:
        with self.mutex:
            # A KeyError here ends the worker, as it does in ComfyUI.
            prompt = clean(self.currently_running.pop(item_id))
            if len(self.history) > MAXIMUM_HISTORY_SIZE:
                self.history.pop(next(iter(self.history)))
            entry: History = {
                "prompt": prompt,
                "outputs": {},
                "status": None if status is None else copy.deepcopy(status._asdict()),
            }
            self.history[prompt[1]] = entry
            entry.update(history_result)
            self.server.queue_updated()

    def get_current_queue(self) -> tuple[list[Item], list[Item]]:
        """Running and pending (in heap order), copied deeply; slow."""
        with self.mutex:
            return list(self.currently_running.values()), copy.deepcopy(self.queue)

    def get_current_queue_volatile(self) -> tuple[list[Item], list[Item]]:
        """Running and pending (in heap order), for readers that change nothing."""
        with self.mutex:
            return list(self.currently_running.values()), copy.copy(self.queue)

    def get_tasks_remaining(self) -> int:
        """How many are pending or running."""
        with self.mutex:
            return len(self.queue) + len(self.currently_running)

    def wipe_queue(self) -> None:
        """Drop what is pending."""
        with self.mutex:
            self.queue = []
            self.server.queue_updated()

    def delete_queue_item(self, function: Callable[[Item], bool]) -> bool:
        """Drop the first pending item that the function likes."""
        with self.mutex:
            for position, item in enumerate(self.queue):
                if function(item):
                    if len(self.queue) == 1:
                        self.wipe_queue()
                    else:
                        self.queue.pop(position)
                        heapq.heapify(self.queue)
                    self.server.queue_updated()
                    return True
        return False

    def get_history(
        self,
        prompt_id: str | None = None,
        max_items: int | None = None,
        offset: int = -1,
        map_function: Callable[[History], History] | None = None,
    ) -> dict[str, History]:
        """All entries, a range of them, or the one with this id (or nothing)."""
        with self.mutex:
            if prompt_id is not None:
                if prompt_id not in self.history:
                    return {}
                found = self.history[prompt_id]
                return {prompt_id: copy.deepcopy(found) if map_function is None else map_function(found)}
            if offset < 0 and max_items is not None:
                offset = len(self.history) - max_items
            keys = list(self.history)[max(offset, 0) :]
            # ComfyUI looks at the limit after adding, so that even 0 gives one entry.
            keys = keys if max_items is None else keys[: max(max_items, 1)]
            return {key: map_function(self.history[key]) if map_function else self.history[key] for key in keys}

    def wipe_history(self) -> None:
        """Forget all that is finished."""
        with self.mutex:
            self.history = {}

    def delete_history_item(self, id_to_delete: str) -> None:
        """Forget one that is finished."""
        with self.mutex:
            self.history.pop(id_to_delete, None)

    def set_flag(self, name: str, data: Any) -> None:
        """Leave a note for the worker and wake it."""
        with self.mutex:
            self.flags[name] = data
            self.not_empty.notify()

    def get_flags(self, reset: bool = True) -> dict[str, Any]:
        """The notes for the worker."""
        with self.mutex:
            flags = self.flags
            if not reset:
                return flags.copy()
            self.flags = {}
            return flags


class FiveTuplePromptQueue(_PromptQueue):
    """0.3.64: five elements; secrets stay in ``extra_data`` until here."""

    def task_done(self, item_id: int, history_result: History, status: _Status | None) -> None:
        """Move a running item into the history."""

        def clean(item: Item) -> Item:
            for key in SENSITIVE_EXTRA_DATA_KEYS:
                item[3].pop(key, None)
            return item

        self._finish(item_id, history_result, status, clean)


class SixTuplePromptQueue(_PromptQueue):
    """0.33.0: six elements; the caller says how to take the secrets off."""

    def task_done(
        self,
        item_id: int,
        history_result: History,
        status: _Status | None,
        process_item: Callable[[Item], Item] | None = None,
    ) -> None:
        """Move a running item into the history."""
        self._finish(item_id, history_result, status, process_item or (lambda item: item))

    def interrupt_if_running(self, prompt_id: str) -> bool:
        """0.25.0 on: interrupt this prompt, and no other."""
        with self.mutex:
            if all(item[1] != prompt_id for item in self.currently_running.values()):
                return False
            nodes.interrupt_processing()
            return True


#: The class of the imitated generation; ``configure`` sets it before a plugin can look.
PromptQueue: type[FiveTuplePromptQueue] | type[SixTuplePromptQueue] = SixTuplePromptQueue


def configure() -> None:
    """Take the shape from the options."""
    for class_ in (FiveTuplePromptQueue, SixTuplePromptQueue):
        class_.__name__ = class_.__qualname__ = "PromptQueue"
    globals()["PromptQueue"] = SixTuplePromptQueue if options.six else FiveTuplePromptQueue
