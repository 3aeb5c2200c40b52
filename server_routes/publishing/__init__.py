"""The two threads that speak to Feishu from inside ComfyUI: one delivers the outbox, one tells the group.

It imports `bridge` alone.
Start with `thread.py`; what a flush does is in `bridge/feishu/publisher.py`.
"""
