"""One table of cases for beats, last sign of life, staleness and its reason, checked in every form (I12).

The rules are implemented by the QuerySet, the diagnosis, the page of stale runs, the statement that recovers them, and
the SQL function ``find_stale_jobs`` of a migration, which cannot be built from the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models.functions import Now

from jobs.admin.jobs import filters
from jobs.models import Job, QueueState, RecoveryControl, Status
from jobs.models.staleness import began_at, deadline_of, last_seen_of
from jobs.recovery import rescue
from jobs.recovery.decision import Policy, SweepAction, decide
from jobs.recovery.stale_pages import BEGINNING, StaleRun, StaleRuns
from jobs.runs.diagnosis import Reason, diagnose
from opsconsole.kit.env import QueueConfig
from tests import factories
from tests.factories import SECOND, beat

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
THRESHOLD = 10 * MINUTE
JUST_UNDER, JUST_OVER = THRESHOLD - 5 * SECOND, THRESHOLD + SECOND
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run, the beats for it (epoch or None, and how long ago), and the expected answers.

    ``kept``: its worker sent a beat within the threshold; other signs of life do not count.
    ``late``: it is past its deadline.
    """

    run: dict[str, Any] = field(default_factory=dict)
    beats: tuple[tuple[int | None, timedelta], ...] = ()
    elsewhere: timedelta | None = None
    stale: Reason | None = None
    kept: bool = False
    late: bool = False


OLD = {"age": 40 * MINUTE}
UNCLAIMED = OLD | {"claimed": False}

CASES = {
    "beats": Case(run=OLD, beats=((1, SECOND),), kept=True),
    "beats, just in time": Case(run=OLD, beats=((1, JUST_UNDER),), kept=True),
    "silent for the threshold": Case(run=OLD, beats=((1, JUST_OVER),), stale=Reason.DEAD_WORKER),
    "two workers beat for it, one lately": Case(run=OLD, beats=((1, 20 * MINUTE), (1, SECOND)), kept=True),
    "began just now, no beat yet": Case(run={"age": JUST_UNDER}),
    "began long ago, never a beat": Case(run=OLD, stale=Reason.NEVER_BEAT),
    "its row changed lately": Case(run=OLD | {"updated_at": -MINUTE}),
    "its start is not known, its row is old": Case(run=OLD | {"started_at": None}, stale=Reason.NEVER_BEAT),
    "its worker beats for another job": Case(run=OLD, elsewhere=SECOND, stale=Reason.WORKER_MOVED_ON),
    "its worker's last beat is older than the run": Case(run=OLD, elsewhere=HOUR, stale=Reason.NEVER_BEAT),
    "a beat of the run before": Case(run=OLD | {"epoch": 3}, beats=((2, SECOND),), stale=Reason.NEVER_BEAT),
    "its worker beats, that of the run before died": Case(
        run=OLD | {"epoch": 2}, beats=((1, 30 * MINUTE), (2, SECOND)), kept=True
    ),
    "a beat of the run to come": Case(run=OLD | {"epoch": 3}, beats=((4, SECOND),), stale=Reason.NEVER_BEAT),
    "claimed, a beat without an epoch": Case(run=OLD, beats=((None, SECOND),), stale=Reason.NEVER_BEAT),
    "unclaimed, a beat without an epoch": Case(run=UNCLAIMED, beats=((None, SECOND),), kept=True),
    "unclaimed, a beat of its epoch": Case(run=UNCLAIMED, beats=((1, SECOND),), kept=True),
    "unclaimed, a beat of another epoch": Case(run=UNCLAIMED, beats=((2, SECOND),), stale=Reason.NEVER_BEAT),
    "claimed for an earlier epoch, a beat without one": Case(
        run=OLD | {"epoch": 2, "claimed_epoch": 1}, beats=((None, SECOND),), stale=Reason.NEVER_BEAT
    ),
    "unclaimed, silent": Case(run=UNCLAIMED, beats=((None, 35 * MINUTE),), stale=Reason.DEAD_WORKER),
    # SQS holds the message until the visibility timeout of its queue has passed.
    "unclaimed, left to SQS": Case(run=UNCLAIMED | {"queue": "slow"}),
    "unclaimed, left to SQS, silent": Case(
        run=UNCLAIMED | {"queue": "slow"}, beats=((None, 39 * MINUTE),), kept=True
    ),
    "unclaimed, SQS had it": Case(
        run={"age": 50 * MINUTE, "claimed": False, "queue": "slow"}, stale=Reason.NEVER_BEAT
    ),
    "unclaimed, its queue was never read": Case(
        run={"age": 11 * HOUR, "claimed": False, "queue": "new"}, late=True
    ),
    "unclaimed, its queue was never read, for long": Case(
        run={"age": 13 * HOUR, "claimed": False, "queue": "new"}, stale=Reason.NEVER_BEAT, late=True
    ),
    "claimed in a slow queue": Case(run=OLD | {"queue": "slow"}, stale=Reason.NEVER_BEAT),
    "hung": Case(run={"age": 2 * HOUR}, beats=((1, SECOND),), kept=True, late=True),
    "hung by its own deadline": Case(
        run=OLD | {"deadline_at": -MINUTE}, beats=((1, SECOND),), kept=True, late=True
    ),
    "not hung by its own deadline": Case(
        run={"age": 2 * HOUR, "deadline_at": HOUR}, beats=((1, SECOND),), kept=True
    ),
    "past its deadline and silent": Case(
        run={"age": 2 * HOUR}, beats=((1, HOUR),), stale=Reason.DEAD_WORKER, late=True
    ),
}
FACTORY = {"age", "epoch", "claimed", "queue"}
ENDED = [*(status for status in Status if status != Status.IN_PROGRESS), "archived"]
# How long ago an outage ended. Silence counts only from its end, because no worker could send a beat before.
OUTAGES = {"no outage": None, "an outage long ago": 14 * HOUR, "an outage": 5 * MINUTE}


@dataclass
class World:
    """The runs in the database: the name of the case by job ID, and whether an outage excuses all silence."""

    names: dict[UUID, str]
    excused: bool

    def stale(self) -> dict[str, Reason]:
        if self.excused:
            return {}
        return {name: case.stale for name, case in CASES.items() if case.stale}

    def reasons(self) -> dict[str, Reason]:
        """Return the reason why each run is stale or hung."""
        hung = {name: Reason.HUNG for name, case in CASES.items() if case.late and name not in self.stale()}
        return self.stale() | hung

    def named(self, ids: Any) -> set[str]:
        return {self.names[pk] for pk in ids}


@pytest.fixture(params=list(OUTAGES))
def world(request: pytest.FixtureRequest, settings: Any) -> World:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    QueueState.objects.create(name="default", visibility_timeout_seconds=30)
    QueueState.objects.create(name="slow", visibility_timeout_seconds=45 * 60)
    ended = OUTAGES[request.param]
    RecoveryControl.objects.update(outage_ended_at=None if ended is None else Now() - ended)
    names = {}
    for number, (name, case) in enumerate(CASES.items()):
        worker = f"worker-{number}"
        about: dict[str, Any] = {key: case.run[key] for key in case.run.keys() & FACTORY}
        made = factories.run(worker=worker, **about)
        changes = {key: value for key, value in case.run.items() if key not in about}
        if changes:
            Job.objects.filter(pk=made.pk).update(**from_now(changes))
        # The factory leaves worker_id empty in unclaimed runs; every run here names its worker.
        Job.objects.filter(pk=made.pk).update(worker_id=worker)
        for place, (epoch, ago) in enumerate(case.beats):
            beat(f"beating-{number}-{place}", made.pk, epoch, ago=ago)
        if case.elsewhere is not None:
            beat(worker, uuid4(), 1, ago=case.elsewhere)
        names[made.pk] = name
    for status in ENDED:
        factories.run(age=40 * MINUTE, worker=f"ended-{status}")
        Job.objects.filter(worker_id=f"ended-{status}").update(status=status)
    return World(names, excused=ended == 5 * MINUTE)


def from_now(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: Now() + value if isinstance(value, timedelta) else value for key, value in fields.items()}


def locked() -> list[StaleRun]:
    with transaction.atomic():
        return StaleRuns().lock(1_000, BEGINNING)


def test_queryset_agrees(world: World) -> None:
    assert world.named(Job.objects.stale().values_list("pk", flat=True)) == world.stale().keys()


def test_diagnosis_agrees(world: World) -> None:
    said = {world.names[job.pk]: diagnose(job) for job in Job.objects.running().with_evidence()}
    reasons = {name: diagnosis.reason for name, diagnosis in said.items() if diagnosis.reason}
    assert reasons == world.reasons()
    assert {name for name, diagnosis in said.items() if diagnosis.stale} == world.stale().keys()
    assert not any(diagnose(job).reason for job in Job.objects.with_evidence().exclude(status="in_progress"))


def test_page_of_stale_runs_agrees(world: World) -> None:
    assert {world.names[run.pk]: diagnose(run).reason for run in locked()} == world.stale()


def test_sql_function_agrees(world: World) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM find_stale_jobs(statement_timestamp() - interval '10 minutes')")
        assert world.named(row[0] for row in cursor.fetchall()) == world.stale().keys()


def test_command_agrees(world: World) -> None:
    out = StringIO()
    call_command("find_stale_jobs", "--json", stdout=out)
    lines = map(json.loads, out.getvalue().splitlines())
    assert {world.names[UUID(line["id"])]: line["reason"] for line in lines} == world.stale()


@pytest.mark.parametrize("reason", list(Reason))
def test_list_filter_agrees(world: World, reason: Reason) -> None:
    found = filters.because(Job.objects.all(), reason).values_list("pk", flat=True)
    assert world.named(found) == {name for name, why in world.reasons().items() if why == reason}


def test_rescue_statement_agrees(world: World) -> None:
    """Check beats only: other signs of life cannot appear after the page was locked."""
    policy = Policy(max_recoveries=3, queues=frozenset(), cutoff=None, forgiven_before=None)
    runs = [
        decide(job, policy)._replace(action=SweepAction.REQUEUE)
        for job in Job.objects.running().with_evidence()
    ]
    assert world.named(rescue.requeue(runs)) == {name for name, case in CASES.items() if case.kept}


def test_last_sign_of_life_start_and_deadline_agree(world: World) -> None:
    """Compare the answers of Python and of the database, for a model and for a row of the page."""
    for job in Job.objects.running().with_evidence():
        assert last_seen_of(job) == job.last_seen
        began, this = began_at(job), Job.objects.filter(pk=job.pk)
        assert this.begun_since(began).exists() and not this.begun_before(began).exists()
        assert this.begun_before(began + SECOND).exists() and not this.begun_since(began + SECOND).exists()
    late = {
        world.names[job.pk] for job in Job.objects.running().with_evidence() if deadline_of(job) < job.read_at
    }
    assert late == {name for name, case in CASES.items() if case.late}


@pytest.mark.parametrize(
    ("silent", "stale"), [(THRESHOLD, False), (THRESHOLD + timedelta(microseconds=1), True)]
)
def test_threshold_is_exact_to_the_microsecond(silent: timedelta, stale: bool) -> None:
    made = factories.run(age=HOUR, silent=THRESHOLD)
    seen = Job.objects.with_evidence().get(pk=made.pk).last_seen
    cutoff = seen + silent - THRESHOLD
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM find_stale_jobs(%s)", [cutoff])
        [by_function] = cursor.fetchone()
    assert bool(by_function) is stale
    assert Job.objects.stale(cutoff).exists() is stale
    assert diagnose(Job.objects.with_evidence(cutoff).get(pk=made.pk)).stale is stale
