"""A socket that says nothing is only a hint that does not come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wfrecovery.bridge.engines import comfyui


def test_who_hears_nothing_looks_again_after_one_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Since Python 3.11 "not in time" is an OSError as well: it was taken for a ComfyUI that is down, and each look
    came after two intervals."""
    slept: list[float] = []

    async def no_sleep(seconds: float) -> None:
        slept.append(seconds)

    async def story() -> None:
        silent: Any = None
        events = comfyui._Events(silent, "ws://127.0.0.1:9/ws", 0.05)
        monkeypatch.setattr(events, "_receive", asyncio.Event().wait)
        monkeypatch.setattr(comfyui.asyncio, "sleep", no_sleep)
        await events.next("prompt", None)

    asyncio.run(story())
    assert slept == []
