"""Finders of what is not a job: clients of the limiter, alerts, and what people did."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from django.contrib.admin.models import LogEntry
from django.db.models import Q
from django.urls import reverse

from alerts.models import Alert, SlackPerson, SnsMessage
from opsconsole.kit import audit as audit_log
from opsconsole.kit.audit_models import AuditSeal
from opsconsole.kit.identity_models import SignInIdentity
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.search.hits import SHOWN, Found, Hit, group, list_of, number_in, page_of
from ratelimits.identity import client_names
from ratelimits.models import RateLimitHour

_DIGEST = re.compile("[0-9a-f]{12,64}", re.IGNORECASE)
MOST_DIGESTS = 3
MOST_SEALS = 1_000


def clients(term: str, user: Person) -> Found:
    """Find API clients by address, or by the name, id or last characters of an API key."""
    page = reverse("admin:ratelimits_ratelimithour_client")
    found_clients = client_names.find(
        term, sees_api_keys=may_see(user, "ratelimits_apikey"), sees_users=may_see(user, "auth_user")
    )
    # Names that other services gave to their clients may be anything: only known ones are offered.
    hits = [
        Hit(f"Client {found.name}", "its requests and refusals", f"{page}?{urlencode({'key': found.key})}")
        for found in found_clients
        if not found.key.startswith("check:")
    ]
    hits += [
        Hit(f"Client {digest[:12]}…", "its requests and refusals", f"{page}?{urlencode({'hash': digest})}")
        for digest in _digests(term)
    ]
    return group("Clients", hits, "ratelimits_ratelimithour", q=term)


def _digests(term: str) -> list[str]:
    """Return the hashes that begin so, of clients whose keys are no longer stored: pages show the first 12 digits."""
    if not _DIGEST.fullmatch(term):
        return []
    found: list[str] = []
    while len(found) < MOST_DIGESTS:
        # From one hash to the next, because each has a row per hour.
        behind = {"key_hash__gt": found[-1]} if found else {"key_hash__gte": term.lower()}
        rows = RateLimitHour.objects.filter(key_hash__lt=f"{term.lower()}g", **behind).order_by("key_hash")
        if (digest := rows.values_list("key_hash", flat=True).first()) is None:
            break
        found.append(digest)
    return found


def alerts(term: str, user: Person) -> Found:
    """Find open alerts by the beginning of the fingerprint or by words of the title, and any alert by its number."""
    number = number_in(term, "alert")
    by_number = Alert.objects.filter(pk=number) if number is not None else Alert.objects.none()
    is_open = Alert.objects.open().filter(Q(fingerprint__startswith=term) | Q(title__icontains=term))
    rows = dict.fromkeys([*by_number, *is_open.order_by("-since", "-id")[: SHOWN + 1]])
    hits = [
        Hit(row.title, f"{row.state}, {row.fingerprint}", page_of("alerts_alert", row.pk)) for row in rows
    ]
    return group("Alerts", hits, "alerts_alert", q=term)


def audit(term: str, user: Person) -> Found:
    lines = audit_log.with_details(LogEntry.objects.filter(object_id=term)).order_by("-id")[: SHOWN + 1]
    hits = [
        Hit(
            audit_log.told(line).did or "Changed.",
            f"by {audit_log.who(line)}",
            list_of("admin_logentry", q=term),
        )
        for line in lines
    ]
    return group("What people did to it", hits, "admin_logentry", q=term)


def seals(term: str, user: Person) -> Found:
    """Find the seal of the audit with this number, or with the hash of which the audit shows the first 12 digits."""
    rows: list[AuditSeal] = []
    if (number := number_in(term, "seal")) is not None:
        rows += AuditSeal.objects.filter(number=number)
    if _DIGEST.fullmatch(term):
        # The audit shows the newest seal, and its older pictures and copies those of the last days.
        newest = AuditSeal.objects.order_by("-number")[:MOST_SEALS]
        rows += [seal for seal in newest if seal.hash.startswith(term.lower())]
    hits = [
        Hit(
            f"Seal {seal.number:,}",
            f"{seal.get_source_display()}, {seal.hash[:12]}",
            list_of("admin_logentry"),
        )
        for seal in dict.fromkeys(rows)
    ]
    return Found("Seals", hits[:SHOWN])


def slack_people(term: str, user: Person) -> Found:
    rows = SlackPerson.objects.filter(member=term)[:SHOWN]
    hits = [Hit(str(row), "somebody in Slack", page_of("alerts_slackperson", row.pk)) for row in rows]
    return Found("People in Slack", hits)


def identities(term: str, user: Person) -> Found:
    rows = SignInIdentity.objects.filter(subject=term)[:SHOWN]
    hits = [
        Hit(str(row), "who signs in with it", page_of("opsconsole_signinidentity", row.pk)) for row in rows
    ]
    return Found("Sign-in identities", hits)


def sns_messages(term: str, user: Person) -> Found:
    rows = SnsMessage.objects.filter(message_id=term)[:SHOWN]
    hits = [Hit(f"Message from SNS {row.pk}", row.kind, list_of("alerts_snsmessage", q=term)) for row in rows]
    return Found("Messages from SNS", hits)
