"""What the status says of a disk that takes nothing."""

from __future__ import annotations

import errno
import os

import pytest

from wfrecovery.server_routes.page.status import why_not_written


@pytest.mark.parametrize(
    ("number", "english", "chinese"),
    [
        (errno.ENOSPC, "the disk is full", "磁盘已满"),
        (errno.EROFS, "the disk can only be read", "磁盘是只读的"),
        (errno.EACCES, "ComfyUI may not write there", "ComfyUI 没有写入权限"),
    ],
)
def test_a_refusal_of_the_system_is_said_in_plain_words(number: int, english: str, chinese: str) -> None:
    said = why_not_written(str(OSError(number, os.strerror(number), "/out/wfrecovery/active/x.json.tmp")))
    assert (said.en, said.zh) == (english, chinese)


def test_a_held_table_and_what_has_no_plain_words() -> None:
    assert why_not_written("/out/wfrecovery/table.lock has been held for 10 s").zh == "另一个程序占用着任务表"
    assert (
        why_not_written(str(OSError(errno.ENOTCONN, "not connected"))).en == f"[Errno {errno.ENOTCONN}] not connected"
    )
