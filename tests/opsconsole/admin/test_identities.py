"""Tests of the page Sign-in identities: only an administrator's act lets somebody sign in to an account that existed."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from opsconsole.kit import audit
from opsconsole.kit.identity_models import SignInIdentity
from opsconsole.sign_in import roles
from tests import people
from tests.opsconsole.sign_in.test_roles import member
from tests.sending import versions_on

pytestmark = pytest.mark.django_db
LIST = reverse("admin:opsconsole_signinidentity_changelist")


@pytest.fixture(autouse=True)
def _roles() -> None:
    call_command("sync_roles", stdout=io.StringIO())


@pytest.fixture
def ada(client: Client) -> User:
    """Return an administrator, who is signed in. She is no superuser."""
    user = member(roles.ADMINISTRATOR, "ada")
    client.force_login(user)
    return user


def identity(subject: str = "s-1", user: User | None = None) -> SignInIdentity:
    return SignInIdentity.objects.create(
        issuer="https://login.example.com", subject=subject, user=user, name="vera"
    )


def act(client: Client, action: str, *rows: SignInIdentity, **fields: str) -> Any:
    """Choose an action for these rows, and answer its question."""
    chosen = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(LIST, chosen | fields | versions_on(client.post(LIST, chosen)))


def test_administrator_links_an_identity_that_waits(client: Client, ada: User) -> None:
    vera, waiting = member(roles.VIEWER, "vera"), identity()
    page = client.get(LIST).content.decode()
    assert "Waits to be linked" in page and "s-1" in page

    assert act(client, "link", waiting, account="vera", reason="she asked in person").status_code == 302

    waiting.refresh_from_db()
    vera.refresh_from_db()
    assert waiting.user == vera and not vera.has_usable_password()
    entry = LogEntry.objects.filter(object_repr="vera").latest("pk")
    assert audit.parts_of(entry).did.startswith(
        "Linked to the identity vera (s-1 at https://login.example.com)."
    )
    assert (audit.who(entry), audit.parts_of(entry).why) == ("ada", "she asked in person")

    assert act(client, "unlink", waiting, reason="a mistake").status_code == 302
    waiting.refresh_from_db()
    assert waiting.user is None


def test_nothing_is_linked_without_reason_or_account_or_to_a_superuser(client: Client, ada: User) -> None:
    people.operator()
    linked, off = people.viewer("linked"), people.viewer("off")
    User.objects.filter(pk=off.pk).update(is_active=False)
    identity("s-2", linked)
    waiting = identity()
    people.viewer()
    for account in ("olga", "nobody", "linked", "off", ""):
        answer = act(client, "link", waiting, account=account, reason="because")
        assert answer.status_code == 200, account
    assert act(client, "link", waiting, account="vera", reason=" ").status_code == 200
    waiting.refresh_from_db()
    assert waiting.user is None


def test_administrator_links_nobody_to_more_than_they_hold(client: Client, ada: User) -> None:
    stronger = Group.objects.create(name="Stronger")
    stronger.permissions.set(_all())
    boss = member("Stronger", "boss")
    waiting = identity()

    act(client, "link", waiting, account="boss", reason="let me in")

    waiting.refresh_from_db()
    boss.refresh_from_db()
    assert waiting.user is None and boss.has_usable_password()
    held = identity("s-3", boss)
    act(client, "unlink", held, reason="keep them out")
    held.refresh_from_db()
    assert held.user == boss


def test_operator_sees_no_identities(client: Client) -> None:
    client.force_login(member(roles.OPERATOR, "otto"))

    assert client.get(LIST).status_code == 403


def _all() -> Any:
    from django.contrib.auth.models import Permission

    return Permission.objects.all()
