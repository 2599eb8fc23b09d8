"""Changes of the limits that would lock people out: refused in the admin and the shell, unless confirmed by name."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.test import Client, RequestFactory
from django.urls import clear_script_prefix, resolve, reverse, set_script_prefix
from django.utils import timezone

from opsconsole.kit import audit
from opsconsole.sign_in import failures
from ratelimits.engine import store
from ratelimits.models import ApiKey, LimiterControl, Policy, RateLimitRequest
from ratelimits.policies import policy_cache
from ratelimits.policies.policy_snapshot import snapshot_of
from ratelimits.requests import known_callers, lockout_check
from ratelimits.requests.lockout_hits import Hit
from ratelimits.requests.lockout_trial import Requester
from tests.keys import key
from tests.ratelimits.admin.test_policy import ADD, FORM, SWITCH, change
from tests.sending import send

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("live_policies")]

HOUR = 3_600


def refused(answer: Any, name: str = "new") -> bool:
    """Tell whether the change was refused with a sentence that says how to confirm it."""
    page = answer.content.decode()
    assert (answer.status_code == 200) == ("confirm it by typing the name of the policy" in page), page[:2000]
    return (
        answer.status_code == 200 and "would refuse" in page and not Policy.objects.filter(name=name).exists()
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"path_prefixes": "/", "deny_networks": "0.0.0.0/0,::/0"},
        {"path_prefixes": "/admin/", "deny_networks": "203.0.113.7"},
        {"path_prefixes": "/admin/login/", "methods": "POST", "deny_networks": "203.0.113.0/24"},
        {"path_prefixes": "/", "deny_networks": "0.0.0.0/1,128.0.0.0/1"},
        {"path_prefixes": "/", "deny_networks": "0.0.0.0/2,64.0.0.0/2,128.0.0.0/2,192.0.0.0/2"},
        {"path_prefixes": "/", "deny_networks": "::ffff:203.0.113.7"},
        {"path_prefixes": "/", "deny_networks": "0.0.0.0/0", "allow_networks": "10.0.0.0/8"},
        # Others would be locked out: people, Amazon SNS.
        {"path_prefixes": "/", "deny_networks": "0.0.0.0/0,::/0", "allow_networks": "203.0.113.0/24"},
        {"path_prefixes": "/hooks/", "deny_networks": "0.0.0.0/0"},
        {"path_prefixes": "/hooks/", "limit": 1, "window_seconds": HOUR},
        # The pages of the second factor, which come after the log-in, and any page of the console.
        {"path_prefixes": "/admin/second-factor/", "deny_networks": "0.0.0.0/0,::/0"},
        {"path_prefixes": "/admin/second-factor/prove/", "limit": 1, "window_seconds": HOUR},
        {"path_prefixes": "/admin/jobs/", "deny_networks": "203.0.113.7"},
        {"path_prefixes": "/admin/alerts/alert/", "methods": "POST", "deny_networks": "0.0.0.0/0"},
        # Too few requests to undo it, by user or by address, in some methods only.
        {"path_prefixes": "/admin", "limit": 1, "window_seconds": HOUR},
        {"path_prefixes": "/admin", "limit": 3, "window_seconds": HOUR, "key": "address"},
        {"path_prefixes": "/", "limit": 1, "window_seconds": HOUR, "methods": "POST"},
        {"path_prefixes": "/", "limit": 4, "window_seconds": 600, "algorithm": "counter"},
    ],
)
def test_policy_that_locks_out_is_refused_unless_confirmed(
    client: Client, operator: Client, fields: dict[str, Any]
) -> None:
    entries: dict[str, Any] = FORM | {"name": "new"} | fields
    peer: dict[str, Any] = {"REMOTE_ADDR": "203.0.113.7"}

    assert refused(operator.post(ADD, entries, **peer))
    assert refused(operator.post(ADD, entries | {"confirm": "yes"}, **peer))
    answer = operator.post(ADD, entries | {"confirm": "me"}, **peer)
    assert refused(answer)
    if "your own requests" in answer.content.decode():
        assert "and &#x27;me&#x27; for yourself: new, me" in answer.content.decode()
        assert refused(operator.post(ADD, entries | {"confirm": "new"}, **peer))
        entries["confirm"] = "new, me"
    assert operator.post(ADD, {"confirm": "new"} | entries, **peer).status_code == 302
    assert Policy.objects.filter(name="new").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"path_prefixes": "/admin/", "deny_networks": "198.51.100.0/24,2001:db8::/32"},
        {"path_prefixes": "/", "limit": 20},
        {"path_prefixes": "/admin/login/", "limit": 5, "methods": "POST"},
        {"path_prefixes": "/admin", "limit": 1, "window_seconds": 5},
        {"path_prefixes": "/api/", "limit": 1, "window_seconds": HOUR},
        {"path_prefixes": "/", "deny_networks": "0.0.0.0/0", "mode": "shadow"},
        {"path_prefixes": "/", "deny_networks": "0.0.0.0/0", "mode": "off"},
        # Health checks are answered before the limiter.
        {"path_prefixes": "/healthz,/readyz", "deny_networks": "0.0.0.0/0,::/0"},
        {"deny_networks": "0.0.0.0/0"},
    ],
)
def test_policy_that_locks_nobody_out_needs_no_confirmation(operator: Client, fields: dict[str, Any]) -> None:
    answer = operator.post(ADD, FORM | {"name": "new"} | fields, REMOTE_ADDR="203.0.113.7")
    assert answer.status_code == 302, answer.content.decode()[:3000]


def whom(policies: list[Any]) -> list[str]:
    return [hit.who for hit in lockout_check.hits(policies, None)]


def test_path_of_a_mounted_console_is_not_part_of_what_policies_cover() -> None:
    policy = snapshot_of(Policy(name="new", limit=1, path_prefixes=["/admin/"], deny_networks=["0.0.0.0/0"]))
    hooks = snapshot_of(Policy(name="hooks", limit=1, path_prefixes=["/hooks/"], deny_networks=["0.0.0.0/0"]))
    try:
        set_script_prefix("/ops/")
        assert whom([policy]) == ["people at the login and in the console"]
        assert whom([hooks]) == ["Amazon SNS at the hook", "Slack at the hook"]
    finally:
        clear_script_prefix()


def test_log_outs_of_the_identity_provider_are_requests_of_a_stranger(settings: Any) -> None:
    policy = snapshot_of(
        Policy(name="new", limit=1, path_prefixes=["/admin/oidc/log-out/"], window_seconds=60)
    )
    assert whom([policy]) == []
    settings.OPSCONSOLE_OIDC_ISSUER = "https://login.example.com"
    assert whom([policy]) == ["the identity provider that ends sessions"]


def test_health_checks_are_answered_whatever_the_policies_say(client: Client) -> None:
    Policy.objects.create(name="new", limit=1, path_prefixes=["/"], deny_networks=["0.0.0.0/0", "::/0"])
    assert client.get("/healthz").status_code == 200


def test_what_the_store_counts_already_counts(operator: Client) -> None:
    policy = Policy.objects.create(
        name="new", limit=100, window_seconds=HOUR, path_prefixes=["/admin/"], mode="shadow"
    )
    user = f"user:{operator.session['_auth_user_id']}"
    entries = FORM | {"limit": 50, "window_seconds": HOUR, "path_prefixes": "/admin/"}
    for _ in range(48):
        store.check(snapshot_of(policy), user)

    assert "would refuse your own requests" in send(operator, change("new"), entries).content.decode()
    assert Policy.objects.get(pk=policy.pk).limit == 100
    assert send(operator, change("new"), entries | {"limit": 90}).status_code == 302


def test_enabling_widening_and_switching_are_judged_too(operator: Client) -> None:
    Policy.objects.create(name="new", limit=10, path_prefixes=["/"], mode="off", deny_networks=["127.0.0.1"])
    Policy.objects.create(name="narrow", limit=10, path_prefixes=["/shop/"], deny_networks=["127.0.0.1"])
    enabled = FORM | {"limit": 10, "path_prefixes": "/", "deny_networks": "127.0.0.1"}
    assert "would refuse your own requests" in send(operator, change("new"), enabled).content.decode()
    widened = send(operator, change("narrow"), enabled)
    assert "would refuse your own requests" in widened.content.decode()
    assert Policy.objects.get(name="narrow").path_prefixes == ["/shop/"]

    LimiterControl.objects.update(mode="off")
    Policy.objects.filter(name="new").update(mode="enforce")
    entries = {"mode": "enforce", "reason": "x"}
    assert "would refuse your own requests" in send(operator, SWITCH, entries).content.decode()
    assert LimiterControl.load().mode == "off"
    assert send(operator, SWITCH, entries | {"confirm": "new,me"}).status_code == 302


def test_several_policies_that_lock_out_are_confirmed_together(operator: Client) -> None:
    for name in ("new", "other"):
        Policy.objects.create(name=name, limit=10, path_prefixes=["/"], deny_networks=["127.0.0.1"])
    LimiterControl.objects.update(mode="off")
    entries = {"mode": "enforce", "reason": "x"}

    answer = send(operator, SWITCH, entries | {"confirm": "new"}).content.decode()
    assert "typing the name of the policy, and &#x27;me&#x27; for yourself: new, other, me" in answer
    assert LimiterControl.load().mode == "off"
    assert send(operator, SWITCH, entries | {"confirm": "new, other, me"}).status_code == 302
    LimiterControl.objects.update(mode="off")
    call_command("rate_limits", "mode", "enforce", reason="x", confirm="other,new")


def test_running_workers_are_not_slowed_by_accident(operator: Client) -> None:
    api_key, _ = key(scopes=["worker"])
    tight = FORM | {"name": "new", "path_prefixes": "/api/", "limit": 60, "window_seconds": HOUR}
    assert operator.post(ADD, tight).status_code == 302, "no worker uses its key"
    Policy.objects.filter(name="new").delete()
    ApiKey.objects.update(last_used_at=timezone.now())

    assert "running workers" in operator.post(ADD, tight).content.decode()
    assert (
        "running workers"
        in operator.post(ADD, tight | {"limit": 1000, "deny_networks": "10.0.0.0/8"}).content.decode()
    )
    assert operator.post(ADD, tight | {"limit": 1000}).status_code == 302
    # The policy that the key names covers its requests, whatever its paths are.
    entries = FORM | {"limit": 60, "window_seconds": HOUR, "position": 40, "key": "api_key"}
    assert "running workers" in send(operator, change("api-key"), entries).content.decode()
    assert api_key.policy == "api-key"


def test_policies_that_lock_out_only_together_are_judged_together(operator: Client) -> None:
    """Each denies a part of the internet, or makes the way back a bit slower."""
    whole = FORM | {"name": "new", "path_prefixes": "/admin/"}
    one = whole | {"deny_networks": "0.0.0.0/5", "confirm": ""}
    for number, network in enumerate(("0.0.0.0/6", "4.0.0.0/6")):
        Policy.objects.create(
            name=f"part-{number}", limit=100, path_prefixes=["/admin/"], deny_networks=[network]
        )
    asked = operator.post(ADD, one | {"deny_networks": "8.0.0.0/5"}).content.decode()
    assert (
        "together with part-0, part-1, would refuse people at the login and in the console (from 7% of"
        in asked
    )
    # What is refused already is no news, in part or as a whole.
    assert operator.post(ADD, one).status_code == 302
    Policy.objects.filter(name__in=("new", "part-0", "part-1")).delete()

    # Each lets somebody wait for less than the time that the way back may take.
    wait = whole | {"path_prefixes": "/admin/ratelimits/", "limit": 2, "key": "address"}
    Policy.objects.create(name="slow", limit=1, path_prefixes=["/admin/login/"], key="address")
    assert whom([snapshot_of(Policy.objects.get(name="slow"))]) == []
    asked = operator.post(ADD, wait).content.decode()
    assert (
        "The policy &#x27;new&#x27;, together with slow, would refuse your own requests to undo this" in asked
    )
    Policy.objects.filter(name="slow").update(mode="off")
    assert operator.post(ADD, wait).status_code == 302


@pytest.mark.parametrize(
    ("paths", "who", "network"),
    [
        ("/admin/", "people at the login", "0.0.0.0/1"),
        ("/admin/", "people at the login", "2000::/4"),
        ("/hooks/", "Amazon SNS", "96.0.0.0/4"),
        ("/api/queue/", "customers who ask", "0.0.0.0/1"),
        ("/api/jobs", "programs that submit jobs (produce", "96.0.0.0/4"),
        ("/api/jobs/", "running workers at the API (work", "2000::/4"),
        ("/api/limits/", "services that have their clients checked (ask", "0.0.0.0/1"),
    ],
)
def test_denying_a_large_part_of_the_internet_is_asked_about(paths: str, who: str, network: str) -> None:
    for name, scope in (("work", "worker"), ("produce", "jobs:write"), ("ask", "limits:check")):
        key(name, scopes=[scope])
    ApiKey.objects.update(last_used_at=timezone.now())
    Policy.objects.create(name="new", limit=100, path_prefixes=[paths])

    def deny(networks: str, **confirm: str) -> None:
        call_command("rate_limits", "edit", "new", set=[f"deny_networks={networks}"], reason="x", **confirm)

    with pytest.raises(CommandError, match=re.escape(who)):
        deny(network)
    deny(network, confirm="new")
    deny("198.51.100.0/24,2001:db8::/32")


def test_limit_of_a_service_that_has_its_clients_checked_is_judged() -> None:
    checker, _ = key("shop", scopes=["limits:check"])
    ApiKey.objects.update(last_used_at=timezone.now())
    for name, hits in (("limits-check", 900), ("standard", 40)):
        RateLimitRequest.objects.create(
            key=f"key:{checker.pk}", endpoint="/api/limits/check", method="POST", hits=hits, policy=name
        )
    tight = ["limit=600", "window_seconds=3600"]
    with pytest.raises(CommandError, match=r"services that have their clients checked \(shop\)"):
        call_command("rate_limits", "edit", "limits-check", set=tight, reason="x")
    call_command("rate_limits", "edit", "api-key", set=tight, reason="x")
    call_command("rate_limits", "edit", "limits-check", set=["limit=1000", "window_seconds=3600"], reason="x")


def test_clients_of_the_last_hour_are_named_where_a_network_is_denied(operator: Client) -> None:
    rows = [
        ("address:198.51.100.20", "/api/queue/<anything:customer_id>", "standard"),
        ("user:7", "/admin/", "x"),
    ]
    for number, (client, endpoint, counted_by) in enumerate([*rows, *rows[:1]]):
        RateLimitRequest.objects.create(
            key=client, endpoint=endpoint, method="GET", hits=number + 1, policy=counted_by
        )
    entries = FORM | {"name": "new", "path_prefixes": "/api/", "deny_networks": "198.51.100.0/24"}

    assert (
        "clients that called in the last hour (198.51.100.20)" in operator.post(ADD, entries).content.decode()
    )
    elsewhere = {"path_prefixes": "/shop/", "name": "other"}
    assert operator.post(ADD, entries | elsewhere).status_code == 302
    # Whoever denies one address means it.
    assert operator.post(ADD, entries | {"deny_networks": "198.51.100.20"}).status_code == 302
    # The policy is named by the view that counted the client.
    with pytest.raises(CommandError, match="clients that called"):
        call_command("rate_limits", "edit", "standard", set=["deny_networks=198.51.0.0/16"], reason="x")


def test_names_are_told_to_those_only_who_may_see_them() -> None:
    hit = Hit("clients", frozenset(), names=("a", "b", "c", "d"), kind="client")
    assert hit.in_words(None) == "clients (a, b, c and 1 more)"
    for sees, words in (
        ({"client": False, "key": True}, "4 of them"),
        ({"client": True, "key": False}, "a, b, c and 1 more"),
    ):
        assert hit.in_words(Requester(None, {}, "", sees)) == f"clients ({words})"


def test_paths_of_callers_are_those_of_the_api() -> None:
    for _, paths in known_callers.CALLERS.values():
        for path in paths:
            assert resolve(path).namespace == "api"


def test_commands_ask_for_the_same_confirmation() -> None:
    Policy.objects.create(name="new", limit=100, path_prefixes=["/"], mode="off", deny_networks=["0.0.0.0/0"])
    with pytest.raises(CommandError, match="typing the name of the policy: new"):
        call_command("rate_limits", "enable", "new", reason="x")
    assert Policy.objects.get(name="new").mode == "off" and not LogEntry.objects.exists()
    call_command("rate_limits", "enable", "new", reason="x", confirm="new")
    assert Policy.objects.get(name="new").mode == "enforce"


def test_presets_lock_nobody_out() -> None:
    for policy in Policy.objects.all():
        assert lockout_check.hits([snapshot_of(policy)], None) == []
    policy_cache.clear()


def test_undo_is_possible_after_being_locked_out(client: Client, operator: Client) -> None:
    """The case from the field: a policy on / that denies everybody, and no way back but the shell."""
    entries = FORM | {
        "name": "all",
        "path_prefixes": "/",
        "deny_networks": "0.0.0.0/0,::/0",
        "confirm": "all, me",
    }
    assert operator.post(ADD, entries).status_code == 302
    policy_cache.clear()
    assert client.get(reverse("admin:login")).status_code == 403

    call_command("rate_limits", "disable", "all", reason="nobody gets in", operator="olga")

    assert client.get(reverse("admin:login")).status_code == 302
    line = LogEntry.objects.latest("pk")
    assert line.user.username == "olga"
    assert audit.parts_of(line) == audit.AuditParts(
        "Mode: enforce to off. By olga with a command.", "nobody gets in"
    )
    assert "olga, as " in audit.who(line), "the user of the operating system, too"


def test_client_behind_nat64_is_denied_and_counted_by_its_address(client: Client) -> None:
    """One test for all places: the middleware's lists, the client's identity, and the lock-outs of the log-in."""
    Policy.objects.create(
        name="new", limit=1, path_prefixes=["/admin/login/"], deny_networks=["::ffff:9.9.9.9"]
    )
    login = reverse("admin:login")

    assert client.get(login, REMOTE_ADDR="64:ff9b::9.9.9.9").status_code == 403
    assert client.get(login, REMOTE_ADDR="8.8.8.8").status_code == 200
    assert client.get(login, REMOTE_ADDR="64:ff9b::8.8.8.8").status_code == 429
    assert client.get(login, REMOTE_ADDR="64:ff9b::8.8.4.4").status_code == 200
    request = RequestFactory().get("/", REMOTE_ADDR="64:ff9b::8.8.8.8")
    assert failures.address(request) == "8.8.8.8"
