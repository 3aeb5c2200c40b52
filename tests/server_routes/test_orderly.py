"""What counts as an orderly stop; and that every program ends as it would without us. Real processes, real signals."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

MODULE = Path(__file__).parents[2] / "server_routes" / "orderly.py"

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals, fork and exec")

#: `install()` watches in one of the two programs that are compared; what is marked goes out at once.
BEGIN = f"""
import asyncio, atexit, importlib.util, multiprocessing, os, signal, sys, threading, time

spec = importlib.util.spec_from_file_location("orderly", {str(MODULE)!r})
orderly = importlib.util.module_from_spec(spec)
spec.loader.exec_module(orderly)

def mark():
    os.write(1, b"marked\\n")

def install():
    global end
    if sys.argv[1] == "ours":
        end = orderly.OrderlyEnd(
            lambda: mark(),
            unmark=lambda: os.write(1, b"taken back\\n"),
            in_prompt=lambda: threading.current_thread().name == "worker",
        )
        end.install()

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def hold():
    say("ready")
    while True:
        signal.pause()

def reap(pid):
    say("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

#: How ComfyUI's main.py ends; `begin` is what it awaits.
COMFYUI = """
async def begin():
    install()
    say("ready")
    await asyncio.Event().wait()

loop = asyncio.new_event_loop()
try:
    loop.run_until_complete(begin())
except KeyboardInterrupt:
    say("Stopped server")
say("cleaned up")
"""


@dataclass
class Ended:
    """A program that has ended."""

    status: int
    lines: list[str]
    errors: str

    @property
    def marks(self) -> list[str]:
        return [line for line in self.lines if line in ("marked", "taken back")]

    @property
    def said(self) -> list[str]:
        return [line for line in self.lines if line not in ("marked", "taken back")]


@dataclass
class Program:
    """A program that runs."""

    body: str
    watched: bool = True
    command: tuple[str, ...] = (sys.executable,)
    lines: list[str] = field(default_factory=list)

    def __enter__(self) -> Program:
        self.process = subprocess.Popen(
            [*self.command, "-c", BEGIN + self.body, "ours" if self.watched else "plain"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Its children too, should it have left any."""
        if sys.platform == "win32":
            self.process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def until(self, line: str) -> None:
        """It has said `line`."""
        assert self.process.stdout
        while line not in self.lines:
            said = self.process.stdout.readline()
            assert said, f"ended without {line!r}: {self.lines} {self.process.communicate()[1]}"
            self.lines.append(said.strip())

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> Ended:
        said, errors = self.process.communicate(timeout=30)
        return Ended(self.process.returncode, [*self.lines, *said.splitlines()], errors)


def run(body: str, *signals: int, watched: bool = True) -> Ended:
    """Run it to its end; each of `signals` is sent when it has said `ready`, `ready 2` …"""
    with Program(body, watched) as program:
        for index, number in enumerate(signals):
            program.until("ready" if not index else f"ready {index + 1}")
            program.send(number)
        return program.end()


def as_without(body: str, *signals: int) -> Ended:
    """Run it with us and without: all that differs is the mark."""
    ours, plain = run(body, *signals), run(body, *signals, watched=False)
    assert (ours.status, ours.said) == (plain.status, plain.said), ours.errors
    assert not plain.marks
    return ours


@posix
@pytest.mark.parametrize("number", [15, 1])
def test_a_signal_ends_it_with_the_same_status(number: int) -> None:
    ended = as_without("install(); hold()", number)
    assert (ended.status, ended.marks) == (-number, ["marked"])


@posix
@pytest.mark.parametrize("number", [15, 1])
def test_it_ends_comfyui_in_its_loop(number: int) -> None:
    ended = as_without(COMFYUI, number)
    assert (ended.status, ended.marks, ended.said) == (-number, ["marked"], ["ready"])


@posix
def test_an_ignored_signal_is_still_ignored() -> None:
    """As under nohup."""
    body = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
install()
os.kill(os.getpid(), signal.SIGHUP)
say("lives", signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)
os._exit(0)
"""
    ended = as_without(body)
    assert (ended.status, ended.said, ended.marks) == (0, ["lives True"], [])


@posix
def test_who_was_there_before_is_called_as_before() -> None:
    body = """
def stop(number, frame):
    say("stop", number, frame is not None)
    sys.exit(7)

signal.signal(signal.SIGTERM, stop)
install()
hold()
"""
    ended = as_without(body, 15)
    assert (ended.status, ended.marks, ended.said) == (7, ["marked"], ["ready", "stop 15 True"])


@posix
def test_who_comes_after_us_and_calls_nobody_breaks_nothing() -> None:
    """It ends by sys.exit, of which we hear."""
    ended = as_without("install(); signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); hold()", 15)
    assert (ended.status, ended.marks) == (5, ["marked"])


@posix
def test_who_comes_after_us_and_calls_us_is_served() -> None:
    body = """
install()
previous = signal.getsignal(signal.SIGTERM)

def stop(number, frame):
    say("stop")
    signal.signal(number, previous)
    os.kill(os.getpid(), number)

signal.signal(signal.SIGTERM, stop)
hold()
"""
    ended = as_without(body, 15)
    assert (ended.status, ended.marks) == (-15, ["marked"])


@posix
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_loop_is_called(when: str) -> None:
    add = "asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)"
    body = f"""
async def main():
    stopped = asyncio.Event()
    {add if when == "before" else "install()"}
    {add if when == "after" else "install()"}
    say("ready")
    await stopped.wait()
    say("stopped")

asyncio.new_event_loop().run_until_complete(main())
"""
    ended = as_without(body, 15)
    assert (ended.status, ended.marks, ended.said) == (0, ["marked"], ["ready", "stopped"])


@posix
def test_a_signal_that_c_code_handles_is_left_to_it() -> None:
    body = """
import ctypes
ctypes.CDLL(None).signal(signal.SIGTERM, ctypes.cast(ctypes.pythonapi.Py_AddPendingCall, ctypes.c_void_p))
signal.getsignal = lambda number: None  # what it says when Python did not set the handler
set_handler = signal.signal
signal.signal = lambda *args: say("replaced", args)
install()
os._exit(0)
"""
    assert as_without(body).said == []


@posix
def test_two_signals_at_once_mark_once() -> None:
    ended = run("install(); hold_on = time.time; os.kill(os.getpid(), 15); os.kill(os.getpid(), 1); hold()")
    assert (ended.status in (-15, -1), ended.marks) == (True, ["marked"])


@posix
def test_a_second_signal_waits_for_the_mark_of_the_first() -> None:
    body = """
def mark():
    os.kill(os.getpid(), signal.SIGHUP)  # arrives while we write
    say("marked")

install()
hold()
"""
    ended = run(body, 15)
    assert (ended.status in (-15, -1), ended.marks) == (True, ["marked"])


# ---------------------------------------------------------------------- Ctrl-C


@posix
def test_ctrl_c_ends_comfyui_as_before() -> None:
    ended = as_without(COMFYUI, 2)
    assert (ended.status, ended.marks, ended.said) == (0, ["marked"], ["ready", "Stopped server", "cleaned up"])


@posix
def test_ctrl_c_with_comfyuis_own_handler() -> None:
    """`--debug-hang`."""
    own = """
def dump_traceback_on_sigint(number, frame):
    say("dumped")
    raise KeyboardInterrupt

signal.signal(signal.SIGINT, dump_traceback_on_sigint)
"""
    ended = as_without(own + COMFYUI, 2)
    assert (ended.status, ended.marks) == (0, ["marked"])
    assert ended.said == ["ready", "dumped", "Stopped server", "cleaned up"]


@posix
def test_a_second_ctrl_c_interrupts_the_cleaning_up() -> None:
    body = COMFYUI + 'say("ready 2")\nsignal.pause()\n'
    ended = as_without(body, 2, 2)
    assert (ended.status, ended.marks) == (-2, ["marked"])


@posix
def test_ctrl_c_that_nobody_catches() -> None:
    ended = as_without("install(); hold()", 2)
    assert (ended.status, ended.marks) == (-2, ["marked"])
    assert "KeyboardInterrupt" in ended.errors


@posix
@pytest.mark.skipif(sys.version_info < (3, 11), reason="there is no Runner")
def test_ctrl_c_in_asyncios_runner_cancels_the_main_task() -> None:
    """Only while Python's own handler is there."""
    body = """
async def main():
    install()
    say("ready")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        say("cancelled")
        raise

asyncio.run(main())
"""
    ended = as_without(body, 2)
    assert (ended.status, ended.marks, ended.said) == (-2, ["marked"], ["ready", "cancelled"])


@posix
def test_a_runner_that_begins_later_finds_pythons_handler() -> None:
    ended = as_without("install(); say(signal.getsignal(signal.SIGINT) is signal.default_int_handler)")
    assert ended.said == ["True"]


@posix
def test_ctrl_c_counts_although_a_thread_then_hangs() -> None:
    """The interpreter waits for such threads, and is killed in the end."""
    hangs = "threading.Thread(target=threading.Event().wait).start()\n"
    with Program(hangs + COMFYUI) as program:
        program.until("ready")
        program.send(signal.SIGINT)
        program.until("marked")
        program.send(signal.SIGKILL)
        assert program.end().status == -9


@posix
def test_ctrl_c_where_it_ends_at_once() -> None:
    """Some packs give it its default action, so that it ends windows of theirs."""
    ended = as_without("signal.signal(signal.SIGINT, signal.SIG_DFL); install(); hold()", 2)
    assert (ended.status, ended.marks) == (-2, ["marked"])


# ---------------------------------------------------------------------- ends without a signal


@pytest.mark.parametrize(
    ("ending", "status"),
    [("", 0), ("sys.exit(3)", 3), ("sys.exit('why')", 1), ("exit(0)", 0), ("raise SystemExit", 0)],
)
def test_an_end_of_its_own_is_orderly(ending: str, status: int) -> None:
    ended = as_without(f"install()\n{ending}")
    assert (ended.status, ended.marks) == (status, ["marked"])


def test_exit_in_a_route_is_orderly() -> None:
    """ComfyUI-Manager's restart under comfy-cli."""
    body = """
async def begin():
    install()
    asyncio.get_running_loop().call_soon(sys.exit, 0)
    await asyncio.Event().wait()

asyncio.new_event_loop().run_until_complete(begin())
"""
    ended = as_without(body)
    assert (ended.status, ended.marks) == (0, ["marked"])


@pytest.mark.parametrize(
    "ending",
    [
        "os._exit(0)",
        "os.abort()",
        "import ctypes; ctypes.string_at(0)",
        "os.kill(os.getpid(), 9)",
        "raise RuntimeError('port in use')",
        "asyncio.run(asyncio.sleep(0, 1 / 0))",
        "threading.Thread(target=lambda: 1 / 0).start(); [t.join() for t in threading.enumerate()[2:]]; os._exit(1)",
    ],
)
def test_a_crash_is_no_orderly_stop(ending: str) -> None:
    ended = as_without(f"install()\n{ending}")
    assert ended.marks == []


def test_a_failed_module_is_no_orderly_stop(tmp_path: Path) -> None:
    """`python -m`: its stack begins in runpy."""
    (tmp_path / "host.py").write_text(BEGIN + "install()\nraise ValueError")
    host = [sys.executable, "-m", "host", "ours"]
    ended = subprocess.run(host, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")


def test_an_exception_that_was_only_shown_is_no_crash() -> None:
    """C extensions show one by PyErr_Print, which keeps it as Python keeps the one that ends a program."""
    body = """
install()

def show():
    try:
        1 / 0
    except ZeroDivisionError as error:
        sys.last_value = error

show()
"""
    ended = as_without(body)
    assert (ended.status, ended.marks) == (0, ["marked"])


def test_an_exception_from_before_is_no_crash() -> None:
    body = """
try:
    1 / 0
except ZeroDivisionError as error:
    sys.last_value = error

install()
"""
    assert as_without(body).marks == ["marked"]


# ---------------------------------------------------------------------- exec


@posix
@pytest.mark.parametrize(
    "call",
    [
        "os.execv(sys.executable, NEW)",
        "os.execve(sys.executable, NEW, dict(os.environ))",
        "os.execl(sys.executable, *NEW)",
        "os.execvp(sys.executable, NEW)",
        "os.execlpe(sys.executable, *NEW, dict(os.environ))",
    ],
)
def test_a_restart_by_exec_is_orderly(call: str) -> None:
    """As ComfyUI-Manager does it."""
    ended = as_without(f"NEW = [sys.executable, '-c', 'print(\"started anew\")']\ninstall()\n{call}")
    assert (ended.status, ended.lines) == (0, ["marked", "started anew"])


@posix
def test_an_exec_that_fails_is_none() -> None:
    body = """
install()
try:
    os.execv("/no/such/python", ["python"])
except FileNotFoundError as error:
    say("failed", error.filename)
os._exit(0)
"""
    ended = as_without(body)
    assert ended.lines == ["marked", "taken back", "failed None"]


@posix
def test_exec_of_a_descriptor_is_still_offered() -> None:
    assert as_without("install(); say(os.execve in os.supports_fd); os._exit(0)").said == ["True"]


# ---------------------------------------------------------------------- what the running prompt does itself

#: ComfyUI's worker at work on a prompt.
IN_PROMPT = """
NEW = [sys.executable, '-c', 'print("started anew")']

wait = threading.Event().wait

def in_prompt(*steps):
    threading.Thread(target=lambda: [step() for step in steps], name="worker", daemon=True).start()
"""


@posix
@pytest.mark.parametrize("number", [15, 1, 2])
def test_a_prompt_that_signals_its_own_process_ends_it_as_a_crash_does(number: int) -> None:
    ended = as_without(IN_PROMPT + f"install(); in_prompt(lambda: os.kill(os.getpid(), {number})); wait()")
    assert (ended.status, ended.marks) == (-number, [])


@posix
def test_also_where_a_handler_of_another_plugin_ends_it_in_good_order() -> None:
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
    ended = as_without(IN_PROMPT + handler + "install(); in_prompt(lambda: os.kill(os.getpid(), 15)); wait()")
    assert (ended.status, ended.marks) == (7, [])


@posix
def test_a_prompt_that_restarts_comfyui_ends_it_as_a_crash_does() -> None:
    body = "install(); in_prompt(lambda: os.execv(sys.executable, NEW)); wait()"
    ended = as_without(IN_PROMPT + body)
    assert (ended.status, ended.lines) == (0, ["started anew"])


@posix
def test_a_prompt_whose_restart_fails_may_be_cut_off_in_good_order_later() -> None:
    body = """
def fails():
    try:
        os.execv("/no/such/python", ["python"])
    except FileNotFoundError:
        say("ready")

install()
in_prompt(fails)
wait()
"""
    ended = as_without(IN_PROMPT + body, 15)
    assert (ended.status, ended.marks) == (-15, ["marked"])


@posix
def test_what_the_prompt_before_asked_for_is_not_the_next_one_s() -> None:
    """Who was asked takes his time: he ends in good order, as far as the next prompt is concerned."""
    body = """
asked = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())
install()
goes_on = end.goes_on if sys.argv[1] == "ours" else str
in_prompt(lambda: os.kill(os.getpid(), 15), asked.wait, goes_on, lambda: say("ready"))
wait()
"""
    ended = as_without(IN_PROMPT + body, 2)
    assert (ended.status, ended.marks) == (-2, ["marked"])


@posix
def test_a_child_that_a_prompt_forks_ends_as_it_likes() -> None:
    """What a prompt is at work on is not looked up there: whoever held its lock is not there to let go of it."""
    body = """
def forks():
    for end_it in (lambda: os.execv(sys.executable, NEW), lambda: os.kill(os.getpid(), 15)):
        pid = os.fork()
        if pid == 0:
            if sys.argv[1] == "ours":
                end._in_prompt = lambda: say("asked")
            end_it()
        reap(pid)
    say("ready")

install()
in_prompt(forks)
wait()
"""
    ended = as_without(IN_PROMPT + body, 15)
    assert (ended.said, ended.marks) == (["started anew", "child 0", "child -15", "ready"], ["marked"])


# ---------------------------------------------------------------------- fork


@posix
@pytest.mark.parametrize(
    "child",
    ["sys.exit(3)", "pass", "os.kill(os.getpid(), 15)", "os.execv('/bin/true', ['true'])", "1 / 0"],
)
def test_a_forked_childs_end_is_not_ours(child: str) -> None:
    body = f"""
orderly._PATIENCE = 3600  # nothing is waited for in the child
install()
pid = os.fork()
if pid == 0:
    {child}
else:
    reap(pid)
    os._exit(0)
"""
    assert as_without(body).marks == []


@posix
def test_a_child_that_a_worker_forks_is_ended_even_while_it_hangs_in_c_code() -> None:
    """SIGTERM has its default action there again."""
    body = """
import ctypes
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # in all threads: it is waited for
install()

def work():
    pid = os.fork()
    if pid == 0:
        say("default", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
        hang = ctypes.PyDLL(None).pause  # with the interpreter's lock held
        os.kill(os.getppid(), signal.SIGUSR1)
        hang()
        hang()
    signal.sigwait([signal.SIGUSR1])
    os.kill(pid, signal.SIGTERM)
    reap(pid)
    os._exit(0)

threading.Thread(target=work).start()
threading.Event().wait()
"""
    ended = as_without(body)
    assert (ended.said, ended.marks) == (["default True", "child -15"], [])


@posix
def test_a_child_of_multiprocessing_is_terminated_as_before() -> None:
    body = """
install()
for _ in range(20):
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()  # it may be before the child has run a line
    process.join()
    say("child", process.exitcode)
say("parent still hears", not signal.pthread_sigmask(signal.SIG_BLOCK, []))
os._exit(0)
"""
    ended = as_without(body)
    assert (ended.said, ended.marks) == (["child -15"] * 20 + ["parent still hears True"], [])


# ---------------------------------------------------------------------- what may go wrong


@posix
def test_off_the_main_thread_it_says_so_and_does_the_rest() -> None:
    off = "thread = threading.Thread(target=install); thread.start(); thread.join()\n"
    by_signal, by_itself = as_without(off + "hold()", 15), as_without(off)
    assert (by_signal.status, by_signal.marks) == (-15, [])
    assert (by_itself.status, by_itself.marks) == (0, ["marked"])
    assert "not loaded in the main thread" in by_itself.errors


@posix
@pytest.mark.parametrize("error", ["OSError('disk full')", "SystemExit(9)", "KeyboardInterrupt"])
@pytest.mark.parametrize("number", [15, 2])
def test_a_mark_that_fails_changes_no_end(error: str, number: int) -> None:
    body = f"""
def mark():
    raise {error}
"""
    ended = as_without(body + COMFYUI, number)
    assert ended.marks == []
    assert "could not be noted" in ended.errors


@posix
def test_a_mark_that_failed_is_tried_again_at_the_next_chance() -> None:
    body = """
def mark():
    global mark
    mark = lambda: say("marked")
    raise OSError("once")

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
install()
hold()
"""
    assert as_without(body, 15).marks == ["marked"]


@posix
@pytest.mark.parametrize("number", [15, 2])
def test_a_disk_that_hangs_does_not_keep_it_from_ending(number: int) -> None:
    body = """
def mark():
    say("hangs")
    threading.Event().wait()

orderly._PATIENCE = 0.05
"""
    ours, plain = run(body + COMFYUI, number), run(body + COMFYUI, number, watched=False)
    assert ours.status == plain.status
    assert [line for line in ours.said if line != "hangs"] == plain.said


@posix
def test_a_lock_that_the_main_thread_holds_is_no_deadlock() -> None:
    body = """
lock = threading.Lock()
orderly._PATIENCE = 0.05

def mark():
    with lock:
        say("marked")

install()
with lock:
    hold()
"""
    assert as_without(body, 15).status == -15


@posix
def test_a_request_that_is_not_obeyed_is_taken_back_when_work_goes_on() -> None:
    """Not at once: SIGKILL may follow a SIGTERM after a while."""
    body = """
signal.signal(signal.SIGTERM, lambda *_: None)
install()
os.kill(os.getpid(), signal.SIGTERM)
end.goes_on()
say("soon")
end._marked_at -= orderly._KILL_FOLLOWS + 1
end.goes_on()
end.goes_on()
say("later")
os.kill(os.getpid(), signal.SIGTERM)
os._exit(0)
"""
    assert run(body).lines == ["marked", "soon", "taken back", "later", "marked"]


@posix
def test_process_one_of_a_container_lives_on_as_before() -> None:
    """The kernel ignores its default action; `docker stop` kills it ten seconds later, and that is an orderly stop."""
    unshare = shutil.which("unshare")
    namespace = (unshare or "", "--pid", "--fork", "--kill-child", "--mount-proc")
    if not unshare or subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespaces here")
    body = """
install()
assert os.getpid() == 1
pid = os.fork()
if pid == 0:
    os.kill(1, 15)
    os._exit(0)
reap(pid)
say("lives")
heard_again = sys.argv[1] == "plain" or signal.getsignal(signal.SIGTERM) == end._on_signal
os._exit(not heard_again)
"""
    for watched in (True, False):
        with Program(body, watched, (*namespace, sys.executable)) as program:
            ended = program.end()
        assert (ended.status, ended.said) == (0, ["child 0", "lives"]), ended.errors
        assert ended.marks == ["marked"] * watched


# ---------------------------------------------------------------------- Windows, with a stand-in of its calls


class _Kernel32:
    def __init__(self, *, answer: int = 1) -> None:
        self.answer = answer

    def SetConsoleCtrlHandler(self, handler: Any, add: int) -> int:  # noqa: N802
        self.handler, self.add = handler, add
        return self.answer


def _orderly() -> Any:
    spec = importlib.util.spec_from_file_location("orderly_alone", MODULE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def console() -> Callable[[int], list[str]]:
    """Send a console event; what was marked."""
    marks: list[str] = []
    end = _orderly().OrderlyEnd(lambda: marks.append("marked"))
    end._have_done = lambda what: what()
    kernel32 = _Kernel32()
    end._watch_console(kernel32, ctypes.CFUNCTYPE)
    assert kernel32.add == 1
    assert end._console_callback is kernel32.handler  # kept, or Windows would call freed memory

    def send(event: int) -> list[str]:
        assert kernel32.handler(event) == 0  # the others are asked as well
        return marks

    return send


@pytest.mark.parametrize("event", [2, 5, 6])
def test_closing_the_window_logging_off_and_shutting_down_are_orderly(
    console: Callable[[int], list[str]], event: int
) -> None:
    assert console(event) == ["marked"]
    assert console(event) == ["marked"]


def test_ctrl_c_at_a_console_is_left_to_python(
    console: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.default_int_handler)
    assert console(0) == []
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)
    assert console(0) == ["marked"]


def test_ctrl_break_ends_it_unless_it_is_ignored(
    console: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "SIGBREAK", 21, raising=False)
    monkeypatch.setattr(signal, "getsignal", {21: signal.SIG_IGN}.get)
    assert console(1) == []
    monkeypatch.setattr(signal, "getsignal", {21: signal.SIG_DFL}.get)
    assert console(1) == ["marked"]


def test_a_console_that_refuses_us_is_named(caplog: pytest.LogCaptureFixture) -> None:
    end = _orderly().OrderlyEnd(lambda: None)
    end._watch_console(_Kernel32(answer=0), ctypes.CFUNCTYPE)
    assert "console window counts as a crash" in caplog.text


# ---------------------------------------------------------------------- what it costs


def test_nothing_is_called_while_nothing_ends() -> None:
    """No audit hook: one would be called for every file and every import, for ever."""
    assert "addaudithook" not in MODULE.read_text("utf-8")


def test_a_prompt_that_starts_costs_nothing() -> None:
    end = _orderly().OrderlyEnd(lambda: None)
    end._have_done = lambda _: pytest.fail("asked for nothing")
    end.goes_on()
    end._marked_at = time.monotonic()
    end.goes_on()
    assert os.getpid()
