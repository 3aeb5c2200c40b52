"""A `main.py` that knows no `await`: threads that each render rows, and `bridge.run`. Dies where it is told to.

Arguments: url, key, output folder, rows, and the step at which it is killed ("" for none).
"""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from cloud_support import WORKFLOW, row

from wfrecovery import bridge

url, key, output, rows, kill = sys.argv[1:]
db = bridge.DatabaseManager(output)
client = bridge.RunningHubClient(key, base_url=url, poll_seconds=0.05)
recovery = bridge.TaskRecoveryManager(db, client, settings=bridge.load_settings(environ={}))


def at(step: str) -> None:
    """Here it may end."""
    if step == kill:
        os.kill(os.getpid(), signal.SIGKILL)


def process_row(number: int) -> dict[str, object]:
    """As the specification prints it, without a word to `submit_workflow` of which task that is."""
    task_id = db.add_workflow_task(row(number), "图片合成")
    at(f"{number} entered")
    info = {"nodeId": "6", "fieldName": "text", "fieldValue": f"row {number}"}
    bridge.run(client.submit_workflow({"workflowId": WORKFLOW, "nodeInfoList": [info]}))
    at(f"{number} submitted")
    return bridge.run(recovery.finish(task_id))


recovered = bridge.run(recovery.check_and_recover_tasks())
at("recovered")
wanted = [bridge.RowData(**row(number)) for number in range(2, 2 + int(rows))]
with ThreadPoolExecutor(3) as pool:
    numbers = [found.row_number for found in recovery.rows_to_do(wanted, "图片合成")]
    finished = list(pool.map(process_row, numbers))
recovered += bridge.run(recovery.wait_until_done())
sys.exit(bridge.exit_code(recovered + finished))
