"""An orderly stop counts for nothing: noticed here, so that the prompt it cuts off is not blamed for it.

Orderly is: Ctrl-C, SIGTERM, SIGHUP, a closed console window, logging off, shutting down, `sys.exit`, the end of
`main.py`, and a restart by `os.exec*`. Not orderly: SIGKILL, a crash, `os._exit`, an exception that ends `main.py`, and
what the running prompt does itself, whichever way: a node that restarts ComfyUI would be run again for ever.
ComfyUI ends exactly as it would without us, with the same exit status.

Ctrl-C keeps its own handler: it ends as KeyboardInterrupt in `main.py`, which we hear of when the interpreter stops,
and `asyncio.Runner` treats it in its own way only while Python's default handler is there.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final, NoReturn

log = logging.getLogger("wfrecovery")

#: Seconds that an end waits for the mark, should the disk hang.
_PATIENCE: Final = 2.0
#: Seconds in which SIGKILL may follow a request to end: Docker 10, Kubernetes 30, systemd 90.
_KILL_FOLLOWS: Final = 120.0

#: HandlerRoutine in Microsoft's "Console Functions": C, break, close, log off, shut down.
_CTRL_C, _CTRL_BREAK = 0, 1
_CONSOLE_ENDS: Final = frozenset({2, 5, 6})

#: By these a prompt may ask its own process to end.
_ENDING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))

Nothing = Callable[[], None]


def _nothing() -> None:
    pass


def _never() -> bool:
    return False


class OrderlyEnd:
    """Calls `mark` when this process is asked to end, or ends by itself, in good order; once.

    `mark` runs in a thread of its own: no Ctrl-C cuts it off, and a lock that the main thread holds at that moment
    costs a wait of two seconds, not a deadlock. What it raises is logged. `unmark` takes it back where the process
    goes on after all: `exec` failed, or the request was not obeyed. `in_prompt` tells whether the calling thread is at
    work on a prompt: what that one asks for is marked as nothing.
    """

    def __init__(self, mark: Nothing, *, unmark: Nothing = _nothing, in_prompt: Callable[[], bool] = _never) -> None:
        self._mark = mark
        self._unmark = unmark
        self._in_prompt = in_prompt
        #: when it was marked; changed in the marking thread only
        self._marked_at: float | None = None
        #: the prompt that runs has asked for the end
        self._by_prompt = False
        self._asked: SimpleQueue[tuple[Nothing, threading.Lock]] = SimpleQueue()
        self._previous: dict[int, Any] = {}
        #: per thread that forks
        self._masks: dict[int, set[Any]] = {}
        self._pid = 0
        self._old_error: BaseException | None = None
        #: Windows calls it for as long as we live, and does not hold it for us
        self._console_callback: Any = None

    def install(self) -> None:
        """Begin to watch; in the main thread once all nodes are loaded, so that their handlers are called as before."""
        if self._pid:
            return
        self._pid = os.getpid()
        self._old_error = getattr(sys, "last_value", None)
        threading.Thread(target=self._serve, name="wfrecovery-orderly", daemon=True).start()
        self._watch_exit()
        self._watch_exec()
        self._watch_kill()
        self._watch_signals()
        if sys.platform == "win32":
            self._watch_console(ctypes.windll.kernel32, ctypes.WINFUNCTYPE)
        else:
            os.register_at_fork(
                before=self._hold_signals, after_in_parent=self._let_signals_in, after_in_child=self._leave_to_child
            )

    def goes_on(self) -> None:
        """To be called when the next prompt starts: a request to end that nobody obeyed for long was none, and one by
        the prompt before is not this one's."""
        self._by_prompt = False
        if self._marked_at is not None and time.monotonic() - self._marked_at > _KILL_FOLLOWS:
            self._have_done(self._take_back)

    # ------------------------------------------------------------------ the mark

    def _serve(self) -> NoReturn:
        while True:
            what, done = self._asked.get()
            try:
                what()
            except BaseException as error:  # whatever it is: an end must not fail because of us
                log.warning("[wfrecovery] whether this is an orderly stop could not be noted: %s", error)
            finally:
                done.release()

    def _have_done(self, what: Nothing) -> None:
        """By the marking thread, and wait. Of the ways to wait only plain locks and SimpleQueue bear signal handlers.

        A forked child has no such thread, and its end is not ours.
        """
        if os.getpid() == self._pid:
            done = threading.Lock()
            done.acquire()
            self._asked.put((what, done))
            done.acquire(timeout=_PATIENCE)

    def _note(self) -> None:
        if self._marked_at is None and not self._by_prompt:
            self._mark()
            self._marked_at = time.monotonic()

    def _take_back(self) -> None:
        if self._marked_at is not None:
            self._unmark()
            self._marked_at = None

    # ------------------------------------------------------------------ the interpreter's end

    def _watch_exit(self) -> None:
        """`threading` calls before it waits for threads that may hang, `atexit` after; the first is not public."""
        atexit.register(self._at_exit)
        early = getattr(threading, "_register_atexit", None)
        if early is not None:
            early(self._at_exit)

    def _at_exit(self) -> None:
        if not self._main_has_failed():
            self._have_done(self._note)

    def _main_has_failed(self) -> bool:
        """Whether the main program ended with an exception: Python shows it, and leaves it in `sys.last_value`.

        Extensions that show an exception by PyErr_Print leave theirs there too; it did not begin at a program's top.
        """
        error = getattr(sys, "last_value", None)
        if error is None or error is self._old_error or isinstance(error, KeyboardInterrupt):
            return False
        trace = error.__traceback__
        top = trace and trace.tb_frame.f_code
        return top is not None and (top.co_name == "<module>" or "runpy" in top.co_filename)  # runpy: `python -m`

    # ------------------------------------------------------------------ by the prompt that runs

    def _prompt_asks(self) -> bool:
        """Whether it is the prompt that runs that asks for the end. A forked child runs none."""
        if os.getpid() != self._pid or not self._in_prompt():
            return False
        log.warning("[wfrecovery] the prompt that runs ends ComfyUI itself: that counts as one of its attempts")
        return True

    def _watch_kill(self) -> None:
        """Who has sent a signal Python does not tell: a prompt that sends one to its own process is noticed before."""
        send = os.kill

        @functools.wraps(send)
        def kill(pid: int, number: int, /) -> None:
            if pid == self._pid and number in _ENDING:
                self._by_prompt = self._by_prompt or self._prompt_asks()
            send(pid, number)

        os.kill = kill

    # ------------------------------------------------------------------ exec

    def _watch_exec(self) -> None:
        """Stand before the two calls that all of `os.exec*` come down to. (An audit hook is called for every file.)"""
        for name in ("execv", "execve"):
            replace_process = getattr(os, name)
            watched = self._marked_before(replace_process)
            setattr(os, name, watched)
            if replace_process in os.supports_fd:
                os.supports_fd.add(watched)

    def _marked_before(self, replace_process: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(replace_process)
        def call(*args: Any, **kwargs: Any) -> Any:
            asked_before, by_prompt_before = self._marked_at is not None, self._by_prompt
            self._by_prompt = by_prompt_before or self._prompt_asks()
            self._have_done(self._note)
            try:
                return replace_process(*args, **kwargs)
            finally:  # back here: it failed
                self._by_prompt = by_prompt_before
                if not asked_before:
                    self._have_done(self._take_back)

        return call

    # ------------------------------------------------------------------ signals

    def _watch_signals(self) -> None:
        """Before those who are there. An ignored signal stays ignored; who cannot be called is not replaced.

        A signal is heard when the main thread runs Python again; without us the default action would come at once.
        """
        for number in self._ending_signals():
            self._previous[number] = signal.getsignal(number)
            try:
                signal.signal(number, self._on_signal)
            except ValueError:  # this is not the main thread
                log.warning("[wfrecovery] not loaded in the main thread: a stop by signal counts as a crash")
                return

    def _ending_signals(self) -> list[int]:
        names = ["SIGTERM", "SIGHUP"]
        if sys.platform != "win32" and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            names.append("SIGINT")  # then it does not become a KeyboardInterrupt
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        # None: somebody's C code handles it
        return [number for number in numbers if signal.getsignal(number) not in (None, signal.SIG_IGN)]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        try:
            self._have_done(self._note)
        finally:  # a Ctrl-C may come while we wait
            self._hand_on(number, frame)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous[number]
        if callable(previous):
            previous(number, frame)
        elif os.getpid() != 1:  # for process 1 of a container the kernel has no default action, pid_namespaces(7)
            signal.signal(number, signal.SIG_DFL)
            if sys.platform == "win32":
                signal.raise_signal(number)  # os.kill would end us with another status
            else:
                os.kill(os.getpid(), number)

    # ------------------------------------------------------------------ fork

    def _hold_signals(self) -> None:
        """One that reaches the child before its handlers are put back would be lost: Python forgets it on forking."""
        self._masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, self._previous)

    def _let_signals_in(self) -> None:
        mask = self._masks.pop(threading.get_ident(), None)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _leave_to_child(self) -> None:
        """As if we had never been there, so that even C code that hangs ends by SIGTERM."""
        for number, previous in self._previous.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, previous)
        self._let_signals_in()

    # ------------------------------------------------------------------ Windows

    def _watch_console(self, kernel32: Any, function_type: Any) -> None:
        """Be told of what ends a console program. We are asked first, in a thread that Windows makes for it.

        Windows tells programs that have loaded user32.dll nothing of logging off and shutting down.
        """
        self._console_callback = function_type(ctypes.c_int, ctypes.c_ulong)(self._on_console)
        if not kernel32.SetConsoleCtrlHandler(self._console_callback, 1):
            log.warning("[wfrecovery] closing the console window counts as a crash: Windows does not tell us of it")

    def _on_console(self, event: int) -> int:
        if event in _CONSOLE_ENDS or (event in (_CTRL_C, _CTRL_BREAK) and self._ends_at_once(event)):
            self._have_done(self._note)
        return 0  # not handled: the others are asked, and the program ends as it would have

    def _ends_at_once(self, event: int) -> bool:
        """Ctrl-C is Python's, unless it was given away; Ctrl-Break ends the program, unless it is ignored."""
        if event == _CTRL_C:
            return signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        number = getattr(signal, "SIGBREAK", None)
        return number is None or signal.getsignal(number) is not signal.SIG_IGN
