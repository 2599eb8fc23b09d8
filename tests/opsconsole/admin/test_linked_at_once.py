"""Two links to one account at once, on the pages of sign-in identities and of people in Slack: the second is refused."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import Client
from django.urls import reverse

from alerts.models import SlackPerson
from jobs.models import RecoveryControl
from opsconsole.kit.identity_models import SignInIdentity
from opsconsole.kit.row_locks import locked
from opsconsole.sign_in import roles
from tests.opsconsole.sign_in.test_roles import member
from tests.sending import versions_on
from tests.waiting import wait_until

WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"


def _somebody_waits() -> bool:
    """Tell whether another transaction waits for this one."""
    with connection.cursor() as cursor:
        cursor.execute(WAITS)
        return bool(cursor.fetchone()[0])


def _post(client: Client, address: str, entries: dict[str, Any]) -> Any:
    try:
        return client.post(address, entries)
    finally:
        connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_account_that_is_linked_meanwhile_is_refused(client: Client) -> None:
    RecoveryControl.objects.get_or_create(pk=1)
    call_command("sync_roles", stdout=io.StringIO())
    client.force_login(member(roles.ADMINISTRATOR, "ada"))
    vera = member(roles.VIEWER, "vera")
    people = [SlackPerson.objects.create(team="T1", member=f"U{number}") for number in (1, 2)]
    identities = [SignInIdentity.objects.create(issuer="https://i", subject=f"s-{n}") for n in (1, 2)]
    for page, (first, second) in (("alerts_slackperson", people), ("opsconsole_signinidentity", identities)):
        address = reverse(f"admin:{page}_changelist")
        chosen = {"action": "link", "_selected_action": [str(second.pk)]}
        entries = (
            chosen | {"account": "vera", "reason": "because"} | versions_on(client.post(address, chosen))
        )
        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                locked(User.objects.filter(pk=vera.pk)).get()
                answered = pool.submit(_post, client, address, entries)
                wait_until(_somebody_waits)
                type(first)._default_manager.filter(pk=first.pk).update(user=vera)
            answer = answered.result(30)
        assert "Nothing was changed" in client.get(answer.url).content.decode(), page
        second.refresh_from_db()
        assert second.user is None, page
