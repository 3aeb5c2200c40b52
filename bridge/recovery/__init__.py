"""What happens to the tasks that a former run left behind: the table of decisions, and `main.py`'s side of it.

It imports every room of `bridge` but `doctor` and `cli`; ComfyUI's own side is `server_routes/recovery`.
Start with `decisions.py`: what is known of a task → what happens.
"""
