"""What stands in a record besides its plain fields, as small frozen values: place in the queue, results, outbox, story.

Their JSON is read and written by `record_json.py` and by nobody else. `rest` holds what a newer program has written
there: it survives our writes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from ..wording import Wording
from .disk import FileStamp

#: What a newer program has written.
Rest = Mapping[str, Any]


class Kind(str, Enum):
    """What a file holds, judged by its content."""

    PICTURE = "picture"
    VIDEO = "video"
    AUDIO = "audio"
    OTHER = "other"


@dataclass(frozen=True)
class Result:
    """One result file. It is known by its content: the name may be another file's by now."""

    #: relative to the output folder, with "/"
    path: str
    #: None where an older version recorded no more than the name
    kind: Kind | None = None
    #: the node of the graph that wrote it, where that is known
    node: str | None = None
    #: bytes
    size: int | None = None
    #: of the content, in hex; None until it is read
    sha256: str | None = None
    #: the file as it was when the task ended
    stamp: FileStamp | None = None
    #: a person has named the file: nothing else tells whose it is
    given: bool = False
    rest: Rest = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class QueuePlace:
    """Where a prompt stood in ComfyUI's queue."""

    #: which start of ComfyUI
    boot: str = ""
    #: lower runs first; None where a client sent what is no number
    number: float | None = None
    queued_at: str | None = None
    #: boot and number with which a ComfyUI has lost it at first, where it was queued again because of that
    lost_boot: str = ""
    lost_number: float | None = None
    #: other prompt_ids under which the task went on, when a node queued its own prompt again
    parts: tuple[str, ...] = ()
    #: the owner, by its token, in which it began; None again when it is settled whether that start counts
    started_by: str | None = None
    rest: Rest = field(default_factory=dict, repr=False)

    @property
    def turn(self) -> tuple[str, float | None]:
        """Boot and number by which its turn comes: what was lost together may not all be queued again yet."""
        return (self.lost_boot, self.lost_number) if self.lost_boot else (self.boot, self.number)


#: Among the nodes of a prompt, all those that are not in its graph: others have made them, and may make more. A loop
#: makes thousands, with names that grow from turn to turn.
MADE_BY_NODES: Final = "made by nodes"


@dataclass(frozen=True)
class NodeReport:
    """What ComfyUI has said of one output node of a prompt that had not ended yet."""

    #: files that it named for the node
    results: tuple[Result, ...] = ()
    #: the node has ended: it writes nothing more
    done: bool = False
    #: how many more it named than a record holds: what is listed is not all
    unlisted: int = 0
    rest: Rest = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class StoryLine:
    """One thing that happened to a task."""

    at: str = ""
    what: str = ""
    attempt: int | None = None
    node: str | None = None
    text: str | None = None
    text_zh: str | None = None
    rest: Rest = field(default_factory=dict, repr=False)

    def same_as(self, other: StoryLine) -> bool:
        """The same again, at another time."""
        return dataclasses.replace(self, at=other.at) == other


class OwnerKind(str, Enum):
    """What kind of process is at work on a task."""

    #: a ComfyUI with the plugin in it
    COMFYUI = "comfyui"
    #: a `main.py`, or the command line
    MAIN = "main"
    #: a host of many
    FLEET = "fleet"


@dataclass(frozen=True)
class Owner:
    """The process that is at work on a task now. What else is known of it stands in its own file, see `owners.py`."""

    #: an `OwnerKind`, or what a newer program calls itself
    kind: str
    #: a random token of this start of the process: a pid identifies nobody
    boot: str
    rest: Rest = field(default_factory=dict, repr=False, compare=False)


class FeishuState(str, Enum):
    """Whether a result still has to reach the sheet."""

    PENDING = "pending"
    PUSHED = "pushed"
    #: needs a person: the reason is in `last_error`
    BLOCKED = "blocked"
    #: nothing to push: no row, or cancelled
    OFF = "off"


@dataclass(frozen=True)
class Sent:
    """A picture that has left for a cell, noted before it does, so that it is found again when no answer comes."""

    cell: str
    #: token of the picture that the task's row showed before
    before: str | None = None
    #: of the bytes that were sent, in hex; an earlier version noted none
    sha256: str = ""
    #: when Feishu said that it is there
    answered_at: str = ""
    #: token by which it stands in another row, whose own picture a person has to put back
    astray: str = ""
    rest: Rest = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Outbox:
    """What has to reach the sheet, and how far that is."""

    state: FeishuState = FeishuState.OFF
    #: tries so far
    attempts: int = 0
    last_error: str | None = None
    last_error_zh: str | None = None
    pushed_at: str | None = None
    #: not before; `wait_until`: because the server asked for it, and then for the whole outbox
    next_try_at: str | None = None
    wait_until: str | None = None
    #: how often this very task was refused, which puts it behind the others
    refused: int = 0
    #: what the status cell showed before we first wrote it
    status_before: str | None = None
    writing: Sent | None = None
    #: how often the picture has left for the sheet
    sends: int = 0
    #: what has ever left for its row: pictures by their bytes or what they show, in hex, links of films by address
    sent: tuple[str, ...] = ()
    #: how often its status was written and did not show
    status_sends: int = 0
    #: its status went into cells of other rows, named in `last_error`: nobody but a person can put that right
    spoiled: bool = False
    #: of several results the one that is delivered, by its path
    file: str | None = None
    #: how far a video's upload is; its meaning is `feishu/drive_progress`'s
    upload: Mapping[str, Any] | None = None
    #: the other table, by its id, that delivers it; while it waits in this outbox: that was to, and perhaps has
    by: str | None = None
    #: when a person wanted it pushed again: then it is written, whatever stands there, unless that was refused for good
    asked_at: str | None = None
    #: a person has named its row by the number: of rows that look the same it is that one
    row_named: bool = False
    #: the newer result of the same row
    superseded_by: str | None = None
    #: which of two results is newer: the higher one, whatever the clock says; 0 until the table has numbered it,
    #: None where an older program has finished it
    order: int | None = None
    rest: Rest = field(default_factory=dict, repr=False)

    @property
    def declined(self) -> bool:
        """Whether it is left to another table."""
        return self.state is FeishuState.OFF and self.by is not None and self.superseded_by is None

    @property
    def reason(self) -> Wording | None:
        """Why the last try failed, in both languages where it has them."""
        return Wording(self.last_error, self.last_error_zh or self.last_error) if self.last_error else None
