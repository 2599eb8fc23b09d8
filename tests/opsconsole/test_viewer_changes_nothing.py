"""A walk through every URL, method and action, as a viewer and signed out: nothing changes."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from opsconsole.sign_in import roles
from tests import people
from tests.opsconsole import everything
from tests.opsconsole.sign_in.test_roles import member
from tests.opsconsole.walking import OWN, Watch, one_post, refusing_links, temptations, walk

pytestmark = pytest.mark.django_db

# The walk takes longer than one test may.
PARTS = 3


@pytest.fixture(autouse=True)
def _scenery(settings: Any) -> None:
    settings.SLACK_WEBHOOK_URL = "http://127.0.0.1:9/services/secret-word"
    everything.build()


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("part", range(PARTS))
def test_viewer_cannot_change_anything(client: Client, part: int) -> None:
    root = Client()
    root.force_login(people.operator("root"))
    client.force_login(member(roles.VIEWER, "vera"))
    client.get(reverse("admin:index"))
    # A wrong password or code on a page of the own account is counted.
    watch = Watch(everything.BOOKKEEPING | everything.tables_of("axes.AccessAttempt"))

    addresses = everything.addresses()[part::PARTS]
    wrong = walk(client, addresses, root=root, also=lambda address, answer: watch.changes())
    assert wrong + watch.changes() == []


def test_viewer_sees_no_forbidden_button_or_link(client: Client) -> None:
    client.force_login(member(roles.VIEWER, "vera"))
    wrong = [
        f"{address}: {found}"
        for address in everything.addresses()
        if address.startswith("/admin/") and not address.startswith(OWN)
        for found in temptations(client.get(address))
    ]
    wrong += refusing_links(client)

    assert wrong == [], chr(10).join(wrong)


@pytest.mark.parametrize("action", ["requeue", "cancel", "release"])
def test_viewer_may_not_operate_on_jobs(client: Client, action: str) -> None:
    client.force_login(member(roles.VIEWER, "vera"))
    address = reverse("admin:jobs_job_operate", args=[action])

    assert (
        client.get(address).status_code
        == client.post(address, {"plan": "x", "reason": "x"}).status_code
        == 403
    )


def test_every_url_redirects_anonymous_user_to_login(client: Client) -> None:
    watch = Watch()

    def let_in(address: str, answer: Any) -> list[str]:
        public = address in {
            "/",
            "/api/",
            "/api/docs",
            "/api/openapi.json",
            "/admin/jsi18n/",
            reverse("admin:login"),
        }
        # The queue position of a customer's jobs needs no key; requests are limited per address.
        public = public or address.startswith("/api/queue/")
        shut = answer.status_code in {401, 403, 404, 405} or (
            answer.status_code in {301, 302} and "/admin/login/" in answer.headers["Location"]
        )
        return watch.changes() + ([] if public or shut else [f"answered {answer.status_code}"])

    assert walk(client, everything.addresses(), sent=one_post, also=let_in) + watch.changes() == []
