"""Browser tests of single sign-on: the way to the provider and back, the log-out at both, and a role that is gone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from playwright.sync_api import expect

from opsconsole.sign_in.oidc import provider as known
from tests.fakes import identity_provider
from tests.fakes.identity_provider import Provider
from tests.journeys.visitor import Visitor
from tests.opsconsole.sign_in.oidc.conftest import set_up

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def provider(settings: Any) -> Iterator[Provider]:
    with identity_provider.serve() as served:
        served.asks = True
        set_up(settings, served)
        known.forget()
        yield served
    known.forget()


def test_sign_in_log_out_at_both_and_lose_the_role(visitor: Visitor, provider: Provider) -> None:
    call_command("sync_roles", stdout=io.StringIO())
    page = visitor.stranger()
    page.goto(f"{visitor.address}/admin/jobs/job/?status=pending")
    page.get_by_role("link", name="Sign in with Acme login").click()
    page.get_by_role("button", name="Sign in as ada").click()

    expect(page).to_have_url(f"{visitor.address}/admin/jobs/job/?status=pending")
    expect(page.locator("#user-tools")).to_contain_text("ada")

    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile(r"/admin/login/\?state="))
    assert len(provider.ended) == 1

    # The session at the provider has ended, too: it asks again.
    provider.claims["groups"] = ["cooks"]
    visitor.expected = "403"
    page.get_by_role("link", name="Sign in with Acme login").click()
    page.get_by_role("button", name="Sign in as ada").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are not signed in")
    expect(page.locator("#content-main")).to_contain_text(
        "None of your groups at the identity provider has a role"
    )
    page.get_by_role("link", name="Go to the login page").click()
    expect(page.get_by_label("Password")).to_be_visible()
