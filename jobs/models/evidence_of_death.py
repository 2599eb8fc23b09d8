"""The evidence that the worker of a silent run is dead, as database expressions: absent evidence is not death (I3).

A silent run without it is *unknown*: its worker may be alive and not name its jobs, or share its id with others. Such a
run is recovered only by a rule that an operator chose.
"""

from __future__ import annotations

from django.db.models import (
    BooleanField,
    Case,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    Q,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Now
from django.db.models.lookups import LessThan

from jobs.models import staleness
from jobs.models.columns import JOBS
from jobs.models.control import RecoveryControl
from jobs.models.worker import BEATS_BEFORE_RUN
from jobs.models.worker_observation import QueueNaming, WorkerObservation
from opsconsole.kit.mapping import BEATS, VISIBILITY
from opsconsole.kit.postgresql.timestamps import calculable

UnknownRule = RecoveryControl.UnknownRule

# The condition of ``Job.objects.stale()`` on rows that have the evidence as columns, where it is read only once per row.
STALE_IN_STATEMENT = (
    f"{staleness.LAST_SEEN_IN_STATEMENT} < stale_before"
    f" AND (death_proven OR {staleness.LAST_SEEN_IN_STATEMENT} < given_up_before)"
)


def proven() -> Case:
    """Return whether a run that is silent has lost its worker.

    It has when its own heartbeats or those of its worker stopped, whatever they named, even just before the run; also when
    nothing was ever heard for it although its worker follows our protocol, or the workers of its queue normally name their
    jobs. Heartbeats of an id that several processes or jobs share prove neither life nor death, as long as they come, unless
    the processes that named the run are known to be silent: then it was restarted (``jobs.models.earlier_beats``).
    """
    shared = Q(worker_id__in=WorkerObservation.objects.shared().values("worker_id"))
    return Case(
        # How long such a run has been silent cannot be known.
        When(staleness.changed_in_the_future(), then=False),
        # The common cases first: they need no look at the heartbeats of the worker.
        When(_claimed() & ~shared, then=True),
        *_without_a_sign(),
        When(beat_at__isnull=False, then=True),
        When(Q(worker_id__isnull=True) & would_be_named(), then=True),
        When(worker_id__isnull=True, then=False),
        When(worker_beat_at__gte=_beats_came_since(), worker_beat_at__lt=F("stale_before"), then=True),
        When(_claimed() & Q(processes_beat_at__lt=F("stale_before")), then=True),
        When(shared & Q(worker_beat_at__gte=F("stale_before")), then=False),
        When(would_be_named(), then=True),
        default=False,
        output_field=BooleanField(),
    )


def _without_a_sign() -> list[When]:
    """Return the case of their runs that do not show the sign of life that the mapping names; with visibility, none shows one."""
    if JOBS.life.told_by == BEATS:
        return []
    shows_none = Q() if JOBS.life.told_by == VISIBILITY else Q(beat_at__isnull=True)
    return [When(~_claimed() & shows_none, then=False)]


def would_be_named() -> Q:
    """Return the condition of runs that a living worker names: by our protocol, or as the queue's workers normally do."""
    return _claimed() | Q(queue__in=QueueNaming.objects.naming().values("queue"))


def _beats_came_since() -> ExpressionWrapper:
    return ExpressionWrapper(calculable("updated_at") - BEATS_BEFORE_RUN, DateTimeField())


def _claimed() -> Q:
    return Q(claimed_epoch=F("run_epoch"))


def given_up_before() -> Case:
    """Return the time before which the last sign of life lets a run be recovered by the operators' rule."""
    state = RecoveryControl.objects.filter(pk=1)
    after = ExpressionWrapper(Now() - Subquery(state.values("unknown_after")), DateTimeField())
    return Case(
        When(staleness.changed_in_the_future(), then=Value(None)),
        When(Exists(state.filter(unknown_rule=UnknownRule.AFTER)), then=after),
        When(Exists(state.filter(unknown_rule=UnknownRule.VISIBILITY)), then=staleness.left_to_sqs_until()),
        default=Value(None),
        output_field=DateTimeField(),
    )


def is_sufficient() -> Q:
    """Return the condition that makes an annotated silent run stale."""
    given_up = Case(
        When(given_up_before__isnull=True, then=False),
        default=LessThan(F("last_seen"), F("given_up_before")),
        output_field=BooleanField(),
    )
    return Q(death_proven=True) | Q(given_up)
