"""A stand-in RunningHub, the cloud that runs ComfyUI workflows: an HTTP server on loopback with a bill and with faults.

It imports nothing of the project, so that no mistake is made alike on both ends of the wire. Start with ``stand_in``,
which puts it together; ``cloud`` is what it does with tasks, ``api`` what it says of them, and ``switches`` all that is
known to vary or known to nobody. The real service was never asked: all of this is from its documentation and from
programs that use it.
"""
