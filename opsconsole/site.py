"""The admin site: its titles, its navigation, and what every page says about recovery."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse

from jobs.models import RecoveryControl
from opsconsole import overview
from ratelimits import policies

# Groups of the navigation, in order; a model that is not named here goes to the last group.
NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Operate",
        (
            "jobs.Job",
            "jobs.WorkerHeartbeat",
            "jobs.Sweep",
            "jobs.Outbox",
            "jobs.QueueState",
            "jobs.RecoveryControl",
            "alerts.Alert",
        ),
    ),
    (
        "Limits",
        (
            "ratelimits.RateLimitHour",
            "ratelimits.Policy",
            "ratelimits.LimiterControl",
            "ratelimits.ApiKey",
            "axes.AccessAttempt",
        ),
    ),
    ("Task queue", ("django_q.Schedule", "django_q.Failure", "django_q.Success", "django_q.OrmQ")),
)
NAMES = {
    "jobs.RecoveryControl": "Recovery",
    "ratelimits.RateLimitHour": "Limited requests",
    "ratelimits.LimiterControl": "Limiter",
    "axes.AccessAttempt": "Failed log-ins",
}
LAST_GROUP = "Administration"
RECENT_ACTIONS = 8


class ConsoleSite(AdminSite):
    site_title = "Ops console"
    site_header = "Ops console"
    index_title = "Overview"
    site_url = None
    index_template = "admin/overview.html"

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        context["environment"] = settings.OPSCONSOLE_ENV
        if self.has_permission(request):
            context["limiter_mode"] = policies.current().mode
        if self.has_permission(request) and request.user.has_perm("jobs.view_job"):
            context["banner"] = _banner(request)
        return context

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps = super().get_app_list(request, app_label)
        return apps if app_label else [_overview_link(request), *_grouped(apps, request)]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context: dict[str, Any] = {"title": self.index_title}
        if request.user.has_perm("jobs.view_job"):
            context |= _state_of_things()
        return super().index(request, context | (extra_context or {}))


def _state_of_things() -> dict[str, Any]:
    seen = overview.read()
    return {
        "seen": seen,
        "findings": overview.findings(seen, RecoveryControl.load()),
        "recent_actions": LogEntry.objects.select_related("user", "content_type")[:RECENT_ACTIONS],
    }


def _banner(request: HttpRequest) -> overview.Finding | None:
    """What recovery waits for somebody to decide: said on every page but the one where it is decided."""
    if request.path == reverse("admin:jobs_recoverycontrol_changelist"):
        return None
    control = RecoveryControl.load()
    if control.armed and not control.hold_until:
        return None
    return next(iter(overview.of_recovery(overview.read(), control)), None)


def _overview_link(request: HttpRequest) -> dict[str, Any]:
    url = reverse("admin:index")
    link = {"name": "Overview", "object_name": "Overview", "admin_url": url, "current": request.path == url}
    return {"name": "", "app_label": "overview", "app_url": url, "models": [link]}


def _grouped(apps: list[Any], request: HttpRequest) -> list[dict[str, Any]]:
    models = {f"{app['app_label']}.{model['object_name']}": model for app in apps for model in app["models"]}
    for key, model in models.items():
        model["name"] = NAMES.get(key, model["name"])
        model["current"] = bool(model["admin_url"]) and request.path.startswith(model["admin_url"])
    groups = [(name, [models.pop(key) for key in keys if key in models]) for name, keys in NAVIGATION]
    groups.append((LAST_GROUP, list(models.values())))
    return [_group(name, members) for name, members in groups if members]


def _group(name: str, members: list[Any]) -> dict[str, Any]:
    return {
        "name": name,
        "app_label": name.lower().replace(" ", "-"),
        "app_url": reverse("admin:index"),
        "models": members,
    }
