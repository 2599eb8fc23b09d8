"""Forms of roles and users offer the permissions that mean something here, and keep those that they do not offer."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from opsconsole.kit import admin_pages
from opsconsole.sign_in import offered_permissions, roles
from tests import people
from tests.page_costs import fewest_statements
from tests.sending import send

pytestmark = pytest.mark.django_db

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _roles() -> None:
    call_command("sync_roles", stdout=io.StringIO())


def test_every_permission_of_a_role_is_offered_and_nothing_of_other_tables() -> None:
    offered = offered_permissions.offered(Permission.objects.all())
    granted = Permission.objects.filter(group__name=roles.ADMINISTRATOR)
    assert set(granted) <= set(offered)
    assert {each.codename for each in set(offered) - set(granted)} == {
        "add_group",
        "change_group",
        "delete_group",
    }


def test_no_offered_permission_to_view_is_one_that_opens_no_page() -> None:
    offered = offered_permissions.offered(Permission.objects.select_related("content_type"))
    pages = {page.label_lower for page in (of.opts for of in admin_pages.site()._registry.values())}
    viewed = {
        (f"{each.content_type.app_label}.{each.content_type.model}", each.codename)
        for each in Permission.objects.select_related("content_type")
        if each in set(offered) and each.codename.startswith("view_")
    }
    assert {codename for page, codename in viewed if page not in pages} == set()
    every = Permission.objects.select_related("content_type").filter(codename__startswith="view_")
    kept = {f"{each.content_type.app_label}.{each.codename}" for each in every}
    assert kept >= roles.WITHOUT_A_PAGE
    shown = {f"{page.partition('.')[0]}.view_{page.partition('.')[2]}" for page in pages}
    assert roles.WITHOUT_A_PAGE & shown == set()


def test_permissions_have_areas_and_plain_names(client: Client) -> None:
    client.force_login(people.operator())
    page = client.get(reverse("admin:auth_group_add")).content.decode()
    boxes = page[page.index('id="id_permissions"') : page.index('name="reason"')]
    words = " ".join(re.sub("<[^>]*>", " ", boxes).split())
    for expected in (
        "Failed logins Delete failed logins",
        "View dead letters",
        "Requeue a job",
        "View scheduled tasks",
        "View API keys",
        "View failed tasks",
    ):
        assert expected in words
    assert "|" not in words and "Can " not in words and "Otp" not in words and "session" not in words


def test_each_app_of_the_roles_has_an_area() -> None:
    assert set(offered_permissions.AREAS) == set(roles.APPS)


def test_condition_of_roles_is_what_roles_are_given() -> None:
    every = {
        f"{row.content_type.app_label}.{row.codename}": row
        for row in Permission.objects.select_related("content_type")
        if row.content_type.app_label in roles.APPS
    }
    wanted = {every[name] for name in roles.permissions_of(roles.ADMINISTRATOR, set(every))}
    assert set(Permission.objects.filter(roles.held_by_administrators())) == wanted


def test_those_who_may_not_change_a_role_read_its_permissions_in_words(client: Client) -> None:
    client.force_login(people.allowed("view_group", "view_user", "change_user"))
    role = Group.objects.create(name="Mine")
    role.permissions.set(
        Permission.objects.filter(codename__in=("view_job", "requeue_job", "change_session"))
    )
    page = client.get(reverse("admin:auth_group_change", args=[role.pk])).content.decode()
    assert page.count("Jobs, dead letters, workers and queues: Requeue a job, View jobs") == 1
    assert "sessions: Change sessions" in page and "Jobs | job" not in page

    user = User.objects.create_user("vic")
    user.user_permissions.set(role.permissions.filter(codename="view_job"))
    page = client.get(reverse("admin:auth_user_change", args=[user.pk])).content.decode()
    assert "workers and queues: View jobs" in page


def test_pages_name_permissions_as_the_form_does() -> None:
    code = [
        path
        for folder in ("templates", "jobs", "alerts", "ratelimits", "opsconsole")
        for path in (ROOT / folder).rglob("*")
    ]
    texts = [path.read_text() for path in code if path.suffix in (".html", ".py")]
    named = {name for text in texts for name in re.findall("permission “([^”{]+)”", text)}
    assert "View jobs" in named
    assert named <= {offered_permissions.label(each) for each in Permission.objects.all()}


def test_form_says_what_else_the_role_has(client: Client) -> None:
    client.force_login(people.operator())
    role = Group.objects.get(name=roles.VIEWER)
    address = reverse("admin:auth_group_change", args=[role.pk])
    assert "that guard nothing here" not in client.get(address).content.decode()
    role.permissions.add(Permission.objects.get(codename="change_session"))
    assert "It also has 1 permission that guards nothing here." in client.get(address).content.decode()


def test_stale_form_keeps_what_was_ticked(client: Client) -> None:
    client.force_login(people.operator())
    role = Group.objects.create(name="Mine")
    kept = {
        name: Permission.objects.get(codename=name) for name in ("change_session", "view_job", "view_alert")
    }
    role.permissions.set([kept["change_session"]])
    address = reverse("admin:auth_group_change", args=[role.pk])
    opened = client.get(address).context["adminform"].form["version"].value()
    role.permissions.add(kept["view_alert"])

    entered = {"name": "Mine", "permissions": [str(kept["view_job"].pk)], "reason": "x", "version": opened}
    answer = client.post(address, entered)
    assert answer.status_code == 409
    page = answer.content.decode()
    assert "View alerts" in page and "Jobs | job" not in page
    assert re.search(rf'value="{kept["view_job"].pk}"[^>]* checked', page)
    assert set(role.permissions.all()) == {kept["change_session"], kept["view_alert"]}


def test_page_of_a_role_takes_few_statements(client: Client) -> None:
    client.force_login(people.operator())
    role = Group.objects.get(name=roles.ADMINISTRATOR)
    assert len(fewest_statements(client, reverse("admin:auth_group_change", args=[role.pk]))) <= 12


@pytest.mark.parametrize("codename", ["change_session", "add_totpdevice"])
def test_permission_that_is_not_offered_stays(client: Client, codename: str) -> None:
    client.force_login(people.operator())
    role = Group.objects.create(name="Mine")
    hidden = Permission.objects.get(codename=codename)
    taken, given = (Permission.objects.get(codename=name) for name in ("view_job", "requeue_job"))
    role.permissions.set([hidden, taken])
    form = {"name": "Mine", "permissions": [str(given.pk)], "reason": "a new duty"}
    assert send(client, reverse("admin:auth_group_change", args=[role.pk]), form).status_code == 302
    assert set(role.permissions.all()) == {hidden, given}


def test_permission_of_a_user_that_is_not_offered_stays(client: Client) -> None:
    client.force_login(people.operator())
    user = people.allowed("change_session", "view_job")
    hidden = Permission.objects.get(codename="change_session")
    taken, given = (Permission.objects.get(codename=name) for name in ("view_job", "requeue_job"))
    user.user_permissions.set([hidden, taken])
    form = {
        "username": user.username,
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00:00",
        "is_active": "on",
        "is_staff": "on",
        "user_permissions": [str(given.pk)],
        "reason": "a new duty",
    }
    assert send(client, reverse("admin:auth_user_change", args=[user.pk]), form).status_code == 302
    assert set(user.user_permissions.all()) == {hidden, given}
