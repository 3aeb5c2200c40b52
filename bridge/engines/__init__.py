"""Who renders: the client of a ComfyUI, and what an engine says of a prompt, as one small type.

It imports `results`, `table` and what lies in `bridge` itself; it changes no record.
Start with `history.py` (a sighting), then `comfyui.py`.
"""
