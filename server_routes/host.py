"""All that we use of ComfyUI, in one place: what differs between its versions is decided here."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..bridge.engines.history import NOT_RUN
from ..bridge.results.expected import NodeClass, node_classes

log = logging.getLogger("wfrecovery")

#: How Python names ComfyUI's thread: by the function that it runs.
WORKER_NAME: Final = "(prompt_worker)"
#: Between two looks whether the port is open.
_LOOK_SECONDS: Final = 0.05
_SENSITIVE: Final = ("auth_token_comfy_org", "api_key_comfy_org")
#: A file whose frames are counted is read as a whole, while a prompt waits to be recorded.
_MOST_BYTES: Final = 100_000_000


@dataclass(frozen=True)
class _InProcessRequest:
    """What ComfyUI's own `POST /prompt` handler asks of a request."""

    body: dict[str, Any]
    headers: Mapping[str, str]

    async def json(self) -> dict[str, Any]:
        return self.body


@dataclass(frozen=True)
class Answer:
    """ComfyUI's answer to a prompt."""

    status: int
    body: dict[str, Any]


class Host:
    """The running ComfyUI: 0.3.64 with queue items of five parts, or newer ones with six."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self._use(server.prompt_queue)

    def _use(self, queue: Any) -> None:
        self.queue = queue
        self._originals = {name: getattr(queue, name) for name in ("get_current_queue_volatile", "get_history")}

    def all_loaded(self) -> None:
        """A plugin that came after this one may have put a queue of its own there: the worker takes from that."""
        if self.server.prompt_queue is not self.queue:
            self._use(self.server.prompt_queue)

    @property
    def version(self) -> str:
        return str(getattr(sys.modules.get("comfyui_version"), "__version__", "unknown"))

    @property
    def sensitive_keys(self) -> tuple[str, ...]:
        """Keys of `extra_data` that must never be written anywhere."""
        keys = getattr(sys.modules.get("execution"), "SENSITIVE_EXTRA_DATA_KEYS", ())
        return tuple(dict.fromkeys((*_SENSITIVE, *keys)))

    @property
    def output_dir(self) -> Path:
        return Path(sys.modules["folder_paths"].get_output_directory())

    @property
    def private_dir(self) -> Path:
        """`<user>/__wfrecovery`: not under the outputs, which every client can read."""
        folders = sys.modules["folder_paths"]
        if hasattr(folders, "get_system_user_directory"):
            return Path(folders.get_system_user_directory("wfrecovery"))
        return Path(folders.get_user_directory()) / "__wfrecovery"

    @property
    def hides_pending(self) -> bool:
        """Another plugin manages the queue: a prompt that is not listed need not be lost."""
        names = ("get", "get_current_queue", "get_current_queue_volatile", "get_tasks_remaining")
        return any(_is_foreign(self.queue, name) for name in names)

    @property
    def worker_alive(self) -> bool:
        """Whether the thread that runs prompts lives; HTTP stays up when it is dead."""
        return any(thread.name.endswith(WORKER_NAME) and thread.is_alive() for thread in threading.enumerate())

    def is_output_node(self, class_type: str) -> bool:
        """Whether prompts are run for nodes of this class."""
        node_class = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {}).get(class_type)
        return bool(getattr(node_class, "OUTPUT_NODE", False))

    def queued(self) -> tuple[list[Any], list[Any]]:
        """Running and pending items, without copying their graphs."""
        running, pending = self._originals["get_current_queue_volatile"]()
        return list(running), list(pending)

    def history_entry(self, prompt_id: str) -> Mapping[str, Any] | None:
        """The history entry of a prompt, or None."""
        found = self._originals["get_history"](prompt_id=prompt_id)
        return found.get(prompt_id) if isinstance(found, Mapping) else None

    def node_classes(self, prompt: Mapping[str, Any]) -> dict[str, NodeClass]:
        """What is known of the node classes that a prompt uses."""
        return node_classes(sys.modules["nodes"].NODE_CLASS_MAPPINGS, prompt)

    def frames_of(self, inputs: Mapping[str, Any]) -> int | None:
        """How many pictures LoadImage makes of its file; None when that cannot be told."""
        name = inputs.get("image")
        if not isinstance(name, str):
            return None
        try:
            return _frames(Path(sys.modules["folder_paths"].get_annotated_filepath(name)))
        except Exception as error:  # whatever a broken file makes of the libraries
            log.debug("[wfrecovery] the frames of %s cannot be counted: %s", name, error)
            return None

    async def submit(self, body: dict[str, Any]) -> Answer:
        """Queue a prompt through ComfyUI's own handler: its validation, hooks and tuple shape, on every version."""
        handler = _post_prompt_handler(self.server.routes)
        response = await handler(_InProcessRequest(body, {}))
        try:
            answer = json.loads(response.text)
        except (TypeError, ValueError):
            answer = {}
        return Answer(response.status, answer if isinstance(answer, dict) else {})

    def end_unrun(self, item: Any, item_id: Any) -> None:
        """End what the worker has taken and must not run, as ComfyUI's worker ends a prompt: in the history like what
        was interrupted, with a word of ours, since nobody has interrupted it.

        The sixth part of an item has secrets and does not go into the history, where ``/api/jobs`` knows five parts.
        """
        status = getattr(self.queue, "ExecutionStatus", None)
        message = ("execution_interrupted", {"prompt_id": item[1], NOT_RUN: True})
        noted = None if status is None else status(status_str="error", completed=False, messages=[message])
        further = {"process_item": lambda done: (*done[:5], *done[6:])} if len(item) > 5 else {}
        self.queue.task_done(item_id, {}, status=noted, **further)

    def hear_verdicts(self, validated: Callable[[Any, Any], Any]) -> None:
        """Have `validated` called with each prompt that was validated and ComfyUI's verdict, for the one that applies:
        (valid, error, outputs, node_errors). Valid is a prompt of which one output is; the others are left out."""
        execution: Any = sys.modules.get("execution")
        original = getattr(execution, "validate_prompt", None)
        if not inspect.iscoroutinefunction(original):  # this ComfyUI does it in another way
            return

        @functools.wraps(original)
        async def validate_prompt(*args: Any, **kwargs: Any) -> Any:
            verdict = await original(*args, **kwargs)
            prompt = kwargs.get("prompt", args[1] if len(args) > 1 else None)
            return verdict if prompt is None else validated(prompt, verdict)

        execution.validate_prompt = validate_prompt

    def hear_interrupts(self, interrupted: Callable[[], None], begins: Callable[[], bool]) -> None:
        """Have `interrupted` called before each interruption, whoever asks for it: a route, another plugin, a node.
        All of them come to this function in the end, also those that took ``nodes.interrupt_processing`` earlier.

        It is a flag, which ComfyUI's executor takes away as it begins (``execute_async``): who interrupts what the
        worker has taken a moment ago would not be heard. Where `begins` says that it was meant, the flag is set again.
        """
        management: Any = sys.modules["comfy.model_management"]
        original = management.interrupt_current_processing

        @functools.wraps(original)
        def interrupt_current_processing(value: bool = True) -> Any:
            if value:
                interrupted()
            result = original(value)
            if not value and begins():
                original(True)
            return result

        management.interrupt_current_processing = interrupt_current_processing

    def hide_from_nodes(self, client: str) -> None:
        """Have no client be named while a node works where `client` is: what a pack then tells its own client alone it
        tells nobody, and what it tells everybody it goes on to tell, as if that were not there.

        A node that goes on beside others (an ``async`` one, as it waits) may see it all the same.
        """
        execution: Any = sys.modules.get("execution")
        original = getattr(execution, "get_output_data", None)
        if not inspect.iscoroutinefunction(original):  # this ComfyUI runs its nodes in another way
            return

        @functools.wraps(original)
        async def get_output_data(*args: Any, **kwargs: Any) -> Any:
            hidden = getattr(self.server, "client_id", None) == client
            if hidden:
                self.server.client_id = None
            try:
                return await original(*args, **kwargs)
            finally:
                if hidden and self.server.client_id is None:
                    self.server.client_id = client

        execution.get_output_data = get_output_data

    def wake_worker(self) -> None:
        """Have the worker ask for the next prompt once more: it waits in the `get` that it called before ours was
        there, and would take its first prompt from that. ComfyUI's ``get`` comes back with nothing, and is called
        again."""
        not_empty = getattr(self.queue, "not_empty", None)
        if isinstance(not_empty, threading.Condition):
            with not_empty:
                not_empty.notify_all()

    async def listening(self) -> None:
        """Return when ComfyUI's port is open: one that was started a second time on the same port ends before that."""
        tells = hasattr(self.server, "start_multi_address")
        while tells and getattr(self.server, "port", None) is None:  # noqa: ASYNC110 - it tells nobody of it
            await asyncio.sleep(_LOOK_SECONDS)

    @property
    def address(self) -> str:
        """Where it is reached, as it says itself."""
        return f"{getattr(self.server, 'address', '')}:{getattr(self.server, 'port', '')}".strip(":")

    def delete_pending(self, meant: Callable[[Any], bool]) -> bool:
        """Take what waits and is meant out of the queue; whether there was any."""
        deleted = False
        while self.queue.delete_queue_item(meant):
            deleted = True
        return deleted

    def interrupt(self, meant: Callable[[Any], bool]) -> bool:
        """Interrupt what runs if it is what is meant."""
        with getattr(self.queue, "mutex", contextlib.nullcontext()):  # else another prompt may be what runs by then
            if not any(meant(item) for item in self.queued()[0]):
                return False
            sys.modules["nodes"].interrupt_processing()
            return True


def _post_prompt_handler(routes: Iterable[Any]) -> Callable[[Any], Any]:
    for route in routes:
        if getattr(route, "method", None) == "POST" and getattr(route, "path", None) == "/prompt":
            handler: Callable[[Any], Any] = route.handler
            return handler
    raise LookupError("this ComfyUI has no POST /prompt handler: prompts cannot be queued again")


def _frames(path: Path) -> int | None:
    """As many as Pillow, which 0.3.64 loads with, and PyAV, which 0.33.0 tries first, both find.

    They differ on several pictures in one TIFF or AVIF file, and on a picture with another one behind its end.
    """
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        return None
    import av  # noqa: PLC0415 - both are ComfyUI's, and slow to import
    from PIL import Image  # noqa: PLC0415

    with Image.open(path) as picture:
        # A phone's JPEG with a second picture for depth or light: ComfyUI takes the first.
        frames = 1 if picture.format == "MPO" else int(getattr(picture, "n_frames", 1))
    with av.open(str(path)) as container:
        packets = sum(1 for packet in container.demux(video=0) if packet.size)
    return frames if frames == packets else None


def _is_foreign(queue: Any, name: str) -> bool:
    own: str = sys.modules["execution"].PromptQueue.__module__
    method = vars(queue).get(name) or getattr(type(queue), name, None)
    return getattr(method, "__module__", own) != own
