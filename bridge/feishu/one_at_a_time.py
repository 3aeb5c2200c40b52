"""One publisher at a time: of a table, and on this machine of a spreadsheet."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..settings import Settings
from ..table.files import FOLDER_NAME
from ..table.locks import held, process_lock
from ..table.manager import DatabaseManager

log = logging.getLogger("wfrecovery")


@contextlib.contextmanager
def publishing_alone(db: DatabaseManager, settings: Settings) -> Iterator[Callable[[], None]]:
    """Keep other publishers out: of this table, and on this machine of this spreadsheet, whose table ever. Raises
    Timeout at once where one is at work, and OSError. To be called before the first write: a reading may have told by
    now which spreadsheet an address means, and others know it by that; raises the same."""
    with contextlib.ExitStack() as locks:
        own = process_lock(db.output_dir / FOLDER_NAME / "publisher.lock", timeout=0)
        locks.enter_context(held(own, db.table.files.disk))
        kept: set[str] = set()

        def keep() -> None:
            token = settings.spreadsheet or settings.feishu_spreadsheet_token
            if token not in kept:
                _lock(locks, settings.feishu_domain, token)
                kept.add(token)

        keep()
        yield keep


def _lock(locks: contextlib.ExitStack, domain: str, token: str) -> None:
    name = hashlib.sha256(f"{domain} {token}".encode()).hexdigest()
    path = Path(tempfile.gettempdir()) / f"wfrecovery-{name[:16]}.lock"
    try:
        locks.enter_context(FileLock(path, timeout=0, mode=0o666, fallback_to_soft=False))
    except Timeout:
        raise
    except OSError as error:
        log.warning(
            "[wfrecovery] %s cannot be locked (another user's?), so others' writes are not waited for: %s",
            path,
            error,
        )
