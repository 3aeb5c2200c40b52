"""What `doctor` finds: one Check per question, and the Report of them all, in both languages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..redact import HIDDEN
from ..wording import Wording, width, wording_of

NOTHING: Final = Wording("", "")
_SIGNS: Final = {True: "✓", False: "✗", None: "–"}


@dataclass(frozen=True)
class Check:
    """One question and its answer. `ok` is None where it could not be asked; `detail` then says why."""

    id: str
    ok: bool | None
    title: Wording
    detail: Wording = NOTHING
    #: what to click or set; empty where nothing is to be done
    advice: Wording = NOTHING


@dataclass(frozen=True)
class Report:
    """All checks, in the order in which one mends things."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found that needs mending."""
        return all(check.ok is not False for check in self.checks)

    def to_json(self, language: str) -> dict[str, Any]:
        """For scripts and the page."""
        checks = [
            {
                "id": check.id,
                "ok": check.ok,
                "title": check.title.text(language),
                "detail": check.detail.text(language),
                "advice": check.advice.text(language),
            }
            for check in self.checks
        ]
        return {"ok": self.ok, "checks": checks}

    def text(self, language: str) -> str:
        """For a person at a terminal."""
        widest = max((width(check.title.text(language)) for check in self.checks), default=0)
        lines = []
        for check in self.checks:
            title = check.title.text(language)
            lines.append(
                f"{_SIGNS[check.ok]} {title}{' ' * (widest - width(title))}  {check.detail.text(language)}".rstrip()
            )
            if check.advice:
                lines.append(f"    → {check.advice.text(language)}")
        return "\n".join((*lines, "", self._summary().text(language)))

    def _summary(self) -> Wording:
        wrong = sum(check.ok is False for check in self.checks)
        if wrong:
            return Wording(f"{wrong} to mend (✗)", f"有 {wrong} 项需要处理（✗）")
        return Wording("All is well.", "一切正常。")


@dataclass
class Findings:
    """Checks as they are made; each appears once, in the order of `titles`, and without `secrets`."""

    titles: Mapping[str, Wording]
    secrets: Iterable[str] = ()
    #: told after each check how many are made, of how many
    on_progress: Callable[[int, int], None] | None = None
    _found: dict[str, Check] = field(default_factory=dict)

    def well(self, name: str, detail: Wording | str = NOTHING, advice: Wording = NOTHING) -> None:
        """It is as it should be; `advice` then is no more than a hint."""
        self._add(name, True, detail, advice)

    def wrong(self, name: str, detail: Wording | str, advice: Wording, *, blocks: Iterable[str] = ()) -> None:
        """It has to be mended; what is in `blocks` cannot be checked before."""
        self._add(name, False, detail, advice)
        for blocked in blocks:
            if blocked in self.titles and blocked not in self._found:
                self.because_of(name, blocked)

    def because_of(self, wrong: str, name: str) -> None:
        """`name` cannot be checked before `wrong` is mended."""
        title = self.titles[wrong]
        self.unknown(name, Wording(f"not checked, because of ✗ {title.en}", f"未检查，因为 ✗ {title.zh}"))

    def unknown(self, name: str, why: Wording, advice: Wording = NOTHING) -> None:
        """It cannot be told, and `why`."""
        self._add(name, None, why, advice)

    def answer(self, name: str) -> bool | None:
        """Whether a check was found well or wrong; None before it is made."""
        return self._found[name].ok if name in self._found else None

    def checks(self) -> tuple[Check, ...]:
        """What was found, in the order of the titles."""
        return tuple(self._found[name] for name in self.titles if name in self._found)

    def _add(self, name: str, ok: bool | None, detail: Wording | str, advice: Wording) -> None:
        texts = (wording_of(text).changed(self._clean) for text in (detail, advice))
        self._found[name] = Check(name, ok, self.titles[name], *texts)
        if self.on_progress is not None:
            self.on_progress(len(self._found), len(self.titles))

    def _clean(self, text: str) -> str:
        for secret in sorted(self.secrets, key=len, reverse=True):  # one may be a part of another
            text = text.replace(secret, HIDDEN) if len(secret) >= 4 else text
        return " ".join(text.split())


def after(name: str, titles: Iterable[str]) -> list[str]:
    """The checks of a section that come after one of them."""
    names = list(titles)
    return names[names.index(name) + 1 :]
