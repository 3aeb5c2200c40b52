"""The hooks on ComfyUI's prompt queue: what they hear goes to a listener, what they wrap works as before.

They run on ComfyUI's event loop and on its worker thread. The original is called first and its value returned; a
listener does not raise, for what escapes `task_done` ends ComfyUI's worker for good.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from ..host import Host

#: ComfyUI says what single nodes have made only where a prompt names a client: to one that names none this is lent.
#: (No name that a program would choose for itself: who has that one is told nothing.)
LENT_CLIENT: Final = "wfrecovery: no client"
#: What it then says to that client, and otherwise to nobody; all else goes to every page, as without a client.
_TO_CLIENT_ALONE: Final = frozenset(
    {"execution_start", "execution_cached", "execution_success", "executing", "executed"}
)


class QueueListener(Protocol):
    """Who hears what happens in the queue. Items are ComfyUI's own, or another plugin's."""

    def validated(self, prompt: Any, verdict: Any) -> Any:
        """ComfyUI has looked whether a prompt is valid; the verdict that applies."""

    def putting(self, raw: Any) -> None:
        """About to be put; not under the mutex."""

    def put(self, raw: Any) -> None:
        """Accepted; called under the queue's mutex."""

    def asks(self) -> None:
        """The worker asks for the next one: what it gets is heard of."""

    def got(self, result: Any) -> bool:
        """What `get` returned to the worker; whether it may run."""

    def done(self, running: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An item has ended; the arguments of `task_done`."""

    def deleted(self, raw_items: list[Any]) -> None:
        """Taken out before they ran."""

    def missed(self, meant: Callable[[Any], bool]) -> None:
        """Somebody wants what is meant taken out; nothing that waits is."""

    def wiped(self) -> None:
        """Somebody wants nothing to wait any more; what waited is deleted."""

    def interrupted(self) -> None:
        """Somebody wants what runs to stop; ComfyUI is about to be told so."""

    def begins(self) -> bool:
        """The executor takes away what interrupts, as it does first of all; whether what it begins with was meant."""

    def sent(self, event: Any = None, data: Any = None) -> None:
        """A message to the pages."""


def install_hooks(host: Host, listener: QueueListener) -> None:
    """Wrap the queue's methods on the instance, outermost; what was put before is heard of now."""
    host.all_loaded()
    queue = host.queue
    _wrap_put(queue, listener)
    _wrap_get(host, listener)
    _wrap_task_done(queue, listener)
    deleting = _Deleting()
    _wrap_delete(queue, listener, deleting)
    _wrap_wipe(queue, listener, deleting)
    _wrap_send(host.server, listener)
    host.hear_verdicts(listener.validated)
    host.hear_interrupts(listener.interrupted, listener.begins)
    host.hide_from_nodes(LENT_CLIENT)
    for items in host.queued():
        for item in items:
            listener.put(item)
    host.wake_worker()


def _wrap_get(host: Host, listener: QueueListener) -> None:
    queue = host.queue
    original = queue.get

    @functools.wraps(original)
    def get(*args: Any, **kwargs: Any) -> Any:
        while True:
            listener.asks()
            result = original(*args, **kwargs)
            if result is None or listener.got(result):
                return result
            host.end_unrun(*result)

    queue.get = get


def _wrap_send(server: Any, listener: QueueListener) -> None:
    original = server.send_sync

    @functools.wraps(original)
    def send_sync(event: Any, data: Any, sid: Any = None, *args: Any, **kwargs: Any) -> Any:
        if sid == LENT_CLIENT:
            # Who sent this prompt listens to nothing, and ComfyUI would have said nothing of it, or said it to all.
            sid = None
            if event in _TO_CLIENT_ALONE or (event == "execution_error" and "timestamp" in data):
                listener.sent(event, data)
                return None
        result = original(event, data, sid, *args, **kwargs)
        listener.sent(event, data)
        return result

    server.send_sync = send_sync


def _wrap_put(queue: Any, listener: QueueListener) -> None:
    original = queue.put

    @functools.wraps(original)
    def put(*args: Any, **kwargs: Any) -> Any:
        listener.putting((*args, *kwargs.values())[0])
        # Under the mutex, else an idle worker takes the prompt, and may even end it, before it is known here.
        # Nothing waits in there: the record is written by our own thread.
        with getattr(queue, "mutex", contextlib.nullcontext()):
            result = original(*args, **kwargs)
            listener.put((*args, *kwargs.values())[0])
            return result

    queue.put = put


def _wrap_task_done(queue: Any, listener: QueueListener) -> None:
    original = queue.task_done

    @functools.wraps(original)
    def task_done(*args: Any, **kwargs: Any) -> Any:
        running = getattr(queue, "currently_running", {}).get(args[0] if args else kwargs.get("item_id"))
        result = original(*args, **kwargs)
        listener.done(running, args, kwargs)
        return result

    queue.task_done = task_done


class _Deleting(threading.local):
    """Whether this thread deletes one item: of the last one that waits ComfyUI makes it a wipe."""

    now = False


def _wrap_delete(queue: Any, listener: QueueListener, deleting: _Deleting) -> None:
    original = queue.delete_queue_item

    @functools.wraps(original)
    def delete_queue_item(function: Callable[[Any], bool], *args: Any, **kwargs: Any) -> Any:
        matched = []

        def spy(item: Any) -> bool:
            wanted = function(item)
            if wanted:
                matched.append(item)
            return wanted

        deleting.now = True
        try:
            result = original(spy, *args, **kwargs)
        finally:
            deleting.now = False
        if result:
            listener.deleted(matched[:1])
        else:
            listener.missed(function)
        return result

    queue.delete_queue_item = delete_queue_item


def _wrap_wipe(queue: Any, listener: QueueListener, deleting: _Deleting) -> None:
    original = queue.wipe_queue

    @functools.wraps(original)
    def wipe_queue(*args: Any, **kwargs: Any) -> Any:
        with getattr(queue, "mutex", contextlib.nullcontext()):  # else the worker may take one in between
            pending = list(getattr(queue, "queue", ()))
            result = original(*args, **kwargs)
        if not deleting.now:
            listener.deleted(pending)
            listener.wiped()
        return result

    queue.wipe_queue = wipe_queue
