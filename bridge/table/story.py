"""What happened to a task, in a few lines: kept in `metadata.story`, newest last.

The lines follow from what a change did to the record, so whoever changes it need not think of them, and they cost no
write of their own.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Final

from .records import Stage, TaskRecord
from .values import FeishuState, QueuePlace, StoryLine

#: The first line and the newest ones are kept.
MAX_LINES: Final = 30
MAX_TEXT: Final = 300

#: How `error_message` names the node: "KSampler (node 5): …".
_NODE: Final = re.compile(r"(?s)(?P<node>[^\n:]{1,100} \(node [^\n)]{1,50}\)): (?P<text>.*)")


def with_story(before: TaskRecord | None, after: TaskRecord, at: str) -> TaskRecord:
    """`after` with lines for what is different from `before` (None: it is new)."""
    lines = [dataclasses.replace(line, at=at) for line in _lines(before, after)]
    if not lines:
        return after
    story = list(after.story)
    if story and story[-1].same_as(lines[0]):  # blocked for the same reason at each start
        story.pop()
    story += lines
    if len(story) > MAX_LINES:
        story = [story[0], *story[1 - MAX_LINES :]]
    return dataclasses.replace(after, story=tuple(story))


def _line(what: str, **more: int | str | None) -> StoryLine:
    return StoryLine("", what, **more)  # type: ignore[arg-type]


def _lines(before: TaskRecord | None, after: TaskRecord) -> Iterator[StoryLine]:
    named = _given(before, after)
    if named is not None:
        yield _line("given", text=_cut(named))
    else:
        yield from _stage_lines(before, after)
    if before is not None and after.stage.final and after.feishu_state is not before.feishu_state:
        yield from _delivery_lines(before, after)


def _given(before: TaskRecord | None, after: TaskRecord) -> str | None:
    """The file that a person has just named as the result."""
    if after.stage is not Stage.FINISHED or (before is not None and after.results == before.results):
        return None
    return next((result.path for result in after.results if result.given), None)


def _stage_lines(before: TaskRecord | None, after: TaskRecord) -> Iterator[StoryLine]:
    stage = after.stage
    queued_anew = before is not None and _place(after) not in (None, _place(before))
    started = stage is Stage.RUNNING and after.attempts > (before.attempts if before is not None else 0)
    if before is not None and stage is before.stage and not (stage is Stage.QUEUED and queued_anew) and not started:
        return
    match stage:
        case Stage.CREATED:
            yield _line("entered")
        case Stage.QUEUED:
            yield from _queued(before)
        case Stage.RUNNING:
            if before is None:
                yield _line("queued")
            elif before.stage is not Stage.QUEUED or (queued_anew and before.queue is not None):
                yield from _queued(before)
            yield _line("started", attempt=after.attempts)
        case Stage.ASKING:
            yield _line("lost")
        case Stage.FINISHED:
            yield _line("adopted" if after.adopted else "finished", text=_chosen(after))
        case Stage.FAILED:
            yield _error("failed", after)
        case Stage.CANCELLED:
            yield _error("cancelled", after)


def _place(task: TaskRecord) -> QueuePlace | None:
    """Where it stands in the queue, whether or not it has begun there."""
    return None if task.queue is None else dataclasses.replace(task.queue, started_by=None)


def _queued(before: TaskRecord | None) -> Iterator[StoryLine]:
    """Queued for the first time, by a person's wish, or because ComfyUI had lost it."""
    if before is None or before.stage is Stage.CREATED:
        yield _line("queued")
    elif before.stage.final or before.stage is Stage.ASKING:
        yield _line("retried")
    elif before.queue is None and before.story and before.story[-1].what == "retried":
        return  # this is where it comes to stand by that wish
    else:
        yield _line("lost")
        yield _line("queued_again")


def _delivery_lines(before: TaskRecord, after: TaskRecord) -> Iterator[StoryLine]:
    match after.feishu_state:
        case FeishuState.PUSHED:
            yield _pushed(after)
        case FeishuState.BLOCKED:
            yield _line("blocked", text=_cut(after.outbox.last_error), text_zh=_cut(after.outbox.last_error_zh))
        case FeishuState.PENDING if before.stage.final and before.feishu_state is FeishuState.PUSHED:
            yield _line("push_again")


def _pushed(task: TaskRecord) -> StoryLine:
    """By whom, where another table was before us."""
    by = task.outbox.by
    if by is None or by != task.publisher:
        return _line("pushed")
    return _line("pushed", text=f"it stood there: table {by[:8]} has delivered it", text_zh=f"已由任务表 {by[:8]} 写入")


def _chosen(task: TaskRecord) -> str | None:
    """Of several files the one that is delivered."""
    return _cut(task.outbox.file) if len(task.results) > 1 else None


def _error(what: str, task: TaskRecord) -> StoryLine:
    match, chinese = (_NODE.match(text or "") for text in (task.error_message, task.error_message_zh))
    own = _cut(chinese["text"] if chinese else task.error_message_zh)
    if match:
        return _line(what, node=match["node"], text=_cut(match["text"]), text_zh=own)
    return _line(what, text=_cut(task.error_message), text_zh=own)


def _cut(text: str | None) -> str | None:
    if not text:
        return None
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
