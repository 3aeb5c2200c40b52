"""A `main.py` with a cloud as its engine, killed at each of its awaits: a process that forks one run after the other.

Reads lines of JSON (`url`, `key`, `output`, `rows`, `kill`): each is one run in a fork, which SIGKILLs itself at the
`kill`th step of its event loop. Answers with a line: how the run ended, and after how many steps.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from cloud_support import WORKFLOW, row
from forked_runs import serve

from wfrecovery import bridge


class KilledLoop(asyncio.SelectorEventLoop):
    """Every await ends a step: what one did before it is on disk or on the wire, what comes after is not."""

    def __init__(self, kill: int) -> None:
        super().__init__()
        self._kill, self.steps = kill, 0

    def _run_once(self) -> None:
        self.steps += 1
        if self.steps == self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._run_once()  # type: ignore[misc]


async def batch(order: dict[str, Any]) -> None:
    """Recover, then render the rows that no task is at work on."""
    db = bridge.DatabaseManager(order["output"])
    cloud = bridge.RunningHubClient(order["key"], base_url=order["url"], poll_seconds=0.01)
    recovery = bridge.TaskRecoveryManager(db, cloud, settings=bridge.load_settings(environ={}))
    await recovery.check_and_recover_tasks()

    async def process_row(number: int) -> None:
        task_id = db.add_workflow_task(row(number), "图片合成")
        info = {"nodeId": "6", "fieldName": "text", "fieldValue": f"row {number} {order['mark']}"}
        await recovery.submit(task_id, {"workflowId": WORKFLOW, "nodeInfoList": [info]})
        await recovery.finish(task_id)

    rows = [bridge.RowData(**row(number)) for number in order["rows"]]
    await asyncio.gather(*[process_row(found.row_number) for found in recovery.rows_to_do(rows, "图片合成")])
    await recovery.wait_until_done()


def run(order: dict[str, Any]) -> dict[str, Any]:
    """One run, in the fork."""
    loop = KilledLoop(order["kill"])
    asyncio.set_event_loop(loop)
    loop.run_until_complete(batch(order))
    return {"steps": loop.steps}


if __name__ == "__main__":
    serve(run)
