"""Reading JSON that somebody else wrote."""

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """What it says. Raises ValueError for what is no JSON, or is nested too deep to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
