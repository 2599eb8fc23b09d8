"""The page of a customer: their jobs, dead letters, limits and alerts, each for those who may see it.

Whatever a customer has, the page costs the same: everything is read of their newest jobs, by an index.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from alerts.admin import labels as alert_labels
from alerts.admin.alert import URGENCY
from alerts.models import Alert
from alerts.trouble import shown_facts
from jobs.admin import labels
from jobs.admin.dead_letters import letter_badges
from jobs.admin.job_search import newest_of_customer
from jobs.admin.jobs.filters import OTHER
from jobs.dead_letters import replay_results
from jobs.models import DeadLetter, Job, Status
from jobs.runs import status_wording
from jobs.runs.diagnosis import diagnose
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.kit.storable import is_storable, plain_text
from opsconsole.live_pages import follows
from ratelimits.identity import client_names
from ratelimits.identity.client_names import NamedClient

# The newest jobs that are counted, and those that are shown.
MOST_COUNTED = 1_000
MOST_SHOWN = 20
OTHERS_NAMED = 5
LONGEST = 500


@dataclass(frozen=True)
class JobRow:
    job: Any
    state: SafeString


@dataclass(frozen=True)
class Count:
    """How many of the newest jobs have a status; ``url`` is the list of all of them."""

    label: str
    number: int
    url: str


def url_of(customer_id: str) -> str:
    return f"{reverse('customer')}?{urlencode({'id': customer_id})}"


@follows("jobs.Job", "jobs.WorkerHeartbeat", "jobs.FailureGroup", "jobs.ReplayAttempt")
def view(request: HttpRequest) -> HttpResponse:
    """Show the customer with the id ``?id=``; redirect to the search if nobody has it."""
    if not may_see(request.user, "jobs_job"):
        raise PermissionDenied
    customer_id = request.GET.get("id", "")
    is_possible = bool(customer_id) and len(customer_id) <= LONGEST and is_storable(customer_id)
    ids = newest_of_customer(customer_id, MOST_COUNTED) if is_possible else []
    if not ids:
        return redirect(f"{reverse('search')}?{urlencode({'q': customer_id[:LONGEST]})}")
    context = {
        **admin.site.each_context(request),
        "title": f"Customer {customer_id}",
        "customer": customer_id,
        "counts": _counts(customer_id, ids),
        "counted": len(ids),
        "more": len(ids) == MOST_COUNTED,
        "jobs": _rows(ids[:MOST_SHOWN]),
        "list_url": _list("jobs_job", customer=customer_id),
        **_letters(request.user, ids),
        "clients": _clients(request.user, customer_id),
        "alerts": _alerts(request.user, customer_id),
    }
    return TemplateResponse(request, "admin/customer.html", context)


def _counts(customer_id: str, ids: Sequence[Any]) -> list[Count]:
    found = Counter(Job.objects.filter(pk__in=ids).order_by().values_list("status", flat=True))
    counts = {_counted_as(status): (found.pop(status.value, 0), status.value) for status in Status}
    # One list has the jobs of all statuses that are not known here.
    counts[_of_others(found)] = (found.total(), OTHER)
    return [
        Count(label, number, _list("jobs_job", customer=customer_id, status=value))
        for label, (number, value) in counts.items()
        if number
    ]


def _of_others(found: Mapping[str, int]) -> str:
    """Name the statuses that are not known here, as far as they are few."""
    names = [name or "no text" for name in sorted(found, key=lambda name: (-found[name], name))]
    more = ["…"] if len(names) > OTHERS_NAMED else []
    return f"Other ({', '.join(names[:OTHERS_NAMED] + more)})"


def _counted_as(status: str) -> str:
    return (
        status_wording.WAITING_OR_SCHEDULED if status == Status.PENDING else status_wording.of_status(status)
    )


def _rows(ids: Sequence[Any]) -> list[JobRow]:
    jobs: dict[Any, Any] = Job.objects.with_signs_of_life().defer("payload", "error_message").in_bulk(ids)
    return [
        JobRow(jobs[pk], labels.job_status(jobs[pk], jobs[pk].read_at) + labels.trouble(diagnose(jobs[pk])))
        for pk in ids
        if pk in jobs
    ]


def _letters(user: Person, ids: Sequence[Any]) -> dict[str, Any]:
    if not may_see(user, "jobs_deadletter"):
        return {}
    letters = (
        DeadLetter.objects.light().select_related("group").filter(job_id__in=ids).annotate(read_at=Now())
    )
    newest = list(letters.order_by("-first_seen_at", "-id")[: MOST_SHOWN + 1])
    replayed = [letter.pk for letter in newest if letter.state == DeadLetter.State.REPLAYED]
    results = replay_results.of_letters(replayed)
    rows = [(letter, letter_badges.state(letter, results.get(letter.pk))) for letter in newest[:MOST_SHOWN]]
    return {"letters": rows, "more_letters": len(newest) > MOST_SHOWN, "sees_letters": True}


def _clients(user: Person, customer_id: str) -> list[tuple[NamedClient, str]] | None:
    """Return the clients of the rate limiter that this id may mean; None for those who may not see them.

    Other services may call their clients anything, so those are clients only once a request was counted.
    """
    if not may_see(user, "ratelimits_ratelimithour"):
        return None
    page = reverse("admin:ratelimits_ratelimithour_client")
    found = client_names.find(
        customer_id, sees_api_keys=may_see(user, "ratelimits_apikey"), sees_users=may_see(user, "auth_user")
    )
    known = [
        each for each in found if not each.key.startswith("check:") or client_names.was_counted(each.key)
    ]
    return [(client, f"{page}?{urlencode({'key': client.key})}") for client in known]


def _alerts(user: Person, customer_id: str) -> list[tuple[Alert, SafeString, SafeString]] | None:
    """Return the open alerts that name the customer, in the order of their list; few alerts are open at a time."""
    if not may_see(user, "alerts_alert"):
        return None
    named = re.compile(rf"(?<![\w-]){re.escape(plain_text(customer_id))}(?![\w-])")
    alerts = [
        alert
        for alert in Alert.objects.open().annotate(db_now=Now()).order_by(URGENCY.asc(), "-since", "-pk")
        if named.search(
            " ".join([alert.title, alert.summary, *(text for _, text in shown_facts(alert.facts))])
        )
    ]
    return [
        (alert, alert_labels.severity(alert.severity), alert_labels.state(alert))
        for alert in alerts[:MOST_SHOWN]
    ]


def _list(model: str, **query: str) -> str:
    return f"{reverse(f'admin:{model}_changelist')}?{urlencode(query)}"
