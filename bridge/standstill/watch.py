"""Whether a batch stands still: what stands, since when, and what of that is over. By looks, a few seconds apart.

    gone       whoever was at work on tasks does not live any more, and nobody has taken them over
    still      nothing has moved for minutes: no task, no progress, no result, although there is work
    blocked    results need a person while the batch goes on

Only what was looked at counts: a computer that was asleep, or a clock that was set, makes nothing stand.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Final

from ..redact import redact
from ..settings import Settings
from ..table.index import TaskEntry
from ..table.manager import DatabaseManager
from ..table.owner_list import owners_of
from ..table.publishers import OTHER_DOCUMENT
from ..table.records import Stage, now_text, parse_time
from ..table.values import OwnerKind
from ..wording import Wording
from .note import Note, Told
from .view import View, Viewer
from .words import Gone, Words, blocked_words, gone_words, still_words

LOOK_SECONDS: Final = 5.0
#: What a pause between two looks counts for at most.
_MOST_PER_LOOK: Final = 3 * LOOK_SECONDS
#: A ComfyUI that is started again needs a minute or two until it takes up its tasks.
GONE_SECONDS = 120.0
#: What is blocked comes in numbers; and when nothing else is left, the summary of the batch tells of it.
BLOCKED_SECONDS = 60.0
MINUTE = 60.0
#: Seconds between two signs of progress for other programs.
MOVED_SECONDS = 30.0
_USER: Final = re.compile(r"//[^/]*@")


class Kind(str, Enum):
    """Why a batch stands still; the worst first."""

    GONE = "gone"
    STILL = "still"
    BLOCKED = "blocked"


@dataclass(frozen=True)
class Engine:
    """Who renders for this process, and whether it answers."""

    name: str
    answers: bool

    @classmethod
    def of(cls, client: object, *, answers: bool) -> Engine:
        """By the name that its client gives it, without what an address may say of a user."""
        name = str(getattr(client, "engine", None) or type(client).__name__)
        return cls(_USER.sub("//", redact(name)), answers)


@dataclass(frozen=True)
class Standstill:
    """One thing because of which a batch stands."""

    kind: Kind
    #: seconds since the epoch
    since: float
    words: Words
    #: what it is known by, for whoever is told of it
    keys: Mapping[str, Told]

    def to_json(self) -> dict[str, Any]:
        """As the status tells it."""
        line = self.words.line
        return {"kind": self.kind.value, "since": _text(self.since), "text": line.en, "text_zh": line.zh}


@dataclass
class _Case:
    """What may come to be a standstill."""

    patience: float
    tasks: list[str] = field(default_factory=list)
    owners: set[str] = field(default_factory=set)


class StandstillWatch:
    """Looks at one table, one thread at a time; `progressed` and what it has found are for any thread.

    `settings` are asked at each look.
    """

    def __init__(
        self,
        db: DatabaseManager,
        settings: Callable[[], Settings],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._db, self._settings, self._clock, self._wall = db, settings, clock, wall
        self.note = Note(db.table)
        self._viewer = Viewer(db, self.note)
        self._looked: float | None = None
        #: for how many seconds each thing has been so
        self._silent: dict[str, float] = {}
        self._progress, self._shown = False, float("-inf")
        self._view = View()
        self._engine: Engine | None = None
        self._unanswered = 0.0
        #: what stands, the worst first
        self.standing: tuple[Standstill, ...] = ()

    def progressed(self) -> None:
        """What renders here has come on: it takes long, and does not stand."""
        self._progress = True

    def look(self, engine: Engine | None = None) -> None:
        """Look once. Raises OSError where the table cannot be read."""
        now = self._clock()
        step = 0.0 if self._looked is None else min(max(now - self._looked, 0.0), _MOST_PER_LOOK)
        self._looked = now
        if self._progress:
            self._show_progress(now)
        self._unanswered = 0.0 if engine is None or engine.answers else self._unanswered + step
        self._view, self._engine = self._without_others(self._viewer.look()), engine
        told = self.note.read()
        cases = self._cases(self._view, told)
        self._silent = {key: self._silent[key] + step if key in self._silent else 0.0 for key in cases}
        stands = {key: case for key, case in cases.items() if key in told or self._silent[key] >= case.patience}
        self.standing = tuple(self._standing(stands, told))

    @property
    def engine_gone(self) -> bool:
        """Who renders for this process has not answered for long, whether or not anything waits for that."""
        return self._unanswered >= GONE_SECONDS

    def shown(self) -> dict[str, Any] | None:
        """The worst of what stands, as a status shows it."""
        return next((standstill.to_json() for standstill in self.standing), None)

    def over(self, told: Mapping[str, Told]) -> set[str]:
        """What the group was told of, and does not stand any more, as far as the last look can tell."""
        return {key for key, what in told.items() if self._is_over(key, what)}

    def _show_progress(self, now: float) -> None:
        self._silent = {key: silent for key, silent in self._silent.items() if not key.startswith("still:")}
        if now - self._shown >= MOVED_SECONDS:
            self._progress, self._shown = False, now
            with contextlib.suppress(OSError):  # then only this process knows
                self.note.moved()

    def _without_others(self, view: View) -> View:
        """Without results that wait for a program that is set to another document: no batch here stands for them."""
        return replace(view, pending=tuple(entry for entry in view.pending if not self._is_for_others(entry)))

    def _is_for_others(self, entry: TaskEntry) -> bool:
        if entry.document in (None, self._settings().document):
            return False
        record = self._db.table.look(entry.task_id)
        return record is not None and record.outbox.last_error == OTHER_DOCUMENT.en

    # ------------------------------------------------------------------ what may stand

    def _cases(self, view: View, told: Mapping[str, Told]) -> dict[str, _Case]:
        settings, cases = self._settings(), dict[str, _Case]()
        elsewhere = {boot for key, what in told.items() if key.startswith("engine:") for boot in what.owners}
        work = [entry.task_id for entry in view.pending] if settings.feishu_configured else []
        for entry in view.open:
            boot = entry.owner.boot if entry.owner is not None else ""
            key = self._gone(entry, view)
            if key is not None:
                case = cases.setdefault(key, _Case(GONE_SECONDS))
                case.tasks.append(entry.task_id)
                case.owners.add(boot)
            elif boot not in elsewhere:
                work.append(entry.task_id)
        if work and settings.standstill_minutes:
            cases[f"still:{view.digest}"] = _Case(settings.standstill_minutes * MINUTE, work)
        if view.open or view.pending:
            for blocked in view.blocked:
                cases.setdefault(f"blocked:{blocked.key}", _Case(BLOCKED_SECONDS)).tasks.append(blocked.task_id)
        return cases

    def _gone(self, entry: TaskEntry, view: View) -> str | None:
        """By what it is known that nobody is at work on a task; None where somebody is, or may be."""
        owner, engine = entry.owner, self._engine
        dead = owner is not None and owner.boot in view.dead
        if engine is not None and not engine.answers:
            ours = self._db.owners.is_me(owner)
            lost = dead and owner is not None and owner.kind == OwnerKind.COMFYUI
            if ours or lost or (owner is None and entry.stage is not Stage.CREATED):
                return f"engine:{engine.name}"
        return f"gone:{owner.boot}" if dead and owner is not None else None

    def _is_over(self, key: str, told: Told) -> bool:
        view, engine = self._view, self._engine
        kind, _, what = key.partition(":")
        match kind:
            case "engine":  # only who is rendered for knows
                return engine is not None and engine.name == what and engine.answers
            case "gone":
                return not any(entry.owner is not None and entry.owner.boot == what for entry in view.open)
            case "still":
                return what != view.digest
            case "blocked":
                return view.unsettled.isdisjoint(told.tasks)
        return True

    # ------------------------------------------------------------------ what stands

    def _standing(self, stands: Mapping[str, _Case], told: Mapping[str, Told]) -> Iterable[Standstill]:
        found = {kind: {key: stands[key] for key in stands if _KINDS[key.split(":")[0]] is kind} for kind in Kind}
        for kind, cases in found.items():
            if cases:
                since = min(self._since(key, told) for key in cases)
                words = self._words(kind, cases, since)
                keys = {
                    key: Told("", _text(since), tuple(case.tasks), tuple(case.owners)) for key, case in cases.items()
                }
                yield Standstill(kind, since, words, keys)

    def _since(self, key: str, told: Mapping[str, Told]) -> float:
        known = parse_time(told[key].since) if key in told else 0.0
        return known or self._wall() - self._silent[key]

    def _words(self, kind: Kind, cases: Mapping[str, _Case], since: float) -> Words:
        view = self._view
        match kind:
            case Kind.GONE:
                return gone_words(self._all_gone(cases))
            case Kind.STILL:
                waiting = sum(entry.stage is not Stage.RUNNING for entry in view.open)
                pending = len(view.pending) if self._settings().feishu_configured else 0
                return still_words(since, waiting, view.running, pending, self._last_reason())
            case Kind.BLOCKED:
                return blocked_words(view.blocked, view.blocked_in_all)

    def _all_gone(self, cases: Mapping[str, _Case]) -> list[Gone]:
        known = {owner.boot: owner for owner in owners_of(self._db.index, self._db.owners)}
        gone = []
        for key, case in cases.items():
            what, _, which = key.partition(":")
            if what == "engine":
                gone.append(Gone(_engine_name(which), OwnerKind.COMFYUI, len(case.tasks), silent=True))
            else:
                owner = known.get(which)
                name = owner.name if owner is not None else self._db.owners.name_of(self._view.dead[which])
                gone.append(Gone(name, self._view.dead[which].kind, len(case.tasks)))
        return gone

    def _last_reason(self) -> Wording | None:
        """What Feishu said of the result that waits the longest."""
        record = self._db.table.look(self._view.pending[-1].task_id) if self._view.pending else None
        return None if record is None else record.outbox.reason


_KINDS: Final = {"engine": Kind.GONE, "gone": Kind.GONE, "still": Kind.STILL, "blocked": Kind.BLOCKED}


def _engine_name(engine: str) -> Wording:
    kind, _, address = engine.partition(":")
    if kind == OwnerKind.COMFYUI and address:
        return Wording(f"ComfyUI at {address}", f"ComfyUI（{address}）")
    return Wording(engine, engine)


def _text(seconds: float) -> str:
    return now_text(datetime.fromtimestamp(seconds, timezone.utc))
