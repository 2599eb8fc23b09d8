"""Links between policies and the pages of the requests that they counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from opsconsole.kit.page_permissions import Asker, may_see
from ratelimits.models import Policy
from ratelimits.records.usage_report import ReportLine, RequestCounts


@dataclass(frozen=True)
class PolicyLine:
    """The counts of one policy, and the URL of its page or '' where there is none for this person."""

    name: str
    counts: RequestCounts
    url: str


def linked(lines: Sequence[ReportLine], user: Asker) -> list[PolicyLine]:
    """Link each policy to its page, where its limit is changed. A deleted policy, and one of other services, has none."""
    pages: dict[str, str] = {}
    if lines and may_see(user, "ratelimits_policy"):
        stored = Policy.objects.filter(name__in=[line.name for line in lines]).values_list("name", "pk")
        pages = {name: reverse("admin:ratelimits_policy_change", args=[pk]) for name, pk in stored}
    return [PolicyLine(line.name, line.counts, pages.get(line.name, "")) for line in lines]


def counted_under(policy: Policy) -> str:
    """Return the URL of the requests that the policy counted: their routes and their clients."""
    return f"{reverse('admin:ratelimits_ratelimithour_changelist')}?{urlencode({'policy': policy.name})}"
