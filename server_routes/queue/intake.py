"""Between `POST /prompt` and its answer: the prompt gets its id and its files the task's, and the record is awaited."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from ...bridge.table.limits import bounded_tag
from ...bridge.table.manager import DatabaseManager
from ...bridge.table.records import Stage, TaskError, TaskRecord, canonical_uuid, is_task_id
from ...bridge.table.values import OwnerKind
from .hooks import LENT_CLIENT
from .item import QueueItem
from .prompts import Prompts
from .row_tag import RowTag, row_tag_of
from .writing import Writer

log = logging.getLogger("wfrecovery")

#: So often at once a record is read; nothing waits here.
_READS: Final = 3
#: As ComfyUI says it where no output is valid.
_INVALID: Final = {
    "type": "prompt_outputs_failed_validation",
    "message": "Prompt outputs failed validation",
    "extra_info": {},
}


@dataclass(frozen=True)
class LeftOut:
    """Outputs of a prompt that ComfyUI does not run, and its ``node_errors``."""

    prompt: Any
    outputs: Sequence[str]
    node_errors: Any


@dataclass
class Post:
    """One request: ids claimed for it, and writes that its answer waits for. What its handler has started goes on in
    this context when it is answered, for days perhaps: nothing is kept for that."""

    claimed: set[str] = field(default_factory=set)
    writes: list[Future[Any]] = field(default_factory=list)
    answered: bool = False
    #: of what it queues again, the outputs without which that is refused; none: all of them
    whole: Collection[str] | None = None
    #: what was left out of the prompts that it queues
    left_out: list[LeftOut] = field(default_factory=list)


_post: contextvars.ContextVar[Post | None] = contextvars.ContextVar("wfrecovery_post", default=None)


def _handled() -> Post | None:
    """The request that is being handled."""
    post = _post.get()
    return None if post is None or post.answered else post


def awaited(write: Future[Any], task_id: str | None = None) -> None:
    """The answer to the request that is being handled waits for this write; an id that it claimed is used up."""
    post = _handled()
    if post is not None:
        post.claimed.discard(task_id or "")
        post.writes.append(write)


class Intake:
    """What happens to a prompt before ComfyUI validates it. On the event loop."""

    def __init__(
        self, db: DatabaseManager, writer: Writer, prompts: Prompts, record_others: Callable[[], bool]
    ) -> None:
        self._db, self._writer, self._prompts, self._record_others = db, writer, prompts, record_others

    @contextlib.contextmanager
    def post(self, whole: Collection[str] | None = None) -> Iterator[Post]:
        """One request: ids that it does not use up are given back. `whole`: see `Post`."""
        post = Post(whole=whole)
        token = _post.set(post)
        try:
            yield post
        finally:
            _post.reset(token)
            post.answered = True
            for task_id in tuple(post.claimed):  # a thread that it has started may just be claiming one
                self._writer.submit(self._release, task_id)

    def accepted(self, prompt: Any, verdict: tuple[Any, Any, Any, Any], left: Sequence[str]) -> Any:
        """ComfyUI calls a prompt valid, of which it leaves out some outputs. Who has sent it is told and has the rest;
        what we queue again was whole before: it is refused, as if no output were valid."""
        post = _handled()
        _, _, outputs, node_errors = verdict
        if post is not None and post.whole:
            left = [node for node in post.whole if node not in outputs]
        if post is None or not left:
            return verdict
        if post.whole is not None:
            return False, {**_INVALID, "details": f"left out: {', '.join(left)}"}, [], node_errors
        post.left_out.append(LeftOut(prompt, left, node_errors))
        return verdict

    def left_out(self, prompt: Any) -> LeftOut | None:
        """What ComfyUI has left out of a prompt that is put."""
        post = _handled()
        return next((one for one in post.left_out if one.prompt is prompt), None) if post is not None else None

    def has_task(self, task_id: str) -> bool:
        """Whether a prompt of this task waits or runs here."""
        return self._prompts.has_task(task_id)

    def records(self, tag: RowTag) -> bool:
        """Whether a prompt with this tag is recorded: a row always is, also where it could not be given an id yet."""
        return tag.row_number is not None or self._record_others()

    def on_prompt(self, json_data: Any) -> Any:
        """ComfyUI's own hook, before validation: gives the prompt its id, and its files the task's."""
        try:
            if isinstance(json_data, dict) and isinstance(json_data.get("prompt"), dict):
                self._prepare(json_data)
        except Exception as error:
            self._writer.report("a prompt was not prepared for recording", error)
        return json_data

    def _prepare(self, json_data: dict[str, Any]) -> None:
        extra_data = json_data.get("extra_data")
        if not isinstance(extra_data, dict):
            extra_data = json_data["extra_data"] = {}
        given = json_data.get("prompt_id")
        json_data["prompt_id"] = prompt_id = canonical_uuid(given) or str(uuid.uuid4())
        if given is not None and given != prompt_id:
            log.warning("[wfrecovery] a prompt_id is no canonical UUID; the prompt runs as %s", prompt_id)
        if json_data.get("client_id") is None and extra_data.get("client_id") is None:
            json_data.pop("client_id", None)
            extra_data["client_id"] = LENT_CLIENT
        self._tag(json_data["prompt"], extra_data, prompt_id)

    def prepare_item(self, item: QueueItem) -> None:
        """The same for an item that is about to be put: another plugin may have made it, past `POST /prompt`; and one
        with the id of a prompt that still waits or runs is a task of its own."""
        if not isinstance(item.extra_data, dict):
            return
        item.extra_data.setdefault("client_id", LENT_CLIENT)
        if item.task_id is None or self._prompts.has_task(item.task_id):
            self._tag(item.prompt, item.extra_data, item.prompt_id)

    def _tag(self, prompt: Mapping[str, Any], extra_data: dict[str, Any], prompt_id: str) -> None:
        """Have the files carry the task's id. A tag that a client made is no tag, whatever else goes wrong with it."""
        png_info = extra_data.get("extra_pnginfo")
        if not isinstance(png_info, dict):
            png_info = extra_data["extra_pnginfo"] = {}
        before = png_info.pop("wfrecovery", None)
        if "wfrecovery" in extra_data:
            extra_data["wfrecovery"] = bounded_tag(extra_data["wfrecovery"])
        tag = row_tag_of(prompt, extra_data)
        if not self.records(tag):
            return
        wanted = tag.task_id or (before.get("task_id") if isinstance(before, dict) else None)
        task_id, run = self._task_id(wanted, prompt_id, tag)
        png_info["wfrecovery"] = {"task_id": task_id, "prompt_id": prompt_id}
        if run > 1:  # files of one run are told from those that an earlier one has left
            png_info["wfrecovery"]["run"] = run

    def _task_id(self, given: object, prompt_id: str, tag: RowTag) -> tuple[str, int]:
        """The id that was sent along, where it is free or means this prompt already; else one of our own. And which run
        of the task this is."""
        wanted = given if isinstance(given, str) and is_task_id(given) else None
        if wanted is not None:
            with contextlib.suppress(TaskError):
                record = self._read(wanted)
                if record.comfyui_task_id == prompt_id and self._goes_on(record):
                    return wanted, record.runs + 1
                wanted = None
        post = _handled()
        task_id = self._db.table.claim_id(tag.workflow_type, wanted=wanted)
        if post is not None:
            post.claimed.add(task_id)
        return task_id, 1

    def _read(self, task_id: str) -> TaskRecord:
        """Its record. A network drive may lose an open file once. Raises OSError where it cannot be read at all: who
        records the prompt waits until it can."""
        for _ in range(_READS - 1):
            with contextlib.suppress(OSError):
                return self._db.table.get(task_id)
        return self._db.table.get(task_id)

    def _goes_on(self, record: TaskRecord) -> bool:
        """Whether a prompt with a task's id and prompt_id is that task's. The prompt of one that was cancelled is, and
        will not run: it must not come back under another id."""
        if self._prompts.has_task(record.task_id):
            return False
        owner = self._db.owners.other_at_work(record)
        elsewhere = owner is not None and owner.kind == OwnerKind.COMFYUI
        return not elsewhere and (not record.stage.final or record.stage is Stage.CANCELLED)

    def _release(self, task_id: str) -> None:
        try:
            self._db.table.release_id(task_id)
        except OSError as error:
            self._writer.report(f"the unused id {task_id} was not given back", error)
