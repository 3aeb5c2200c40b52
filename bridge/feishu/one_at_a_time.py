"""One publisher at a time: of a table, and on this machine of a spreadsheet."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..settings import Settings
from ..table.files import FOLDER_NAME
from ..table.locks import held, process_lock
from ..table.manager import DatabaseManager

log = logging.getLogger("wfrecovery")


@contextlib.contextmanager
def publishing_alone(db: DatabaseManager, settings: Settings) -> Iterator[None]:
    """Keep other publishers out: of this table, and on this machine of this spreadsheet, whose table ever. Raises
    Timeout at once where one is at work, and OSError."""
    with contextlib.ExitStack() as locks:
        own = process_lock(db.output_dir / FOLDER_NAME / "publisher.lock", timeout=0)
        locks.enter_context(held(own, db.table.files.disk))
        token = settings.spreadsheet or settings.feishu_spreadsheet_token
        name = hashlib.sha256(f"{settings.feishu_domain} {token}".encode()).hexdigest()
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
        yield
