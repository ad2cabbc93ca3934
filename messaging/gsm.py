"""How a text travels as SMS: GSM 7-bit or UCS-2, and in how many segments (3GPP TS 23.038 and 23.040)."""

from dataclasses import dataclass

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")
_SEPTETS, _SEPTETS_OF_PART = 160, 153
_UNITS, _UNITS_OF_PART = 70, 67


@dataclass(frozen=True, slots=True)
class Encoded:
    encoding: str
    """GSM-7 or UCS-2"""
    segments: int


def encoded(text: str) -> Encoded:
    """A character of the extension table takes two septets and a surrogate pair two units; neither is split."""
    if all(character in _BASIC or character in _EXTENSION for character in text):
        sizes = [2 if character in _EXTENSION else 1 for character in text]
        return Encoded("GSM-7", _segments(sizes, _SEPTETS, _SEPTETS_OF_PART))
    sizes = [2 if ord(character) > 0xFFFF else 1 for character in text]
    return Encoded("UCS-2", _segments(sizes, _UNITS, _UNITS_OF_PART))


def _segments(sizes: list[int], whole: int, part: int) -> int:
    if sum(sizes) <= whole:
        return 1
    segments, used = 1, 0
    for size in sizes:
        if used + size > part:
            segments, used = segments + 1, 0
        used += size
    return segments
