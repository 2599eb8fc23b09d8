"""What the pages of limited requests share: the report of a period, its filters, and the names and addresses of clients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from opsconsole.kit.page_permissions import may_see
from ratelimits.admin import limiter_charts
from ratelimits.identity import client_names
from ratelimits.policies import policy_cache
from ratelimits.records import usage_report
from ratelimits.records.usage_report import ReportLine, ReportQuery, RequestCounts

Names: TypeAlias = Callable[[Iterable[str]], dict[str, str]]
CLIENT = "admin:ratelimits_ratelimithour_client"


def sees_api_keys(request: HttpRequest) -> bool:
    return may_see(request.user, "ratelimits_apikey")


def sees_users(request: HttpRequest) -> bool:
    return may_see(request.user, "auth_user")


def names_for(request: HttpRequest) -> Names:
    """Return what names clients for this person; the names of API keys quote the page of the keys."""
    return partial(client_names.names, sees_api_keys=sees_api_keys(request))


def query_of(request: HttpRequest, client: str | None = None) -> tuple[str, ReportQuery]:
    period = request.GET.get("period", "")
    if period not in usage_report.PERIODS:
        period = usage_report.DEFAULT_PERIOD
    policy = request.GET.get("policy", "")[:50] or None
    return period, ReportQuery(period=usage_report.PERIODS[period], policy=policy, client=client)


def filters(request: HttpRequest, period: str, query: ReportQuery, **client: str) -> dict[str, Any]:
    """Return the filters above the figures. Each choice is a link that keeps the other parameters."""
    chosen = query.policy or ""

    def link(**changes: str) -> str:
        parameters = {"period": period, "policy": chosen} | client | changes
        return "?" + urlencode({name: value for name, value in parameters.items() if value})

    known = policy_cache.current().by_name if may_see(request.user, "ratelimits_policy") else ()
    names = sorted({*known, *([chosen] if chosen else [])})
    return {
        "period": query.period,
        "policy": chosen,
        "periods": [
            (each.label.removeprefix("the ").capitalize(), link(period=name), name == period)
            for name, each in usage_report.PERIODS.items()
        ],
        "policies": [("All policies", link(policy=""), not chosen)]
        + [(name, link(policy=name), name == chosen) for name in names],
        "export": reverse("admin:ratelimits_ratelimithour_export") + link(),
    }


def report(query: ReportQuery, names: Names, about: dict[str, str]) -> dict[str, Any]:
    try:
        figures = usage_report.report(query)
    except usage_report.ReportTimeout as error:
        return {"timeout": str(error)}
    return {
        "total": figures.total,
        "charts": limiter_charts.charts_of(query.period, figures.steps, about),
        "charts_begin": figures.steps[0][0],
        "charts_end": figures.steps[-1][0] + query.period.step,
        "clients": _clients(figures.clients, names),
        "known_key": next((line.key for line in figures.clients if line.key), ""),
        "routes": figures.routes,
        "by_policy": figures.policies,
    }


def _clients(lines: Sequence[ReportLine], names: Names) -> list[tuple[str, str, RequestCounts]]:
    """Return each client's name, the URL of its page, and its counts."""
    named = names(line.key for line in lines if line.key)
    return [
        (
            named[line.key] if line.key else f"{line.name[:12]}…",
            client_url(key=line.key) if line.key else client_url(hash=line.name),
            line.counts,
        )
        for line in lines
    ]


def client_url(**parameters: str) -> str:
    return f"{reverse(CLIENT)}?{urlencode(parameters)}"
