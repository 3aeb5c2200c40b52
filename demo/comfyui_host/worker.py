"""The worker: the thread that takes prompts from the queue and has them executed, as ComfyUI's ``main`` has it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from . import execution
from .options import options
from .progress import PromptWatcher

__all__ = ["start_worker"]


def worker(queue: Any, server: PromptWatcher) -> None:
    """The body of the worker thread: no try around anything, so what escapes ends the thread for good."""
    executor = execution.PromptExecutor(server)
    while True:
        taken = queue.get(timeout=1000.0)
        if taken is not None:
            item, item_id = taken
            _work(executor, queue, server, item, item_id)
        flags = queue.get_flags()
        if flags.get("free_memory", False):
            executor.reset()


def _work(
    executor: execution.PromptExecutor, queue: Any, server: PromptWatcher, item: execution.Item, item_id: int
) -> None:
    started = time.perf_counter()
    prompt_id = item[1]
    server.last_prompt_id = prompt_id
    further: dict[str, Any] = {}
    extra_data = item[3]
    if options.six:
        # 0.3.67 on: an item of five is an IndexError, and that is the end of the worker.
        extra_data = {**item[3], **item[5]}
        further = {"process_item": lambda done: done[:5] + done[6:]}
    executor.execute(item[2], prompt_id, extra_data, item[4])
    ended = execution.ExecutionStatus(
        status_str="success" if executor.success else "error",
        completed=executor.success,
        messages=executor.status_messages,
    )
    queue.task_done(item_id, executor.history_result, status=ended, **further)
    if server.client_id is not None:
        server.send_sync("executing", {"node": None, "prompt_id": prompt_id}, server.client_id)
    logging.info("Prompt executed in %.2f seconds", time.perf_counter() - started)


def start_worker(queue: Any, server: PromptWatcher) -> threading.Thread:
    """Start the worker; plugins know its thread by the end of its name."""

    def prompt_worker() -> None:
        worker(queue, server)

    thread = threading.Thread(target=prompt_worker, daemon=True)
    if not thread.name.endswith("(prompt_worker)"):
        thread.name += " (prompt_worker)"
    thread.start()
    return thread
