"""What the pages are told of a prompt: the same with us as without us."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from plugin_support import GATE_NODES, PATIENCE, REAL, RENDER_NODES, all_hosts
from saver_support import Graph, Shops, core, saved, with_slow_branch

from wfrecovery.demo.launch import ComfyProcess

#: Messages about the queue's length and the machine, which come whenever they like.
_NOT_OF_PROMPTS = ("status", "logs", "crystools.monitor", "feature_flags")


async def _heard(url: str, bodies: list[Mapping[str, Any]], client: str) -> list[list[Any]]:
    """What a page hears of each of the prompts until it has ended and a moment longer."""
    found: list[list[Any]] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}/ws?clientId={client}") as socket:
        for body in bodies:
            answer = await session.post(f"{url}/prompt", json=body)
            prompt = (await answer.json())["prompt_id"]
            found.append([])
            ended = False
            while True:
                try:
                    message = await asyncio.wait_for(socket.receive(), 0.5 if ended else PATIENCE)
                except asyncio.TimeoutError:
                    assert ended, found[-1]
                    break
                if message.type is aiohttp.WSMsgType.TEXT:
                    event = json.loads(message.data)
                    if event["type"] not in _NOT_OF_PROMPTS and not event["type"].startswith("wfrecovery."):
                        found[-1].append(_plain(event, prompt))
                if not ended:
                    history = await session.get(f"{url}/history/{prompt}")
                    # To its own client ComfyUI says last of all that nothing is executed any more.
                    own = body.get("client_id") == client
                    last = ("executing", {"node": None, "prompt_id": "the prompt"})
                    ended = prompt in await history.json() and (not own or last in found[-1])
    return found


def _plain(event: Mapping[str, Any], prompt: str) -> Any:
    """Without what differs from run to run."""
    text = json.dumps({"type": event["type"], "data": event["data"]}).replace(prompt, "the prompt")
    found = json.loads(re.sub(r"ComfyUI_temp_\w+", "a preview", text))
    found["data"].pop("timestamp", None)
    for name in ("traceback", "current_outputs", "current_inputs", "executed"):
        found["data"].pop(name, None)
    return found["type"], found["data"]


def _bodies(client: str | None) -> list[Mapping[str, Any]]:
    more = {} if client is None else {"client_id": client}
    good = with_slow_branch(saved("plain", "m", 0x407020), 0.3)
    good["8"] = {"class_type": "TryTell", "inputs": {"image": ["1", 0]}}
    good["9"] = core("SaveImage", "m", 0x407020)["9"]
    good["9"]["inputs"]["images"] = ["8", 0]
    bad: Graph = {**good, "21": {"class_type": "WfrFail", "inputs": {"image": ["20", 0], "message": "no such light"}}}
    return [{"prompt": graph, **more} for graph in (good, good, bad)]


@all_hosts
@pytest.mark.parametrize(
    ("client", "page"),
    [(None, "a-page"), ("a-page", "a-page"), ("another-page", "a-page"), ("wfrecovery", "wfrecovery")],
)
def test_a_page_hears_the_same_of_a_prompt_with_us_and_without(
    host: Any, client: str | None, page: str, shops: Shops, plain: Any
) -> None:
    """Twice the same prompt (the second comes from the cache), and one that fails."""
    with_us = asyncio.run(_heard(shops(host).comfy.url, _bodies(client), page))
    without = asyncio.run(_heard(plain(host).url, _bodies(client), page))
    for ours, theirs in zip(with_us[:2], without[:2], strict=True):
        assert _in_any_order(ours) == _in_any_order(theirs)
    # Which nodes have run before one fails is ComfyUI's choice, and another one at each start.
    failed, failed_without = ({kind for kind, _ in events} & _ALWAYS for events in (with_us[2], without[2]))
    assert failed == failed_without
    if client is None:
        assert {kind for kind, _ in with_us[0]} == {"progress", "progress_state", "try.all"}


#: They come as often as a node ticks.
_TICKS = ("progress", "progress_state")


#: What a prompt that fails tells whatever ran before.
_ALWAYS = {"execution_start", "execution_cached", "execution_error", "executing", *_TICKS}


def _in_any_order(events: list[Any]) -> list[str]:
    """The events, of ticks only that there are some. Which of several output nodes runs first differs from one start of
    ComfyUI to the next."""
    told = [json.dumps(event, sort_keys=True) for event in events if event[0] not in _TICKS]
    return sorted(told) + sorted({event[0] for event in events if event[0] in _TICKS})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """ComfyUI without us."""
    running: dict[Any, ComfyProcess] = {}

    def of(host: Any) -> ComfyProcess:
        if host not in running:
            chosen: dict[str, Any] = {"real": REAL} if host == "real" else {"shape": int(host)}
            base: Path = tmp_path_factory.mktemp(f"plain-{host}")
            running[host] = ComfyProcess(base, plugins=[RENDER_NODES, GATE_NODES], **chosen)
            running[host].start()
        return running[host]

    yield of
    for comfy in running.values():
        comfy.kill()
