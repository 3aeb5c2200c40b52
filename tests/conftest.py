"""For all tests: how long an example takes is no matter, many machines are slow."""

from hypothesis import settings

settings.register_profile("wfrecovery", deadline=None)
settings.load_profile("wfrecovery")
