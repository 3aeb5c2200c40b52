"""What is heard of the prompt queue when somebody takes prompts out of it, by ComfyUI's own rules."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from wfrecovery.demo.comfyui_host import execution
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


def listening_to(host: Host) -> Heard:
    heard = Heard()
    host.hear_interrupts = lambda *_: None  # type: ignore[method-assign]
    host.hear_verdicts = host.hide_from_nodes = lambda *_: None  # type: ignore[method-assign]
    install_hooks(host, heard)  # type: ignore[arg-type]
    return heard


def server_with(queue: type[PromptQueue]) -> SimpleNamespace:
    server = SimpleNamespace(queue_updated=lambda: None, send_sync=lambda *_: None)
    server.prompt_queue = queue(server)
    return server


def queue_of(count: int) -> tuple[PromptQueue, Heard]:
    server = server_with(PromptQueue)
    queue, heard = server.prompt_queue, listening_to(Host(server))
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


class OwnQueue(PromptQueue):
    """Another plugin's, which leaves everything as it is."""


class HidingQueue(PromptQueue):
    """Another plugin's, which keeps what waits to itself."""

    def get_current_queue_volatile(self) -> tuple[list[Any], list[Any]]:
        return super().get_current_queue_volatile()[0], []


@pytest.mark.parametrize(("queue", "hides"), [(OwnQueue, False), (HidingQueue, True)])
def test_a_queue_that_a_later_plugin_puts_in_the_place_of_comfyui_s_is_the_one_that_is_heard(
    queue: type[PromptQueue], hides: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what that one lists is all there is, unless it lists in its own way."""
    monkeypatch.setitem(sys.modules, "execution", execution)
    server = server_with(PromptQueue)
    host = Host(server)
    server.prompt_queue = queue(server)
    heard = listening_to(host)
    server.prompt_queue.put((0, "p0", {}, {}, [], {}))
    server.prompt_queue.wipe_queue()
    assert heard.deleted_ids == ["p0"]
    assert host.hides_pending == hides


# ------------------------------------------------------------------ a ComfyUI that does it in another way


def at_once(prompt: Any) -> Any:
    """No coroutine, as far as anybody sees."""
    return prompt


async def with_one(prompt: Any) -> Any:
    return True, None, prompt, {}


async def by_name(prompt_id: Any, prompt: Any, partial_execution_list: Any = None) -> Any:
    return True, prompt_id, prompt, partial_execution_list


@pytest.mark.parametrize(
    ("validate", "told", "heard"),
    [
        (at_once, (("a graph",), {}), []),
        (with_one, (("a graph",), {}), []),
        (by_name, (("id", "a graph"), {}), ["a graph"]),
        (by_name, ((), {"prompt_id": "id", "prompt": "a graph"}), ["a graph"]),
    ],
)
def test_a_validation_of_another_shape_stays_as_it_is(
    validate: Any, told: tuple[Any, Any], heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers what it answered, and nothing breaks where we cannot hear it."""
    module = SimpleNamespace(validate_prompt=validate)
    monkeypatch.setitem(sys.modules, "execution", module)  # type: ignore[arg-type]
    noted: list[Any] = []
    Host(server_with(PromptQueue)).hear_verdicts(lambda prompt, verdict: noted.append(prompt) or verdict)
    (answer, plain) = (function(*told[0], **told[1]) for function in (module.validate_prompt, validate))
    if inspect.iscoroutine(plain):
        answer, plain = asyncio.run(answer), asyncio.run(plain)
    assert answer == plain
    assert noted == heard


@pytest.mark.parametrize("module", [SimpleNamespace(), SimpleNamespace(get_output_data=at_once), None])
def test_a_comfyui_that_runs_its_nodes_in_another_way_does_so(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(vars(module)) if module is not None else {}
    monkeypatch.setitem(sys.modules, "execution", module)
    Host(server_with(PromptQueue)).hide_from_nodes("lent")
    assert module is None or vars(module) == before


def test_a_server_that_knows_no_client_runs_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(get_output_data=with_one)
    monkeypatch.setitem(sys.modules, "execution", module)  # type: ignore[arg-type]
    host = Host(server_with(PromptQueue))
    host.server = SimpleNamespace()
    host.hide_from_nodes("lent")
    assert module.get_output_data is not with_one
    assert asyncio.run(module.get_output_data("x")) == (True, None, "x", {})
