"""How many requests were answered with 429 within the hour: the figure of the rule ``limited_requests_hour``."""

from __future__ import annotations

from datetime import timedelta

from django.db import DatabaseError, transaction
from django.db.models import Sum
from django.db.models.functions import Now

from alerts import notify
from opsconsole.kit.errors import first_line
from ratelimits.models import RateLimitRequest

RULE = "limited_requests_hour"
HOUR = timedelta(hours=1)
# What only would have been refused (shadow mode) was answered; what is denied gets 403.
LIMITED = "limited"
POLICIES_NAMED = 5


def watch() -> str:
    """Measure it; returns the figure, for the task's record."""
    try:
        with transaction.atomic():
            by_policy = limited_in_an_hour()
    except DatabaseError as error:
        notify.measure(RULE, None, why_unknown=first_line(error))
        return "unknown"
    total = sum(by_policy.values())
    notify.measure(
        RULE,
        total,
        title=f"{total:,} requests were refused with 429 within an hour",
        summary="Somebody asks for more than its limit allows, or the limit is too low for what is right.",
        facts=facts(by_policy),
    )
    return str(total)


def limited_in_an_hour() -> dict[str, int]:
    """Refused requests by policy. A row stands for as many requests as its ``hits``."""
    rows = RateLimitRequest.objects.filter(created_at__gte=Now() - HOUR, outcome=LIMITED).order_by()
    return dict(rows.values_list("policy").annotate(requests=Sum("hits")))


def facts(by_policy: dict[str, int]) -> list[tuple[str, str]]:
    """The policies that refused most, and nothing that names a caller."""
    most = sorted(by_policy.items(), key=lambda item: (-item[1], item[0]))[:POLICIES_NAMED]
    return [(policy or "Without a policy", f"{requests:,}") for policy, requests in most]
