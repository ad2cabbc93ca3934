"""Figures as people read them."""

from collections.abc import Mapping

from django import template

register = template.Library()

_UNITS = ((86_400_000.0, "d"), (3_600_000.0, "h"), (60_000.0, "min"), (1000.0, "s"))
_NONE = "—"


@register.filter
def number(value: int) -> str:
    return f"{value:,}"


@register.filter
def percent(share: float | None) -> str:
    """Never 100 % while something failed."""
    if share is None:
        return _NONE
    return "100 %" if share == 1 else f"{min(share * 100, 99.9):.1f} %"


@register.filter
def duration(milliseconds: object) -> str:
    """Two digits that count, in the unit that fits."""
    if not isinstance(milliseconds, int | float):
        return _NONE
    for size, unit in _UNITS:
        if milliseconds >= size:
            return f"{milliseconds / size:.{1 if milliseconds < 10 * size else 0}f} {unit}"
    return f"{milliseconds:.0f} ms"


@register.filter
def seconds(value: float) -> str:
    return duration(value * 1000)


@register.filter
def value(counts: Mapping[str, int], name: str) -> int:
    """How many of this name; 0 where there are none."""
    return counts.get(name, 0)
