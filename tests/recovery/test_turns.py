"""Who is sent again when, of all that was lost together."""

from __future__ import annotations

import asyncio

from wfrecovery.bridge.recovery.turns import Turns


def test_one_that_is_followed_twice_has_its_turn_twice() -> None:
    """The first is done while the second still gathers: it took the place of both along."""
    place, later = ("img_20261129", 1, ""), ("img_20261129", 2, "")
    went: list[str] = []

    async def story() -> None:
        turns = Turns()

        async def sends(name: str, whose: tuple[str, int, str], seconds: float) -> None:
            async with turns.sending(whose, seconds):
                went.append(name)

        both = [sends("first", place, 0.0), sends("second", place, 0.1), sends("later", later, 0.0)]
        await asyncio.wait_for(asyncio.gather(*both), 60)

    asyncio.run(story())
    assert went == ["first", "second", "later"]
