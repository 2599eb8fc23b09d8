"""The four charts of the page, and the table with the same figures and links, from a report. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from opsconsole.kit import trend_charts
from opsconsole.kit.counting import exactly
from opsconsole.kit.durations import brief, unbroken
from opsconsole.kit.trend_charts import Frame, Layer, MarkLine, Slot, TrendChart
from opsconsole.trends.ended_runs import Outcome
from opsconsole.trends.marks import Mark
from opsconsole.trends.periods import Period
from opsconsole.trends.report import Bar, Figures, Report, ValueLine

# The address of the list of a bar, of all its runs or of those with one outcome.
ListOf = Callable[[Bar, str], str]
# A text, and the address of its list, or ''.
Cell = tuple[str, str]
TONES = {
    Outcome.COMPLETED: "good",
    Outcome.RETRIED: "waiting",
    Outcome.FAILED: "bad",
    Outcome.LOST: "warning",
}
SHARE_TONES = (("p50", "good"), ("p95", "running"), ("p99", "warning"))
UNKNOWN, NONE = "not counted", "–"  # noqa: RUF001 - an en dash is meant
P95 = 1
# The least share of the axis between two labels, which are up to 20 pixels wide on charts of 300 and more.
LABEL_SHARE = 0.06


@dataclass(frozen=True)
class Row:
    """A bar in words: each cell with the head of its column, and the address of its list, '' where there is none."""

    label: str
    cells: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Table:
    """Some of the figures of the charts. All of them in one table would be wider than a page."""

    title: str
    header: Sequence[str]
    rows: list[Row]


@dataclass(frozen=True)
class LineRow:
    """The figures of a value of the dimension, each with the head of its column."""

    name: str
    url: str
    labelled: list[tuple[str, str]]


COUNTS_HEADER = ("Ended", "Completed", "Retried", "Failed", "Lost", "Errors", "Ended before")
TIMES_HEADER = (
    "Wait p50", "Wait p95", "Wait p99", "Wait p95 before", "Run p50", "Run p95", "Run p99", "Run p95 before",
)  # fmt: skip
LINE_HEADER = (
    "Ended", "Ended before", "Errors", "Wait p50", "Wait p95", "Wait p99", "Wait p95 before",
    "Run p50", "Run p95", "Run p99", "Run p95 before",
)  # fmt: skip


def label_of(start: datetime, period: Period) -> str:
    return start.strftime(period.time_format)


def mark_lines(marks: Sequence[Mark], report: Report) -> list[MarkLine]:
    """Return a vertical line per mark, where it began."""
    return lines_between(marks, report.bars[0].start, report.bars[-1].end)


@dataclass(frozen=True)
class MarkedAxis:
    """Marks with the lines that stand for them on a chart, both in the same order."""

    marks: Sequence[Mark]
    lines: Sequence[MarkLine]


def marked_axis(marks: Sequence[Mark], begin: datetime, end: datetime) -> MarkedAxis:
    return MarkedAxis(marks, lines_between(marks, begin, end))


def lines_between(marks: Sequence[Mark], begin: datetime, end: datetime) -> list[MarkLine]:
    """Return a vertical line per mark, oldest first, on an axis of this time; a pause may have begun before it."""
    shares = [min(max((mark.at - begin) / (end - begin), 0), 1) for mark in marks]
    return [
        MarkLine(trend_charts.place_of(share), label, f"{mark.what}: {mark.why}")
        for mark, share, label in zip(marks, shares, _labels(shares), strict=True)
    ]


def _labels(shares: Sequence[float]) -> list[str]:
    """Return a label per line at these shares of the axis: where numbers would stand on each other, the first line tells all."""
    near: list[list[int]] = []
    for number, share in enumerate(shares, 1):
        if near and share - shares[number - 2] < LABEL_SHARE:
            near[-1].append(number)
        else:
            near.append([number])
    return [label for numbers in near for label in (_range(numbers), *[""] * (len(numbers) - 1))]


def _range(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    return str(first) if first == last else f"{first}–{last}"  # noqa: RUF001 - an en dash is meant


def charts(report: Report, period: Period, marks: Sequence[Mark], list_of: ListOf) -> list[TrendChart]:
    slots = [_slot(bar, period, list_of) for bar in report.bars]
    lines = mark_lines(marks, report)

    def frame(title: str, summary: str, before: Sequence[float | None]) -> Frame:
        return Frame(title, summary, slots, Layer("the period before", "before", before), lines)

    now = [bar.now for bar in report.bars]
    before = [bar.before for bar in report.bars]
    return [
        trend_charts.durations(
            frame("Wait for a worker", _of_durations("waited", report.total.waited), _p95(before, "waited")),
            _layers(now, "waited"),
        ),
        trend_charts.durations(
            frame("Run", _of_durations("ran", report.total.ran), _p95(before, "ran")), _layers(now, "ran")
        ),
        trend_charts.counts(
            frame("Runs that ended", _of_counts(report), [each.ended if each else None for each in before]),
            [
                Layer(
                    outcome.value,
                    tone,
                    [each.outcomes[outcome] if each else None for each in now],
                    [list_of(bar, outcome) for bar in report.bars],
                )
                for outcome, tone in TONES.items()
            ],
        ),
        trend_charts.percentages(
            frame(
                "Runs that did not complete",
                _of_errors(report),
                [each.error_rate if each else None for each in before],
            ),
            Layer("errors", "bad", [each.error_rate if each else None for each in now]),
        ),
    ]


def tables(report: Report, period: Period, list_of: ListOf) -> list[Table]:
    """Return the same figures as tables: how runs ended, and how long they took."""

    def table(title: str, header: Sequence[str], cells_of: Callable[[Bar, Figures], list[Cell]]) -> Table:
        return Table(title, header, [_row(bar, period, header, cells_of) for bar in report.bars])

    return [
        table("How runs ended", COUNTS_HEADER, lambda bar, now: _counts_of(bar, now, list_of)),
        table("How long they waited and ran", TIMES_HEADER, _times_of),
    ]


def most_failed(report: Report, period: Period, list_of: ListOf) -> Cell | None:
    """Return in words when most runs failed for good, and the address of their list; None if none failed."""
    counted = [(bar.now.outcomes[Outcome.FAILED], bar) for bar in report.bars if bar.now]
    count, bar = max(counted, key=lambda each: each[0], default=(0, None))
    if not count or bar is None:
        return None
    return f"{exactly(count, 'run')} from {label_of(bar.start, period)}", list_of(bar, Outcome.FAILED)


def line_rows(report: Report, name_of: Callable[[str], str], url_of: Callable[[str], str]) -> list[LineRow]:
    """Return a row per value, with the address of the page about it alone."""
    return [
        LineRow(
            name_of(line.value),
            "" if line.is_others else url_of(line.value),
            list(zip(LINE_HEADER, _cells_of(line), strict=True)),
        )
        for line in report.lines
    ]


def _cells_of(line: ValueLine) -> list[str]:
    before = UNKNOWN if line.before is None else f"{line.before.ended:,}"
    p95 = (
        [NONE, NONE]
        if line.before is None
        else [_brief(line.before.waited[P95]), _brief(line.before.ran[P95])]
    )
    waited, ran = map(_brief, line.now.waited), map(_brief, line.now.ran)
    return [f"{line.now.ended:,}", before, _percent(line.now.error_rate), *waited, p95[0], *ran, p95[1]]


def _slot(bar: Bar, period: Period, list_of: ListOf) -> Slot:
    label = label_of(bar.start, period)
    if bar.now is None:
        return Slot(label, "", known=False, title=f"{label}: {UNKNOWN}")
    so_far = "" if bar.whole else ", as far as it is counted"
    title = (
        f"{label}: {exactly(bar.now.ended, 'run')}{so_far}. Wait {_three(bar.now.waited)}. Run {_three(bar.now.ran)}."
        f" {_percent(bar.now.error_rate)} did not complete."
    )
    return Slot(label, list_of(bar, "") if bar.now.ended else "", known=True, title=title)


def _three(quantiles: Sequence[float | None]) -> str:
    return ", ".join(f"{name} {_brief(each)}" for (name, _), each in zip(SHARE_TONES, quantiles, strict=True))


def _layers(figures: Sequence[Figures | None], name: str) -> list[Layer]:
    of_each = [getattr(each, name) if each else [None] * len(SHARE_TONES) for each in figures]
    return [
        Layer(label, tone, [each[place] for each in of_each])
        for place, (label, tone) in enumerate(SHARE_TONES)
    ]


def _p95(figures: Sequence[Figures | None], name: str) -> list[float | None]:
    return [getattr(each, name)[P95] if each else None for each in figures]


def _row(
    bar: Bar, period: Period, header: Sequence[str], cells_of: Callable[[Bar, Figures], list[Cell]]
) -> Row:
    cells = [(UNKNOWN, "")] * len(header) if bar.now is None else cells_of(bar, bar.now)
    return Row(
        label_of(bar.start, period),
        [(head, text, url) for head, (text, url) in zip(header, cells, strict=True)],
    )


def _counts_of(bar: Bar, now: Figures, list_of: ListOf) -> list[Cell]:
    outcomes = [
        (f"{now.outcomes[outcome]:,}", list_of(bar, outcome) if now.outcomes[outcome] else "")
        for outcome in TONES
    ]
    return [
        (f"{now.ended:,}", list_of(bar, "") if now.ended else ""),
        *outcomes,
        (_percent(now.error_rate), ""),
        (UNKNOWN if bar.before is None else f"{bar.before.ended:,}", ""),
    ]


def _times_of(bar: Bar, now: Figures) -> list[Cell]:
    before = bar.before
    p95 = [UNKNOWN, UNKNOWN] if before is None else [_brief(before.waited[P95]), _brief(before.ran[P95])]
    waited, ran = map(_brief, now.waited), map(_brief, now.ran)
    return [(text, "") for text in (*waited, p95[0], *ran, p95[1])]


def _brief(seconds: float | None) -> str:
    return NONE if seconds is None else unbroken(brief(seconds))


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.1f} %"


def _of_durations(verb: str, quantiles: Sequence[float | None]) -> str:
    if quantiles[0] is None:
        return "Nothing is known of any run in this time."
    half, most, nearly_all = map(_brief, quantiles)
    return f"Half of the runs {verb} up to {half}, 95 of 100 up to {most}, 99 of 100 up to {nearly_all}."


def _of_counts(report: Report) -> str:
    total, before = report.total, report.total_before
    compared = (
        "The period before is not counted whole."
        if before is None
        else f"In the period before: {before.ended:,}."
    )
    return f"{exactly(total.ended, 'run')} ended. {compared}"


def _of_errors(report: Report) -> str:
    total, before = report.total, report.total_before
    if total.error_rate is None:
        return "No run ended in this time."
    compared = (
        ""
        if before is None or before.error_rate is None
        else f" In the period before: {_percent(before.error_rate)}."
    )
    return f"{_percent(total.error_rate)} of the runs did not complete.{compared}"
