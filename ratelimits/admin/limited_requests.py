"""Limited requests: who was refused, where and how often; everything about one client; the figures as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from opsconsole.kit import charts, exports
from opsconsole.kit.charts import Series
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from ratelimits.identity import client_names
from ratelimits.models import RateLimitHour, RateLimitRequest
from ratelimits.models.hour import hashed
from ratelimits.policies import in_force
from ratelimits.records import review
from ratelimits.records.review import Counts, Line, Period, Question

RECENT = 25
PAGE = "admin:ratelimits_ratelimithour_changelist"
CLIENT = "admin:ratelimits_ratelimithour_client"
COLUMNS = ("hour (UTC)", "policy", "client (hash)", "client", "method", "route", "outcome", "requests")


@admin.register(RateLimitHour)
class LimitedRequestsAdmin(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("client/", wrap(self.client_view), name="ratelimits_ratelimithour_client"),
            path("export/", wrap(self.export_view), name="ratelimits_ratelimithour_export"),
            *super().get_urls(),
        ]

    def change_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        return redirect(PAGE)

    def history_view(self, request: HttpRequest, object_id: str, *_: Any, **__: Any) -> HttpResponse:
        return redirect(PAGE)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self._require_view(request)
        term = request.GET.get("q", "")
        found = client_names.find(term)
        if len(found) == 1:
            return redirect(_client_url(key=found[0].key))
        period, question = _question(request)
        context = {
            "title": "Limited requests",
            "term": term,
            "found": [(each, _client_url(key=each.key)) for each in found],
            "recent": _recent(RateLimitRequest.objects.limited()),
            **_tools(period, question),
            **_answers(question),
        }
        return self._render(request, "admin/ratelimits/limited.html", context)

    def client_view(self, request: HttpRequest) -> HttpResponse:
        """Everything about one client, by its key in the records or, from older hours, by its hash."""
        self._require_view(request)
        key = request.GET.get("key", "").replace("\x00", "")[:200]
        digest = hashed(key) if key else request.GET.get("hash", "").replace("\x00", "")[:64]
        if not digest:
            return redirect(PAGE)
        period, question = _question(request, client=digest)
        told = _answers(question)
        if not key:
            key = told.pop("known_as", "")
        context = {
            "title": client_names.names([key])[key] if key else f"Client {digest[:12]}",
            "key": key,
            "digest": digest,
            "recent": _recent(RateLimitRequest.objects.filter(key=key)) if key else [],
            "api_key": _api_key_url(key),
            "address": key.partition("address:")[2],
            **_tools(period, question, key=key, hash="" if key else digest),
            **told,
        }
        return self._render(request, "admin/ratelimits/client.html", context)

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """The same figures, an hour, client, route and outcome a line."""
        self._require_view(request)
        key = request.GET.get("key", "").replace("\x00", "")
        digest = hashed(key) if key else request.GET.get("hash", "").replace("\x00", "")
        period, question = _question(request, client=digest or None)
        try:
            lines = review.rows(question)
        except review.TooMuch as error:
            return HttpResponse(str(error), status=503, content_type="text/plain")
        return exports.download(COLUMNS, _exported(lines), form="csv", name=f"limited-requests-{period}")

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        common = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, template, common | context)


def _question(request: HttpRequest, client: str | None = None) -> tuple[str, Question]:
    period = request.GET.get("period", "")
    if period not in review.PERIODS:
        period = review.DEFAULT_PERIOD
    policy = request.GET.get("policy", "").replace("\x00", "")[:50] or None
    return period, Question(period=review.PERIODS[period], policy=policy, client=client)


def _tools(period: str, question: Question, **kept: str) -> dict[str, Any]:
    """The choices above the figures, each a link that keeps the others."""
    kept = {name: value for name, value in kept.items() if value}
    chosen = question.policy or ""

    def link(**changes: str) -> str:
        said = {"period": period, "policy": chosen} | kept | changes
        return "?" + urlencode({name: value for name, value in said.items() if value})

    names = sorted({*in_force.current().by_name, *([chosen] if chosen else [])})
    return {
        "period": question.period,
        "policy": chosen,
        "periods": [
            (each.label.removeprefix("the ").capitalize(), link(period=name), name == period)
            for name, each in review.PERIODS.items()
        ],
        "policies": [("All policies", link(policy=""), not chosen)]
        + [(name, link(policy=name), name == chosen) for name in names],
        "export": reverse("admin:ratelimits_ratelimithour_export") + link(),
    }


def _answers(question: Question) -> dict[str, Any]:
    try:
        answers = review.answers(question)
    except review.TooMuch as error:
        return {"too_much": str(error)}
    return {
        "total": answers.total,
        "charts": _charts(question.period, answers.steps),
        "clients": _named(answers.clients),
        "known_as": next((each.key for each in answers.clients if each.key), ""),
        "routes": answers.routes,
        "by_policy": answers.policies,
    }


def _charts(period: Period, steps: Sequence[tuple[datetime, Counts]]) -> list[charts.Chart]:
    labels = [start.strftime(period.written) for start, _ in steps]
    counts = [each for _, each in steps]
    refused = [Series("limited", "bad", [each.limited for each in counts])]
    if any(each.denied for each in counts):
        refused.append(Series("denied by network", "quiet", [each.denied for each in counts]))
    if any(each.shadow for each in counts):
        refused.append(Series("would be limited (shadow)", "warning", [each.shadow for each in counts]))
    all_of_them = [
        Series("allowed", "running", [each.allowed + each.shadow for each in counts]),
        Series("refused", "bad", [each.refused for each in counts]),
    ]
    return [
        charts.stacked(f"Refused in {period.label}, UTC", labels, refused),
        charts.stacked("Refused beside allowed", labels, all_of_them),
    ]


def _named(lines: Sequence[Line]) -> list[tuple[str, str, Counts]]:
    """Each client's name, the way to its page, and its counts."""
    named = client_names.names(each.key for each in lines if each.key)
    return [
        (
            named[each.key] if each.key else f"{each.name[:12]}…",
            _client_url(key=each.key) if each.key else _client_url(hash=each.name),
            each.counts,
        )
        for each in lines
    ]


def _recent(records: QuerySet[RateLimitRequest]) -> list[tuple[RateLimitRequest, str, str]]:
    """The latest records, each with its client's name and the way to its page."""
    found = list(records.annotate(db_now=Now()).order_by("-created_at")[:RECENT])
    named = client_names.names(record.key for record in found)
    return [(record, named[record.key], _client_url(key=record.key)) for record in found]


def _client_url(**whom: str) -> str:
    return f"{reverse(CLIENT)}?{urlencode(whom)}"


def _api_key_url(key: str) -> str:
    kind, _, pk = key.partition(":")
    return reverse("admin:ratelimits_apikey_change", args=[pk]) if kind == "key" else ""


def _exported(lines: Sequence[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    named = client_names.names({key for _, _, _, key, *_ in lines if key})
    for hour, policy, digest, key, method, endpoint, outcome, hits in lines:
        client = named.get(key, "")
        yield f"{hour:%Y-%m-%d %H:%M}", policy, digest, client, method, endpoint, outcome, hits
    if len(lines) == review.MOST_EXPORTED:
        yield (f"(cut after {review.MOST_EXPORTED:,} lines: choose a shorter period)",)
