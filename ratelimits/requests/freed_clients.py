"""Clients that an operator frees: what they used is forgotten, under one policy or all, and the audit says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import F

from opsconsole.kit import audit, form_values, form_versions, one_statement, reasons
from opsconsole.kit.audit import AuditParts
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.form_versions import Value, Version
from opsconsole.kit.one_statement import Reading, models_of, value_of
from opsconsole.kit.storable import plain_text
from ratelimits.engine import store
from ratelimits.engine.forgotten_counts import FreeUnconfirmed
from ratelimits.identity import client_ip, client_names
from ratelimits.models import LimiterControl, RateLimitHour
from ratelimits.policies import policy_cache
from ratelimits.policies.policy_snapshot import OFF

# How the records write one client: an address, and the network of an address of IPv6.
_LENGTHS = {4: {"32"}, 6: {"128", str(client_ip.IPV6_PREFIX)}}
KINDS = ("address:", "user:", "key:", "check:")


class FreeRefused(OpsConsoleError):
    """No client was freed; the message says why."""


@dataclass(frozen=True)
class Freed:
    """What a client had used under a policy."""

    policy: str
    requests: int


def free(
    client: str, *, policy: str = "", account: User, by: str, reason: str, actor: str = ""
) -> list[Freed]:
    """Forget what a client used under one policy, or under all of them. Return the policies under which it had used any.

    ``client`` is its key in the records, such as "address:203.0.113.7"; ``actor`` says who it was if it was not the
    account alone. Every process lets its next request through
    within two seconds. Raise ``FreeRefused`` without a reason or a client, ``UnknownPolicy``, or ``StoreAway``; and
    ``FreeUnconfirmed``, after which the audit says that the outcome is unknown.
    """
    reason = reasons.required(reason, FreeRefused)
    client = key_of(client)
    current = policy_cache.current()
    policies = [current.get(policy)] if policy else list(current.by_name.values())
    policies = [each for each in policies if each.mode != OFF]
    with transaction.atomic():
        # All at once: two who free a client at the same moment wait for each other.
        LimiterControl.locked()
        LimiterControl.objects.filter(pk=1).update(freed=F("freed") + 1, version=F("version") + 1)
        freed: list[Freed] = []
        unconfirmed: FreeUnconfirmed | None = None
        try:
            counts = store.free(policies, client)
        except FreeUnconfirmed as error:
            unconfirmed, did, result = error, "Freeing begun", "Unknown: the store did not confirm it."
        else:
            freed = [Freed(each.name, used) for each, used in zip(policies, counts, strict=True) if used]
            did, result = "Freed", in_words(freed)
        parts = AuditParts(f"{did} by {by} under {policy or 'all policies'}.", reason, result)
        audit.log_of(
            account.pk, RateLimitHour, client, client_names.names([client])[client], parts, actor=actor
        )
    policy_cache.clear()
    if unconfirmed:
        raise unconfirmed
    return freed


def in_words(freed: Sequence[Freed]) -> str:
    """Say what was forgotten, such as '10 requests under strict'."""
    parts = [f"{exactly(each.requests, 'request')} under {each.policy}" for each in freed]
    return f"Forgotten: {', '.join(parts)}." if parts else "It had used nothing."


def key_of(term: str) -> str:
    """Return a client's key in the records, for an address in any notation, a name, or the key itself.

    Raise ``FreeRefused`` if it is nobody or could be several clients.
    """
    term = plain_text(term).strip()[:200]
    if term.startswith(KINDS):
        kind, _, value = term.partition(":")
        return (_address(value) if kind == "address" else "") or term
    if client := _address(term):
        return client
    clients = [each for each in client_names.find(term) if not each.key.startswith("check:")]
    if len(clients) != 1:
        some = "; ".join(f"{each.key} ({each.name})" for each in clients) or "none"
        raise FreeRefused(
            f"Name one client, by its address or its key in the records. Clients that match: {some}. Nothing was changed."
        )
    return clients[0].key


def _address(text: str) -> str:
    """Return the client's key for an address, or for the network that counts as one client; '' where it is neither."""
    host, slash, length = text.partition("/")
    address = client_ip.parse(host)
    if address is None:
        return ""
    if slash and length not in _LENGTHS[address.version]:
        raise FreeRefused(
            f"{text} is a network of several clients. Name one client, by its address. Nothing was changed."
        )
    return f"address:{client_ip.group(address)}"


def version_of(client: str) -> Version:
    """Return the version of a form that frees this client: when it was freed last."""
    return version_from(client, **one_statement.read(**version_readings(client)))


def version_readings(client: str) -> dict[str, Reading[Any]]:
    """Return what ``version_from`` needs, for a page that reads more by the same statement."""
    kind = ContentType.objects.get_for_model(RateLimitHour)
    lines = LogEntry.objects.filter(content_type=kind, object_id=client).order_by("-pk")
    return {"freed": models_of(lines[:1]), "newest": value_of(audit.numbers())}


def version_from(client: str, *, freed: Sequence[LogEntry], newest: int | None) -> Version:
    last = freed[0] if freed else None
    text = f"{form_values.shown(last.action_time)} by {audit.who(last)}" if last else "never"
    label = RateLimitHour._meta.label_lower  # noqa: SLF001 - Django documents it
    version = form_versions.of_something(label, client, {"freed": Value.of(last and last.pk, text)})
    return replace(version, newest=newest or 0)
