"""What is done when ComfyUI starts, and on request: unfinished tasks are decided, old records leave the table.

It imports `queue`, `host.py` and `bridge`, whose table of decisions (`bridge/recovery/decisions.py`) it carries out.
Start with `startup.py`.
"""
