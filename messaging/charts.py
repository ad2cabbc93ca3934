"""Deliveries over time as a picture: pygal's bars in the classes of console.css, without its styles and scripts.

https://www.pygal.org/en/stable/documentation/types/bar.html
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree.ElementTree import Element, SubElement, tostring

import pygal
from django.utils.safestring import SafeString, mark_safe

WIDTH, HEIGHT = 1000, 260
_LABELS = 8
"""About so many times stand below the bars."""


@dataclass(frozen=True, slots=True)
class Column:
    """One period; counts are by kind."""

    start: datetime
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def stacked(columns: Sequence[Column], kinds: Mapping[str, str], times: str, words: str) -> SafeString:
    """kinds: name -> label, from the bottom of a bar to its top; its class is `kind kind-<name>`.

    words say what one sees. Each column has a title for whoever points at it. times is `hour` or `day`: console.js puts
    the former into the viewer's zone, days are those of UTC.
    """
    chart = pygal.StackedBar(
        width=WIDTH,
        height=HEIGHT,
        margin=6,
        spacing=6,
        show_legend=False,
        show_minor_x_labels=False,
        truncate_label=-1,
        min_scale=2,
        max_scale=5,
        range=(0, max(4, *(column.total for column in columns))),
        value_formatter=lambda value: f"{value:,.0f}",
    )
    chart.x_labels = [column.start.isoformat() for column in columns]
    chart.x_labels_major = chart.x_labels[:: max(1, len(columns) // _LABELS)]
    for name, label in kinds.items():
        chart.add(label, [column.counts.get(name, 0) for column in columns])
    drawing = _bare(chart.render_tree(), words)
    starts = {column.start.isoformat(): column.start for column in columns}
    for text in drawing.iter("text"):
        if text.text in starts:
            _tell_time(text, starts[text.text], times)
    bars = [node for node in drawing.iter("g") if node.get("class", "").startswith("series ")]
    for name, bar in zip(kinds, bars, strict=True):
        bar.attrib = {"class": f"kind kind-{name}"}
    _add_titles(next(node for node in drawing.iter("g") if node.get("class") == "plot"), columns, kinds, times)
    return mark_safe(tostring(drawing, encoding="unicode"))  # numbers, times and words of our own


def _bare(root: Element, words: str) -> Element:
    """The plot and its axes alone."""
    drawing = Element("svg", {"class": "series-chart", "viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img"})
    drawing.set("aria-label", words)
    plot = next(node for node in root.iter("g") if node.get("class") == "plot")
    drawing.append(plot)
    for node in list(plot.iter()):
        for child in [child for child in node if child.tag in ("desc", "title")]:
            node.remove(child)
    return drawing


def _add_titles(plot: Element, columns: Sequence[Column], kinds: Mapping[str, str], times: str) -> None:
    """Over each column a place to point at, as high as the plot."""
    ground = next(node for node in plot if node.get("class") == "background")
    ground.set("class", "ground")
    first = next(node for node in plot.iter("g") if node.get("class", "").startswith("kind "))
    bars = list(first.iter("rect"))
    gap = float(bars[1].get("x", 0)) - float(bars[0].get("x", 0)) if len(bars) > 1 else float(bars[0].get("width", 0))
    targets = SubElement(plot, "g", {"class": "targets"})
    for column, bar in zip(columns, bars, strict=True):
        middle = float(bar.get("x", 0)) + float(bar.get("width", 0)) / 2
        place = {"x": f"{middle - gap / 2:.2f}", "y": "0", "width": f"{gap:.2f}", "height": ground.get("height", "0")}
        target = SubElement(targets, "rect", place)
        parts = [f"{column.counts[name]:,} {label.lower()}" for name, label in kinds.items() if column.counts.get(name)]
        title = SubElement(target, "title", {"data-more": "\n".join(parts) or "nothing"})
        _tell_time(title, column.start, times)
        title.text = f"{title.text}\n{title.get('data-more')}"


def _tell_time(node: Element, start: datetime, times: str) -> None:
    node.text = f"{start:%H:%M} UTC" if times == "hour" else f"{start:%-d %b}"
    if times == "hour":
        node.set("data-hour", start.isoformat())
