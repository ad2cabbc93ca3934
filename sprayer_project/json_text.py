"""Reading JSON that somebody else wrote."""

import json
import math
import re
from typing import Any

_may_be_half = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str | bytes, *, halves: bool = False) -> Any:
    """What it says. Raises ValueError for what is no JSON, or could not be kept and written again.

    That is what is nested too deep, numbers that are not finite, such as 1e999, and half of a surrogate pair, unless
    `halves` pass: for whoever looks at each text himself, and says whose it is.
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        value = _decoder.decode(text)
        if not halves and _may_be_half.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a surrogate pair") from error
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that can be kept")
    return number


_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)
