"""The navigation: its entries, the pages of each, and the tabs that each of these pages shows."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.utils.text import capfirst

from opsconsole import overview
from opsconsole.kit import addresses
from opsconsole.overview.navigation_counts import Counted

# The entries of the navigation, in order, with their pages; the first page is what the entry opens. The last entry also has
# every page that is not named here.
NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Alerts",
        (
            "alerts.Alert",
            "alerts.Rule",
            "alerts.Channel",
            "alerts.SlackPerson",
            "alerts.Monitor",
            "alerts.DeadManPing",
            "alerts.SnsMessage",
        ),
    ),
    ("Jobs", ("jobs.Job", "jobs.RunRollup", "jobs.BulkOperation")),
    ("Dead letters", ("jobs.DeadLetter", "jobs.FailureGroup")),
    ("Workers & queues", ("jobs.WorkerHeartbeat", "jobs.QueueState", "jobs.Outbox", "jobs.Sweep")),
    ("Limits", ("ratelimits.RateLimitHour", "ratelimits.Policy", "ratelimits.ApiKey")),
    (
        "Controls",
        (
            "opsconsole.Pause",
            "jobs.RecoveryControl",
            "ratelimits.LimiterControl",
            "django_q.Schedule",
            "django_q.Failure",
            "django_q.Success",
            "django_q.OrmQ",
        ),
    ),
    ("Settings", ("admin.LogEntry", "auth.User", "auth.Group", "axes.AccessAttempt")),
)
NAMES = {
    "jobs.Attachment": "Attach",
    "jobs.RecoveryControl": "Recovery",
    "jobs.RunRollup": "Trends",
    "opsconsole.TableSize": "Data",
    "opsconsole.Pause": "Controls",
    "opsconsole.Verification": "Verification",
    "opsconsole.SignInIdentity": "Sign-in identities",
    "alerts.SlackPerson": "People in Slack",
    "ratelimits.RateLimitHour": "Limited requests",
    "ratelimits.LimiterControl": "Limiter",
    "auth.Group": "Roles",
    "axes.AccessAttempt": "Failed logins",
    "admin.LogEntry": "Audit",
}


def entries(site: AdminSite, request: HttpRequest) -> list[dict[str, Any]]:
    """Return the entries with the pages that this person may see."""
    return [_overview_link(request), *_grouped(site, request)]


def _overview_link(request: HttpRequest) -> dict[str, Any]:
    url = addresses.fixed("admin:index")
    link = {"name": "Overview", "object_name": "Overview", "admin_url": url, "current": request.path == url}
    return _entry("Overview", [link], None)


def _links(site: AdminSite, request: HttpRequest) -> dict[str, dict[str, Any]]:
    """Return a link to the list of each model that this person may see, by the model's label, in the order of the admin.

    Django's own list asks for four permissions and two addresses of each model, whose addresses don't change.
    """
    seen = [
        (of_model.opts, of_model.opts.app_config.verbose_name.lower())
        for of_model in site._registry.values()  # noqa: SLF001 - there is no other list
        if of_model.has_module_permission(request) and of_model.has_view_permission(request)
    ]
    links = {}
    for model, _ in sorted(seen, key=lambda each: (each[1], capfirst(str(each[0].verbose_name_plural)))):
        url = addresses.fixed(f"admin:{model.app_label}_{model.model_name}_changelist")
        links[model.label] = {
            "model": model.model,
            "name": NAMES.get(model.label) or capfirst(str(model.verbose_name_plural)),
            "object_name": model.object_name,
            "admin_url": url,
            "current": request.path.startswith(url),
        }
    return links


def _grouped(site: AdminSite, request: HttpRequest) -> list[dict[str, Any]]:
    models = _links(site, request)
    pages = {name: [models.pop(key) for key in keys if key in models] for name, keys in NAVIGATION}
    pages[NAVIGATION[-1][0]] += models.values()
    counts = overview.navigation_counts.for_user(request.user)
    return [
        _entry(name, members, counts.get(name)) | {"tabs": _tabs(members, request)}
        for name, members in pages.items()
        if members
    ]


def _tabs(members: list[Any], request: HttpRequest) -> list[Any]:
    """Return the pages of an entry while one of them is open, not a page below it, such as that of a row."""
    is_open = len(members) > 1 and any(member["admin_url"] == request.path for member in members)
    return members if is_open else []


def _entry(name: str, members: list[Any], count: Counted | None) -> dict[str, Any]:
    """Return an entry: it opens the first of its pages, where it counts what it has counted, and lists them while one is open."""
    return {
        "name": name,
        "count": count,
        "app_label": name.lower().replace(" ", "-"),
        "app_url": members[0]["admin_url"] + (count.query if count else ""),
        "current": any(member["current"] for member in members),
        "models": members,
    }
