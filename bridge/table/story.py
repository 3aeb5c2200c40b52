"""What happened to a task, in a few lines: kept in `metadata.story`, newest last.

The lines follow from what a change did to the record, so whoever changes it need not think of them, and they cost no
write of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from .records import FeishuState, Stage, TaskRecord

#: The first line and the newest ones are kept.
MAX_LINES: Final = 30
MAX_TEXT: Final = 300

#: How `error_message` names the node: "KSampler (node 5): …".
_NODE: Final = re.compile(r"(?s)(?P<node>[^\n:]{1,100} \(node [^\n)]{1,50}\)): (?P<text>.*)")

Line = dict[str, Any]


def with_story(before: TaskRecord | None, after: TaskRecord, at: str) -> TaskRecord:
    """`after` with lines for what is different from `before` (None: it is new)."""
    lines = [{"at": at, **line} for line in _lines(before, after)]
    if not lines:
        return after
    told = after.metadata.get("story")
    story = list(told) if isinstance(told, list) else []
    if story and _same(story[-1], lines[0]):  # blocked for the same reason at each start
        story.pop()
    story += lines
    if len(story) > MAX_LINES:
        story = [story[0], *story[1 - MAX_LINES :]]
    return after.with_metadata(story=story)


def _same(told: Any, line: Line) -> bool:
    return isinstance(told, dict) and {**told, "at": None} == {**line, "at": None}


def _lines(before: TaskRecord | None, after: TaskRecord) -> Iterator[Line]:
    yield from _stage_lines(before, after)
    if before is not None and after.stage.final and after.feishu_state is not before.feishu_state:
        yield from _delivery_lines(before, after)


def _stage_lines(before: TaskRecord | None, after: TaskRecord) -> Iterator[Line]:
    stage = after.stage
    queued_anew = before is not None and before.metadata.get("queue") not in (None, after.metadata.get("queue"))
    started = stage is Stage.RUNNING and after.attempts != (before.attempts if before is not None else 0)
    if before is not None and stage is before.stage and not (stage is Stage.QUEUED and queued_anew) and not started:
        return
    match stage:
        case Stage.CREATED:
            yield {"what": "entered"}
        case Stage.QUEUED:
            yield from _queued(before)
        case Stage.RUNNING:
            if before is None:
                yield {"what": "queued"}
            elif before.stage is not Stage.QUEUED or queued_anew:
                yield from _queued(before)
            yield {"what": "started", "attempt": after.attempts}
        case Stage.ASKING:
            yield {"what": "lost"}
        case Stage.FINISHED:
            yield {"what": "adopted" if after.metadata.get("adopted") else "finished"}
        case Stage.FAILED:
            yield {"what": "failed", **_error(after)}
        case Stage.CANCELLED:
            yield {"what": "cancelled", **_error(after)}


def _queued(before: TaskRecord | None) -> Iterator[Line]:
    """Queued for the first time, by a person's wish, or because ComfyUI had lost it."""
    if before is None or before.stage is Stage.CREATED:
        yield {"what": "queued"}
    elif before.stage.final or before.stage is Stage.ASKING:
        yield {"what": "retried"}
    else:
        yield {"what": "lost"}
        yield {"what": "queued_again"}


def _delivery_lines(before: TaskRecord, after: TaskRecord) -> Iterator[Line]:
    match after.feishu_state:
        case FeishuState.PUSHED:
            yield {"what": "pushed"}
        case FeishuState.BLOCKED:
            yield {
                "what": "blocked",
                **_text(after.feishu.get("last_error")),
                **_text(after.feishu.get("last_error_zh"), "text_zh"),
            }
        case FeishuState.PENDING if before.stage.final and before.feishu_state is FeishuState.PUSHED:
            yield {"what": "push_again"}


def _error(task: TaskRecord) -> Line:
    match, chinese = (_NODE.match(text or "") for text in (task.error_message, task.error_message_zh))
    own = _text(chinese["text"] if chinese else task.error_message_zh, "text_zh")
    return {"node": match["node"], **_text(match["text"]), **own} if match else {**_text(task.error_message), **own}


def _text(text: object, name: str = "text") -> Line:
    if not isinstance(text, str) or not text:
        return {}
    return {name: text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"}
