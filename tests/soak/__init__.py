"""What only shows with much data or much time: a little of it in `make test`, all of it in `make soak`."""

import os

SOAK = os.environ.get("SOAK") == "on"


def either(test: int, soak: int) -> int:
    """How much of something."""
    return soak if SOAK else test
