"""The pages of limited requests: the report, the page of one client, and the export as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse

from opsconsole.kit import audit, exports, one_statement
from opsconsole.kit.one_statement import exists_of, models_of, value_of
from opsconsole.kit.read_only_admin import OnePageAdmin
from opsconsole.kit.reasons import ReasonForm
from ratelimits.admin import client_facts, counted_requests, policy_links, recent_records, report_context
from ratelimits.admin.report_context import Names
from ratelimits.engine.forgotten_counts import FreeUnconfirmed, StoreAway
from ratelimits.identity import client_names
from ratelimits.models import LimiterControl, RateLimitHour, RateLimitRequest
from ratelimits.models.hour import hash_key, hashed, salts
from ratelimits.policies import policy_cache
from ratelimits.policies.policy_cache import UnknownPolicy
from ratelimits.records import usage_report
from ratelimits.requests import freed_clients
from ratelimits.requests.freed_clients import FreeRefused

FREE = "ratelimits.free_client"
PAGE = "admin:ratelimits_ratelimithour_changelist"
COLUMNS = ("hour (UTC)", "policy", "client (hash)", "client", "method", "route", "outcome", "requests")


class FreeForm(ReasonForm):
    policy = forms.ChoiceField(label="Under", required=False)
    field_order = ("policy", "reason")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        names = sorted(policy_cache.current().by_name)
        cast(forms.ChoiceField, self.fields["policy"]).choices = [
            ("", "all policies"),
            *zip(names, names, strict=True),
        ]


@admin.register(RateLimitHour)
class LimitedRequestsAdmin(OnePageAdmin):
    live_on = ("ratelimits.RateLimitHour", "ratelimits.RateLimitRequest")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("client/", wrap(self.client_view), name="ratelimits_ratelimithour_client"),
            path("requests/", wrap(self.requests_view), name="ratelimits_ratelimithour_requests"),
            path("client/free/", wrap(self.free_view), name="ratelimits_ratelimithour_free"),
            path("export/", wrap(self.export_view), name="ratelimits_ratelimithour_export"),
            *super().get_urls(),
        ]

    def show(self, request: HttpRequest) -> HttpResponse:
        term = request.GET.get("q", "")
        matches = client_names.find(
            term,
            sees_api_keys=report_context.sees_api_keys(request),
            sees_users=report_context.sees_users(request),
        )
        if len(matches) == 1:
            return redirect(report_context.client_url(key=matches[0].key))
        if term.strip():
            found = [(client, report_context.client_url(key=client.key)) for client in matches]
            searched = {"title": "Limited requests", "term": term, "matches": found}
            return self.render(request, "admin/ratelimits/limited_requests.html", searched)
        period, query = report_context.query_of(request)
        names = report_context.names_for(request)
        context = {
            "title": "Limited requests",
            "recent": recent_records.read(
                request, RateLimitRequest.objects.limited(), names, report_context.client_url
            ),
            **report_context.filters(request, period, query),
            **report_context.report(query, names, {"policy": query.policy or ""}),
        }
        context["by_policy"] = policy_links.linked(context.get("by_policy", ()), request.user)
        return self.render(request, "admin/ratelimits/limited_requests.html", context)

    def client_view(self, request: HttpRequest) -> HttpResponse:
        """Show one client, given by its key in the records or, for older hours, by its hash."""
        return self._client_page(request)

    def free_view(self, request: HttpRequest) -> HttpResponse:
        """Forget what a client used, on POST."""
        self._require_view(request)
        if not request.user.has_perm(FREE):
            raise PermissionDenied
        key = request.GET.get("key", "")[:200]
        if request.method != "POST" or not key:
            return redirect(report_context.client_url(key=key) if key else PAGE)
        by = request.user.get_username()
        with transaction.atomic():
            LimiterControl.locked()
            form = FreeForm(request.POST, version=freed_clients.version_of(key))
            if form.is_valid():
                policy, reason = form.cleaned_data["policy"], form.cleaned_data["reason"]
                try:
                    freed = freed_clients.free(
                        key, policy=policy, account=audit.account_of(by), by=by, reason=reason
                    )
                except FreeUnconfirmed as error:
                    # The line of the audit that says so stays.
                    messages.warning(request, str(error))
                    return redirect(report_context.client_url(key=key))
                except (FreeRefused, StoreAway, UnknownPolicy) as error:
                    transaction.set_rollback(True)
                    form.add_error(None, str(error))
                else:
                    messages.success(request, f"Freed. {freed_clients.in_words(freed)}")
                    return redirect(report_context.client_url(key=key))
        return self._client_page(request, form)

    def _client_page(self, request: HttpRequest, form: FreeForm | None = None) -> HttpResponse:
        self._require_view(request)
        key, digest = request.GET.get("key", "")[:200], request.GET.get("hash", "")[:64]
        if not (key or digest):
            return redirect(PAGE)
        return self.render(
            request, "admin/ratelimits/client.html", _client_context(request, key, digest, form)
        )

    def requests_view(self, request: HttpRequest) -> HttpResponse:
        """Show the requests that a bar counts."""
        self._require_view(request)
        if "at" not in request.GET:
            return redirect(PAGE)
        shown = counted_requests.context(
            request, report_context.names_for(request), report_context.client_url
        )
        return self.render(request, "admin/ratelimits/counted_requests.html", shown)

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Export the same figures with one line per hour, client, route and outcome."""
        self._require_view(request)
        key = request.GET.get("key", "")
        digest = hash_key(key) if key else request.GET.get("hash", "")
        period, query = report_context.query_of(request, client=digest or None)
        try:
            lines = usage_report.export_rows(query)
        except usage_report.ReportTimeout as error:
            return HttpResponse(str(error), status=503, content_type="text/plain")
        audit.log_download(request.user, f"limited requests of {period} as CSV")
        return exports.download(
            COLUMNS,
            _exported(lines, report_context.names_for(request)),
            form="csv",
            name=f"limited-requests-{period}",
        )

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied


def _client_context(request: HttpRequest, key: str, digest: str, form: FreeForm | None) -> dict[str, Any]:
    """Return what the page of a client shows, which is given by its key or by its hash."""
    frees = bool(key) and not form and request.user.has_perm(FREE)
    read = one_statement.read(
        policies=models_of(client_facts.policies_for(request.user)),
        salt=value_of(salts()),
        **({"is_in_rollups": exists_of(RateLimitHour.objects.of_client(key))} if key else {}),
        **(freed_clients.version_readings(key) if frees else {}),
    )
    policies, salt = read.pop("policies"), read.pop("salt")
    # The search knows the hashes that the rollups have: that of a new client leads nowhere yet.
    is_in_rollups = read.pop("is_in_rollups", True)
    if frees:
        form = FreeForm(version=freed_clients.version_from(key, **read))
    if key:
        digest = hashed(key, salt)
    period, query = report_context.query_of(request, client=digest)
    names = report_context.names_for(request)
    report = report_context.report(
        query, names, {"policy": query.policy or "", "key": key, "hash": "" if key else digest}
    )
    if not key:
        key = report.pop("known_key", "")
    return {
        "title": _title(request, key, names) if key else f"Client {digest[:12]}",
        "key": key,
        "free_form": form or _free_form(request, key),
        "free_url": f"{reverse('admin:ratelimits_ratelimithour_free')}?{urlencode({'key': key})}",
        "digest": digest if is_in_rollups else "",
        "recent": _recent_requests(request, key, names),
        "api_key": _api_key_url(key),
        "address": key.partition("address:")[2],
        **client_facts.of_client(key, request.user, policies),
        **report_context.filters(request, period, query, key=key, hash="" if key else digest),
        **report,
    }


def _recent_requests(request: HttpRequest, key: str, names: Names) -> Any:
    """Return the newest records of a client, or None of one whose key is not known."""
    records = RateLimitRequest.objects.filter(key=key)
    return recent_records.read(request, records, names, report_context.client_url) if key else None


def _title(request: HttpRequest, key: str, names: Names) -> str:
    return (
        names([key])[key]
        if client_names.may_name(key, sees_users=report_context.sees_users(request))
        else key
    )


def _free_form(request: HttpRequest, key: str) -> FreeForm | None:
    may = bool(key) and request.user.has_perm(FREE)
    return FreeForm(version=freed_clients.version_of(key)) if may else None


def _api_key_url(key: str) -> str:
    kind, _, pk = key.partition(":")
    return reverse("admin:ratelimits_apikey_change", args=[pk]) if kind == "key" else ""


def _exported(lines: Sequence[tuple[Any, ...]], names: Names) -> Iterator[tuple[Any, ...]]:
    named = names({key for _, _, _, key, *_ in lines if key})
    for hour, policy, digest, key, method, endpoint, outcome, hits in lines:
        client = named.get(key, "")
        yield f"{hour:%Y-%m-%d %H:%M}", policy, digest, client, method, endpoint, outcome, hits
    if len(lines) == usage_report.MAX_EXPORT_ROWS:
        yield (f"(cut off after {usage_report.MAX_EXPORT_ROWS:,} lines: choose a shorter period)",)
