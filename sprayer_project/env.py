"""Reading the environment: typed, with NAME_FILE for secrets, and errors that name the variable."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")


def text(name: str, default: str = "") -> str:
    """The variable's value; where NAME_FILE is set, that file's content without the last newline."""
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().rstrip("\n")
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE: cannot read {path}: {error}") from error
    return os.environ.get(name) or default


def number(name: str, default: float, minimum: float = 0) -> float:
    return _parsed(name, str(default), float, lambda value: value >= minimum, f"a number of at least {minimum:g}")


def integer(name: str, default: int, minimum: int = 0) -> int:
    return _parsed(name, str(default), int, lambda value: value >= minimum, f"a whole number of at least {minimum}")


def boolean(name: str, default: bool = False) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    value = text(name, "on" if default else "off").lower()
    if value not in words:
        raise ImproperlyConfigured(f"{name}={value!r}: expected one of {', '.join(words)}")
    return words[value]


def items(name: str, default: str = "") -> list[str]:
    """A comma-separated list, blanks dropped."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def url(name: str, default: str, schemes: tuple[str, ...]) -> str:
    value = text(name, default)
    for part in value.split(","):
        if part.strip().split("://")[0] not in schemes:
            raise ImproperlyConfigured(
                f"{name}: {part.split('://')[0]!r} is not one of the schemes {', '.join(schemes)}"
            )
    return value


def server(name: str, schemes: tuple[str, ...]) -> SplitResult:
    """A URL of a server, or of a file, in parts; all of them are empty where the variable is not set."""
    if not (value := text(name)):
        return urlsplit("")
    parts = urlsplit(url(name, "", schemes))
    try:
        complete = bool(parts.path if parts.scheme == "file" else parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete and parts.scheme == "file":
        raise ImproperlyConfigured(f"{name}: file:// is followed by no path")
    if not complete:
        raise ImproperlyConfigured(f"{name}: {value.partition('://')[0]}:// is followed by no host and port")
    return parts


def _parsed(name: str, default: str, parse: Callable[[str], T], valid: Callable[[T], bool], expected: str) -> T:
    raw = text(name, default)
    try:
        value = parse(raw)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={raw!r}: expected {expected}") from error
    if not valid(value):
        raise ImproperlyConfigured(f"{name}={raw!r}: expected {expected}")
    return value
