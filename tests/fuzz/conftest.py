"""How many examples of each kind are tried: 50 that never change, or `GPVIT_FUZZ` of a seed, as `make fuzz` does."""

import os

from hypothesis import HealthCheck, settings

_WANTED = int(os.environ.get("GPVIT_FUZZ", 0))

settings.register_profile(
    "gpvit",
    max_examples=_WANTED or 50,
    derandomize=not _WANTED,
    database=None,  # what was ever found is an @example
    deadline=None,  # `holds` has a time limit of its own
    print_blob=True,
    suppress_health_check=list(HealthCheck),  # files are written into tmp_path again and again
)
settings.load_profile("gpvit")  # before the tests, which take it when they are read
