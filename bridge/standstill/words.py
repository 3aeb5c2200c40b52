"""What a standstill is called, in both languages: what stands, why, and what helps."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final

from ..feishu.group_bot import cut
from ..table.records import TaskRecord, parse_time
from ..table.values import OwnerKind
from ..wording import Wording
from .view import Blocked

#: With these a message stays under what Feishu takes in any script.
_MAX_LINES: Final = 5
_MAX_NAME: Final = 60
_MAX_REASON: Final = 400


@dataclass(frozen=True)
class Words:
    """What a person reads of it."""

    #: one sentence
    what: Wording
    #: a line each
    why: tuple[Wording, ...]
    advice: Wording

    @property
    def line(self) -> Wording:
        """In one line."""
        return self.what + " → " + self.advice

    def message(self, language: str) -> str:
        """For the group. Bounded, however much there is to tell."""
        head = Wording("wfrecovery: ", "wfrecovery：") + self.what
        lines = [f"• {line.text(language)}" for line in self.why[:_MAX_LINES]]
        return "\n".join([head.text(language), *lines, f"→ {self.advice.text(language)}"])


# ---------------------------------------------------------------------- whoever was at work on them is gone


@dataclass(frozen=True)
class Gone:
    """Somebody who does not work any more, and how many tasks wait for him."""

    name: Wording
    #: an `OwnerKind`
    kind: str
    tasks: int
    #: it may live, and does not answer
    silent: bool = False


def gone_words(gone: Sequence[Gone]) -> Words:
    """Programs that ended, or do not answer."""
    said = [_gone(one) for one in gone]
    kinds = dict.fromkeys(_ADVICE[one.kind in (OwnerKind.MAIN,), one.silent] for one in gone)
    advice, *more = kinds
    for other in more:
        advice = advice + Wording("; ", "；") + other
    return Words(said[0], tuple(said[1:]), advice)


#: By whether it is a main.py, and whether it may live.
_ADVICE: Final = {
    (False, True): Wording(
        "start it again, or see whether it hangs; then main.py goes on by itself",
        "请重新启动它，或检查它是否卡住；之后 main.py 会自动继续",
    ),
    (False, False): Wording(
        "start it again: it goes on by itself; or have another ComfyUI take over (wfrecovery recover --take-over)",
        "请重新启动它，它会自动继续；或由另一个 ComfyUI 接管（wfrecovery recover --take-over）",
    ),
    (True, False): Wording("start main.py again: it goes on with them", "请重新运行 main.py，它会接着处理"),
}


def _gone(one: Gone) -> Wording:
    tasks = "1 task waits" if one.tasks == 1 else f"{one.tasks} tasks wait"
    name = one.name.changed(lambda text: cut(text, 2 * _MAX_NAME))
    gap = Wording(" ", "" if name.zh.endswith("）") else " ")
    if one.silent:
        said = Wording(f"does not answer, and {tasks} for it", f"没有响应，{one.tasks} 个任务在等它")
    else:
        left = f"has ended, and {tasks} for it: nobody has taken over"
        said = Wording(left, f"已退出，{one.tasks} 个任务在等它，没有程序接手")
    return name + gap + said


# ---------------------------------------------------------------------- nothing moves


def still_words(since: float, waiting: int, running: Sequence[TaskRecord], pending: int, why: Wording | None) -> Words:
    """How the table looks in which nothing moves. `why`: what Feishu said last."""
    parts = (
        Wording(f"{waiting} waiting", f"{waiting} 个等待中"),
        Wording(f"{len(running)} running", f"{len(running)} 个运行中"),
        Wording(_results(pending, "to be written into the sheet"), f"{pending} 个结果待写入表格"),
    )
    counts = [part for part, number in zip(parts, (waiting, len(running), pending), strict=True) if number]
    en, zh = ", ".join(part.en for part in counts), "，".join(part.zh for part in counts)
    at = _time(since)
    what = Wording(f"nothing has moved since {at}: {en}", f"自 {at} 起没有任何进展：{zh}")
    reasons = () if why is None or not pending else (why.changed(lambda text: cut(text, _MAX_REASON)),)
    if running:
        return Words(what, (*map(_runs, running), *reasons), _SLOW)
    return Words(what, reasons, _WAITS if waiting else _FEISHU)


_SLOW: Final = Wording(
    "perhaps a step takes long and does not say how far it is. If it hangs (ComfyUI's page and log tell): start "
    "ComfyUI again, and it goes on by itself",
    "可能某一步本来就很久，且不报告进度。如果确实卡住（请看 ComfyUI 的页面和日志）：重新启动 ComfyUI，它会自动继续",
)
_WAITS: Final = Wording(
    "see whether ComfyUI works off its queue, and whether main.py runs",
    "请检查 ComfyUI 是否在处理队列，main.py 是否在运行",
)
_FEISHU: Final = Wording(
    "see the network and Feishu: results stay on disk, and are written as soon as Feishu takes them",
    "请检查网络和飞书：结果保存在磁盘上，飞书恢复后会自动写入",
)


def _runs(task: TaskRecord) -> Wording:
    name = cut(" · ".join(part for part in (task.product_name, task.model_name) if part), _MAX_NAME)
    if task.row_number is None:
        whose = Wording("a prompt without a row", "一个不属于任何行的 Prompt")
    else:
        whose = Wording(f"row {task.row_number} {name}".rstrip(), f"第 {task.row_number} 行 {name}".rstrip())
    at = _time(parse_time(task.started_at))
    return whose + Wording(f" runs since {at}", f" 自 {at} 起运行")


# ---------------------------------------------------------------------- results that need a person


def blocked_words(blocked: Iterable[Blocked], in_all: int) -> Words:
    """How many, and the commonest reasons."""
    firsts: dict[str, Blocked] = {}
    counted: Counter[str] = Counter()
    for one in blocked:
        firsts.setdefault(one.reason.en, one)
        counted[one.reason.en] += 1
    why = [_times(number) + firsts[text].reason for text, number in counted.most_common(_MAX_LINES)]
    what = Wording(
        f"{_results(in_all, 'not in the sheet')}: a person has to do something",
        f"{in_all} 个结果没有写入表格，需要人工处理",
    )
    advice = Wording(
        "mend that, then push again: Push all blocked in ComfyUI's tab Tasks, or wfrecovery push",
        "处理好后重新推送：在 ComfyUI 的“任务”面板里点“推送全部受阻结果”，或运行 wfrecovery push",
    )
    return Words(what, tuple(line.changed(lambda text: cut(text, _MAX_REASON)) for line in why), advice)


def _times(number: int) -> Wording:
    return Wording("", "") if number == 1 else Wording(f"{number} times: ", f"{number} 个：")


def _results(number: int, what: str) -> str:
    return f"1 result {what}" if number == 1 else f"{number} results {what}"


def _time(seconds: float) -> str:
    """The time of day; with its day where that is not today's."""
    then, now = (datetime.fromtimestamp(at, timezone.utc).astimezone() for at in (seconds, time.time()))
    return then.strftime("%H:%M" if then.date() == now.date() else "%m-%d %H:%M")
