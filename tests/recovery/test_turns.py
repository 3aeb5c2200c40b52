"""Who is sent again when, of all that was lost together."""

from __future__ import annotations

import asyncio

import pytest

from wfrecovery.bridge.recovery import turns as turns_of
from wfrecovery.bridge.recovery.turns import Turns


def test_one_that_is_followed_twice_has_its_turn_twice() -> None:
    """The first is done while the second still gathers: it took the place of both along."""
    task, later = "img_20261129_001", "img_20261129_002"
    went: list[str] = []

    async def story() -> None:
        turns = Turns()

        async def sends(name: str, task_id: str, seconds: float) -> None:
            async with turns.sending(task_id, seconds, set()):
                went.append(name)

        both = [sends("first", task, 0.0), sends("second", task, 0.1), sends("later", later, 0.0)]
        await asyncio.wait_for(asyncio.gather(*both), 60)

    asyncio.run(story())
    assert went == ["first", "second", "later"]


@pytest.mark.parametrize("end", ["it comes", "nobody follows it any more", "it is waited for no longer"])
def test_one_that_was_lost_as_well_is_waited_for(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is followed, and not for ever."""
    monkeypatch.setattr(turns_of, "_COMING_SECONDS", 0.1 if end == "it is waited for no longer" else 600.0)
    first, later = "img_20261129_001", "img_20261129_002"
    went: list[str] = []

    async def story() -> None:
        turns, lost = Turns(), {first, later}

        async def sends(task_id: str) -> None:
            lost.discard(task_id)
            async with turns.sending(task_id, 0.01, lost):
                went.append(task_id)

        with turns.followed(first):
            sending = asyncio.create_task(sends(later))
            if end != "it is waited for no longer":
                await asyncio.sleep(0.1)
                assert not went
            if end == "it comes":
                await sends(first)
            if end != "nobody follows it any more":
                await asyncio.wait_for(sending, 60)
        await asyncio.wait_for(sending, 60)

    asyncio.run(story())
    assert went == ([first, later] if end == "it comes" else [later])
