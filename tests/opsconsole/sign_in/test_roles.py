"""Tests of roles: what each allows, and that no user can extend their own permissions."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from jobs.models import Job
from opsconsole.sign_in import roles
from tests import people
from tests.factories import job
from tests.sending import send

pytestmark = pytest.mark.django_db
OURS = ("opsconsole", "jobs", "alerts", "ratelimits")


@pytest.fixture(autouse=True)
def _roles() -> None:
    # Tests that empty the database also delete the rows that migrations wrote.
    call_command("sync_roles", stdout=io.StringIO())


def member(role: str, name: str) -> User:
    user = User.objects.create_user(name, password=people.PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user


def names_of(user: User) -> set[str]:
    return set(user.get_all_permissions())


def test_every_own_permission_belongs_to_a_role() -> None:
    rows = Permission.objects.filter(content_type__app_label__in=OURS).select_related("content_type")
    ours = {f"{row.content_type.app_label}.{row.codename}" for row in rows}
    # Django creates these permissions for every model; our pages use permissions of their own instead.
    by_django = {name for name in ours if name.partition(".")[2].startswith(("add_", "change_", "delete_"))}

    left_out = ours - by_django - names_of(member(roles.ADMINISTRATOR, "ada"))
    assert left_out == {name for name in roles.WITHOUT_A_PAGE if name.partition(".")[0] in OURS}


def test_table_names_permissions_that_exist() -> None:
    rows = Permission.objects.select_related("content_type")
    every = {f"{row.content_type.app_label}.{row.codename}" for row in rows}

    held_back = roles.NOT_FOR_VIEWERS | roles.WITHOUT_A_PAGE
    assert (roles.OPERATORS | roles.ADMINISTRATORS | held_back) - every == set()


def test_each_role_includes_the_previous_one() -> None:
    vera, olga, ada = (
        member(role, role.lower()) for role in (roles.VIEWER, roles.OPERATOR, roles.ADMINISTRATOR)
    )

    assert names_of(vera) < names_of(olga) < names_of(ada)
    assert all(name.partition(".")[2].startswith("view_") for name in names_of(vera))


def test_changes_by_team_are_kept() -> None:
    viewer = Group.objects.get(name=roles.VIEWER)
    extra = Permission.objects.get(codename="requeue_job")
    viewer.permissions.add(extra)

    told = io.StringIO()
    call_command("sync_roles", stdout=told)

    assert extra in viewer.permissions.all()
    assert "Viewer: complete" in told.getvalue()


def test_operator_can_requeue_but_not_arm(client: Client) -> None:
    client.force_login(member(roles.OPERATOR, "olga"))

    assert (
        client.get(reverse("admin:jobs_job_operate", args=["requeue"]), {"id": str(job().pk)}).status_code
        == 200
    )
    answer = client.post(reverse("admin:jobs_recoverycontrol_changelist"), {"decision": "disarm"})
    assert answer.status_code == 403
    assert Job.objects.count() == 1


def _change(client: Client, user: User, **fields: Any) -> Any:
    form = {
        "username": user.username,
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "is_active": "on",
        "reason": "a new duty",
    }
    return send(client, reverse("admin:auth_user_change", args=[user.pk]), form | fields)


def test_administrator_cannot_create_superuser(client: Client) -> None:
    ada = member(roles.ADMINISTRATOR, "ada")
    client.force_login(ada)

    _change(
        client,
        ada,
        is_staff="on",
        is_superuser="on",
        groups=[str(Group.objects.get(name=roles.ADMINISTRATOR).pk)],
    )

    assert not User.objects.get(pk=ada.pk).is_superuser


def test_administrator_cannot_change_superuser(client: Client) -> None:
    root = people.operator("root")
    client.force_login(member(roles.ADMINISTRATOR, "ada"))

    assert _change(client, root).status_code == 403
    password = client.post(
        reverse("admin:auth_user_password_change", args=[root.pk]),
        {"password1": "x" * 20, "password2": "x" * 20},
    )
    assert password.status_code == 403
    assert User.objects.get(pk=root.pk).is_staff
