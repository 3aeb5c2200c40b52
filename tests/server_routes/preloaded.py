"""Programs that start from a process which has imported their libraries already.

Most of a program's start goes into imports, and the tests start hundreds. One process for each interpreter imports the
libraries, and `bridge` with them, for all workers of a run; it forks into a server for each worker, which forks for
each start. What that runs then is the program itself, in a process of its own that can be killed, signalled and
replaced like any other. Where there is no fork, programs start as usual.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import locale
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

#: Of these the ones that an interpreter has. None of them is ComfyUI's own; ours keep nothing of who imports them.
LIBRARIES = (
    *("aiohttp.web", "requests", "filelock", "PIL.Image", "PIL.ImageDraw", "PIL.ImageFont", "PIL.ImageOps"),
    *("PIL.PngImagePlugin", "av", "numpy", "yaml", "psutil", "torch", "torchsde", "einops", "transformers"),
    *(f"transformers.models.{name}.tokenization_{name}" for name in ("bert", "byt5", "clip", "llama", "qwen2", "t5")),
    *("tokenizers", "safetensors.torch", "scipy.integrate", "scipy.interpolate", "scipy.ndimage", "scipy.stats"),
    *("kornia", "spandrel", "sqlalchemy.orm", "sqlalchemy.dialects.sqlite", "alembic.command", "pydantic_settings"),
    *("tqdm", "wfrecovery.bridge", "wfrecovery.bridge.cli.main"),
)
#: Environment variables that tell the workers of a run where they find each other, and which process they are of.
_PLACE: Final = "WFRECOVERY_TESTS_PRELOADED"
_RUN: Final = "WFRECOVERY_TESTS_RUN"
#: A request begins with the number of its bytes, in so many.
_SIZE: Final = 4


class PreloadedProcess:
    """What the tests use of `subprocess.Popen`, of a process that another one has forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self._ended = threading.Event()

    def __enter__(self) -> PreloadedProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close_pipes()
        self.wait()

    def close_pipes(self) -> None:
        """Our ends of them."""
        for pipe in (self.stdin, self.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None

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

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Nothing more is said to it; what it says until it ends."""
        assert self.stdin is not None
        assert self.stdout is not None
        self.stdin.close()
        said = self.stdout.read()
        self.wait(timeout)
        return said, None

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

    def __init__(self, python: str, env: Mapping[str, str]) -> None:
        self._requests = socket.socket(socket.AF_UNIX)
        self._requests.connect(str(_listening(python, env)))
        self._asking, self._answered = threading.Lock(), threading.Event()
        self._started: PreloadedProcess | None = None
        self._living: dict[int, PreloadedProcess] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], descriptors: Sequence[int]
    ) -> PreloadedProcess:
        """What `command` (without its interpreter) runs, with these as its standard input, output and errors."""
        request = json.dumps({"command": list(command), "cwd": str(cwd), "env": dict(env)}).encode()
        with self._asking:
            self._answered.clear()
            socket.send_fds(self._requests, [len(request).to_bytes(_SIZE, "big")], list(descriptors))
            self._requests.sendall(request)
            self._answered.wait()
            assert self._started is not None, "the server of started programs has ended"
            return self._started

    def _listen(self) -> None:
        for line in self._requests.makefile(encoding="utf-8"):
            told = json.loads(line)
            if "started" in told:
                self._started = self._living[told["started"]] = PreloadedProcess(told["started"])
                self._answered.set()
            else:
                self._living.pop(told["ended"]).ended(told["returncode"])
        self._started = None
        self._answered.set()


_servers: dict[str, Preloaded] = {}


def begin_run() -> None:
    """In the process that starts the workers of a run, if any: the place where they find each other, and where all
    that is temporary ends with the run, but for pytest's own folders."""
    os.environ[_RUN] = str(os.getpid())
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ[_PLACE] = tempfile.mkdtemp(prefix="wfr")  # a socket's address is 100 bytes at most
    Path(os.environ[_PLACE]).chmod(0o1777)  # some tests have another user beside them
    tempfile.tempdir = os.environ["TMPDIR"] = os.environ[_PLACE]


def end_run() -> None:
    """Who listens there ends."""
    shutil.rmtree(os.environ.pop(_PLACE), ignore_errors=True)  # a process that still ends may write into it


def _listening(python: str, env: Mapping[str, str]) -> Path:
    """The address of who has loaded that interpreter's libraries; started where no worker has done so yet."""
    from filelock import FileLock  # noqa: PLC0415 - the other interpreters need not have it

    address = Path(os.environ[_PLACE], f"{zlib.crc32(python.encode()):x}")
    with FileLock(address.with_suffix(".lock")):
        if not address.exists():
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(address))
                listener.listen(64)
                unheard, said = os.pipe()  # as for its forks: what can be sought in is found out once
                loading = subprocess.Popen(
                    [python, __file__, str(listener.fileno()), str(address), os.environ[_RUN]],
                    env={name: value for name, value in env.items() if name != "PYTHONPATH"},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    pass_fds=[listener.fileno()],
                )
                os.close(unheard)
                os.close(said)
            threading.Thread(target=loading.wait, daemon=True).start()  # it outlives this worker
    return address


def start(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: IO[bytes], **usual: Any) -> Any:
    """In the place of `subprocess.Popen`, for one that says nothing but into a file."""
    server = _server_of(command, env)
    if server is None:
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=stdout, **usual)
    with Path(os.devnull).open("rb") as nothing:
        return server.start(command[1:], cwd, env, (nothing.fileno(), stdout.fileno(), stdout.fileno()))


def talking(command: Sequence[str], *, env: Mapping[str, str]) -> Any:
    """One whose standard input and output are pipes of text; its errors are said where ours are."""
    server = _server_of(command, env)
    if server is None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=env, encoding="utf-8", **pipes)
    (given, give), (take, taken) = os.pipe(), os.pipe()
    try:
        started = server.start(command[1:], Path.cwd(), env, (given, taken, sys.__stderr__.fileno()))
    finally:
        os.close(given)
        os.close(taken)
    started.stdin, started.stdout = os.fdopen(give, "w", encoding="utf-8"), os.fdopen(take, encoding="utf-8")
    return started


def run(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """In the place of `subprocess.run`: what it has printed, and how it ended."""
    server = _server_of(command, env)
    if server is None:
        pipes: dict[str, Any] = {"capture_output": True, "text": True, "encoding": "utf-8"}
        return subprocess.run(command, env=env, cwd=cwd, timeout=timeout, check=False, **pipes)
    with (
        Path(os.devnull).open("rb") as nothing,
        tempfile.TemporaryFile() as printed,
        tempfile.TemporaryFile() as errors,
    ):
        descriptors = (nothing.fileno(), printed.fileno(), errors.fileno())
        started = server.start(command[1:], cwd or Path.cwd(), env, descriptors)
        try:
            returncode = started.wait(timeout)
        finally:
            started.kill()
        said = []
        for file in (printed, errors):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(command, returncode, *said)


def _server_of(command: Sequence[str], env: Mapping[str, str]) -> Preloaded | None:
    """Who starts it; None where it has to start as usual."""
    python = command[0]
    if not hasattr(os, "fork") or _for_interpreter(env) != _for_interpreter(os.environ):
        return None
    if python not in _servers:
        _servers[python] = Preloaded(python, env)
    return _servers[python]


def _for_interpreter(env: Mapping[str, str]) -> dict[str, str]:
    """What only counts when an interpreter starts; apart from what ours are all started with, or `_become` sees to."""
    usual = ("PYTHONUNBUFFERED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONPATH")
    return {name: value for name, value in env.items() if name.startswith(("PYTHON", "LD_")) and name not in usual}


def serve_all(listener: socket.socket, address: Path, run: int) -> list[str] | None:
    """Fork into a server for each worker, until the run is over; returns as `serve` does."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # else each fork looks through all of them at each collection, and makes pages of its own of it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the servers
    while address.exists() and _lives(run):
        if select.select([listener], [], [], 1.0)[0]:
            requests, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                return serve(requests)
            requests.close()
    return None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def serve(requests: socket.socket) -> list[str] | None:
    """Fork for each request; returns in the child with its command, and in the server, at the end, with nothing."""
    answers = requests.makefile("w", encoding="utf-8")
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ended(answers)
        if requests in ready:
            size, descriptors, _, _ = socket.recv_fds(requests, _SIZE, 3)
            if not size:
                return None
            request = json.loads(_exactly(requests, int.from_bytes(size, "big")))
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for inherited in (woken, wake):
                    os.close(inherited)
                answers.close()
                requests.close()
                _become(request, descriptors)
                return list(request["command"])
            for descriptor in descriptors:
                os.close(descriptor)
            print(json.dumps({"started": pid}), file=answers, flush=True)


def _exactly(requests: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        found += requests.recv(size - len(found))
    return bytes(found)


def _tell_ended(answers: IO[str]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            told = {"ended": ended[0], "returncode": os.waitstatus_to_exitcode(ended[1])}
            print(json.dumps(told), file=answers, flush=True)


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """The child takes on what its program is to be started with."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[1:1] = filter(None, request["env"].get("PYTHONPATH", "").split(os.pathsep))
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "")
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", line_buffering=True, write_through=True)  # type: ignore[union-attr]


def _run(arguments: Sequence[str]) -> None:
    """The program, as the interpreter would have run it."""
    sys.orig_argv = [sys.executable, *arguments]  # what a program that starts itself anew goes by
    if arguments[0] == "-W":
        warnings.simplefilter(arguments[1])  # type: ignore[arg-type]
        arguments = arguments[2:]
    if arguments[0] == "-m":
        sys.argv = list(arguments[1:])
        sys.path[0] = str(Path.cwd())
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        sys.path[0] = ""
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = list(arguments)
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    given = serve_all(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3]))
    if given is not None:
        _run(given)
