"""What a benchmark says: a figure, its reference from the same run, and whether the ratio is good enough."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

_HEADINGS = ("name", "figure", "reference", "ratio", "target", "verdict")


@dataclass(frozen=True, slots=True)
class Row:
    """figure and reference are in unit, medians of rounds that took turns; target is the least ratio, None for none."""

    name: str
    unit: str
    figure: float
    reference: float
    ratio: float
    target: float | None
    verdict: str
    note: str
    """Under which conditions, and how it shows that whoever made the load was not what was measured."""


def row(
    name: str, unit: str, figures: Sequence[float], references: Sequence[float], target: float | None, note: str
) -> Row:
    figure, reference = median(figures), median(references)
    ratio = figure / reference
    verdict = "-" if target is None else "met" if ratio >= target else "missed"
    return Row(name, unit, round(figure, 1), round(reference, 1), round(ratio, 3), target, verdict, note)


def rendered(rows: Sequence[Row]) -> str:
    """A table, then the notes."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([*lines, "", *(f"{row.name}: {row.note}" for row in rows)])


def write(rows: Sequence[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _cells(row: Row) -> tuple[str, ...]:
    target = "-" if row.target is None else f"{row.target:g}"
    figures = (f"{row.figure:,.0f} {row.unit}", f"{row.reference:,.0f} {row.unit}", f"{row.ratio:.2f}")
    return (row.name, *figures, target, row.verdict)
