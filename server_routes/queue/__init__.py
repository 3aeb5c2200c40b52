"""From `POST /prompt` to a record: what happens before the answer, when a prompt starts, and when it ends.

It imports `bridge` and `host.py`; nothing of the page, of recovery or of publishing.
Start with `recorder.py`; `hooks.py` is what is wrapped, `intake.py` what comes before the answer, `ending.py` what
comes after the end.
"""
