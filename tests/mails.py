"""What people have at hand beside the browser: a mailbox, an authenticator app."""

import base64
import hashlib
import hmac
import re
import struct
import time
from pathlib import Path
from urllib.parse import urlsplit

_link = re.compile(r"http\S+/accounts/\S+")


def link_in(text: str) -> str:
    """The path of the last link to an account page in a mail."""
    found = _link.findall(text)
    assert found, f"there is no link in {text!r}"
    return urlsplit(found[-1]).path


def letters(folder: Path, address: str) -> list[str]:
    """The mails to an address that a live system wrote into its folder, oldest first."""
    texts = [path.read_text() for path in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)]
    return [text for text in texts if f"To: {address}" in text]


def one_time_code(secret: str, at: float | None = None) -> str:
    """What an authenticator app shows: RFC 6238 with SHA-1, 30 seconds and six digits."""
    counter = struct.pack(">Q", int((time.time() if at is None else at) // 30))
    digest = hmac.digest(base64.b32decode(secret), counter, hashlib.sha1)
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"
