"""What the stand-ins of services share: sockets, forms, planned faults, and what nobody knows of a service as switches.

It knows none of the services: what a call is, what can go wrong with it and how it is answered, each stand-in says.
"""
