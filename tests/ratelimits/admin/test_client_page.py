"""Tests of what the page of a client says beside its requests: its policies, and what people did to it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from opsconsole.kit import audit
from ratelimits.admin import client_facts
from ratelimits.models import Policy, RateLimitHour
from ratelimits.models.hour import hash_key
from tests import keys, people

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:ratelimits_ratelimithour_client")


def policy(name: str, **fields: object) -> Policy:
    return Policy.objects.create(name=name, limit=10, **fields)


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("address:203.0.113.7", ["a", "d", "k", "u"]),
        ("user:7", ["d", "u"]),
        ("key:00000000-0000-4000-8000-000000000001", ["d", "k"]),
        ("check:x", []),
    ],
)
def test_policies_that_count_a_client(key: str, names: list[str]) -> None:
    made = [Policy(pk=1, name=kind[0], limit=10, key=kind) for kind in ("address", "default", "user")]
    made.append(Policy(pk=1, name="k", limit=10, key="api_key"))

    assert sorted(each.name for each in client_facts.applied(key, made)) == names


@pytest.mark.parametrize(
    ("address", "deny", "allow", "network", "denied"),
    [
        ("203.0.113.7", ["203.0.113.0/24"], [], "denied: 203.0.113.0/24", True),
        ("203.0.113.7", ["203.0.114.0/24", "::/0"], [], "", False),
        ("203.0.113.7", ["0.0.0.0/0"], ["203.0.113.7/32"], "never limited: 203.0.113.7/32", False),
        ("2001:db8:0:1::/64", ["2001:db8:0:1::5/128"], [], "denied: 2001:db8:0:1::5/128", True),
        ("unknown", ["0.0.0.0/0"], [], "", False),
    ],
)
def test_networks_that_hold_an_address(
    address: str, deny: list[str], allow: list[str], network: str, denied: bool
) -> None:
    made = Policy(pk=1, name="p", limit=10, deny_networks=deny, allow_networks=allow)

    [found] = client_facts.applied(f"address:{address}", [made])

    assert (found.network, found.denied) == (network, denied)


def test_page_shows_policies_and_audit_to_those_who_may_see_them(client: Client) -> None:
    policy("blocked", deny_networks=["203.0.113.0/24"])
    operator = people.operator()
    made, _ = keys.key(name="crm")
    audit.log(operator, [made], "Looked at it.", why="a complaint")
    client.force_login(operator)

    page = client.get(PAGE, {"key": "address:203.0.113.7"}).content.decode()
    assert "<strong>denied: 203.0.113.0/24</strong>" in page and "10 per minute" in page
    page = client.get(PAGE, {"key": f"key:{made.pk}"}).content.decode()
    assert "Looked at it." in page and "a complaint" in page

    other = User.objects.create_user("limits only", is_staff=True)
    other.user_permissions.add(Permission.objects.get(codename="view_ratelimithour"))
    client.force_login(other)
    page = client.get(PAGE, {"key": f"key:{made.pk}"}).content.decode()
    assert "applied-heading" not in page and "a complaint" not in page


def test_hash_is_shown_once_the_search_finds_it(client: Client) -> None:
    client.force_login(people.operator())
    key = "address:203.0.113.7"
    digest = hash_key(key)

    assert digest[:12] not in client.get(PAGE, {"key": key}).content.decode()

    RateLimitHour.objects.create(
        hour=Now(), policy="p", key_hash=digest, endpoint="/", method="GET", outcome="limited", hits=3
    )
    shown = client.get(PAGE, {"key": key}).content.decode()
    assert digest[:12] in shown
    assert digest[:12] in client.get(PAGE, {"hash": digest}).content.decode()
    found = client.get(reverse("search"), {"q": digest[:12]})
    assert found.headers["Location"] == f"{PAGE}?hash={digest}"
