"""For all tests: processes that several files need; and no example is too slow, as many machines are."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import preloaded
import pytest
from filelock import FileLock
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


#: What takes longest begins first: a worker that came to it last would be alone at the end. What waits is begun beside
#: what computes.
_LONG = (
    "test_main_owners",
    "test_page",
    "test_comfyui_comes_back",
    "test_savers",
    "test_programs",
    "test_demo",
    "test_publishing_faults",
    "test_plugin",
    "test_publishers",
    "test_owners",
    "test_owners_page",
    "test_wishes",
    "test_attempts",
    "test_writing_later",
    "test_main_work",
    "test_deciding_page",
    "test_before_and_after",
    "test_main_recovery",
    "test_specification",
    "test_retried_in_page",
    "test_prompt_ids",
    "test_contract",
    "test_whole",
    "test_cloud",
    "test_page_routes",
    "test_doctor",
    "test_feishu_answers",
    "test_messages",
    "test_publisher",
    "test_publishing_troubles",
    "test_table_processes",
    "test_main_standstill",
    "test_telling",
    "test_numbering",
    "test_killed_in_the_cloud",
    "test_drive_upload",
    "test_sheet_story",
    "test_two_for_long",
    "test_any_feishu",
    "test_shared_mutants",
    "test_files_of_a_prompt",
    "test_story_machine",
    "test_nothing_moves",
    "test_bounds",
    "test_publishing_kill",
    "test_comfyui_standin",
    "test_texts_astray",
)


def pytest_configure(config: pytest.Config) -> None:
    """Before the workers are started, in the one process that is none."""
    if not hasattr(config, "workerinput"):
        preloaded.begin_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The run is over."""
    if not hasattr(config, "workerinput"):
        preloaded.end_run()


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """The first worker compiles the tests, and the others wait for it: in a fresh clone each would compile them all."""
    folder = Path(tempfile.gettempdir())  # the run's own
    compiled = folder / "tests-are-compiled"
    with FileLock(folder / "tests-are-compiled.lock"):
        if not compiled.exists():
            yield
            compiled.touch()
            return
    yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `--dist loadfile`, which hands out the files in this order."""
    turns = {name: turn for turn, name in enumerate(_LONG)}
    items.sort(key=lambda item: turns.get(item.path.stem, len(turns)))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failure that is not seen again is known by what the programs have printed, and by what its worker had open:
    where there is no room for one more, all that follows fails as well."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        report.sections += [("this worker", _burden())]
        report.sections += [(f"printed by the ComfyUI in {comfy.base}", comfy.log()[-4000:]) for comfy in RUNNING]
        report.sections += [("at first", text) for text in _at_first(call.excinfo)]


def _burden() -> str:
    """What a process may have too many of."""
    listed = Path("/proc/self/fd")
    files = len(list(listed.iterdir())) if listed.is_dir() else "?"
    return f"{files} open files, {threading.active_count()} threads: {', '.join(t.name for t in threading.enumerate())}"


def _at_first(found: pytest.ExceptionInfo[BaseException] | None) -> list[str]:
    """What an example has failed with that was right when it was tried again: elsewhere it stands amid pages."""
    raised = getattr(found and found.value, "exceptions", ())
    return ["".join(traceback.format_exception(error))[-4000:] for error in raised]


@pytest.fixture
def _nothing_collected() -> Iterator[None]:
    """For what is nested so deeply that it ends in a RecursionError: what is collected in that moment fails as well."""
    gc.disable()
    yield
    gc.enable()


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
