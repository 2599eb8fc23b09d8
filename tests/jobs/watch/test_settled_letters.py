"""Tests of the retention of dead letters: settled ones go at the limit, all others and the ledger stay."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from pytest_django.fixtures import Settings

from jobs.dead_letters import groups, lineage
from jobs.dead_letters.fingerprint import Fingerprint
from jobs.letter_ledger import entries
from jobs.letter_ledger.entries import NewEntry
from jobs.models import DeadLetter, FailureGroup, ReplayAttempt
from jobs.runs.timeline import Actor
from jobs.watch import settled_letters
from opsconsole.kit.row_locks import locked
from tests.factories import dead_letter, failure_group
from tests.other_sessions import other_session

pytestmark = pytest.mark.django_db

DAY, MOMENT = timedelta(days=1), timedelta(seconds=30)
LIMIT = 90 * DAY
State, Action = DeadLetter.State, ReplayAttempt.Action


def settled(ago: timedelta, state: str = State.REPLAYED, **fields: Any) -> DeadLetter:
    """Create a letter whose last action ended this long ago, and which no scan saw since."""
    letter = dead_letter(state=state, age=ago + DAY, **fields)
    times = {"first_seen_at": Now() - ago - DAY, "last_seen_at": Now() - ago - MOMENT}
    DeadLetter.objects.filter(pk=letter.pk).update(**times)
    want(letter, Action.REPLAY, "mended")
    done = ReplayAttempt.State.DONE
    ReplayAttempt.objects.filter(letter=letter).update(state=done, ended_at=Now() - ago)
    return letter


def want(letter: DeadLetter, action: ReplayAttempt.Action, reason: str) -> None:
    ada = Actor.operator("ada", None)
    entries.write([NewEntry(letter.pk, action, ReplayAttempt.State.WANTED, ada, reason)])


def left() -> set[Any]:
    return set(DeadLetter.objects.values_list("pk", flat=True))


def test_settled_letters_go_after_the_limit_and_their_sealed_entries_stay() -> None:
    replayed, discarded = settled(LIMIT + MOMENT), settled(LIMIT + MOMENT, State.DISCARDED)
    young = settled(LIMIT - MOMENT)

    assert settled_letters.delete() == 2

    assert left() == {young.pk}
    assert ReplayAttempt.objects.filter(letter_id__in=[replayed.pk, discarded.pk]).count() == 2
    # Who asks for the letters that came back finds those that are there.
    trace = lineage.Trace(str(replayed.message_id), None, None, None)
    assert lineage.earlier_of([trace]) == {}


@pytest.mark.parametrize("state", [*DeadLetter.OPEN, State.GONE])
def test_letter_that_nobody_settled_stays_for_ever(state: str) -> None:
    settled(3_000 * DAY, state)
    assert settled_letters.delete() == 0


def test_letter_stays_that_a_scan_still_sees_that_came_back_or_has_an_action_that_goes_on() -> None:
    seen, earlier, begun = (settled(LIMIT + DAY, State.DISCARDED) for _ in range(3))
    DeadLetter.objects.filter(pk=seen.pk).update(last_seen_at=Now())
    child = dead_letter(returned_from=earlier)
    want(begun, Action.RESTORE, "no")

    assert settled_letters.delete() == 0

    DeadLetter.objects.filter(pk=child.pk).update(returned_from=None)
    assert settled_letters.delete() == 1 and earlier.pk not in left()


def test_limit_is_a_setting_and_never_shorter_than_the_window_of_recoveries(settings: Settings) -> None:
    settings.OPSCONSOLE_KEEP_LETTERS_DAYS = 20
    settled(30 * DAY)
    settings.OPSCONSOLE_RECOVERY_WINDOW_HOURS = 40 * 24
    assert settled_letters.delete() == 0
    settings.OPSCONSOLE_RECOVERY_WINDOW_HOURS = 72
    assert settled_letters.delete() == 1


@pytest.mark.django_db(transaction=True)
def test_two_runs_share_the_work_and_leave_what_an_operator_decides_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settled_letters, "BATCH", 3)
    letters = [settled(LIMIT + DAY) for _ in range(7)]

    def run(_: int) -> int:
        try:
            return settled_letters.delete()
        finally:
            connections.close_all()

    with transaction.atomic():
        held = locked(DeadLetter.objects.filter(pk=letters[0].pk)).get()
        with ThreadPoolExecutor(2) as pool:
            counts = list(pool.map(run, range(2)))
    assert sum(counts) <= 6 and held.pk in left()
    while settled_letters.delete():
        pass
    assert left() == set()


def group(name: str, ago: timedelta, **fields: Any) -> FailureGroup:
    made = failure_group(name, **fields)
    FailureGroup.objects.filter(pk=made.pk).update(last_seen_at=Now() - ago)
    return made


def groups_left() -> set[str]:
    return set(FailureGroup.objects.values_list("title", flat=True))


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_group_goes_after_its_last_letter_unless_somebody_noted_something(
    monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(settled_letters, "BATCH", batch)
    for name in ("gone 1", "gone 2", "gone 3"):
        group(name, LIMIT + MOMENT)
    group("young", LIMIT - MOMENT)
    group("noted", 2 * LIMIT, note="The vendor mends it in May.")
    dead_letter(group=group("used", 2 * LIMIT))

    assert settled_letters.delete_empty_groups() == 3

    assert groups_left() == {"young", "noted", "used"}


@pytest.mark.django_db(transaction=True)
def test_group_whose_failure_is_seen_again_meanwhile_stays() -> None:
    found = Fingerprint("seen again", FailureGroup.Kind.JOB_ERROR, "ValueError: no address")
    FailureGroup.objects.filter(pk=groups.of([found])[found.key].pk).update(last_seen_at=Now() - 2 * LIMIT)

    def run() -> int:
        try:
            return settled_letters.delete_empty_groups()
        finally:
            connections.close_all()

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        again = groups.of([found])[found.key]
        assert pool.submit(run).result() == 0
        letter = dead_letter(group=again)
    assert settled_letters.delete_empty_groups() == 0
    assert letter.group_id == again.pk and FailureGroup.objects.filter(pk=again.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_killed_leaves_whole_letters() -> None:
    kept = settled(LIMIT + DAY)
    with pytest.raises(psycopg.errors.AdminShutdown), other_session() as other:
        row = other.execute("SELECT pg_backend_pid()").fetchone()
        other.execute("DELETE FROM dead_letters")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", row)
    assert left() == {kept.pk}
