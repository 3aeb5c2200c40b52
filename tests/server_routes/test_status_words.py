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
        (errno.EACCES, "ComfyUI has no permission there", "ComfyUI 没有权限"),
    ],
)
def test_a_refusal_of_the_system_is_said_in_plain_words(number: int, english: str, chinese: str) -> None:
    said = why_not_written(str(OSError(number, os.strerror(number), "/out/wfrecovery/active/x.json.tmp")))
    assert (said.en, said.zh) == (english, chinese)


def test_a_held_table_and_what_has_no_plain_words() -> None:
    assert why_not_written("/out/wfrecovery/table.lock has been held for 10 s").zh == "另一个程序占用着任务表"
    assert why_not_written(str(OSError(errno.ENOTCONN, "not connected"))).en == "not connected"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("[Errno 40] Too many levels of symbolic links: '/out/wfrecovery/active'", "Too many levels of symbolic links"),
        ("[WinError 5] Access is denied: 'C:\\\\out\\\\wfrecovery'", "Access is denied"),
        ("[WinError 28] Not the disk: 'C:\\\\out' -> 'D:\\\\out'", "Not the disk"),
        ("[Errno 107] not: connected", "not: connected"),
    ],
)
def test_another_refusal_of_the_system_is_told_in_its_words_without_the_file(error: str, said: str) -> None:
    assert (why_not_written(error).en, why_not_written(error).zh) == (said, said)
