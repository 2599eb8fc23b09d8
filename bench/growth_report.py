"""What was measured at each size as Markdown: a table, a curve per piece of work, and what grows."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

FLAT = 1.2
# By nature more work with more rows, and why.
PROPORTIONAL = {
    "page: compare thresholds": "reads the beats of every run of the days that it compares",
    "page: a customer": "counts the customer's jobs up to a thousand",
    "page: jobs, failed of a customer, of a time": "looks through the customer's jobs up to five thousand",
    "page: log entries": "looks into an index per month of the timeline",
    "page: a job": "looks into an index per month of the timeline",
    "page: requeue, preview": "looks into an index per month of the timeline",
}
# Below this many milliseconds more, the time of a machine that does other work too says nothing.
NOISE_MS = 2.0
# Buffers don't depend on other work. Fewer than these more are one more level of an index, here and there.
NOISE_BUFFERS = 100
TABLES = 6
BAR, WIDEST = 20, 60


@dataclass
class Measured:
    """Milliseconds per turn, and those of Python's processor; the statements and the buffers of one turn."""

    milliseconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    statements: int = 0
    buffers: int = 0

    @property
    def middle(self) -> float:
        return median(self.milliseconds)

    @property
    def processor_middle(self) -> str:
        """Return the median of the processor, or nothing for work of the server alone."""
        return f"{median(self.processor):.1f}" if self.processor else ""


@dataclass
class Size:
    """What was measured with this many jobs, by the name of the work; the bytes of the largest tables."""

    rows: int
    measured: dict[str, Measured] = field(default_factory=dict)
    size_of_tables: dict[str, int] = field(default_factory=dict)


def report(sizes: Sequence[Size], times: int, postgresql: str) -> str:
    first, last = sizes[0], sizes[-1]
    return "\n".join(
        [
            f"{times} turns. PostgreSQL {postgresql}, Python {platform.python_version()}.",
            "",
            *_table(sizes),
            "",
            f"How many times the buffers of {_millions(first.rows)}; | is {FLAT} times:",
            "",
            "```text",
            *_curves(sizes),
            "```",
            "",
            *_verdict(first, last),
            "",
            *_bytes(sizes),
        ]
    )


def _table(sizes: Sequence[Size]) -> Iterator[str]:
    heads = [f"{_millions(size.rows)}, ms | of Python's processor | buffers" for size in sizes]
    yield f"| work | statements | {' | '.join(heads)} | times the ms | times the buffers |"
    yield f"|---|---:|{'---:|' * (3 * len(sizes) + 2)}"
    for name, last in sizes[-1].measured.items():
        first = sizes[0].measured[name]
        cells = [
            f"{each.middle:.1f} | {each.processor_middle} | {each.buffers:,}"
            for each in (size.measured[name] for size in sizes)
        ]
        grown = f"{_times(first, last):.2f} | {_times_the_buffers(first, last):.2f}"
        yield f"| {name} | {last.statements} | {' | '.join(cells)} | {grown} |"


def _curves(sizes: Sequence[Size]) -> Iterator[str]:
    for name, first in sizes[0].measured.items():
        yield name
        for size in sizes:
            times = _times_the_buffers(first, size.measured[name])
            bar = "#" * min(round(times * BAR), WIDEST)
            line = round(FLAT * BAR)
            yield f"  {_millions(size.rows):>6} {bar[:line]:<{line}}|{bar[line:]} {times:.2f}"


def _verdict(first: Size, last: Size) -> Iterator[str]:
    names = list(last.measured)
    grown = [name for name in names if _has_grown(first.measured[name], last.measured[name])]
    slower = [
        name for name in names if name not in grown and _is_slower(first.measured[name], last.measured[name])
    ]
    yield f"- flat by buffers (at most {FLAT} times, or less than {NOISE_BUFFERS} more): {len(names) - len(grown)} of {len(names)}"
    for name in grown:
        why = PROPORTIONAL.get(name)
        times = _times_the_buffers(first.measured[name], last.measured[name])
        yield f"- {name}: {times:.2f} times the buffers{f'; by nature: {why}' if why else '; GROWS'}"
    if slower:
        told = (f"{name} ({_times(first.measured[name], last.measured[name]):.2f})" for name in slower)
        yield f"- more than {FLAT} times the time with as many buffers: {', '.join(told)}"


def _has_grown(first: Measured, last: Measured) -> bool:
    return _times_the_buffers(first, last) > FLAT and last.buffers - first.buffers >= NOISE_BUFFERS


def _is_slower(first: Measured, last: Measured) -> bool:
    return _times(first, last) > FLAT and last.middle - first.middle >= NOISE_MS


def _times(first: Measured, last: Measured) -> float:
    return last.middle / first.middle


def _times_the_buffers(first: Measured, last: Measured) -> float:
    return last.buffers / first.buffers if first.buffers else 1.0


def _bytes(sizes: Sequence[Size]) -> Iterator[str]:
    yield f"| table with indexes, MiB | {' | '.join(_millions(size.rows) for size in sizes)} |"
    yield f"|---|{'---:|' * len(sizes)}"
    for name in list(sizes[-1].size_of_tables)[:TABLES]:
        cells = [f"{size.size_of_tables.get(name, 0) / 2**20:,.0f}" for size in sizes]
        yield f"| {name} | {' | '.join(cells)} |"


def _millions(rows: int) -> str:
    return f"{rows / 1_000_000:g} M"
