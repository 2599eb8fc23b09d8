"""Searchable words of redacted bodies. When the redaction changes, they are rebuilt a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from uuid import UUID

from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db import transaction
from django.db.models import Q, Value

from jobs.dead_letters import redaction
from jobs.models import DeadLetter
from jobs.models.dead_letter import DeadLetterQuerySet
from opsconsole.kit import job_ids, redaction_version
from opsconsole.kit.row_locks import locked_if_free
from opsconsole.kit.short_ids import ids_that_begin
from opsconsole.kit.storable import plain_text

BATCH = 200
PAGE_BYTES = 4_000_000


def search(letters: DeadLetterQuerySet, term: str, *, by_job: bool) -> DeadLetterQuerySet:
    """Find letters by their id, by that of their message or (with ``by_job``) their job, or by words of their redacted bodies.

    Bodies whose words were read under another redaction are not searched.
    """
    term = plain_text(term).strip()
    if not term:
        return letters
    matches = Q(
        words=SearchQuery(term, config="simple", search_type="websearch"),
        words_of=redaction_version.current(),
    )
    named = _by_ids(term, by_job=by_job)
    return letters.filter(matches | Q(pk__in=named) if named else matches)


def with_all_words(term: str, most: int) -> DeadLetterQuerySet:
    """Find at most ``most`` letters whose redacted bodies have all these words, as the index meets them.

    The newest need not be among them. Signs have no meaning here: leaving a word out, which the list knows, would read the
    whole index.
    """
    query = SearchQuery(term, config="simple", search_type="plain")
    return DeadLetter.objects.filter(words=query, words_of=redaction_version.current()).order_by()[:most]


def _by_ids(term: str, *, by_job: bool) -> list[UUID]:
    """Return the letters with this id, or with an id that begins with these digits, through the indexes."""
    letter_ids = list(DeadLetter.objects.filter(message_id=term).values_list("pk", flat=True)[:BATCH])
    if span := ids_that_begin(term):
        named = Q(pk__range=span)
        if by_job and job_ids.TYPE == "uuid":
            named |= Q(job_id__gte=span[0], job_id__lte=span[1])
        letter_ids += DeadLetter.objects.filter(named).values_list("pk", flat=True)[:BATCH]
    if by_job and job_ids.TYPE != "uuid" and (job_id := job_ids.parse(term)) is not None:
        letter_ids += DeadLetter.objects.filter(job_id=job_id).values_list("pk", flat=True)[:BATCH]
    return letter_ids


def catch_up(limit: int = BATCH) -> int:
    """Rebuild the words of some letters that were read under another redaction; return how many."""
    version = redaction_version.current()
    # Written as two ranges, for which the index can be used: most letters are up to date.
    other = Q(words_of__lt=version) | Q(words_of__gt=version)
    behind = DeadLetter.objects.filter(other).values_list("pk", "body_bytes")[:limit]
    rebuilt_count = 0
    for page in _pages(behind):
        for letter in DeadLetter.objects.filter(pk__in=page).only("body"):
            text = Value(plain_text(redaction.words(letter.body)))
            words = SearchVector(text, config="simple")
            with transaction.atomic():
                # One that others keep locked stays behind until the next time.
                mine = list(
                    locked_if_free(DeadLetter.objects.filter(pk=letter.pk)).values_list("pk", flat=True)
                )
                rows = DeadLetter.objects.filter(pk__in=mine)
                rebuilt_count += rows.update(words=words, words_of=version)
    return rebuilt_count


def _pages(letters: Iterable[tuple[UUID, int]]) -> Iterator[list[UUID]]:
    """Yield the letters in pages whose bodies fit into memory together."""
    page: list[UUID] = []
    size = 0
    for letter_id, body_bytes in letters:
        if page and size + body_bytes > PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(letter_id)
        size += body_bytes
    if page:
        yield page
