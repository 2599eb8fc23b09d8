"""Charts over time as SVG, with the period before behind them, gaps, marks and links: pure functions to positions.

As in ``opsconsole.kit.charts``, horizontal positions are percentages and vertical ones pixels. Lines are drawn piece by
piece, because the points of a polyline can't be percentages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from opsconsole.kit.charts import (
    BOTTOM,
    GAP,
    HEIGHT,
    LEFT,
    TOP,
    Word,
    axis_number,
    axis_words,
    height_at,
    number_text,
    step_of,
)
from opsconsole.kit.durations import brief

# What the axis of durations is labelled with, in seconds.
TICKS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000, 3.2e9)
MOST_TICKS = 5
# From a value to the distance from the chart's top.
Height: TypeAlias = Callable[[float], float]


@dataclass(frozen=True)
class Slot:
    """A bar's place in time: its label, the list that it counts, and whether it was counted."""

    label: str
    url: str
    known: bool
    title: str


@dataclass(frozen=True)
class Layer:
    """One colour: a value per slot, None where there is none. ``urls``: the list of each slot; the slot's own if empty."""

    label: str
    tone: str
    values: Sequence[float | None]
    urls: Sequence[str] = ()


@dataclass(frozen=True)
class Shape:
    """A rectangle; or a point, whose ``width`` and ``height`` are ''."""

    x: str
    y: str
    tone: str
    title: str = ""
    width: str = ""
    height: str = ""
    url: str = ""


@dataclass(frozen=True)
class Piece:
    """A part of a line from one slot to the next."""

    x1: str
    y1: str
    x2: str
    y2: str
    tone: str


@dataclass(frozen=True)
class Hit:
    """The link of a slot, and what it shows: all its points."""

    x: str
    width: str
    url: str
    title: str
    points: list[Shape]


@dataclass(frozen=True)
class MarkLine:
    """A vertical line. ``label``: its number in the list of marks, or the numbers of all lines near it; '' for the others of these."""

    x: str
    label: str
    title: str


@dataclass(frozen=True)
class TrendChart:
    title: str
    summary: str
    lines: list[Word]
    words: list[Word]
    legend: list[Layer]
    gaps: list[Shape] = field(default_factory=list)
    before: list[Piece] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    hits: list[Hit] = field(default_factory=list)
    bars: list[Shape] = field(default_factory=list)
    marks: list[MarkLine] = field(default_factory=list)
    height: int = HEIGHT
    top: int = TOP
    base: int = HEIGHT - BOTTOM
    plot: int = HEIGHT - BOTTOM - TOP


@dataclass(frozen=True)
class Frame:
    """What all charts of a page share beside their layers; ``before`` is the line of the period before."""

    title: str
    summary: str
    slots: Sequence[Slot]
    before: Layer
    marks: Sequence[MarkLine]


def place_of(share: float) -> str:
    """Return the horizontal place of this share of the whole time, from 0 to 1."""
    return f"{number_text(LEFT + (100 - LEFT) * share)}%"


def durations(frame: Frame, layers: Sequence[Layer]) -> TrendChart:
    """Draw lines of durations in seconds, on a logarithmic scale."""
    values = [value for layer in (*layers, frame.before) for value in layer.values if value is not None]
    ticks = _ticks(min(values, default=1), max(values, default=60))
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def at(value: float) -> float:
        return height_at((math.log(max(value, ticks[0])) - low) / (high - low) * 100, 100)

    words = [Word("0%", number_text(at(tick)), brief(tick)) for tick in ticks[1:]]
    return _lines(frame, layers, at, words)


def percentages(frame: Frame, layer: Layer) -> TrendChart:
    """Draw a line of percentages, from zero."""
    values = [value for each in (layer, frame.before) for value in each.values if value is not None]
    at, words = _scale(math.ceil(max(values, default=0)), " %")
    return _lines(frame, [layer], at, words)


def counts(frame: Frame, layers: Sequence[Layer]) -> TrendChart:
    """Stack the layers of each slot, the first one at the bottom. ``before`` is a line of sums."""
    totals = [sum(int(layer.values[place] or 0) for layer in layers) for place in range(len(frame.slots))]
    at, words = _scale(max([*totals, *(int(value or 0) for value in frame.before.values)], default=0))
    bars = list(_stacks(frame.slots, layers, at))
    return replace(_empty(frame, layers, at, words), bars=bars)


def _scale(reach: int, unit: str = "") -> tuple[Height, list[Word]]:
    """Return a scale from zero to at least ``reach``, and its labels."""
    step = step_of(reach)
    highest = max(step * -(-reach // step), step)
    labels = [
        Word("0%", number_text(height_at(value, highest)), f"{axis_number(value)}{unit}")
        for value in range(step, highest + 1, step)
    ]
    return (lambda value: height_at(value, highest)), labels


def _lines(frame: Frame, layers: Sequence[Layer], at: Height, words: list[Word]) -> TrendChart:
    return replace(
        _empty(frame, layers, at, words),
        pieces=[piece for layer in layers for piece in _pieces(layer, at)],
        hits=list(_hits(frame.slots, layers, at)),
    )


def _empty(frame: Frame, layers: Sequence[Layer], at: Height, words: list[Word]) -> TrendChart:
    return TrendChart(
        frame.title,
        frame.summary,
        words,
        list(axis_words([slot.label for slot in frame.slots])),
        [*layers, frame.before],
        gaps=list(_gaps(frame.slots)),
        before=list(_pieces(frame.before, at)),
        marks=list(frame.marks),
    )


def _ticks(lowest: float, highest: float) -> list[float]:
    """Return the ticks around these durations, not more than fit."""
    first = max((place for place, tick in enumerate(TICKS) if tick <= lowest), default=0)
    last = min((place for place, tick in enumerate(TICKS) if tick >= highest), default=len(TICKS) - 1)
    last = max(last, first + 1)
    every = -(-(last - first) // MOST_TICKS)
    inner = [TICKS[place] for place in range(last, first, -every)]
    return [TICKS[first], *reversed(inner)]


def _room(slots: int) -> float:
    return (100 - LEFT) / max(slots, 1)


def _middle(place: int, slots: int) -> str:
    return f"{number_text(LEFT + (place + 0.5) * _room(slots))}%"


def _gaps(slots: Sequence[Slot]) -> Iterator[Shape]:
    """Yield a rectangle per time that was not counted."""
    room, place = _room(len(slots)), 0
    while place < len(slots):
        end = place
        while end < len(slots) and not slots[end].known:
            end += 1
        if end > place:
            yield Shape(
                x=f"{number_text(LEFT + place * room)}%",
                y=str(TOP),
                width=f"{number_text((end - place) * room)}%",
                height=str(HEIGHT - BOTTOM - TOP),
                tone="gap",
                title=f"Not counted from {slots[place].label} on"
                + ("" if end == len(slots) else f" until {slots[end].label}"),
            )
        place = end + 1


def _pieces(layer: Layer, at: Height) -> Iterator[Piece]:
    """Yield the pieces of a line. A slot without a value is a gap; a value between two gaps is a short piece."""
    number = len(layer.values)
    for place, value in enumerate(layer.values):
        if value is None:
            continue
        following = layer.values[place + 1] if place + 1 < number else None
        if following is not None:
            yield Piece(
                _middle(place, number),
                number_text(at(value)),
                _middle(place + 1, number),
                number_text(at(following)),
                layer.tone,
            )
        elif place == 0 or layer.values[place - 1] is None:
            left = f"{number_text(LEFT + (place + 0.25) * _room(number))}%"
            right = f"{number_text(LEFT + (place + 0.75) * _room(number))}%"
            yield Piece(left, number_text(at(value)), right, number_text(at(value)), layer.tone)


def _hits(slots: Sequence[Slot], layers: Sequence[Layer], at: Height) -> Iterator[Hit]:
    room = _room(len(slots))
    for place, slot in enumerate(slots):
        points = [
            Shape(_middle(place, len(slots)), number_text(at(value)), layer.tone)
            for layer in layers
            if (value := layer.values[place]) is not None
        ]
        if points and slot.url:
            x = f"{number_text(LEFT + place * room)}%"
            yield Hit(x, f"{number_text(room)}%", slot.url, slot.title, points)


def _stacks(slots: Sequence[Slot], layers: Sequence[Layer], at: Height) -> Iterator[Shape]:
    room = _room(len(slots))
    for place, slot in enumerate(slots):
        below = 0.0
        for layer in layers:
            value = layer.values[place]
            if not value:
                continue
            top, height = at(below + value), at(below) - at(below + value)
            # One run among a million remains visible.
            thin = max(height, 1.5)
            yield Shape(
                x=f"{number_text(LEFT + place * room + room * GAP / 2)}%",
                y=number_text(top - (thin - height)),
                width=f"{number_text(room * (1 - GAP))}%",
                height=number_text(thin),
                tone=layer.tone,
                title=f"{slot.label}: {value:,} {layer.label}",
                url=layer.urls[place] if layer.urls else slot.url,
            )
            below += value
