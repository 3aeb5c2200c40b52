"""The task table: what a task is, and its files under `<output folder>/wfrecovery/`.

It imports only what lies in `bridge` itself: settings, wording, redact, version.
Start with `records.py` (a task and its stages), then `manager.py` (each change of state by name); `database.py`,
`files.py` and `disk.py` say how a record is made durable.
"""
