"""A stand-in Feishu: an HTTP server on loopback with a sheet, a Drive, a bitable and a bot, and faults to order.

It imports nothing of the project, neither ``bridge`` nor the other host, so that no mistake is made alike on both ends
of the wire. Start with ``stand_in``, which puts it together; ``service`` shows the way of a request, ``sheet`` what it
works on, and ``switches`` all that is known to vary or known to nobody.
"""
