"""The gauge of the alert rule ``limited_requests_hour``: requests refused with 429 in the last hour."""

from __future__ import annotations

from django.db import DatabaseError, transaction
from django.db.models import QuerySet, Sum
from django.db.models.functions import Now

from alerts import notify
from alerts.notify import Trouble
from opsconsole.kit import addresses
from opsconsole.kit.durations import HOUR
from opsconsole.kit.errors import first_line
from ratelimits.models import RateLimitRequest

RULE = "limited_requests_hour"
# Requests that exceeded a policy in shadow mode were allowed, and denied ones are refused with 403, so neither counts.
LIMITED = "limited"
MAX_POLICIES = 5


def watch() -> str:
    """Measure the gauge. Return its value as text, for the task's record."""
    try:
        with transaction.atomic():
            by_policy = limited_in_last_hour()
    except DatabaseError as error:
        notify.measure(RULE, None, why_unknown=first_line(error))
        return "unknown"
    total = sum(by_policy.values())
    notify.measure(
        RULE,
        total,
        Trouble(
            title=f"{total:,} requests were refused with 429 in the last hour",
            summary="A client sends more requests than its limit allows, or the limit is too low for normal use.",
            link=addresses.of_list("ratelimits_ratelimithour"),
            facts=facts(by_policy),
        ),
    )
    return str(total)


def limited_in_last_hour() -> dict[str, int]:
    """Count the requests refused with 429, by policy."""
    return dict(limited_rows())


def limited_rows() -> QuerySet[RateLimitRequest, tuple[str, int]]:
    """Return the requests refused with 429 in the last hour as rows of policy and number."""
    rows = RateLimitRequest.objects.filter(created_at__gte=Now() - HOUR, outcome=LIMITED).order_by()
    return rows.values_list("policy").annotate(requests=Sum("hits"))


def facts(by_policy: dict[str, int]) -> list[tuple[str, str]]:
    """Return the policies that refused most requests. Alerts leave the console, so no client is named."""
    most = sorted(by_policy.items(), key=lambda item: (-item[1], item[0]))[:MAX_POLICIES]
    return [(policy or "No policy", f"{requests:,}") for policy, requests in most]
