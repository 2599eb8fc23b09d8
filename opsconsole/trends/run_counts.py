"""What is counted of the runs of a rollup, and how it is added to what is stored.

Values beyond ``MOST_VALUES`` are counted together before anything is written, so that a chunk of a backlog writes at most so
many rows per rollup and dimension, however many customers its runs are of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import nlargest
from typing import NamedTuple

from django.db.models import Count

from jobs.models import RunRollup
from jobs.models.run_rollup import OTHERS, SHOWN_FOR, RunRollupQuerySet
from opsconsole.kit.bounded_columns import LONGEST_NAME
from opsconsole.trends import ended_runs, histogram
from opsconsole.trends.ended_runs import EndedRun
from opsconsole.trends.histogram import Histogram
from opsconsole.trends.periods import start_of

# Of each dimension, so many values are kept by name per rollup, those with the most runs.
MOST_VALUES = 500
OUTCOMES = tuple(map(str, ended_runs.Outcome))


class Group(NamedTuple):
    """A rollup of one dimension; each of its values has a row."""

    minutes: int
    dimension: str
    start: datetime


@dataclass
class Counts:
    """What is counted of the runs of one value."""

    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    waits: Histogram = field(default_factory=dict)
    runs: Histogram = field(default_factory=dict)
    first_event: int = 0
    last_event: int = 0

    @classmethod
    def of_row(cls, row: RunRollup) -> Counts:
        outcomes = {outcome: getattr(row, outcome) for outcome in OUTCOMES}
        return cls(outcomes, row.waits, row.runs, row.first_event, row.last_event)

    @property
    def ended(self) -> int:
        return sum(self.outcomes.values())

    def observe(self, event: int, outcome: str, waited: int | None, ran: int | None) -> None:
        """Count a run, given the buckets of how long it waited and ran."""
        self.outcomes[outcome] += 1
        if waited is not None:
            histogram.observe(self.waits, waited)
        if ran is not None:
            histogram.observe(self.runs, ran)
        self._span(event, event)

    def add(self, other: Counts) -> None:
        for outcome, number in other.outcomes.items():
            self.outcomes[outcome] += number
        histogram.add(self.waits, other.waits)
        histogram.add(self.runs, other.runs)
        self._span(other.first_event, other.last_event)

    def _span(self, first: int, last: int) -> None:
        self.first_event = min(self.first_event or first, first)
        self.last_event = max(self.last_event, last)


# The counts of each value of each group.
Counted = dict[Group, dict[str, Counts]]


def counted(runs: Iterable[EndedRun], now: datetime) -> Counted:
    """Count the runs, in each length that a page still shows, by each dimension."""
    counts_by_group: Counted = defaultdict(lambda: defaultdict(Counts))
    for run in runs:
        values = [(str(dimension), value[:LONGEST_NAME]) for dimension, value in run.by.items()]
        facts = (run.event, str(run.outcome), _bucket(run.waited), _bucket(run.ran))
        for minutes, shown in SHOWN_FOR.items():
            start = start_of(run.at, minutes)
            if start < now - shown:
                continue
            for dimension, value in values:
                counts_by_group[Group(minutes, dimension, start)][value].observe(*facts)
    return counts_by_group


def _bucket(duration: timedelta | None) -> int | None:
    return None if duration is None else histogram.bucket_of(duration.total_seconds())


def store(counts_by_group: Counted) -> None:
    """Add these counts to the stored ones."""
    if not counts_by_group:
        return
    numbers = _numbers(counts_by_group)
    full = {
        group
        for group, values in counts_by_group.items()
        if numbers.get(group, 0) + len(values) > MOST_VALUES
    }
    names = {value for group, values in counts_by_group.items() if group not in full for value in values}
    stored = _stored(_of(counts_by_group).filter(value__in=names))
    for group in counts_by_group.keys() - full:
        for value, counts in stored.get(group, {}).items():
            if value in counts_by_group[group]:
                counts_by_group[group][value].add(counts)
    if full:
        stored = _stored(_of(full))
        for group in sorted(full):
            counts_by_group[group] = _folded(group, counts_by_group[group], stored.get(group, {}))
    _write(counts_by_group)


def _of(groups: Collection[Group]) -> RunRollupQuerySet:
    """Return the rows of these groups, and maybe of some others."""
    return RunRollup.objects.filter(
        minutes__in={group.minutes for group in groups},
        dimension__in={group.dimension for group in groups},
        start__in={group.start for group in groups},
    )


def _numbers(groups: Collection[Group]) -> dict[Group, int]:
    """Return how many values of each group are stored."""
    rows = _of(groups).order_by().values_list("minutes", "dimension", "start").annotate(number=Count("pk"))
    return {Group(minutes, dimension, start): number for minutes, dimension, start, number in rows}


def _stored(rows: RunRollupQuerySet) -> Counted:
    stored: Counted = defaultdict(dict)
    for row in rows.iterator():
        stored[Group(row.minutes, row.dimension, row.start)][row.value] = Counts.of_row(row)
    return stored


def _folded(group: Group, fresh: dict[str, Counts], stored: dict[str, Counts]) -> dict[str, Counts]:
    """Add what is stored, and return what is to be written of a group that may have too many values.

    Those with the fewest runs are counted together, so many that the rest fits again for a while; their rows go.
    """
    values = {value: counts for value, counts in stored.items() if value not in fresh} | fresh
    for value in fresh.keys() & stored.keys():
        values[value].add(stored[value])
    if len(values) <= MOST_VALUES:
        return fresh
    together = values.pop(OTHERS, Counts())
    kept = set(nlargest(MOST_VALUES * 4 // 5, values, key=lambda value: (values[value].ended, value)))
    for value in values.keys() - kept:
        together.add(values[value])
    _of([group]).filter(value__in=stored.keys() - kept - {OTHERS}).delete()
    return {value: fresh[value] for value in fresh.keys() & kept} | {OTHERS: together}


def _write(counts_by_group: Counted) -> None:
    rows = [
        RunRollup(
            **group._asdict(),
            value=value,
            **counts.outcomes,
            waits=counts.waits,
            runs=counts.runs,
            first_event=counts.first_event,
            last_event=counts.last_event,
        )
        for group, values in counts_by_group.items()
        for value, counts in values.items()
    ]
    RunRollup.objects.bulk_create(
        rows,
        batch_size=1_000,
        update_conflicts=True,
        unique_fields=["minutes", "dimension", "start", "value"],
        update_fields=[*OUTCOMES, "waits", "runs", "first_event", "last_event"],
    )
