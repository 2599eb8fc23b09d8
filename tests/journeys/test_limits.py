"""Browser tests of rate limits: a policy edited and in effect, an API key created, used and revoked."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from ratelimits.models import ApiKey, Policy
from ratelimits.policies import policy_cache
from ratelimits.records import background_thread
from tests import presets
from tests.journeys.visitor import Visitor
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _presets(db: None, limiter: None) -> None:
    presets.write()


@pytest.fixture(autouse=True)
def _live_policies() -> Iterator[None]:
    """Let the server's threads read the policies of the database, as in production."""
    policy_cache.clear()
    yield
    background_thread.stop()


def call(address: str, path: str, key: str = "", body: Any = None) -> tuple[int, Any]:
    """Send a program's request; return status and headers of the response."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(address + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


def test_edited_policy_takes_effect(visitor: Visitor) -> None:
    address = visitor.address
    assert [call(address, "/api/queue/TEST-001")[0] for _ in range(5)] == [200] * 5

    page = visitor.log_in("olga")
    page.locator("#console-nav").get_by_role("link", name="Limits", exact=True).click()
    page.locator("#console-nav").get_by_role("link", name="Policies", exact=True).click()
    page.get_by_role("link", name="standard", exact=True).click()
    page.get_by_role("spinbutton", name="Limit:").fill("6")
    page.get_by_label("Reason").fill("somebody scrapes")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messagelist")).to_contain_text("standard")
    assert Policy.objects.get(name="standard").limit == 6

    def told() -> bool:
        return str(call(address, "/api/queue/TEST-001")[1]["RateLimit-Policy"]) == '"standard";q=6;w=60'

    # Earlier requests count too, so at most one more is allowed.
    wait_until(told, what="the new limit")
    status, headers = call(address, "/api/queue/TEST-001")
    assert status == 429
    assert int(headers["Retry-After"]) >= 1


@pytest.mark.parametrize("width", [1440, 390])
def test_create_use_and_revoke_key(visitor: Visitor, width: int) -> None:
    page = visitor.log_in("olga", width=width)
    page.goto(f"{visitor.address}/admin/ratelimits/apikey/")
    page.get_by_role("link", name="Create API key").click()
    page.get_by_label("Name").fill("mobile app")
    page.get_by_label("Claim and run jobs (worker)").check()
    page.get_by_label("Reason").fill("it goes live on Monday")
    page.get_by_role("button", name="Create API key").click()

    expect(page.locator(".headline")).to_have_text("Copy the key now. It will not be shown again.")
    key = page.locator("#secret").inner_text()
    assert key.startswith("ock_")
    body = {"worker_id": "node-1"}
    assert call(visitor.address, "/api/workers/beat", key, body)[0] == 204
    assert call(visitor.address, "/api/workers/beat", key[:-1] + "?", body)[0] == 401

    page.get_by_role("link", name="Show all API keys").click()
    expect(page.locator("#result_list")).to_contain_text(f"…{key[-4:]}")
    assert key not in page.content()
    page.get_by_role("link", name="mobile app").click()
    assert key not in page.content()
    page.get_by_role("button", name="Revoke", exact=True).click()
    page.get_by_label("Reason").fill("found in a log")
    page.get_by_role("button", name="Revoke 1 key").click()
    expect(page.locator(".messagelist")).to_contain_text("Requests with it are refused now.")

    assert call(visitor.address, "/api/workers/beat", key, body)[0] == 401
    stored = ApiKey.objects.get(name="mobile app")
    assert (stored.revoked_by, stored.revoke_reason) == ("olga", "found in a log")


def test_find_limited_client_and_its_details(visitor: Visitor) -> None:
    page = visitor.log_in("olga")
    page.locator("#console-nav").get_by_role("link", name="Limits", exact=True).click()
    expect(page.locator(".headline")).to_contain_text("refused in the last 24 hours.")
    page.locator("summary", has_text="The last 24 hours").click()
    page.get_by_role("link", name="Last 7 days").click()
    expect(page.locator(".headline")).to_contain_text("refused in the last 7 days.")
    page.get_by_role("table").filter(has_text="Client").first.get_by_role(
        "link", name="203.0.113.7", exact=True
    ).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("203.0.113.7")
    page.get_by_text("Show as table").first.click()
    expect(page.locator(".figures").first).to_be_visible()
    page.get_by_role("link", name="Failed logins from this address").click()
    expect(page.locator("#result_list")).to_contain_text("Locked out")

    page.go_back()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    assert download.value.suggested_filename == "limited-requests-day.csv"
