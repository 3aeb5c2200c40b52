"""What is heard of the prompt queue when somebody takes prompts out of it, by ComfyUI's own rules."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from wfrecovery.demo.comfyui_host.execution import PromptQueue
from wfrecovery.server_routes.host import Host
from wfrecovery.server_routes.queue.hooks import install_hooks


class Heard:
    """A listener that notes what is taken out; anything else is heard without a word."""

    def __init__(self) -> None:
        self.deleted_ids: list[str] = []
        self.missed_count = self.wiped_count = 0

    def deleted(self, raw_items: list[Any]) -> None:
        self.deleted_ids += [item[1] for item in raw_items]

    def missed(self, _: Callable[[Any], bool]) -> None:
        self.missed_count += 1

    def wiped(self) -> None:
        self.wiped_count += 1

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *_: None


def queue_of(count: int) -> tuple[PromptQueue, Heard]:
    server = SimpleNamespace(queue_updated=lambda: None, send_sync=lambda *_: None)
    queue, heard = PromptQueue(server), Heard()
    host = Host(SimpleNamespace(prompt_queue=queue, send_sync=server.send_sync))
    host.hear_interrupts = lambda *_: None  # type: ignore[method-assign]
    install_hooks(host, heard)  # type: ignore[arg-type]
    for number in range(count):
        queue.put((number, f"p{number}", {}, {}, [], {}))
    return queue, heard


@pytest.mark.parametrize("count", [1, 2, 5])
def test_who_deletes_one_prompt_wants_that_one_gone_also_when_it_is_the_last(count: int) -> None:
    """ComfyUI clears the queue for the last one that waits: that is no wish for what is still to come."""
    queue, heard = queue_of(count)
    for number in range(count):
        assert queue.delete_queue_item(lambda item, wanted=f"p{number}": item[1] == wanted)
    assert heard.deleted_ids == [f"p{number}" for number in range(count)]
    assert (heard.wiped_count, heard.missed_count) == (0, 0)
    assert not queue.delete_queue_item(lambda item: item[1] == "p0")
    assert (heard.wiped_count, heard.missed_count) == (0, 1)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_who_clears_the_queue_wants_all_gone(count: int) -> None:
    queue, heard = queue_of(count)
    queue.wipe_queue()
    assert sorted(heard.deleted_ids) == [f"p{number}" for number in range(count)]
    assert heard.wiped_count == 1


def test_after_a_deletion_that_raises_a_wipe_is_a_wipe() -> None:
    queue, heard = queue_of(2)

    def odd(_: Any) -> bool:
        raise KeyError("another plugin's")

    with pytest.raises(KeyError):
        queue.delete_queue_item(odd)
    queue.wipe_queue()
    assert heard.wiped_count == 1
