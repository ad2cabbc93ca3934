"""CSV (RFC 4180) that is harmless in a spreadsheet, and read back as it was written."""

import csv
import io
import re
from collections.abc import Sequence

_formula = re.compile(r"'*[=+\-@\t\r]")
"""A spreadsheet takes a cell that begins so for a formula: https://owasp.org/www-community/attacks/CSV_Injection

With apostrophes before it, the cell is one that was escaped, or looks like one.
"""


def cell(value: object) -> str:
    """A value as a cell: an apostrophe stands before what a spreadsheet would take for a formula."""
    if isinstance(value, bool):
        return str(value).lower()
    text = "" if value is None else str(value)
    return f"'{text}" if _formula.match(text) else text


def uncell(text: str) -> str:
    """What cell made a text of: the apostrophe is taken away."""
    return text[1:] if text.startswith("'") and _formula.match(text) else text


def lines(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows of values as lines of a file."""
    text = io.StringIO()
    csv.writer(text).writerows([cell(value) for value in row] for row in rows)
    return text.getvalue().encode()
