"""The finder of references that handlers note, such as the id that a directory gave to an entry."""

from __future__ import annotations

from django.db.models.fields.json import KeyTextTransform

from jobs.models import JobEvent
from opsconsole.kit.one_statement import records_of, value_of
from opsconsole.kit.page_permissions import Person
from opsconsole.search.hits import SHOWN, Finding, Found, Hit, page_of

# No index leads from a reference to its note: as many of the newest events are read.
EVENTS_READ = 10_000


def references(term: str, user: Person) -> Finding:
    """Find jobs by the beginning of a reference in one of their notes, among the newest events."""
    # Read first, so that PostgreSQL knows how few events follow: of an unknown id it takes a third of them for newer.
    known = yield {"last": value_of(JobEvent.objects.order_by("-id").values("id"))}
    since = (known["last"] or 0) - EVENTS_READ
    newest = JobEvent.objects.filter(id__gt=since, kind=JobEvent.Kind.PROGRESS)
    noted = newest.annotate(reference=KeyTextTransform("reference", "details")).filter(
        reference__startswith=term
    )
    rows = noted.order_by("-id").values_list("job_id", "reference", "run_epoch")[:SHOWN]
    read = yield {"notes": records_of(rows)}
    hits = [
        Hit(reference[:120], f"noted by run {run} of job {job}", page_of("jobs_job", job))
        for job, reference, run in read["notes"]
    ]
    return Found(f"References in notes, among the newest {EVENTS_READ:,} events", hits)
