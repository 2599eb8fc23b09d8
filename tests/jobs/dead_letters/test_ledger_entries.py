"""Tests of writing many entries of the ledger at once: each as it was given, in their order (I9, I10)."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from jobs.letter_ledger import entries
from jobs.letter_ledger.entries import LetterAction, NewEntry, State
from jobs.models import ReplayAttempt
from jobs.runs.timeline import CONSOLE, Actor
from opsconsole.kit.postgresql import binary_values
from tests import factories

pytestmark = pytest.mark.django_db

OLGA = Actor.operator("olga", 7)


def test_entries_are_written_as_given_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_values, "BATCH", 2)
    ids = [factories.dead_letter().pk for _ in range(3)]
    given = [
        NewEntry(
            ids[0], LetterAction.REPLAY, State.WANTED, OLGA, 'a "reason"', edited_body='{"a": "\\u00e4, {b}"}'
        ),
        NewEntry(ids[1], LetterAction.DISCARD, State.DONE, CONSOLE, "useless", from_copy=True),
        NewEntry(ids[2], LetterAction.REPLAY, State.REQUEUED, OLGA, "NULL", job_epoch=2**31 - 1),
    ]

    entries.write(given)

    rows = ReplayAttempt.objects.order_by("id")
    assert list(
        rows.values_list(
            "letter_id",
            "action",
            "state",
            "actor",
            "user_id",
            "reason",
            "from_copy",
            "edited_body",
            "job_epoch",
        )
    ) == [(each[0], *each[1:3], each.actor.name, each.actor.user_id, *each[4:]) for each in given]
    # What is done has ended as it was wanted; what waits has not.
    assert list(rows.filter(ended_at=F("wanted_at")).values_list("letter_id", flat=True)) == [ids[1]]
    assert set(rows.filter(ended_at=None).values_list("letter_id", flat=True)) == {ids[0], ids[2]}
    assert not rows.filter(wanted_at__gt=Now()).exists()


def test_second_request_for_a_letter_is_refused_with_all_beside_it() -> None:
    first, second = factories.dead_letter(), factories.dead_letter()
    wish = NewEntry(second.pk, LetterAction.DISCARD, State.WANTED, OLGA, "useless")
    entries.write([wish])
    with pytest.raises(IntegrityError), transaction.atomic():
        entries.write([NewEntry(first.pk, LetterAction.DISCARD, State.WANTED, OLGA, "useless"), wish])
    assert ReplayAttempt.objects.get().letter_id == second.pk
