"""Gauges about runs: jobs that lost their worker, silent runs that may be alive, quarantine, and claims that are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from uuid import UUID

from django.conf import settings
from django.db.models import Count, QuerySet

from alerts.notify import Fact, Trouble
from jobs.models import Job, JobEvent, RecoveryControl, Status
from jobs.models.job import JobQuerySet
from jobs.recovery import outlook_wording, recovery_alerts, surroundings
from jobs.recovery.decision import Policy
from jobs.runs.named_jobs import named
from jobs.watch import lost_workers
from jobs.watch import refused_claims as jobs_refused
from jobs.watch.gauge_reading import Reading, list_of
from opsconsole.kit import counting, one_statement
from opsconsole.kit.counting import figure, many
from opsconsole.kit.job_pages import job_links
from opsconsole.kit.one_statement import column_of, records_of

DECIDE_BY_HAND = "See what was done already, then requeue or cancel."


def stale_jobs_day() -> Reading:
    asked = one_statement.read(
        possibly_silent=column_of(_possibly_silent().values_list("pk", flat=True)),
        taken=records_of(taken_in_a_day()),
    )
    taken: Counter[str] = Counter(dict(asked["taken"]))
    # What weighs the evidence of each run is long, and mostly there is nothing to weigh.
    now = counting.count(Job.objects.stale()) if asked["possibly_silent"] else 0
    # The jobs of these events and the stale ones are the same where there are none of the first.
    lost = counting.count(lost_workers.within_a_day()) if taken else now
    prospect = recovery_alerts.prospect(surroundings.read()) if now else None
    return stale_reading(lost, taken, now, prospect)


def _possibly_silent() -> JobQuerySet:
    return Job.objects.possibly_silent().longest_unchanged()


def taken_in_a_day() -> QuerySet[JobEvent, tuple[str, int]]:
    """Count the runs that sweeps or people took from workers that had died in the last 24 hours, by kind of event.

    There is one event per run: a recovery raises the epoch, and quarantine ends it. A run that is stale now has none yet.
    """
    return lost_workers.events().values_list("kind").annotate(Count("pk"))


def stale_reading(total: int, taken: Counter[str], now: int, prospect: Fact | None) -> Reading:
    """Say how many jobs lost a worker: those that the overview counts and its list shows. Of a job, several runs may be lost.

    ``prospect``: what sweeps do about those that are stale now.
    """
    by_hand = sum(taken[kind] for kind in lost_workers.BY_HAND)
    return Reading(
        total,
        Trouble(
            title=f"{many(total, 'job lost its worker', 'jobs lost their worker')} within 24 hours",
            summary="Workers should not die so often: see why they did.",
            link=list_of("job", "?lost=day"),
            facts=(
                ("Runs started again", figure(taken[lost_workers.Kind.RECOVERED])),
                ("Quarantined", figure(taken[lost_workers.Kind.QUARANTINED])),
                *((("Requeued or cancelled by hand", figure(by_hand)),) if by_hand else ()),
                ("Stale now", figure(now)),
                *((prospect,) if prospect else ()),
            ),
        ),
    )


def unknown_runs() -> Reading:
    state = RecoveryControl.load()
    some = _possibly_silent().exists()
    return unknown_reading(counting.count(surroundings.unknown_runs(state.cutoff)) if some else 0, state)


def unknown_reading(count: int, state: RecoveryControl) -> Reading:
    return Reading(
        count,
        Trouble(
            title=f"{many(count, 'silent run')}, and it is unknown whether they are alive",
            summary=f"Nothing proves that their workers died. {outlook_wording.of_unknown_runs(state)}",
            link=list_of("job", "?stale=unknown_since_cutoff"),
        ),
    )


def runs_by_hand() -> Reading:
    policy = Policy.current(RecoveryControl.load()) if settings.OPSCONSOLE_RECOVERY_BY_HAND else None
    if policy is None or not _possibly_silent().exists():
        return by_hand_reading(0, {})
    runs = surroundings.left_by_hand(Job.objects.stale(), policy)
    longest = named(runs.order_by("updated_at", "pk"))
    return by_hand_reading(counting.count(runs) if longest else 0, longest)


def by_hand_reading(count: int, longest: Mapping[UUID, str]) -> Reading:
    """Say how many runs wait. ``longest``: the words of the first ones, by their jobs."""
    return Reading(
        count,
        Trouble(
            title=f"{many(count, 'run waits', 'runs wait')} for an operator",
            summary=f"Their workers died, and sweeps leave runs of their queues alone. {DECIDE_BY_HAND}",
            link=list_of("job", "?stale=by_hand"),
            facts=(("Silent longest", "\n".join(longest.values())),) if longest else (),
            links=job_links(longest),
        ),
    )


def quarantined_jobs() -> Reading:
    jobs = Job.objects.filter(status=Status.QUARANTINED)
    count = counting.count(jobs)
    return quarantined_reading(count, named(jobs.order_by("-created_at", "-pk")) if count else {})


def quarantined_reading(count: int, latest: Mapping[UUID, str]) -> Reading:
    """Say how many jobs there are. ``latest``: the words of the newest ones, by the jobs."""
    return Reading(
        count,
        Trouble(
            title=f"{many(count, 'job')} in quarantine",
            summary="Nothing starts them again but an operator: mend the cause, then release them.",
            link=list_of("job", "?status=quarantined"),
            facts=(("Newest", "\n".join(latest.values())),) if latest else (),
            links=job_links(latest),
        ),
    )


def refused_claims() -> Reading:
    refused = jobs_refused.present()
    return Reading(refused.count, refused.words)
