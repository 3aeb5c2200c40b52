"""For all tests: processes that several files need; and no example is too slow, as many machines are."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import preloaded
import pytest
from hypothesis import settings
from plugin_support import RUNNING, Comfy, Shared, Start
from publishing_support import Team, rows

from wfrecovery.demo.feishu_host.stand_in import FeishuStandIn
from wfrecovery.demo.launch import ComfyProcess

# Some two hundred processes are started: without compiled modules each would compile all of its own anew, as would
# each worker of the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Who is started in the background, or by nohup, ignores these, and so would all that the tests start.
for _name, _usual in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, _name) and signal.getsignal(getattr(signal, _name)) is signal.SIG_IGN:
        signal.signal(getattr(signal, _name), _usual)
ComfyProcess._popen = staticmethod(preloaded.start)
settings.register_profile("wfrecovery", deadline=None)
settings.load_profile("wfrecovery")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failure that is not seen again is known by what the programs have printed."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        report.sections += [(f"printed by the ComfyUI in {comfy.base}", comfy.log()[-4000:]) for comfy in RUNNING]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """One process for each host, for the tests that leave it as it was."""
    running: dict[Any, Comfy] = {}

    def of(host: Any) -> Comfy:
        if host not in running:
            running[host] = Comfy(tmp_path_factory.mktemp(f"shared-{host}"), host)
            running[host].start()
        return running[host]

    yield of
    for comfy in running.values():
        comfy.__exit__(None, None, None)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A process of the test's own."""
    started: list[Comfy] = []

    def begin(host: Any = 6, **options: Any) -> Comfy:
        comfy = Comfy(tmp_path / "comfyui", host, **options)
        started.append(comfy)
        comfy.start()
        return comfy

    yield begin
    for comfy in started:
        comfy.__exit__(None, None, None)


@pytest.fixture
def feishu() -> Iterator[FeishuStandIn]:
    """A sheet of six rows."""
    with FeishuStandIn(rows(6)) as stand_in:
        stand_in.limits.sheet_calls_per_second = None
        yield stand_in


@pytest.fixture
def team(feishu: FeishuStandIn, tmp_path: Path) -> Team:
    """Who works with it: a table of tasks, and a publisher."""
    return Team(feishu, tmp_path)
