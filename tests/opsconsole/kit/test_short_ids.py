"""Tests of short IDs: a search for a short ID that a page shows finds the row."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from jobs.admin.job_search import search
from jobs.dead_letters import search_text
from jobs.models import DeadLetter, Job
from opsconsole.kit.short_ids import ids_that_begin, short_id
from tests.factories import dead_letter, job


@pytest.mark.django_db
def test_shown_id_is_found() -> None:
    made, other = job(), job()
    shown = short_id(made.pk)
    assert list(search(Job.objects.all(), shown)) == [made]
    letter = dead_letter(made)
    dead_letter(other)
    for words in (shown, short_id(letter.pk)):
        assert list(search_text.search(DeadLetter.objects.all(), words, by_job=True)) == [letter]


def test_id_range_contains_every_id_with_the_prefix() -> None:
    for _ in range(100):
        one = uuid4()
        for term in (short_id(one), one.hex[:20], str(one), str(one).upper()):
            span = ids_that_begin(term)
            assert span and span[0] <= one <= span[1]
    assert ids_that_begin("deadbeef") == (
        UUID("deadbeef-0000-0000-0000-000000000000"),
        UUID("deadbeef-ffff-ffff-ffff-ffffffffffff"),
    )


@pytest.mark.parametrize("term", ["", "deadbee", "nonsense", "deadbeeg", "f" * 33, "dead-bee"])
def test_text_that_starts_no_id_has_no_range(term: str) -> None:
    assert ids_that_begin(term) is None
