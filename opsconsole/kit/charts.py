"""Bar charts as SVG: pure functions from figures to the positions of rectangles, which a template draws.

Horizontal positions are percentages, so that words keep their size on every screen; vertical ones are pixels.
Colours are CSS classes. Each chart also has its figures as a table, for exact values and for screen readers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

HEIGHT = 168
# The space above the highest bar, and below for the labels of the axis.
TOP, BOTTOM = 18, 22
# The space for the figures of the lines, in percent of the width.
LEFT = 12
MOST_WORDS = 7
GAP = 0.22
THINNEST_BAR = 1.5


@dataclass(frozen=True)
class Series:
    """One colour of the bars. ``tone`` is that of a badge: good, running, waiting, warning, bad, quiet."""

    label: str
    tone: str
    values: Sequence[int]
    # The address of the list that each value counts, or '' where none counts the same.
    urls: Sequence[str] = ()

    def url_at(self, place: int) -> str:
        return self.urls[place] if self.urls and self.values[place] else ""


@dataclass(frozen=True)
class Bar:
    """``x`` and ``width`` in percent of the chart's width, ``y`` and ``height`` in pixels."""

    x: str
    y: str
    width: str
    height: str
    tone: str
    title: str
    # Of the list of what it counts, if there is one.
    url: str = ""


@dataclass(frozen=True)
class Word:
    """A label of an axis with its position; labels at an edge begin or end there."""

    x: str
    y: str
    text: str


@dataclass(frozen=True)
class AlertLine:
    """The line above which an alert fires. Its label is in the legend, because a bar could cover it."""

    y: str
    text: str


@dataclass(frozen=True)
class Chart:
    title: str
    summary: str
    height: int
    base: str
    bars: list[Bar]
    lines: list[Word]
    words: list[Word]
    legend: list[Series]
    header: list[str]
    rows: list[list[str]]
    alert: AlertLine | None = None

    @property
    def cells(self) -> list[list[tuple[str, str]]]:
        """Return the table with the address of what each figure counts; '' where there is none."""
        urls = (["", *(each.url_at(place) for each in self.legend)] for place in range(len(self.rows)))
        return [list(zip(row, of_row, strict=True)) for row, of_row in zip(self.rows, urls, strict=True)]

    def without_links(self) -> Chart:
        """Return the chart for those who may not see the lists."""
        legend = [replace(each, urls=()) for each in self.legend]
        return replace(self, legend=legend, bars=[replace(each, url="") for each in self.bars])

    @property
    def has_links(self) -> bool:
        return any(each.urls for each in self.legend)


def stacked(
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    alert_above: float | None = None,
    level: bool = False,
    sums_as: str = "{sums} since {begin}",
    alert_in: str = "",
) -> Chart:
    """Stack the series per label, the first one at the bottom.

    Each series has as many values as there are labels, none below zero. ``alert_above`` is the figure above which an
    alert fires; its line is always visible. ``level``: the values are readings, whose sum has no meaning. ``sums_as``: how the
    summary says the sums, by default since the first label. ``alert_in``: the time that the alert counts, in words ('in an hour').
    """
    totals = [sum(values) for values in zip(*(each.values for each in series), strict=True)] if series else []
    if len(totals) != len(labels):
        raise ValueError(f"{len(labels)} labels, but {len(totals)} values")
    reach = max([*totals, int(alert_above or 0)], default=0)
    step = step_of(reach)
    highest = max(step * -(-reach // step), step)
    return Chart(
        title=title,
        summary=_summary(labels, series, totals, "" if level else sums_as) + _said(alert_above, alert_in),
        height=HEIGHT,
        base=f"{HEIGHT - BOTTOM}",
        bars=list(_bars(labels, series, highest)),
        lines=[
            Word("0%", number_text(height_at(value, highest)), axis_number(value))
            for value in range(step, highest + 1, step)
        ],
        words=list(axis_words(labels)),
        legend=list(series),
        header=["", *(each.label for each in series)],
        rows=[[label, *(f"{each.values[place]:,}" for each in series)] for place, label in enumerate(labels)],
        alert=None if alert_above is None else _alert_line(alert_above, highest),
    )


def _alert_line(value: float, highest: int) -> AlertLine:
    return AlertLine(number_text(height_at(value, highest)), f"alert above {value:,.0f}")


def _said(alert_above: float | None, within: str) -> str:
    if alert_above is None:
        return ""
    return f" An alert fires above {alert_above:,.0f}{f' {within}' if within else ''}."


def step_of(highest: int) -> int:
    """Return 1, 2 or 5 times a power of ten, so that three or four lines reach above the highest value."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if step * factor * 4 >= highest:
                return step * factor
        step *= 10


def height_at(value: float, highest: int) -> float:
    """Return the distance from the chart's top."""
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / highest)


def _bars(labels: Sequence[str], series: Sequence[Series], highest: int) -> Iterator[Bar]:
    room = (100 - LEFT) / max(len(labels), 1)
    for place, label in enumerate(labels):
        below = 0
        for each in series:
            value = each.values[place]
            if not value:
                continue
            top = height_at(below + value, highest)
            height = height_at(below, highest) - top
            # One request among a million remains visible.
            thin = max(height, THINNEST_BAR)
            yield Bar(
                x=f"{number_text(LEFT + place * room + room * GAP / 2)}%",
                y=number_text(top - (thin - height)),
                width=f"{number_text(room * (1 - GAP))}%",
                height=number_text(thin),
                tone=each.tone,
                title=f"{label}: {value:,} {each.label}",
                url=each.url_at(place),
            )
            below += value


def axis_words(labels: Sequence[str]) -> Iterator[Word]:
    if not labels:
        return
    room = (100 - LEFT) / len(labels)
    every = -(-len(labels) // MOST_WORDS)
    # From half a step on: so far from the edge, the first word is centred like the others and keeps its distance from them.
    for place in range(every // 2, len(labels), every):
        x = LEFT + (place + 0.5) * room
        yield Word(f"{number_text(x)}%", number_text(HEIGHT - 6), labels[place])


def _summary(
    labels: Sequence[str],
    series: Sequence[Series],
    totals: Sequence[int],
    sums_as: str,
) -> str:
    """Describe the chart in a sentence."""
    if not any(totals):
        return "Nothing in this time."
    sums = ", ".join(f"{sum(each.values):,} {each.label}" for each in series)
    top = max(range(len(totals)), key=totals.__getitem__)
    # From the full hour on, where a figure of the last 24 hours begins at this minute.
    sums_sentence = f"{sums_as.format(sums=sums, begin=labels[0])}. " if sums_as else ""
    return f"{sums_sentence}Most at {labels[top]}: {totals[top]:,}."


def axis_number(value: int) -> str:
    """Return a number as short as the axis has room for: 500, 1.5k, 2M."""
    for unit, letter in ((1_000_000_000, "bn"), (1_000_000, "M"), (1_000, "k")):
        if value >= unit:
            return f"{number_text(value / unit)}{letter}"
    return str(value)


def number_text(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


SPARK_WIDTH, SPARK_HEIGHT = 120, 32


@dataclass(frozen=True)
class Sparkline:
    """A small line, with that of the period before behind it: the points of each unbroken part, for ``<polyline>``."""

    parts: list[str]
    before: list[str]
    width: int = SPARK_WIDTH
    height: int = SPARK_HEIGHT


def sparkline(values: Sequence[float | None], before: Sequence[float | None]) -> Sparkline:
    """Draw two equally long series on one scale, from zero. An unknown value leaves a gap (I8)."""
    highest = max([value for value in [*values, *before] if value is not None], default=0) or 1
    return Sparkline(_parts(values, highest), _parts(before, highest))


def _parts(values: Sequence[float | None], highest: float) -> list[str]:
    step = SPARK_WIDTH / max(len(values) - 1, 1)
    room = SPARK_HEIGHT - 2
    parts: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            parts.append([])
            continue
        parts[-1].append(f"{number_text(place * step)},{number_text(1 + room * (1 - value / highest))}")
    return [" ".join(part) for part in parts if part]
