"""The names that tenants give to their receivers and groups."""

import unicodedata
from typing import Any

MAX_BYTES = 256


def clean_name(value: Any) -> str:
    """A name as it came: 1 to 256 bytes of UTF-8 without control characters.

    Raises ValueError with a sentence that says what to change. Names are compared byte by byte, never normalised.
    """
    if not isinstance(value, str):
        raise ValueError("A name is a string.")
    try:
        length = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError("A name is valid Unicode, without lone surrogates.") from None
    if not 1 <= length <= MAX_BYTES:
        raise ValueError(f"A name has 1 to {MAX_BYTES} bytes of UTF-8: this one has {length}.")
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise ValueError("A name has no control characters.")
    return value
