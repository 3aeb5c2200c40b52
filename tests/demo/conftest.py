"""For the tests of the stand-ins: one that runs, on a clock that only the test moves, and a client of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from feishu_caller import ROWS, Client, Clock
from runninghub_caller import WORKFLOWS, Caller

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.demo.runninghub_host.stand_in import RunningHubStandIn


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


@pytest.fixture
def cloud(clock: Clock) -> Iterator[RunningHubStandIn]:
    with RunningHubStandIn(WORKFLOWS, clock=clock) as standin:
        yield standin


@pytest.fixture
def caller(cloud: RunningHubStandIn) -> Iterator[Caller]:
    made = Caller(cloud)
    with made.session:
        yield made


@pytest.fixture
def threads_that_switch_all_the_time() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
