"""Starting, killing and restarting a ComfyUI, the stand-in or the real one, for the demo and the tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .serving.ports import free_port

__all__ = ["ComfyNotStartedError", "ComfyProcess", "find_comfyui"]

_LOOPBACK = "127.0.0.1"
#: Settings of the person who starts a test must not reach what it starts.
_PRIVATE = ("WFRECOVERY_", "FEISHU_", "COMFYUI_", "WFR_")
_FOLDERS = ("models", "custom_nodes", "input", "output", "temp", "user")
_BIND_FAILURES = ("address already in use", "Errno 98", "Errno 48", "10048")
_NOT_COPIED = shutil.ignore_patterns(".git", "__pycache__", ".venv", "venv", "*.egg-info", "node_modules")
#: Ports tried before giving up: between choosing one and opening it another process can take it.
_TRIES = 5
# A proxy of the environment must not see requests to this computer.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ComfyNotStartedError(RuntimeError):
    """ComfyUI ended, or did not answer in time; the message has the end of its log."""


class _PortTaken(Exception):  # noqa: N818 - a reason to try again, not an error
    """The port belongs to somebody else."""


def find_comfyui(given: Path | None = None) -> Path | None:
    """The folder of a real ComfyUI: the one given, else ``COMFYUI_PATH``, else where comfy-cli puts it."""
    if given is not None:
        candidates = [given]
    elif os.environ.get("COMFYUI_PATH"):
        candidates = [Path(os.environ["COMFYUI_PATH"])]
    else:
        candidates = [Path.home() / "comfy" / "ComfyUI"]
    return next((path.resolve() for path in candidates if (path / "main.py").is_file()), None)


def python_of(comfyui: Path) -> str:
    """The interpreter that belongs to a ComfyUI."""
    for folder in (".venv", "venv"):
        for name in ("bin/python", "Scripts/python.exe"):
            if (comfyui / folder / name).exists():
                return str(comfyui / folder / name)
    return sys.executable


def _get(url: str) -> Any:
    with _opener.open(url, timeout=60) as response:
        return json.load(response)


def _link_or_copy(plugin: Path, folder: Path) -> None:
    target = folder / plugin.name
    if target.is_symlink() or target.exists():
        return
    try:
        target.symlink_to(plugin.resolve(), target_is_directory=True)
    except OSError:
        # Windows without the right to make links.
        shutil.copytree(plugin, target, ignore=_NOT_COPIED)


class ComfyProcess:
    """A ComfyUI in a process of its own; as a context manager it is killed at the end.

    ``base`` holds its folders and log and survives restarts, the port is kept over them. ``real`` is the folder of a
    real ComfyUI; without it the stand-in runs, in the given shape. ``plugins`` appear in ``base/custom_nodes``.
    """

    #: how the process is started
    _popen: Callable[..., Any] = staticmethod(subprocess.Popen)

    def __init__(
        self,
        base: Path,
        *,
        real: Path | None = None,
        shape: int = 6,
        plugins: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
    ) -> None:
        self.base = base.resolve()
        self.real = real
        self.shape = shape
        self.plugins = tuple(plugins)
        self.env = dict(env or {})
        self.args = tuple(args)
        self.log_path = self.base / "comfyui.log"
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        if self._port is None:
            raise ComfyNotStartedError("not started yet: the port is not known")
        return f"http://{_LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        """Its process."""
        if self._process is None:
            raise ComfyNotStartedError("not started yet: there is no process")
        return self._process.pid

    @property
    def output(self) -> Path:
        """Its output folder."""
        return self.base / "output"

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """How the process ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def __enter__(self) -> ComfyProcess:
        if not self.running:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, timeout: float = 300) -> None:
        """Start it and wait until it answers ``GET /queue``."""
        if self.running:
            raise RuntimeError("already running")
        for name in _FOLDERS:
            (self.base / name).mkdir(parents=True, exist_ok=True)
        for plugin in self.plugins:
            _link_or_copy(plugin, self.base / "custom_nodes")
        keep = self._port
        for _ in range(_TRIES):
            port = keep or free_port()
            try:
                self._start_on(port, timeout)
            except _PortTaken:
                # With a port that is to be kept, its old connections may still be closing.
                time.sleep(0.2)
                continue
            except BaseException:
                self.kill()
                raise
            self._port = port
            return
        raise ComfyNotStartedError(f"no free port for ComfyUI\n{self._tail(0)}")

    def kill(self) -> None:
        """End it at once (SIGKILL, on Windows TerminateProcess), as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self, timeout: float = 60) -> None:
        """End it with SIGTERM, as a service manager would."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self, timeout: float = 300) -> None:
        """Kill it when it runs, and start it on the same port."""
        self.kill()
        self.start(timeout)

    def wait(self, timeout: float = 120) -> int:
        """Wait for its end; the exit code."""
        if self._process is None:
            raise ComfyNotStartedError("not started yet: there is no process")
        return self._process.wait(timeout)

    def get(self, path: str) -> Any:
        """The JSON answer to a GET."""
        return _get(self.url + path)

    def log(self) -> str:
        """All it has printed, over all starts."""
        return self._tail(0, lines=None)

    def _start_on(self, port: int, timeout: float) -> None:
        with self.log_path.open("ab") as log:
            offset = log.tell()
            self._process = self._popen(
                self._command(port),
                cwd=self.real or self.base,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the one who started us: it ends us in its own order.
                start_new_session=os.name == "posix",
            )
        self._wait_for_answer(port, timeout, offset)

    def _wait_for_answer(self, port: int, timeout: float, offset: int) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if not self.running:
                tail = self._tail(offset)
                if any(words in tail for words in _BIND_FAILURES):
                    raise _PortTaken
                raise ComfyNotStartedError(f"ComfyUI ended with code {self.returncode}\n{tail}")
            with contextlib.suppress(urllib.error.URLError, OSError, ValueError):
                _get(f"http://{_LOOPBACK}:{port}/queue")
                self._check_identity(port)
                return
            time.sleep(0.05)
        raise ComfyNotStartedError(f"ComfyUI did not answer within {timeout} s\n{self._tail(offset)}")

    def _check_identity(self, port: int) -> None:
        """Another ComfyUI on this port would answer as well, while ours is about to fail."""
        arguments = _get(f"http://{_LOOPBACK}:{port}/system_stats").get("system", {}).get("argv", [])
        if arguments and str(self.base) not in arguments:
            self.kill()
            raise _PortTaken

    def _tail(self, offset: int, lines: int | None = 40) -> str:
        if not self.log_path.exists():
            return ""
        text = self.log_path.read_bytes()[offset:].decode(errors="replace")
        return text if lines is None else "\n".join(text.splitlines()[-lines:])

    def _environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_PRIVATE)}
        direct = ",".join(filter(None, (inherited.get("NO_PROXY"), _LOOPBACK, "localhost", "::1")))
        ours = {"NO_PROXY": direct, "no_proxy": direct, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
        return {**inherited, **ours, **self.env}

    def _command(self, port: int) -> list[str]:
        common = ["--base-directory", str(self.base), "--port", str(port), "--listen", _LOOPBACK]
        if self.real is None:
            stand_in = [sys.executable, "-m", f"{__package__}.comfyui_host", "--shape", str(self.shape)]
            return [*stand_in, *common, *self.args]
        return [python_of(self.real), "main.py", "--cpu", *common, "--disable-auto-launch", *self._known(), *self.args]

    def _known(self) -> Iterator[str]:
        """Options that only some versions have: an unknown one would end ComfyUI."""
        assert self.real is not None
        known = (self.real / "comfy" / "cli_args.py").read_text(encoding="utf-8")
        if '"--disable-api-nodes"' in known:
            yield "--disable-api-nodes"
        if '"--database-url"' in known:
            # One database for each instance: newer versions refuse to share it.
            yield from ("--database-url", f"sqlite:///{(self.base / 'user' / 'comfyui.db').as_posix()}")
