"""The totals of silent runs are the numbers of the lists, each of which asks by itself."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.models import Job, RecoveryControl, Status
from jobs.recovery import control, silent_totals, surroundings
from jobs.recovery.decision import Policy
from opsconsole.kit import counting
from tests import factories

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def _runs() -> None:
    """Create silent and live, stale and unknown runs, of known and unknown queues, from before and after a cutoff."""
    for queue in ("default", "elsewhere"):
        for age in (HOUR, 5 * HOUR):
            factories.run(age=age, queue=queue)
            factories.run(age=age, queue=queue, claimed=False)
    factories.run(age=5 * HOUR, silent=timedelta(0), worker="alive")
    factories.run(age=5 * HOUR, silent=HOUR, worker="fell silent lately")
    factories.job(status=Status.PENDING)


@pytest.mark.parametrize("by_hand", [(), ("other",)], ids=["all recovered", "one by hand"])
@pytest.mark.parametrize("queues", [("default", "other"), ()], ids=["queues", "no queue"])
@pytest.mark.parametrize("cutoff", [None, 3 * HOUR], ids=["no cutoff", "a cutoff"])
@pytest.mark.parametrize("forgiven", [None, 2 * HOUR], ids=["nothing forgiven", "a mass event"])
def test_totals_are_the_numbers_of_the_lists(
    cutoff: timedelta | None,
    forgiven: timedelta | None,
    queues: tuple[str, ...],
    by_hand: tuple[str, ...],
    settings: Any,
) -> None:
    _runs()
    now = timezone.now()
    policy = replace(
        Policy.current(RecoveryControl.objects.get()),
        cutoff=now - cutoff if cutoff else None,
        forgiven_before=now - forgiven if forgiven else None,
        queues=frozenset(queues),
        by_hand=frozenset(by_hand),
    )
    stale, unknown = Job.objects.stale(), Job.objects.unknown()
    since = stale.begun_since(policy.cutoff) if policy.cutoff else stale
    lately = Job.objects.stale_and_seen_since(policy.forgiven_before) if policy.forgiven_before else stale
    expected = {
        "at_once": (lately.begun_since(policy.cutoff) if policy.cutoff else lately).count(),
        "recoverable": surroundings.recoverable(stale, policy).count(),
        "unknown_queue": since.exclude(queue__in=policy.queues).count(),
        "by_hand": since.filter(queue__in=policy.queues & policy.by_hand).count(),
        "unknown": surroundings.unknown_runs(policy.cutoff).count(),
        "before_cutoff": stale.begun_before(policy.cutoff).count() if policy.cutoff else 0,
        "unknown_before_cutoff": unknown.begun_before(policy.cutoff).count() if policy.cutoff else 0,
    }

    totals = silent_totals.read(policy)

    assert asdict(totals) == expected | {"stale": frozenset()}
    named = silent_totals.read(policy, with_jobs=True)
    assert asdict(named) == expected | {"stale": frozenset(stale.values_list("pk", flat=True))}

    assert bool(totals.recoverable) == bool(queues)
    assert totals.unknown_queue
    settings.OPSCONSOLE_MASS_STALE_RUNS = 1
    assert control.mass(totals.at_once, policy) == control.mass_of_stale(policy)


def test_of_many_stale_runs_no_more_are_named_than_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "COUNTED_TO", 1)
    for _ in range(4):
        factories.run(age=HOUR)

    totals = silent_totals.read(Policy.current(RecoveryControl.objects.get()), with_jobs=True)

    assert (totals.at_once, len(totals.stale)) == (4, 2)
