"""Everything to see the project at work without Feishu, ComfyUI, a cloud or a GPU: stand-ins and a batch between them.

The demo may import ``bridge``, which knows of it only as the command ``wfrecovery demo``; within it the stories and
``screenshots`` import the hosts, or have ``launch`` start them, and the hosts import neither each other nor anything
else of the project. Start with ``story``, which plays a whole batch with its crashes (``cloud_story``: with a cloud;
``batch``: what both have); ``main`` is the program that a person would write, ``before`` and ``after`` one without and
with ``bridge``.
"""
