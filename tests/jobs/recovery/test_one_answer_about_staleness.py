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
from jobs.models import (
    Job,
    QueueNaming,
    QueueState,
    RecoveryControl,
    Status,
    WorkerHeartbeat,
    WorkerObservation,
)
from jobs.models.staleness import began_at, deadline_of, last_seen_of
from jobs.recovery import rescue
from jobs.recovery.decision import Policy, SweepAction, decide
from jobs.recovery.stale_pages import BEGINNING, StaleRun, StaleRuns
from jobs.runs.diagnosis import Reason, diagnose
from opsconsole_worker.environment import QueueConfig
from tests import factories
from tests.factories import SECOND, beat

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
THRESHOLD = 10 * MINUTE
JUST_UNDER, JUST_OVER = THRESHOLD - 5 * SECOND, THRESHOLD + SECOND
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LOOKED_AGO = 2 * MINUTE


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A look at a worker before. ``seen``: how long ago it saw the heartbeat, where it found the clock wrong.

    ``since``: the worker has sent another heartbeat since the look, which was ``LOOKED_AGO``.
    """

    seen: timedelta | None = None
    since: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run, the beats for it (epoch or None, and how long ago), and the expected answers.

    ``kept``: its worker sent a beat within the threshold; other signs of life do not count.
    ``late``: it is past its deadline. ``unknown``: it is silent, and what is known does not prove that its worker died.
    ``from_the_future``: so are those whose row changed in the future; no rule gives these up.
    ``looked``: the console has looked at its heartbeats before. ``shared``: several processes share its worker's id.
    """

    run: dict[str, Any] = field(default_factory=dict)
    beats: tuple[tuple[int | None, timedelta], ...] = ()
    elsewhere: timedelta | None = None
    stale: Reason | None = None
    kept: bool = False
    late: bool = False
    unknown: bool = False
    from_the_future: bool = False
    looked: Looked | None = None
    shared: bool = False


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
    "unclaimed, a beat of another epoch": Case(run=UNCLAIMED, beats=((2, SECOND),), unknown=True),
    "claimed for an earlier epoch, a beat without one": Case(
        run=OLD | {"epoch": 2, "claimed_epoch": 1}, beats=((None, SECOND),), unknown=True
    ),
    "unclaimed, silent": Case(run=UNCLAIMED, beats=((None, 35 * MINUTE),), stale=Reason.DEAD_WORKER),
    # SQS holds the message until the visibility timeout of its queue has passed.
    "unclaimed, left to SQS": Case(run=UNCLAIMED | {"queue": "slow"}),
    "unclaimed, left to SQS, silent": Case(
        run=UNCLAIMED | {"queue": "slow"}, beats=((None, 39 * MINUTE),), kept=True
    ),
    "unclaimed, SQS had it": Case(run={"age": 50 * MINUTE, "claimed": False, "queue": "slow"}, unknown=True),
    "unclaimed, its queue was never read": Case(
        run={"age": 11 * HOUR, "claimed": False, "queue": "new"}, late=True
    ),
    "unclaimed, its queue was never read, for long": Case(
        run={"age": 13 * HOUR, "claimed": False, "queue": "new"}, unknown=True, late=True
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
    # Without our protocol, silence proves something only where workers normally name their jobs.
    "unclaimed, never a beat": Case(run=UNCLAIMED, unknown=True),
    "unclaimed, never a beat, no worker known": Case(run=UNCLAIMED | {"worker_id": None}, unknown=True),
    "unclaimed, its worker beats without naming it": Case(run=UNCLAIMED, elsewhere=SECOND, unknown=True),
    "unclaimed, its worker stopped": Case(run=UNCLAIMED, elsewhere=30 * MINUTE, stale=Reason.DEAD_WORKER),
    "unclaimed, its worker stopped just before the run": Case(
        run=UNCLAIMED, elsewhere=40 * MINUTE + 20 * SECOND, stale=Reason.NEVER_BEAT
    ),
    "unclaimed, its worker stopped just before the run, shared id": Case(
        run=UNCLAIMED, elsewhere=40 * MINUTE + 20 * SECOND, shared=True, stale=Reason.NEVER_BEAT
    ),
    "unclaimed, its worker stopped days before the run": Case(run=UNCLAIMED, elsewhere=3 * DAY, unknown=True),
    "unclaimed, workers name their jobs": Case(run=UNCLAIMED | {"queue": "naming"}, stale=Reason.NEVER_BEAT),
    "unclaimed, workers name their jobs, its own names another": Case(
        run=UNCLAIMED | {"queue": "naming"}, elsewhere=SECOND, stale=Reason.WORKER_MOVED_ON
    ),
    "unclaimed, few runs were seen named": Case(run=UNCLAIMED | {"queue": "rarely seen"}, unknown=True),
    "unclaimed, half of the runs are named": Case(run=UNCLAIMED | {"queue": "half named"}, unknown=True),
    "its worker stopped while it beat for another job": Case(
        run=OLD, elsewhere=30 * MINUTE, stale=Reason.DEAD_WORKER
    ),
    # Several processes, or a pool of jobs, under one id.
    "shared id beats for another job": Case(run=OLD, elsewhere=SECOND, shared=True, unknown=True),
    "shared id beats for another job, slow queue": Case(
        run=OLD | {"queue": "slow"}, elsewhere=SECOND, shared=True, unknown=True
    ),
    "shared id stopped": Case(run=OLD, elsewhere=30 * MINUTE, shared=True, stale=Reason.DEAD_WORKER),
    "shared id stopped naming this run": Case(
        run=OLD, beats=((1, 20 * MINUTE),), shared=True, stale=Reason.DEAD_WORKER
    ),
    "shared id names this run": Case(run=OLD, beats=((1, SECOND),), shared=True, kept=True),
    "shared id without a row": Case(run=OLD, shared=True, stale=Reason.NEVER_BEAT),
    "shared id in a queue that names": Case(
        run=UNCLAIMED | {"queue": "naming"}, elsewhere=SECOND, shared=True, unknown=True
    ),
    # Clocks of others. A clock that is right within a minute is believed.
    "clock a little ahead": Case(run=OLD, beats=((1, -30 * SECOND),), kept=True),
    "it starts two days from now": Case(run=OLD | {"started_at": 2 * DAY}, stale=Reason.NEVER_BEAT),
    "it starts two days from now, beats": Case(
        run=OLD | {"started_at": 2 * DAY}, beats=((1, SECOND),), kept=True
    ),
    "it starts a little from now": Case(run=OLD | {"started_at": 30 * SECOND}),
    "its row changed a little from now": Case(run=OLD | {"updated_at": 30 * SECOND}),
    "its row changed two days from now": Case(run=OLD | {"updated_at": 2 * DAY}, from_the_future=True),
    "its row changed two days from now, silent": Case(
        run=OLD | {"updated_at": 2 * DAY}, beats=((1, 20 * MINUTE),), from_the_future=True
    ),
    "its row changed two days from now, beats": Case(
        run=OLD | {"updated_at": 2 * DAY}, beats=((1, SECOND),), kept=True
    ),
    "its row and its start are two days from now": Case(
        run=OLD | {"updated_at": 2 * DAY, "started_at": 2 * DAY, "created_at": -40 * MINUTE},
        from_the_future=True,
    ),
    "clock two days ahead, never looked at": Case(run=OLD, beats=((1, -2 * DAY),), kept=True),
    "clock two days ahead, just in time": Case(
        run=OLD, beats=((1, -2 * DAY),), looked=Looked(seen=JUST_UNDER), kept=True
    ),
    "clock two days ahead, silent for the threshold": Case(
        run=OLD, beats=((1, -2 * DAY),), looked=Looked(seen=JUST_OVER), stale=Reason.DEAD_WORKER
    ),
    "clock two days ahead, a beat since": Case(
        run=OLD, beats=((1, -2 * DAY),), looked=Looked(seen=20 * MINUTE, since=True), kept=True
    ),
    "clock 11 minutes slow": Case(run=OLD, beats=((1, 12 * MINUTE),), looked=Looked(seen=MINUTE), kept=True),
    "clock 11 minutes slow, a beat since": Case(
        run=OLD, beats=((1, 11 * MINUTE),), looked=Looked(seen=20 * MINUTE, since=True), kept=True
    ),
    "clock 11 minutes slow, silent for the threshold": Case(
        run=OLD, beats=((1, 21 * MINUTE),), looked=Looked(seen=JUST_OVER), stale=Reason.DEAD_WORKER
    ),
    "clock jumped back an hour": Case(run=OLD, beats=((1, HOUR),), looked=Looked(since=True), kept=True),
    "clock jumped back two days after being ahead": Case(
        run=OLD, beats=((1, SECOND),), looked=Looked(seen=20 * MINUTE, since=True), kept=True
    ),
    "clock right, silent at the last look": Case(
        run=OLD, beats=((1, 20 * MINUTE),), looked=Looked(), stale=Reason.DEAD_WORKER
    ),
    "clock right, a beat since": Case(run=OLD, beats=((1, SECOND),), looked=Looked(since=True), kept=True),
    "clock right, a beat since, old enough": Case(
        run=OLD, beats=((1, LOOKED_AGO - SECOND),), looked=Looked(since=True), kept=True
    ),
    "its worker's clock is ahead, its worker stopped": Case(
        run=OLD, elsewhere=-2 * DAY, looked=Looked(seen=JUST_OVER), stale=Reason.DEAD_WORKER
    ),
    "its worker's clock is slow, it beats for another job": Case(
        run=OLD, elsewhere=HOUR, looked=Looked(seen=SECOND), stale=Reason.WORKER_MOVED_ON
    ),
}
FACTORY = {"age", "epoch", "claimed", "queue"}
# The visibility timeouts of queues, and how many of their runs were seen, and seen named by a heartbeat.
TIMEOUTS = {"slow": 45 * MINUTE} | dict.fromkeys(
    ["default", "naming", "rarely seen", "half named"], 30 * SECOND
)
NAMING = {"naming": (100, 95), "rarely seen": (5, 5), "half named": (100, 50)}
ENDED = [*(status for status in Status if status != Status.IN_PROGRESS), "archived"]
# How long ago an outage ended. Silence counts only from its end, because no worker could send a beat before.
OUTAGES = {"no outage": None, "an outage long ago": 14 * HOUR, "an outage": 5 * MINUTE}
RULES = RecoveryControl.UnknownRule
# The rule that operators chose for unknown runs, in addition to the outage.
WORLDS = {outage: (outage, RULES.NEVER) for outage in OUTAGES} | {
    "unknown runs are given up after ten hours": ("no outage", RULES.AFTER),
    "unknown runs are given up after the visibility timeout": ("no outage", RULES.VISIBILITY),
    "an outage before unknown runs are given up": ("an outage", RULES.VISIBILITY),
}


@dataclass
class World:
    """The runs in the database: the name of the case by job ID, and whether an outage excuses all silence."""

    names: dict[UUID, str]
    excused: bool
    rule: str

    def stale(self) -> dict[str, Reason]:
        if self.excused:
            return {}
        dead = {name: case.stale for name, case in CASES.items() if case.stale}
        return dead | {name: Reason.UNKNOWN for name in self.unknown() if self.gives_up(CASES[name])}

    def unknown(self) -> dict[str, Reason]:
        """Return the runs without evidence, also those that the rule gives up."""
        if self.excused:
            return {}
        return {name: Reason.UNKNOWN for name, case in CASES.items() if case.unknown or case.from_the_future}

    def gives_up(self, case: Case) -> bool:
        if case.from_the_future:
            return False
        match self.rule:
            case RULES.AFTER:
                return bool(case.run["age"] > 10 * HOUR)
            case RULES.VISIBILITY:
                return bool(case.run["age"] > TIMEOUTS.get(case.run.get("queue", "default"), 12 * HOUR))
        return False

    def reasons(self) -> dict[str, Reason]:
        """Return the reason why each run is stale, unknown or hung."""
        hung = {name: Reason.HUNG for name, case in CASES.items() if case.late and case.kept}
        return self.stale() | self.unknown() | hung

    def named(self, ids: Any) -> set[str]:
        return {self.names[pk] for pk in ids}


@pytest.fixture(params=list(WORLDS))
def world(request: pytest.FixtureRequest, settings: Any) -> World:
    settings.QUEUES = {"default": QueueConfig("default", "https://sqs.fake/jobs", None)}
    for queue, timeout in TIMEOUTS.items():
        QueueState.objects.create(name=queue, visibility_timeout_seconds=timeout / SECOND)
    for queue, (seen, named) in NAMING.items():
        QueueNaming.objects.create(queue=queue, seen=seen, named=named)
    outage, rule = WORLDS[request.param]
    ended = OUTAGES[outage]
    RecoveryControl.objects.update(
        outage_ended_at=None if ended is None else Now() - ended,
        beats_looked_at=Now() - LOOKED_AGO,
        unknown_rule=rule,
        unknown_after=10 * HOUR if rule == RULES.AFTER else None,
    )
    names = {}
    for number, (name, case) in enumerate(CASES.items()):
        worker = f"worker-{number}"
        about: dict[str, Any] = {key: case.run[key] for key in case.run.keys() & FACTORY}
        made = factories.run(worker=worker, **about)
        # The factory leaves worker_id empty in unclaimed runs; every run here names its worker.
        changes = {"worker_id": worker} | {key: case.run[key] for key in case.run.keys() - about.keys()}
        Job.objects.filter(pk=made.pk).update(**from_now(changes))
        for place, (epoch, ago) in enumerate(case.beats):
            beat(f"beating-{number}-{place}", made.pk, epoch, ago=ago)
        if case.elsewhere is not None:
            beat(worker, uuid4(), 1, ago=case.elsewhere)
        if case.looked:
            look(case.looked, worker if case.elsewhere is not None else f"beating-{number}-0")
        if case.shared:
            written = (
                WorkerHeartbeat.objects.filter(pk=worker).values_list("last_heartbeat", flat=True).first()
            )
            WorkerObservation.objects.create(worker_id=worker, beat_at=written, shared_at=Now() - HOUR)
        names[made.pk] = name
    for status in ENDED:
        factories.run(age=40 * MINUTE, worker=f"ended-{status}")
        Job.objects.filter(worker_id=f"ended-{status}").update(status=status)
    return World(names, excused=ended == 5 * MINUTE, rule=rule)


def look(looked: Looked, worker: str) -> None:
    """Record the look at a worker, as ``jobs.runs.observations`` does."""
    written = WorkerHeartbeat.objects.values_list("last_heartbeat", flat=True).get(pk=worker)
    WorkerObservation.objects.create(
        worker_id=worker,
        beat_at=written - 3 * DAY if looked.since else written,
        seen_at=None if looked.seen is None else Now() - looked.seen,
        clock_offset=None if looked.seen is None else HOUR,
    )


def from_now(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: Now() + value if isinstance(value, timedelta) else value for key, value in fields.items()}


def locked() -> list[StaleRun]:
    with transaction.atomic():
        return StaleRuns().lock(1_000, BEGINNING).held


def test_queryset_agrees(world: World) -> None:
    assert world.named(Job.objects.stale().values_list("pk", flat=True)) == world.stale().keys()
    unknown = Job.objects.unknown().values_list("pk", flat=True)
    assert world.named(unknown) == world.unknown().keys() - world.stale().keys()


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
    assert {
        world.names[UUID(line["id"])]: line["reason"] for line in lines
    } == world.stale() | world.unknown()


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
