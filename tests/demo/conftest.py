"""For the tests of the stand-in Feishu: one that runs, on a clock that only the test moves, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feishu_caller import ROWS, Client, Clock

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def feishu(clock: Clock) -> Iterator[FeishuStandIn]:
    with FeishuStandIn(ROWS, clock=clock) as standin:
        yield standin


@pytest.fixture
def client(feishu: FeishuStandIn) -> Iterator[Client]:
    made = Client(feishu)
    with made.session:
        made.login()
        yield made
