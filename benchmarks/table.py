"""What a benchmark says: a figure, its reference from the same run, and whether the ratio is good enough."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

_HEADINGS = ("name", "figure", "reference", "ratio", "target", "verdict")


@dataclass(frozen=True, slots=True)
class Row:
    """figure and reference are in unit, medians of rounds that took turns; ratio is figure / reference."""

    name: str
    unit: str
    figure: float
    reference: float
    ratio: float
    target: float | None
    """The least ratio, or the greatest where at_most; None for none."""
    at_most: bool
    verdict: str
    note: str
    """Under which conditions, and how it shows that whoever made the load was not what was measured."""


def row(
    name: str,
    unit: str,
    figures: Sequence[float],
    references: Sequence[float],
    target: float | None,
    note: str,
    at_most: bool = False,
) -> Row:
    figure, reference = median(figures), median(references)
    ratio = figure / reference
    met = target is not None and (ratio <= target if at_most else ratio >= target)
    verdict = "-" if target is None else "met" if met else "missed"
    return Row(name, unit, round(figure, 2), round(reference, 2), round(ratio, 3), target, at_most, verdict, note)


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
    target = "-" if row.target is None else f"{'at most ' if row.at_most else ''}{row.target:g}"
    figures = (f"{_number(row.figure)} {row.unit}", f"{_number(row.reference)} {row.unit}", f"{row.ratio:.2f}")
    return (row.name, *figures, target, row.verdict)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
