"""One run of a program after the other, each in a fork of a process that has its libraries: a start costs nothing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def serve(run: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Until its input ends: each line is an order in JSON, each answer a line that says how the run has ended."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                answer = {"ended": True, **run(json.loads(line))}
            except BaseException as error:
                answer = {"ended": False, "error": repr(error)}
            print(json.dumps(answer), flush=True)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            print(json.dumps({"ended": False, "killed": os.WTERMSIG(status)}), flush=True)
