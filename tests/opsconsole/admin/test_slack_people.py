"""Tests of the page People in Slack: only an administrator's act lets somebody's clicks count, and for no more than they have."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from alerts.models import SlackPerson
from opsconsole.kit import audit
from opsconsole.sign_in import roles
from tests import people
from tests.opsconsole.sign_in.test_roles import member
from tests.sending import versions_on

pytestmark = pytest.mark.django_db
LIST = reverse("admin:alerts_slackperson_changelist")


@pytest.fixture
def ada(client: Client) -> User:
    """Return an administrator, who is signed in. She is no superuser."""
    call_command("sync_roles", stdout=io.StringIO())
    user = member(roles.ADMINISTRATOR, "ada")
    client.force_login(user)
    return user


def act(client: Client, action: str, *rows: SlackPerson, **fields: str) -> Any:
    """Choose an action for these rows, and answer its question."""
    chosen = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(LIST, chosen | fields | versions_on(client.post(LIST, chosen)))


def test_administrator_links_and_unlinks(client: Client, ada: User) -> None:
    vera = member(roles.OPERATOR, "vera")
    waiting = SlackPerson.objects.create(team="T1", member="U1", name="vera.v")
    page = client.get(LIST).content.decode()
    assert "Waits to be linked" in page and "U1" in page

    assert act(client, "link", waiting, account="vera", reason="her profile says U1").status_code == 302

    waiting.refresh_from_db()
    assert waiting.user == vera
    entry = LogEntry.objects.filter(object_repr="vera").latest("pk")
    assert audit.parts_of(entry).did == "Linked to vera.v (U1 in T1) in Slack."
    assert (audit.who(entry), audit.parts_of(entry).why) == ("ada", "her profile says U1")

    assert act(client, "unlink", waiting, reason="a mistake").status_code == 302
    waiting.refresh_from_db()
    assert waiting.user is None


def test_nobody_is_linked_to_more_than_the_administrator_has(client: Client, ada: User) -> None:
    people.operator()
    taken, off = people.viewer("taken"), people.viewer("off")
    User.objects.filter(pk=off.pk).update(is_active=False)
    User.objects.create_user("customer")
    SlackPerson.objects.create(team="T1", member="U2", user=taken)
    waiting = SlackPerson.objects.create(team="T1", member="U1")
    for account in ("nobody", "taken", "off", "customer", ""):
        assert act(client, "link", waiting, account=account, reason="because").status_code == 200, account
    assert act(client, "link", waiting, account="vera", reason=" ").status_code == 200
    # A superuser's account, which has more.
    answer = act(client, "link", waiting, account="olga", reason="because")
    assert "has more than you have" in client.get(answer.url).content.decode()
    waiting.refresh_from_db()
    assert waiting.user is None

    client.force_login(people.viewer("viola"))
    act(client, "link", waiting, account="ada", reason="because")
    waiting.refresh_from_db()
    assert waiting.user is None
