"""The roles that come with the console, and what each may do: the table, and how it is written.

A viewer breaks nothing. An operator acts on jobs, letters and alerts. An administrator also arms, edits and
manages people. Roles are Django's groups: they may be changed, and others added, in the admin.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions

VIEWER, OPERATOR, ADMINISTRATOR = "Viewer", "Operator", "Administrator"
APPS = ("opsconsole", "jobs", "alerts", "ratelimits", "django_q", "axes", "admin", "auth")
# Whoever may see these could see more than what the console is about.
NOT_FOR_VIEWERS = {
    "auth.view_user",
    "auth.view_group",
    "auth.view_permission",
    "axes.view_accessattempt",
    "axes.view_accessattemptexpiration",
    "axes.view_accessfailurelog",
    "axes.view_accesslog",
}
# What an operator may do at 3 a.m.: all of it shows a preview or can be taken back, and is told on the timeline.
OPERATORS = {
    "alerts.acknowledge_alert",
    "alerts.snooze_alert",
    "alerts.resolve_alert",
    "alerts.test_channel",
    "jobs.requeue_job",
    "jobs.cancel_job",
    "jobs.release_job",
    "jobs.replay_deadletter",
    "jobs.discard_deadletter",
    "jobs.change_failuregroup",
    "opsconsole.switch",
    "opsconsole.run_schedule",
}
ADMINISTRATORS = {
    "alerts.change_rule",
    "alerts.forget_monitor",
    "auth.add_user",
    "auth.change_user",
    "auth.view_user",
    "auth.view_group",
    "axes.delete_accessattempt",
    "axes.view_accessattempt",
    "jobs.arm_recovery",
    "jobs.edit_deadletter",
    "opsconsole.pause_schedule",
    "ratelimits.add_apikey",
    "ratelimits.revoke_apikey",
    "ratelimits.add_policy",
    "ratelimits.change_policy",
    "ratelimits.switch_limiter",
}


def permissions_of(role: str, every: set[str]) -> set[str]:
    """The permissions ('app.codename') of a role, out of ``every`` one that there is."""
    seen = {name for name in every if name.partition(".")[2].startswith("view_")} - NOT_FOR_VIEWERS
    match role:
        case "Viewer":
            return seen
        case "Operator":
            return seen | OPERATORS & every
    return seen | (OPERATORS | ADMINISTRATORS) & every


def grant(apps: Apps) -> dict[str, int]:
    """Create the roles that are missing and give each what it lacks; returns how many permissions each was given.

    Nothing is taken away: what a team added to a role is the team's.
    """
    found = _permissions(apps)
    given = {}
    for role in (VIEWER, OPERATOR, ADMINISTRATOR):
        group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=role)
        wanted = {found[name].pk for name in permissions_of(role, set(found))}
        missing = wanted - set(group.permissions.values_list("pk", flat=True))
        group.permissions.add(*missing)
        given[role] = len(missing)
    return given


def _permissions(apps: Apps) -> dict[str, Any]:
    """Every permission of ``APPS`` by its name. Django makes them after the last migration, which may be too late."""
    for label in APPS:
        create_permissions(installed.get_app_config(label), apps=apps, verbosity=0)
    rows = apps.get_model("auth", "Permission").objects.filter(content_type__app_label__in=APPS)
    return {
        f"{row.content_type.app_label}.{row.codename}": row for row in rows.select_related("content_type")
    }
