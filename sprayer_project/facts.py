"""Values of which a dispatcher makes several for each delivery: frozen where mypy looks.

A dataclass that is frozen at run time takes three to four times as long to make: a tenth of what a delivery costs.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def fact(cls: type[T]) -> type[T]:
    """A dataclass with slots and keywords only, whose fields nobody sets again."""
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)
