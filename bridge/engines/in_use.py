"""An engine as the recovery uses it: asynchronous whatever it is itself, and its own errors in our words."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from ..in_time import within
from ..of_loop import Lock, OfLoop
from ..redact import redact
from ..table.changes import job_id_in
from .calling import called, said_by, taken
from .downloads import fetch
from .errors import EngineError, FileUnavailableError, NotSentError, UnreachableError
from .history import COME_TO_REST, UNKNOWN, Place, ResultFile, Sighting

log = logging.getLogger("wfrecovery")

#: Seconds after which an engine that takes a question and does not answer it counts as out of reach; and for how long
#: it then is not asked again, by whatever task.
ASK_SECONDS: Final = 6.0
HANGS_SECONDS: Final = 30.0
#: For so long it is not asked again, by whatever task, whether anybody listens, and what its plugin says of itself.
FRESH_SECONDS: Final = 1.0
#: A timer may come that much early.
_CLOCK_SECONDS: Final = 0.05
#: Between two looks where the client's own waiting has given up.
_PAUSE_SECONDS: Final = 2.0
_SLOWER: Final = 1.5

#: Errors of a connection that was never made, by the names that libraries give them.
_NEVER_CONNECTED: Final = frozenset(
    {"NewConnectionError", "ConnectTimeoutError", "ConnectTimeout", "ConnectError", "ConnectionTimeoutError"}
)
#: Of one that was closed without an answer.
_BROKEN_OFF: Final = frozenset({"ProtocolError", "RemoteProtocolError", "ReadError", "WriteError"})

OnSeen = Callable[[Sighting], None]
OnProgress = Callable[[int, int], None]
_TITLES: Final[Mapping[str, str]] = {"comfyui": "ComfyUI", "runninghub": "RunningHub"}


class EngineInUse:
    """Wraps a `ComfyUIClient`, an `Engine`, or a team's own client with the same methods, asynchronous or plain."""

    def __init__(self, client: Any) -> None:
        self.client = client
        #: by which records name it; None where the client does not say
        self.engine: str | None = getattr(client, "engine", None) or None
        #: A client that does not say so may well make its own: then a lost answer cannot be looked up.
        self.makes_own_ids: bool = getattr(client, "makes_own_ids", True)
        #: whether waiting is ours, so that every look is heard of
        self.is_polled: bool = getattr(client, "is_polled", not hasattr(client, "wait_for_completion"))
        #: how many questions it has not answered, and how many requests broke off
        self.unanswered = 0
        self._away_until = self._silence = 0.0
        self._answers = self._has_answered = False
        #: held by who asks until there was a first answer, and while the plugin is asked about itself
        self._first, self._asking_plugin = OfLoop(Lock), OfLoop(Lock)
        self._plugin_said: tuple[float, Mapping[str, Any] | None] = (float("-inf"), None)
        self._said: set[str] = set()

    @classmethod
    def of(cls, client: Any) -> EngineInUse:
        """The same for one that is wrapped already."""
        return client if isinstance(client, cls) else cls(client)

    @property
    def name(self) -> str:
        """For people, with its account or address."""
        return self.engine or type(self.client).__name__

    @property
    def title(self) -> str:
        """For people, without these."""
        kind = self.name.partition(":")[0]
        return _TITLES.get(kind, kind)

    # ------------------------------------------------------------------ sending

    async def submit(self, workflow: Mapping[str, Any], task: Mapping[str, Any]) -> str:
        """Send a workflow; the id under which the engine knows it. `task`: its record as JSON.

        Raises RefusedError, BusyError and NotSentError: surely not accepted; any other EngineError: not known.
        """
        try:
            if hasattr(self.client, "submit"):
                answer = await called(self.client.submit, workflow, task)
            else:
                submit = self.client.submit_workflow
                answer = await called(submit, workflow, **taken(submit, prompt_id=task["comfyui_task_id"], task=task))
        except EngineError as error:
            self.unanswered += _broke_off(error)
            raise
        except Exception as error:
            self.unanswered += _broke_off(error)
            kind = NotSentError if _never_connected(error) else UnreachableError
            raise kind(f"{self.name}: {said_by(error)}") from error
        job_id = job_id_in(getattr(answer, "task_id", answer))
        if job_id is None:
            raise UnreachableError(f"{self.name} answered without an id: {redact(repr(answer))}")
        return job_id

    async def cancel(self, job_id: str) -> bool:
        """Stop a task; False where it goes on as far as is known, and is to be told again."""
        cancel = getattr(self.client, "cancel", None)
        if cancel is None:
            return True
        try:
            return await self._asked(cancel, job_id) is not False
        except EngineError as error:
            self._say_once(f"it could not be stopped, tried again until it is: {error}", of=job_id)
            return False

    # ------------------------------------------------------------------ asking

    async def look_up(self, job_id: str) -> Sighting:
        """Where a task is; UNKNOWN where the engine does not answer, or not as a client should."""
        return await self._sighting(job_id, self._asked)

    async def _sighting(self, job_id: str, asked: Callable[..., Awaitable[Any]]) -> Sighting:
        try:
            seen = await asked(self.client.look_up, job_id)
        except EngineError as error:
            self._say_once(str(error), of=job_id)
            return UNKNOWN
        if isinstance(seen, Sighting):
            return seen
        self._say_once(f"{self.name}: look_up must return a Sighting, not {redact(repr(seen))}")
        return UNKNOWN

    async def answers(self, job_id: str) -> bool:
        """Whether it is within reach, as far as is known; where nothing is, it is asked for this task."""
        if self._answers:
            return True
        async with self._first.one:
            return self._answers or await self._sighting(job_id, self._answer) != UNKNOWN

    async def wait(self, job_id: str, on_seen: OnSeen, on_progress: OnProgress) -> Sighting:
        """Follow a task until it has come to rest, or is nowhere at two looks. "Waiting", "running" and "cannot say",
        also from a client that gives up waiting, keep it going."""
        pause, absent = self._first_pause, 0
        while True:
            seen = await self._looked(job_id, on_progress)
            on_seen(seen)
            absent = absent + 1 if seen.place is Place.ABSENT else 0
            if absent == 2 or seen.place in COME_TO_REST:
                return seen
            await asyncio.sleep(pause)
            pause = min(_SLOWER * pause, self._longest_pause)

    async def _looked(self, job_id: str, on_progress: OnProgress) -> Sighting:
        if self.is_polled:
            seen = await self.look_up(job_id)
            await self._tell_progress(job_id, seen, on_progress)
            return seen
        wait = self.client.wait_for_completion
        try:
            seen = await called(wait, job_id, **taken(wait, on_progress=on_progress))
        except Exception as error:  # it has given up, or its service was away
            self._say_once(f"{self.name}: {said_by(error)}", of=job_id)
            return await self.look_up(job_id)
        return seen if isinstance(seen, Sighting) else await self.look_up(job_id)

    async def _tell_progress(self, job_id: str, seen: Sighting, on_progress: OnProgress) -> None:
        ask = getattr(self.client, "progress", None)
        if ask is None or seen.place is not Place.RUNNING:
            return
        try:
            told = await self._asked(ask, job_id)
            if told is not None:
                on_progress(int(told[0]), int(told[1]))
        except (EngineError, TypeError, ValueError, IndexError) as error:  # only shown
            self._say_once(f"no progress: {said_by(error)}", of=job_id)

    @property
    def _first_pause(self) -> float:
        return float(getattr(self.client, "poll_seconds", _PAUSE_SECONDS))

    @property
    def _longest_pause(self) -> float:
        return max(self._first_pause, float(getattr(self.client, "longest_poll_seconds", 0.0)))

    async def download(self, file: ResultFile, target: Path) -> None:
        """Fetch a result into `target`. Raises FileUnavailableError where none would come, another EngineError, or
        OSError, where another try may bring it."""
        if not hasattr(self.client, "download"):
            if not file.url:
                raise FileUnavailableError(f"{self.name} names {file.path} without an address")
            return await fetch(file.url, file.path, target)
        try:
            await called(self.client.download, file, target)
        except (EngineError, OSError):
            raise
        except Exception as error:
            raise UnreachableError(f"{file.path}: {said_by(error)}") from error

    # ------------------------------------------------------------------ what only a ComfyUI has

    async def plugin_status(self) -> Mapping[str, Any] | None:
        """The plugin's status; None where there is none. Raises EngineError."""
        ask = getattr(self.client, "plugin_status", None)
        found: Mapping[str, Any] | None = None if ask is None else await self._asked(ask)
        return found

    async def is_away(self) -> bool:
        """Whether a ComfyUI that has answered is out of reach now: it may come back with what it had. Asks it."""
        if self._has_answered:
            try:
                await self.plugin_status()
            except EngineError:
                return True
        return False

    async def plugin_lately(self) -> Mapping[str, Any] | None:
        """The same as it was a moment ago, where many tasks ask. Raises EngineError."""
        async with self._asking_plugin.one:
            clock = asyncio.get_running_loop().time
            if clock() >= self._plugin_said[0]:
                found = await self.plugin_status()
                self._plugin_said = clock() + FRESH_SECONDS, found
            return self._plugin_said[1]

    async def plugin_task(self, prompt_id: str) -> Mapping[str, Any] | None:
        """The plugin's record of a prompt; None where there is none. Raises EngineError."""
        ask = getattr(self.client, "plugin_task", None)
        found: Mapping[str, Any] | None = None if ask is None else await self._asked(ask, prompt_id)
        return found

    async def prompts_in_queue(self) -> Mapping[str, Place] | None:
        """Which prompts wait or run, by prompt_id; None where the client cannot tell. Raises EngineError."""
        ask = getattr(self.client, "prompts_in_queue", None)
        found = None if ask is None else await self._asked(ask)
        return found if isinstance(found, Mapping) else None

    async def node_classes(self, prompt: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What the engine says of the node classes of a graph; None where it cannot."""
        ask = getattr(self.client, "node_classes", None)
        try:
            found: Mapping[str, Any] | None = None if ask is None else await called(ask, prompt)
        except Exception as error:
            self._say_once(f"{self.name}: {said_by(error)}")
            return None
        return found

    # ------------------------------------------------------------------ one that hangs

    async def _asked(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The answer; raises EngineError. Where one question is not answered in time, the others are not asked: an
        engine that hangs costs seconds once, not once per task."""
        if self._answers:
            return await self._answer(function, *arguments)
        async with self._first.one:
            return await self._answer(function, *arguments)

    async def _answer(self, function: Callable[..., Any], *arguments: Any) -> Any:
        clock = asyncio.get_running_loop().time
        if clock() < self._away_until:
            raise UnreachableError(f"{self.name} does not answer")
        asked = clock()
        try:
            answer = await within(ASK_SECONDS, called(function, *arguments))
        except Exception as error:
            self._was_silent(clock() - asked, nobody_listens=_never_connected(error))
            if isinstance(error, EngineError):
                raise
            raise UnreachableError(f"{self.name}: {said_by(error)} after {clock() - asked:.0f} s") from error
        if answer == UNKNOWN:
            self._was_silent(clock() - asked)
        else:
            self._answers = self._has_answered = True
            self._silence = 0.0
        return answer

    def _was_silent(self, seconds: float, *, nobody_listens: bool = False) -> None:
        """A client may have less patience than we have: what counts is how long it was not answered in all."""
        self.unanswered += 1
        self._silence += seconds
        hangs = self._silence >= ASK_SECONDS - _CLOCK_SECONDS
        if hangs or nobody_listens:
            self._answers, self._silence = False, 0.0
            self._away_until = asyncio.get_running_loop().time() + (HANGS_SECONDS if hangs else FRESH_SECONDS)

    def _say_once(self, text: str, of: str = "") -> None:
        """For all tasks: a service that is away is so for each of them."""
        if text not in self._said:
            self._said.add(text)
            log.warning("[wfrecovery] %s", f"{of}: {text}" if of else text)


def _never_connected(error: BaseException) -> bool:
    """Whether a request cannot have left: there was no connection, whichever library says so."""
    known = (ConnectionRefusedError, socket.gaierror, aiohttp.ClientConnectorError)
    return any(isinstance(one, known) or type(one).__name__ in _NEVER_CONNECTED for one in _behind(error))


def _broke_off(error: BaseException) -> bool:
    """Whether there was a connection, and who listened closed it without an answer: most likely it has gone down."""
    known = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, aiohttp.ServerDisconnectedError)
    told = any(isinstance(one, known) or type(one).__name__ in _BROKEN_OFF for one in _behind(error))
    return told and not _never_connected(error)


def _behind(error: BaseException) -> Iterator[BaseException]:
    """An error and what has led to it, as far as the libraries tell."""
    following: BaseException | None = error
    for _ in range(10):
        if following is None:
            return
        yield following
        reason = getattr(following, "reason", None)  # urllib3's MaxRetryError
        inner = reason if isinstance(reason, BaseException) else None
        first = following.args[0] if following.args and isinstance(following.args[0], BaseException) else None
        following = following.__cause__ or inner or first or following.__context__
