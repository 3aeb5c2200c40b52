"""The executor: one prompt after the other, node by node; plugins know it as ``execution.PromptExecutor``."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import time
import traceback
from functools import partial
from typing import Any

from . import model_management, nodes
from .caching import Cache, Entry, Graph, IsChangedOnce, is_link
from .execution_context import executing
from .graph import ExecutionOrder
from .options import options
from .progress import Progress, PromptWatcher
from .validation import full_type_name

__all__ = ["PromptExecutor"]


class _Failed(Exception):  # noqa: N818 - not an error of ours
    """A node failed; the reason is the cause, what went in is kept for the message."""

    def __init__(self, node_id: str, inputs: dict[str, list[Any]] | None) -> None:
        super().__init__(node_id)
        self.node_id = node_id
        self.inputs = inputs


class PromptExecutor:
    """Runs one prompt after the other, in the worker's thread and in an event loop of its own."""

    def __init__(self, server: PromptWatcher) -> None:
        self.server = server
        self.reset()

    def reset(self) -> None:
        """Forget all results."""
        self.cache = Cache()
        self.objects: dict[tuple[str, str], Any] = {}
        self.status_messages: list[tuple[str, dict[str, Any]]] = []
        self.success = True
        self.history_result: dict[str, Any] = {}

    def add_message(self, event: str, data: dict[str, Any], broadcast: bool) -> None:
        """Record a message; the page gets it only when the prompt named a client (or it is for all)."""
        data = {**data, "timestamp": int(time.time() * 1000)}
        self.status_messages.append((event, data))
        if self.server.client_id is not None or broadcast:
            self.server.send_sync(event, data, self.server.client_id)

    def execute(self, prompt: Graph, prompt_id: str, extra_data: dict[str, Any], execute_outputs: list[str]) -> None:
        """Run a prompt to its end, good or bad."""
        asyncio.run(self.execute_async(prompt, prompt_id, extra_data, execute_outputs))

    async def execute_async(
        self, prompt: Graph, prompt_id: str, extra_data: dict[str, Any], execute_outputs: list[str]
    ) -> None:
        """Run a prompt to its end, good or bad."""
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        self.status_messages = []
        self.add_message("execution_start", {"prompt_id": prompt_id}, broadcast=False)
        self.server.progress = Progress(self.server, prompt_id)
        await self.cache.set_prompt(prompt, nodes.NODE_CLASS_MAPPINGS, IsChangedOnce(prompt, nodes.NODE_CLASS_MAPPINGS))
        kept = {(node_id, node["class_type"]) for node_id, node in prompt.items()}
        self.objects = {key: value for key, value in self.objects.items() if key in kept}
        cached = [node_id for node_id in prompt if self.cache.get(node_id) is not None]
        self.add_message("execution_cached", {"nodes": cached, "prompt_id": prompt_id}, broadcast=False)
        run = _Run(self, prompt, prompt_id, extra_data)
        await run.all(execute_outputs)
        shown = {node_id: entry.ui for node_id in prompt if (entry := self.cache.get(node_id)) is not None}
        self.history_result = {
            "outputs": {node_id: ui["output"] for node_id, ui in shown.items() if ui is not None},
            "meta": {node_id: ui["meta"] for node_id, ui in shown.items() if ui is not None},
        }
        self.server.last_node_id = None


class _Run:
    """One prompt while it runs."""

    def __init__(self, executor: PromptExecutor, prompt: Graph, prompt_id: str, extra_data: dict[str, Any]) -> None:
        self.executor = executor
        self.server = executor.server
        self.cache = executor.cache
        self.prompt = prompt
        self.prompt_id = prompt_id
        self.extra_data = extra_data
        self.executed: set[str] = set()
        self.pause = options.delay / max(len(prompt), 1)

    async def all(self, outputs: list[str]) -> None:
        """Run what the outputs need; stop at the first node that fails."""
        order = ExecutionOrder(self.prompt, lambda node_id: self.cache.get(node_id) is not None)
        for output in outputs:
            order.add(output)
        while order:
            node_id = order.next()
            if node_id is None:
                # As ComfyUI: ``success`` keeps its earlier value, only the message tells.
                self._report_cycle(order.waiting()[0])
                return
            try:
                await self._node(node_id)
            except _Failed as failure:
                self.executor.success = False
                self._report(failure)
                return
            self.executor.success = True
            order.done(node_id)
        self.executor.add_message("execution_success", {"prompt_id": self.prompt_id}, broadcast=False)

    def _tell_client(self, event: str, node_id: str, **data: Any) -> None:
        if self.server.client_id is not None:
            message = {"node": node_id, "display_node": node_id, **data, "prompt_id": self.prompt_id}
            self.server.send_sync(event, message, self.server.client_id)

    async def _node(self, node_id: str) -> None:
        assert self.server.progress is not None
        entry = self.cache.get(node_id)
        if entry is not None:
            self._tell_client("executed", node_id, output=entry.ui["output"] if entry.ui else None)
            self.server.progress.finish(node_id)
            return
        inputs: dict[str, list[Any]] | None = None
        try:
            self.server.progress.start(node_id)
            inputs = self._inputs(node_id)
            if self.server.client_id is not None:
                self.server.last_node_id = node_id
            self._tell_client("executing", node_id)
            entry = await sys.modules["execution"].get_output_data(partial(self._call, node_id, inputs))
        except Exception as error:
            raise _Failed(node_id, inputs) from error
        if entry.ui is not None:
            self._tell_client("executed", node_id, output=entry.ui["output"])
        self.cache.set(node_id, entry)
        self.server.progress.finish(node_id)
        self.executed.add(node_id)

    def _inputs(self, node_id: str) -> dict[str, list[Any]]:
        """Each input as a list: from constants, from other nodes' results, and the hidden ones."""
        node = self.prompt[node_id]
        declared = nodes.NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()
        known = set().union(*declared.values())
        values: dict[str, list[Any]] = {}
        for name, value in node["inputs"].items():
            if is_link(value):
                origin = self.cache.get(value[0])
                fits = origin is not None and value[1] < len(origin.outputs)
                values[name] = origin.outputs[value[1]] if origin is not None and fits else [None]
            elif name in known:
                values[name] = [value]
        hidden = {
            "PROMPT": self.prompt,
            "EXTRA_PNGINFO": self.extra_data.get("extra_pnginfo"),
            "UNIQUE_ID": node_id,
            "AUTH_TOKEN_COMFY_ORG": self.extra_data.get("auth_token_comfy_org"),
            "API_KEY_COMFY_ORG": self.extra_data.get("api_key_comfy_org"),
        }
        for name, kind in declared.get("hidden", {}).items():
            if isinstance(kind, str) and (kind in hidden or kind == "DYNPROMPT"):
                values[name] = [hidden.get(kind)]
        return values

    async def _call(self, node_id: str, inputs: dict[str, list[Any]]) -> Entry:
        class_type = self.prompt[node_id]["class_type"]
        node_class = nodes.NODE_CLASS_MAPPINGS[class_type]
        key = (node_id, class_type)
        if key not in self.executor.objects:
            self.executor.objects[key] = node_class()
        function = getattr(self.executor.objects[key], node_class.FUNCTION)
        answers: list[Any] = []
        for number, arguments in enumerate(_slices(inputs, getattr(node_class, "INPUT_IS_LIST", False))):
            nodes.before_node_execution()
            with executing(self.prompt_id, node_id, number):
                self._wait()
                answer = function(**arguments)
                answers.append(await answer if inspect.isawaitable(answer) else answer)
        outputs, ui = _merge(answers, getattr(node_class, "OUTPUT_IS_LIST", None))
        if ui is None:
            return Entry(outputs)
        meta = {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
        return Entry(outputs, {"meta": meta, "output": ui})

    def _wait(self) -> None:
        """The option ``--delay``: time in which a test can kill or interrupt."""
        end = time.monotonic() + self.pause
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))
            model_management.throw_exception_if_processing_interrupted()

    def _where(self, node_id: str) -> dict[str, Any]:
        return {
            "prompt_id": self.prompt_id,
            "node_id": node_id,
            "node_type": self.prompt[node_id]["class_type"],
            "executed": list(self.executed),
        }

    def _report(self, failure: _Failed) -> None:
        error = failure.__cause__
        where = self._where(failure.node_id)
        if isinstance(error, model_management.InterruptProcessingException):
            logging.info("Processing interrupted")
            # For all when there is no client: interrupting is not the client's alone.
            self.executor.add_message("execution_interrupted", where, broadcast=True)
            return
        assert error is not None
        logging.error("!!! Exception during processing !!! %s", error)
        logging.error("%s", "".join(traceback.format_exception(error)))
        shown = (int, float, bool, str, type(None))
        inputs = {
            name: [value if isinstance(value, shown) else str(value) for value in values]
            for name, values in (failure.inputs or {}).items()
        }
        data = {
            **where,
            "exception_message": f"{error}\n",
            "exception_type": full_type_name(type(error)),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": inputs,
            "current_outputs": list(self.prompt),
        }
        self.executor.add_message("execution_error", data, broadcast=False)

    def _report_cycle(self, node_id: str) -> None:
        data = {
            **self._where(node_id),
            "exception_message": "Dependency cycle detected",
            "exception_type": "graph.DependencyCycleError",
            "traceback": [],
            "current_inputs": [],
            "current_outputs": list(self.prompt),
        }
        self.executor.add_message("execution_error", data, broadcast=False)


def _slices(inputs: dict[str, list[Any]], whole_lists: bool) -> list[dict[str, Any]]:
    """The arguments of each call: a node runs once per element of its longest input."""
    if whole_lists:
        return [dict(inputs)]
    length = max((len(values) for values in inputs.values()), default=1)
    return [{name: values[min(i, len(values) - 1)] for name, values in inputs.items()} for i in range(length)]


def _merge(answers: list[Any], lists: tuple[bool, ...] | None) -> tuple[list[list[Any]], dict[str, list[Any]] | None]:
    """Results by output number, and what the node shows."""
    results = [answer.get("result") if isinstance(answer, dict) else answer for answer in answers]
    shown = [answer["ui"] for answer in answers if isinstance(answer, dict) and "ui" in answer]
    outputs: list[list[Any]] = []
    rows = [row for row in results if row is not None]
    for number in range(len(rows[0]) if rows else 0):
        flat = lists is not None and lists[number]
        outputs.append([value for row in rows for value in (row[number] if flat else [row[number]])])
    if not shown:
        return outputs, None
    return outputs, {key: [value for one in shown for value in one[key]] for key in shown[0]}
