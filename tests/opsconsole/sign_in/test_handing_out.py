"""Nobody raises their own rights, nor hands out what they don't hold: by roles, flags, passwords, names or devices."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django_otp.plugins.otp_totp.models import TOTPDevice

from opsconsole.sign_in import roles
from tests import people
from tests.opsconsole.sign_in.test_roles import member
from tests.sending import send, versions_on

pytestmark = pytest.mark.django_db

BEYOND = "delete_group"


@pytest.fixture(autouse=True)
def _roles() -> None:
    call_command("sync_roles", stdout=io.StringIO())


@pytest.fixture
def ada(client: Client) -> User:
    """Return an administrator, who is signed in. She is no superuser."""
    user = member(roles.ADMINISTRATOR, "ada")
    client.force_login(user)
    return user


@pytest.fixture
def stronger() -> Group:
    """Return a role with a permission that administrators don't have."""
    role = Group.objects.create(name="Stronger")
    role.permissions.add(Permission.objects.get(codename=BEYOND))
    return role


@pytest.fixture
def boss(stronger: Group) -> User:
    user = member(stronger.name, "boss")
    TOTPDevice.objects.create(user=user, name="App", confirmed=True)
    return user


def change(client: Client, user: User, **fields: Any) -> int:
    form: dict[str, Any] = {
        "username": user.username,
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "is_active": "on",
        "is_staff": "on",
        "groups": [str(group.pk) for group in user.groups.all()],
        "reason": "a new duty",
    }
    return int(send(client, reverse("admin:auth_user_change", args=[user.pk]), form | fields).status_code)


def rights(user: User) -> tuple[Any, ...]:
    fresh = User.objects.get(pk=user.pk)
    return fresh.get_all_permissions(), fresh.is_superuser, fresh.is_staff, fresh.password, fresh.username


def test_she_takes_no_stronger_role(client: Client, ada: User, stronger: Group) -> None:
    before = rights(ada)
    page = client.get(reverse("admin:auth_user_change", args=[ada.pk])).content.decode()
    assert "Administrator" in page
    assert "Stronger" not in page

    kept = [str(Group.objects.get(name=roles.ADMINISTRATOR).pk)]
    assert change(client, ada, groups=[*kept, str(stronger.pk)]) == 200

    assert rights(ada) == before


@pytest.mark.parametrize(
    "flags", [{"is_superuser": "on"}, {"is_superuser": "1", "user_permissions": "every"}]
)
def test_she_sets_no_flag_and_no_single_permission(client: Client, ada: User, flags: dict[str, Any]) -> None:
    before = rights(ada)
    every = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    change(client, ada, **{name: every if value == "every" else value for name, value in flags.items()})
    assert rights(ada) == before


@pytest.mark.parametrize("active", [True, False])
def test_she_takes_over_no_stronger_account(client: Client, ada: User, boss: User, active: bool) -> None:
    """Refuse its password, its name, its roles and its device, also while it is deactivated."""
    User.objects.filter(pk=boss.pk).update(is_active=active)
    before = rights(boss)
    password = {"password1": "x9!" * 6, "password2": "x9!" * 6, "usable_password": "true"}

    assert (
        client.post(reverse("admin:auth_user_password_change", args=[boss.pk]), password).status_code == 403
    )
    assert change(client, boss, username="ada2") == 403
    assert change(client, boss, groups=[]) == 403
    client.post(
        reverse("admin:auth_user_changelist"),
        {
            "action": "remove_second_factor",
            "_selected_action": [str(boss.pk)],
            "index": "0",
            "reason": "lost",
        },
    )

    assert rights(boss) == before
    assert TOTPDevice.objects.filter(user=boss).exists()


def test_she_gives_others_what_she_holds_and_no_more(client: Client, ada: User, stronger: Group) -> None:
    new = User.objects.create_user("nina", password=people.PASSWORD, is_staff=True)
    operator = Group.objects.get(name=roles.OPERATOR)
    assert change(client, new, groups=[str(stronger.pk)]) == 200
    assert not new.groups.exists()

    assert change(client, new, groups=[str(operator.pk)]) == 302
    assert list(new.groups.all()) == [operator]


def test_superuser_gives_everything(client: Client, stronger: Group) -> None:
    client.force_login(people.operator("root"))
    new = User.objects.create_user("nina", is_staff=True)
    assert change(client, new, groups=[str(stronger.pk)]) == 302
    assert list(new.groups.all()) == [stronger]


@pytest.mark.parametrize("codename", ["change_group", "add_group", "delete_group"])
def test_whoever_edits_roles_edits_no_stronger_one(client: Client, stronger: Group, codename: str) -> None:
    user = people.allowed(codename)
    mine = Group.objects.create(name="Mine")
    user.groups.add(mine)
    client.force_login(user)
    every = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    strong = set(stronger.permissions.all())
    stronger.permissions.add(Permission.objects.get(codename="change_user"))
    held = User.objects.get(pk=user.pk).get_all_permissions()

    send(
        client,
        reverse("admin:auth_group_change", args=[mine.pk]),
        {"name": "Mine", "permissions": every, "reason": "x"},
    )
    client.post(reverse("admin:auth_group_add"), {"name": "New", "permissions": every, "reason": "x"})
    # Whoever may not change the role gets no form; that of a role they may change has the version of another one.
    own = versions_on(client.get(reverse("admin:auth_group_change", args=[mine.pk])))
    weaker = {"name": "Stronger", "permissions": [], "reason": "x"}
    client.post(reverse("admin:auth_group_change", args=[stronger.pk]), own | weaker)
    send(client, reverse("admin:auth_group_delete", args=[stronger.pk]), {"post": "yes", "reason": "x"})
    client.post(
        reverse("admin:auth_group_changelist"),
        {"action": "delete_selected", "_selected_action": [str(stronger.pk)], "index": "0", "post": "yes"},
    )

    assert User.objects.get(pk=user.pk).get_all_permissions() == held
    assert strong < set(Group.objects.get(name="Stronger").permissions.all())
    assert not Group.objects.filter(name="New").exists()
