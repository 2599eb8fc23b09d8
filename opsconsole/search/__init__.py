"""The search on every page: jobs, customers, workers, messages, dead letters, clients, alerts, tasks, the audit, and every number.

Each finder uses an index, or reads few rows, and shows at most ``SHOWN`` hits. Where there are more, a link leads to
the whole list. What all finders read next is one statement, so that a search asks as often as the finder that asks most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from opsconsole.kit.one_statement import side_by_side
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.kit.storable import plain_text
from opsconsole.search import of_console, of_notes, of_work
from opsconsole.search.hits import SHOWN, Finding, Found, Hit

__all__ = ["FINDERS", "SHOWN", "Found", "Hit", "search", "view"]

SHORTEST = 2
LONGEST = 500

# Each with the page that its hits quote.
FINDERS: list[tuple[str, Callable[[str, Person], Finding]]] = [
    ("jobs_job", of_work.customers),
    ("jobs_job", of_work.jobs),
    ("jobs_workerheartbeat", of_work.workers),
    ("jobs_queuestate", of_work.queues),
    ("jobs_outbox", of_work.messages),
    ("jobs_deadletter", of_work.letters),
    ("jobs_failuregroup", of_work.failures),
    ("jobs_job", of_work.errors),
    ("jobs_job", of_notes.references),
    ("jobs_bulkoperation", of_work.operations),
    ("jobs_sweep", of_work.sweeps),
    ("jobs_job", of_work.answers),
    ("ratelimits_ratelimithour", of_console.clients),
    ("alerts_alert", of_console.alerts),
    ("alerts_snsmessage", of_console.sns_messages),
    ("alerts_slackperson", of_console.slack_people),
    ("opsconsole_signinidentity", of_console.identities),
    ("django_q_success", of_console.successful_tasks),
    ("django_q_failure", of_console.failed_tasks),
    ("django_q_ormq", of_console.queued_tasks),
    ("admin_logentry", of_console.audit),
    ("admin_logentry", of_console.seals),
]


def view(request: HttpRequest) -> HttpResponse:
    """Show the hits for ``?q=``, or redirect to the only one."""
    term = request.GET.get("q", "").strip()
    found = search(term, request.user)
    places = list(_addresses(found))
    if len(places) == 1:
        return redirect(places[0])
    context = {**admin.site.each_context(request), "title": "Search", "term": term, "found": found}
    return TemplateResponse(request, "admin/search.html", context)


def search(term: str, user: Person) -> list[Found]:
    """Return the hits that this user may see; none for a term that is too short or too long."""
    term = plain_text(term).strip()
    if not SHORTEST <= len(term) <= LONGEST:
        return []
    found = side_by_side([finder(term, user) for page, finder in FINDERS if may_see(user, page)])
    return [group for group in found if group.hits]


def _addresses(found: list[Found]) -> Iterator[str]:
    """Yield the addresses of all hits, each once."""
    yield from dict.fromkeys(hit.url for group in found for hit in group.hits)
