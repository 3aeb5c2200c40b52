"""Programs that start from a process which has imported their libraries already.

Most of a ComfyUI's start goes into imports, and the tests start hundreds. A server for each interpreter imports the
libraries once, and forks for each start; what it runs then is the program itself, in a process of its own that can be
killed, signalled and replaced like any other. Where there is no fork, programs start as usual.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

#: Of these the ones that an interpreter has. None of them is ours, or ComfyUI's own.
LIBRARIES = (
    *("aiohttp.web", "requests", "filelock", "PIL.Image", "PIL.PngImagePlugin", "av", "numpy", "yaml", "psutil"),
    *("torch", "torchsde", "einops", "transformers", "transformers.models.clip", "tokenizers", "safetensors.torch"),
    *("scipy.integrate", "kornia", "spandrel", "sqlalchemy.orm", "alembic.command", "pydantic_settings", "tqdm"),
)


class PreloadedProcess:
    """What the tests use of `subprocess.Popen`, of a process that another one has forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def ended(self, returncode: int) -> None:
        """Told by who has forked it."""
        self.returncode = returncode
        self._ended.set()

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        if not self._ended.wait(timeout) or self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Preloaded:
    """The server of one interpreter."""

    def __init__(self, python: str, cwd: Path, env: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [python, __file__], cwd=cwd, env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._asking, self._answered = threading.Lock(), threading.Event()
        self._started: PreloadedProcess | None = None
        self._living: dict[int, PreloadedProcess] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, command: Sequence[str], cwd: Path, env: Mapping[str, str], log: IO[bytes]) -> PreloadedProcess:
        """What `command` (without its interpreter) runs."""
        request = {"command": list(command), "cwd": str(cwd), "env": dict(env), "log": log.name}
        with self._asking:
            self._answered.clear()
            assert self._server.stdin is not None
            print(json.dumps(request), file=self._server.stdin, flush=True)
            self._answered.wait()
            assert self._started is not None, "the server of started programs has ended"
            return self._started

    def _listen(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            told = json.loads(line)
            if "started" in told:
                self._started = self._living[told["started"]] = PreloadedProcess(told["started"])
                self._answered.set()
            else:
                self._living.pop(told["ended"]).ended(told["returncode"])
        self._started = None
        self._answered.set()


_servers: dict[str, Preloaded] = {}


def start(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: IO[bytes], **usual: Any) -> Any:
    """In the place of `subprocess.Popen`."""
    python, *rest = command
    if not hasattr(os, "fork") or _for_interpreter(env) != _for_interpreter(os.environ):
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=stdout, **usual)
    if python not in _servers:
        _servers[python] = Preloaded(python, cwd, env)
    return _servers[python].start(rest, cwd, env, stdout)


def _for_interpreter(env: Mapping[str, str]) -> dict[str, str]:
    """What only counts when an interpreter starts; apart from what all of ours are started with."""
    usual = ("PYTHONUNBUFFERED", "PYTHONUTF8")
    return {name: value for name, value in env.items() if name.startswith(("PYTHON", "LD_")) and name not in usual}


def serve() -> list[str] | None:
    """Fork for each request; returns in the child with its command, and in the server, at the end, with nothing."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ended()
        if 0 in ready:
            line = _line()
            if not line:
                return None
            request = json.loads(line)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                os.close(woken)
                os.close(wake)
                _become(request)
                return list(request["command"])
            print(json.dumps({"started": pid}), flush=True)


def _line() -> bytes:
    """One request. Nothing is read ahead: the child must not find it."""
    found = bytearray()
    while not found.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        found += byte
    return bytes(found)


def _tell_ended() -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            print(json.dumps({"ended": ended[0], "returncode": os.waitstatus_to_exitcode(ended[1])}), flush=True)


def _become(request: Mapping[str, Any]) -> None:
    """The child takes on what its program is to be started with."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(request["log"], os.O_WRONLY | os.O_APPEND)
    for opened, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(opened, number)
    os.close(nothing)
    os.close(log)
    sys.stdout.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]
    sys.stderr.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]


if __name__ == "__main__" and (arguments := serve()) is not None:
    sys.orig_argv = [sys.executable, *arguments]  # what a program that starts itself anew goes by
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")
