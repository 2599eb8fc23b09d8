"""The kinds of workers that the console has, as it measured them: what their heartbeats can prove, and what not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Now

from jobs.models import Job, QueueNaming, WorkerHeartbeat, WorkerObservation
from jobs.models.columns import JOBS
from jobs.models.worker import stale_after
from jobs.runs import life_wording, visibility
from opsconsole.kit import counting, one_statement
from opsconsole.kit.built_once import built_once
from opsconsole.kit.counting import many
from opsconsole.kit.durations import spell
from opsconsole.kit.mapping import BEATS
from opsconsole.kit.one_statement import Reading, column_of, count_of, models_of, records_of

NAMED_AT_MOST = 5
LONGEST_ID_SHOWN = 60
CLOCKS_COUNT_AS_SEEN = "Their heartbeats count from when the console sees them change."


@dataclass(frozen=True)
class Trait:
    """One thing to know about the workers. ``limits``: it keeps the console from knowing whether a run is alive.

    ``jobs``: the first of those that it is about.
    """

    id: str
    subject: str
    sentence: str
    advice: str = ""
    limits: bool = True
    # The page that it quotes.
    page: str = "jobs_workerheartbeat"
    jobs: tuple[UUID, ...] = ()


def traits() -> list[Trait]:
    """Return what is known about the workers, queue by queue first; empty before anything was measured."""
    read = one_statement.read(**_readings())
    naming = [_of_queue(queue) for queue in read["naming"]]
    if JOBS.life.told_by != BEATS:
        naming = _of_runs_without_a_sign()
    short = [
        Trait(
            "visibility-timeout-short",
            f"Queue '{each.queue}'",
            each.sentence,
            each.advice,
            page="jobs_queuestate",
        )
        for each in visibility.of_readings(read)
    ]
    counted = (
        (_of_shared_ids, read["shared"], read["first_shared"]),
        (_of_clocks, read["clocks"], read["first_clocks"]),
        (_of_rows_from_the_future, read["future"], read["first_future"]),
    )
    return [*naming, *short, *(tell(number, first) for tell, number, first in counted if number)]


@built_once
def _readings() -> dict[str, Reading[Any]]:
    return {
        "naming": models_of(QueueNaming.objects.order_by("queue")),
        "shared": count_of(shared_ids()),
        "clocks": count_of(wrong_clocks()),
        "future": count_of(Job.objects.changed_in_the_future()),
        "first_shared": column_of(shared_ids().values_list("pk", flat=True)[:NAMED_AT_MOST]),
        "first_clocks": records_of(wrong_clocks().values_list("pk", "clock_offset")[:NAMED_AT_MOST]),
        "first_future": column_of(_first_of_the_future()),
        **visibility.readings(),
    }


def wrong_clocks() -> QuerySet[WorkerObservation]:
    """Return the workers that send heartbeats by a clock that is off by more than a minute."""
    return (
        WorkerObservation.objects.clock_off().filter(seen_at__gt=Now() - stale_after()).order_by("worker_id")
    )


def wrong_clocks_in_words(count: int) -> str:
    return many(count, "worker has a wrong clock", "workers have a wrong clock")


def shared_ids() -> QuerySet[WorkerObservation]:
    """Return the ids of living workers that several processes or jobs share."""
    alive = WorkerHeartbeat.objects.beating(stale_after())
    return WorkerObservation.objects.shared().filter(pk__in=alive.values("pk")).order_by("worker_id")


def offset_in_words(offset: timedelta) -> str:
    """Return how far a clock is off, such as "2 d ahead" or "11 min behind". Seconds are not known for certain."""
    minutes = timedelta(minutes=round(abs(offset) / timedelta(minutes=1)))
    return f"{spell(minutes)} {'ahead' if offset > timedelta(0) else 'behind'}"


def _of_queue(queue: QueueNaming) -> Trait:
    share = f"{queue.named / queue.seen:.0%}" if queue.seen else "none"
    seen = f"Of the runs without the console's protocol, {share} were seen named by a heartbeat."
    if queue.names_its_jobs:
        sentence = f"{seen} A silent run that no heartbeat names has lost its worker."
        return Trait("workers-name-their-jobs", f"Queue '{queue.queue}'", sentence, limits=False)
    return Trait(
        "workers-do-not-name-their-jobs",
        f"Queue '{queue.queue}'",
        f"{seen} Whether such a run is alive is unknown once it is silent. Only the rule for unknown runs recovers it.",
        "Write the id of the job with each heartbeat (current_job_id), one row per worker slot, or choose a rule for "
        "unknown runs on the page Recovery.",
    )


def _of_runs_without_a_sign() -> list[Trait]:
    """Return how many runs show nothing of what tells life here."""
    runs = Job.objects.running().filter(claimed_epoch=None).with_evidence().filter(beat_at=None)
    count = counting.count(runs)
    if not count:
        return []
    return [
        Trait(
            "runs-without-a-sign",
            many(count, "run"),
            f"{life_wording.promise()} Running jobs without such a sign are unknown once they are silent.",
            "Choose a rule for unknown runs on the page Recovery.",
            page="jobs_job",
        )
    ]


def _of_shared_ids(count: int, first: Sequence[str]) -> Trait:
    ids = ", ".join(map(in_short, first))
    return Trait(
        "worker-ids-shared",
        many(count, "worker id"),
        f"Several processes, or several jobs at once, use the same id: {ids}{_more(count)}. Such a worker is taken to have "
        "left a run only when every process that named the run is known to be silent.",
        "Give each process, or each slot of a pool, an id of its own for every start. Where the id must stay the same, let each "
        "start name itself (start in the API, :process in SQL).",
    )


def _of_clocks(count: int, first: Sequence[tuple[str, timedelta | None]]) -> Trait:
    return Trait(
        "worker-clocks-off",
        many(count, "clock"),
        f"{_clocks_in_words(count, first)} {CLOCKS_COUNT_AS_SEEN}",
        "Let the database write the time of a heartbeat (now()), or set the clock of the worker's host (NTP).",
        limits=False,
    )


def _first_of_the_future() -> QuerySet[Any, Any]:
    rows = Job.objects.changed_in_the_future()
    return rows.order_by("updated_at", "pk").values_list("pk", flat=True)[:NAMED_AT_MOST]


def _of_rows_from_the_future(count: int, first: Sequence[UUID]) -> Trait:
    named = ", ".join(map(str, first))
    return Trait(
        "jobs-from-the-future",
        many(count, "job"),
        f"By updated_at, these rows changed more than a minute in the future: {named}{_more(count)}. How long they have been "
        "silent or waiting cannot be known, so sweeps do not recover or re-send them, also by no rule for unknown runs.",
        "Let the database write updated_at (now()), or set the clock of the host that writes it (NTP). Requeue or cancel "
        "these jobs by hand: the new run has the database's time.",
        page="jobs_job",
        jobs=tuple(first),
    )


def _clocks_in_words(count: int, first: Sequence[tuple[str, timedelta | None]]) -> str:
    """Name the first workers whose clock is off, and by how much."""
    named = ", ".join(
        f"{in_short(worker)} is {offset_in_words(offset)}" for worker, offset in first if offset
    )
    return f"Compared with the database's clock, that of {named}{_more(count)}."


def in_short(worker_id: str) -> str:
    return worker_id if len(worker_id) <= LONGEST_ID_SHOWN else f"{worker_id[:LONGEST_ID_SHOWN]}..."


def _more(count: int) -> str:
    return f" and {many(count - NAMED_AT_MOST, 'other')}" if count > NAMED_AT_MOST else ""
