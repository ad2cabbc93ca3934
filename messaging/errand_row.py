"""The shape of an errand: see messaging.errands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """An errand as it stands."""

    id: str
    tenant: str
    kind: str
    by: str
    """The e-mail address of who asked for it."""
    arguments: Mapping[str, Any]
    progress: Mapping[str, Any]
    status: str
    """running, done, stopped or failed"""
    created_at: datetime
    updated_at: datetime

    @property
    def running(self) -> bool:
        return self.status == "running"


Step = Callable[[Row], tuple[Mapping[str, Any], bool]]
"""Does a bounded part; returns the progress after it, and whether that was the last."""
