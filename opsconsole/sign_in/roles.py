"""The built-in roles, their permissions, and how they are written to the database.

A viewer changes nothing. An operator acts on jobs, dead letters and alerts. An administrator also arms recovery,
edits policies and rules, and manages people. Roles are Django groups: they can be changed, and others added, in the admin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.apps import apps as installed
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

VIEWER, OPERATOR, ADMINISTRATOR = "Viewer", "Operator", "Administrator"
APPS = ("opsconsole", "jobs", "alerts", "ratelimits", "django_q", "axes", "admin", "auth")
# These would reveal more than the console is about.
NOT_FOR_VIEWERS = {
    "alerts.view_slackperson",
    "opsconsole.view_signinidentity",
    "opsconsole.view_verification",
    "opsconsole.view_tablesize",
    "auth.view_user",
    "auth.view_group",
    "auth.view_permission",
    "axes.view_accessattempt",
    "axes.view_accessattemptexpiration",
    "axes.view_accessfailurelog",
    "axes.view_accesslog",
    # Rows of tables as they are, and what a database has.
    "jobs.view_attachment",
}
# Their rows are shown on pages of other tables, or on none.
WITHOUT_A_PAGE = {
    "django_q.view_task",
    "jobs.view_jobevent",
    "jobs.view_restore",
    "opsconsole.view_clusterprogress",
    "ratelimits.view_limitertrouble",
    "ratelimits.view_ratelimitrequest",
}
# Everything here shows a preview or can be undone, and is recorded on the timeline.
OPERATORS = {
    "alerts.acknowledge_alert",
    "alerts.snooze_alert",
    "alerts.resolve_alert",
    "alerts.test_channel",
    "jobs.requeue_job",
    "jobs.cancel_job",
    "jobs.release_job",
    "jobs.edit_job",
    "jobs.enqueue_job",
    "jobs.replay_deadletter",
    "jobs.discard_deadletter",
    "jobs.change_failuregroup",
    "opsconsole.switch",
    "opsconsole.run_schedule",
    "ratelimits.free_client",
}
ADMINISTRATORS = {
    "alerts.configure_channel",
    "alerts.link_slackperson",
    "alerts.view_slackperson",
    "alerts.change_rule",
    "alerts.forget_monitor",
    "auth.add_user",
    "auth.change_user",
    "auth.view_user",
    "auth.view_group",
    "axes.delete_accessattempt",
    "axes.view_accessattempt",
    "jobs.arm_recovery",
    "jobs.view_attachment",
    "jobs.edit_deadletter",
    "opsconsole.link_signinidentity",
    "opsconsole.pause_schedule",
    "opsconsole.verify",
    "opsconsole.view_signinidentity",
    "opsconsole.view_tablesize",
    "opsconsole.view_verification",
    "ratelimits.add_apikey",
    "ratelimits.revoke_apikey",
    "ratelimits.add_policy",
    "ratelimits.change_policy",
    "ratelimits.switch_limiter",
}


def held_by_administrators() -> Q:
    """Return the condition of the permissions that ``permissions_of`` gives to an administrator, for a QuerySet of them."""
    seen = Q(content_type__app_label__in=APPS, codename__startswith="view_")
    seen &= ~named(NOT_FOR_VIEWERS | WITHOUT_A_PAGE)
    return seen | named(OPERATORS | ADMINISTRATORS)


def named(names: Iterable[str]) -> Q:
    """Return the condition of permissions with these names ('app.codename')."""
    codenames = defaultdict(set)
    for name in names:
        app, _, codename = name.partition(".")
        codenames[app].add(codename)
    found = Q(pk__in=())
    for app, each in codenames.items():
        found |= Q(content_type__app_label=app, codename__in=each)
    return found


def permissions_of(role: str, every: set[str]) -> set[str]:
    """Return the permissions ('app.codename') of a role, out of all existing ones (``every``)."""
    seen = {name for name in every if name.partition(".")[2].startswith("view_")}
    seen -= NOT_FOR_VIEWERS | WITHOUT_A_PAGE
    match role:
        case "Viewer":
            return seen
        case "Operator":
            return seen | OPERATORS & every
    return seen | (OPERATORS | ADMINISTRATORS) & every


def least_with(permissions: Iterable[str]) -> str:
    """Return the built-in role with the fewest rights that has one of these permissions ('app.codename')."""
    return OPERATOR if OPERATORS & set(permissions) else ADMINISTRATOR


def grant(apps: Apps) -> dict[str, int]:
    """Create missing roles and add the permissions that they lack; return the number added per role.

    Nothing is removed, because a team may have added permissions to a role.
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


def lacking() -> dict[str, int]:
    """Return how many of its permissions each role lacks, without changing anything."""
    rows = Permission.objects.filter(content_type__app_label__in=APPS).select_related("content_type")
    every = {f"{row.content_type.app_label}.{row.codename}" for row in rows}
    held = {
        group.name: {f"{each.content_type.app_label}.{each.codename}" for each in group.permissions.all()}
        for group in Group.objects.filter(name__in=(VIEWER, OPERATOR, ADMINISTRATOR)).prefetch_related(
            "permissions__content_type"
        )
    }
    return {
        role: len(permissions_of(role, every) - held.get(role, set()))
        for role in (VIEWER, OPERATOR, ADMINISTRATOR)
    }


def _permissions(apps: Apps) -> dict[str, Any]:
    """Return every permission of ``APPS`` by name. Django creates them after the last migration, which may be too late."""
    for label in APPS:
        create_permissions(installed.get_app_config(label), apps=apps, verbosity=0)
    rows = apps.get_model("auth", "Permission").objects.filter(content_type__app_label__in=APPS)
    return {
        f"{row.content_type.app_label}.{row.codename}": row for row in rows.select_related("content_type")
    }
