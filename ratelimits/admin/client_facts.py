"""What the page of a client says beside its requests: the policies that apply to it, and what people did to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.urls import reverse

from opsconsole.kit import audit
from opsconsole.kit.ip_addresses import Network
from opsconsole.kit.page_permissions import Person, may_see
from ratelimits.models import ApiKey, Mode, Policy, RateLimitHour
from ratelimits.policies import wording

LINES_SHOWN = 10
POLICY = "ratelimits_policy"
# Which clients a policy counts, by the beginning of their keys; addresses count under each, as the last resort.
COUNTED: dict[str, tuple[str, ...]] = {
    Policy.Key.DEFAULT: ("key", "user", "address"),
    Policy.Key.API_KEY: ("key", "address"),
    Policy.Key.USER: ("user", "address"),
    Policy.Key.ADDRESS: ("address",),
}


@dataclass(frozen=True)
class AppliedPolicy:
    """A policy that counts a client: its rate, where it applies, and whether a network of it holds the client."""

    name: str
    url: str
    rate: str
    scope: str
    mode: str
    network: str
    denied: bool


def policies_for(user: Person) -> QuerySet[Policy]:
    """Return the policies that this person may see, in their order."""
    policies = Policy.objects.order_by("position", "name")
    return policies if may_see(user, POLICY) else policies.none()


def of_client(key: str, user: Person, policies: Iterable[Policy]) -> dict[str, Any]:
    """Return the parts that this person may see; nothing for a client of which only the hash is known."""
    if not key:
        return {}
    facts: dict[str, Any] = {}
    if may_see(user, POLICY):
        facts["applied"] = applied(key, policies)
    if may_see(user, "admin_logentry"):
        facts["audit_lines"] = _lines(key)
    return facts


def applied(key: str, policies: Iterable[Policy]) -> list[AppliedPolicy]:
    """Return the policies under which this client is counted or refused."""
    kind, _, value = key.partition(":")
    return [
        _applied(policy, value if kind == "address" else "")
        for policy in policies
        if kind in COUNTED[policy.key]
    ]


def _applied(policy: Policy, address: str) -> AppliedPolicy:
    denied, exempt = (
        _holding(address, networks) for networks in (policy.deny_networks, policy.allow_networks)
    )
    return AppliedPolicy(
        name=policy.name,
        url=reverse("admin:ratelimits_policy_change", args=[policy.pk]),
        rate=wording.rate(policy),
        scope=wording.scope(policy),
        mode=Mode(policy.mode).label,
        network=f"never limited: {exempt}" if exempt else f"denied: {denied}" if denied else "",
        denied=bool(denied) and not exempt and policy.mode == Mode.ENFORCE,
    )


def _holding(address: str, networks: Sequence[str]) -> str:
    """Return the network that holds the address, or a part of it: an address of IPv6 is counted with its neighbours."""
    client = _network(address)
    return next((text for text in networks if client and _overlap(client, _network(text))), "")


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _overlap(one: Network, other: Network | None) -> bool:
    return other is not None and one.version == other.version and one.overlaps(other)


def _lines(key: str) -> list[tuple[LogEntry, str, str, str]]:
    """Return the newest lines of the audit about the client, or about its API key, each in its parts."""
    kind, _, value = key.partition(":")
    about: list[tuple[type[Model], str]] = [(RateLimitHour, key)]
    if kind == "key":
        about.append((ApiKey, value))
    # Each part is found by the index of lines about a row, and all by one statement.
    first, *others = [_newest_about(model, object_id) for model, object_id in about]
    lines = LogEntry.objects.filter(pk__in=first.union(*others))
    newest = audit.with_details(lines).order_by("-id")[:LINES_SHOWN]
    return [
        (line, audit.parts_of(line).did or "Changed.", audit.parts_of(line).why, audit.who(line))
        for line in newest
    ]


def _newest_about(model: type[Model], object_id: str) -> QuerySet[LogEntry, int]:
    kind = ContentType.objects.get_for_model(model).pk
    lines = LogEntry.objects.filter(content_type_id=kind, object_id=object_id).order_by("-id")
    return lines.values_list("pk", flat=True)[:LINES_SHOWN]
