"""Counts of failed log-ins, in the table of django-axes, and when they lock somebody out.

A failure is a wrong password or a wrong code of the second factor; requests that try neither do not count. A browser
that the user is known by (``opsconsole.sign_in.known_browsers``) counts for itself, so that nobody else's failures lock
it out. All others count by user and client, by client over all users, and by user over all clients, so that guessing is
bounded whichever of the two the guesser changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.db import connection
from django.db.models import Aggregate, Max, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Now
from django.http import HttpRequest

from opsconsole.kit.durations import DAY
from ratelimits.identity import client_ip

# A code is tried after the password, or before it where only a second factor opens a lock-out. These count apart, so that
# somebody without the password can't keep those out who have it.
PASSWORD, CODE, EARLY_CODE = "Password", "Second factor", "Second factor first"
STEPS = (PASSWORD, CODE, EARLY_CODE)
UNKNOWN_BROWSER = "unknown browser"
# What stands for the address of a client on a Unix socket, which has none.
NO_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens there

# One client over all users, and one user over all clients, may fail this many times as often as one user at one client.
WHOLE = 10
# Wrong codes at once, and per day: with three codes valid at a time, a guesser succeeds once in about 40 years.
CODES, CODES_PER_DAY = 5, 20
# Counting a failure deletes at most this many rows that no longer count.
DELETED_AT_ONCE = 100

COUNT = """
INSERT INTO axes_accessattempt AS kept
       (username, ip_address, user_agent, http_accept, path_info, get_data, post_data, attempt_time, failures_since_start)
VALUES (%(username)s, %(address)s, %(kind)s, '', %(path)s, '', '', now(), 1)
    ON CONFLICT (username, ip_address, user_agent) DO UPDATE
   SET failures_since_start = CASE WHEN kept.attempt_time < now() - %(memory)s THEN 1
                                   ELSE kept.failures_since_start + 1 END,
       attempt_time = now(), path_info = excluded.path_info
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a step of a log-in is tried from. ``browser`` identifies a browser that the user is known by; empty: unknown."""

    step: str
    username: str
    address: str
    browser: str = ""

    @property
    def kind(self) -> str:
        return (
            f"{self.step}, known browser {self.browser}"
            if self.browser
            else f"{self.step}, {UNKNOWN_BROWSER}"
        )


@dataclass(frozen=True, slots=True)
class Lockout:
    """``scope`` is what failed too often: "browser", "pair" (one user at one client), "client" or "user"."""

    scope: str
    left: timedelta


@dataclass(frozen=True, slots=True)
class Rule:
    """This many failures lock out, for as long after the last one."""

    scope: str
    limit: int
    lasts: timedelta


def address(request: HttpRequest) -> str | None:
    """Return the client's address as the rate limiter sees it; for IPv6, the first address of its /64 network."""
    found = client_ip.client_address(request.META)
    return client_ip.group(found).partition("/")[0] if found else None


def source_of(step: str, username: str, address: str | None, browser: str = "") -> Source:
    return Source(step, username[:255], address or NO_ADDRESS, browser)


def rules(step: str, *, known: bool) -> tuple[Rule, ...]:
    """Return the limits for a known browser, or for everybody else together."""
    most: int = settings.AXES_FAILURE_LIMIT
    cool_off: timedelta = settings.AXES_COOLOFF_TIME
    if step == PASSWORD:
        if known:
            return (Rule("browser", most, cool_off),)
        return (
            Rule("pair", most, cool_off),
            Rule("client", most * WHOLE, cool_off),
            Rule("user", most * WHOLE, cool_off),
        )
    own, whole = ("browser", "browser") if known else ("pair", "user")
    return (Rule(own, min(most, CODES), cool_off), Rule(whole, CODES_PER_DAY, max(DAY, cool_off)))


def lockout(source: Source) -> Lockout | None:
    """Return the lock-out that lasts longest, or None if this source may try."""
    return max(lockouts(source), key=lambda each: each.left, default=None)


def lockouts(source: Source) -> list[Lockout]:
    """Return what locks this source out. One query over at most some hundred rows."""
    applicable = rules(source.step, known=bool(source.browser))
    sums: dict[str, Aggregate] = {}
    for number, rule in enumerate(applicable):
        covered = _covered(rule.scope, source.username, source.address)
        sums[f"failures_{number}"] = Sum("failures_since_start", filter=covered)
        sums[f"last_{number}"] = Max("attempt_time", filter=covered)
    relevant = Q(username=source.username)
    if not source.browser:
        relevant |= Q(ip_address=source.address)
    found = _counting(source.step, source.kind).filter(relevant).aggregate(now=Max(Now()), **sums)
    return [
        Lockout(rule.scope, left)
        for number, rule in enumerate(applicable)
        if (found[f"failures_{number}"] or 0) >= rule.limit
        and (left := found[f"last_{number}"] + rule.lasts - found["now"]) > timedelta(0)
    ]


def _covered(scope: str, username: str, address: str) -> Q:
    match scope:
        case "client":
            return Q(ip_address=address)
        case "pair":
            return Q(ip_address=address, username=username)
    return Q(username=username)


def _memory(step: str) -> timedelta:
    """Return for how long after the last of them failures count."""
    return max(rule.lasts for known in (True, False) for rule in rules(step, known=known))


def _counting(step: str, kind: str) -> QuerySet[AccessAttempt]:
    rows: QuerySet[AccessAttempt] = AccessAttempt.objects.filter(
        user_agent=kind, attempt_time__gte=Now() - _memory(step)
    )
    return rows


def _still_counts() -> Q:
    codes = Q(user_agent__startswith=CODE, attempt_time__gte=Now() - _memory(CODE))
    return codes | Q(attempt_time__gte=Now() - _memory(PASSWORD))


def count(source: Source, path: str) -> None:
    """Count a failure of this source, and delete some rows that no longer count: the table cleans itself in a storm."""
    values: dict[str, Any] = {
        "username": source.username,
        "address": source.address,
        "kind": source.kind,
        "path": path[:255],
        "memory": _memory(source.step),
    }
    with connection.cursor() as cursor:
        cursor.execute(COUNT, values)
    delete_outdated(DELETED_AT_ONCE)


def delete_outdated(most: int | None = None) -> int:
    """Delete the rows that no longer count, at most this many; return their number."""
    outdated = AccessAttempt.objects.exclude(_still_counts())
    deleted: int = AccessAttempt.objects.filter(pk__in=outdated.order_by("pk").values("pk")[:most]).delete()[
        0
    ]
    return deleted


def forget(source: Source) -> None:
    """Delete the failures of this user from this source, who has now succeeded."""
    rows = AccessAttempt.objects.filter(username=source.username, user_agent=source.kind)
    (rows if source.browser else rows.filter(ip_address=source.address)).delete()


def source_of_row(attempt: AccessAttempt) -> Source:
    step, _, browser = attempt.user_agent.partition(", ")
    known = browser.removeprefix("known browser ") if browser != UNKNOWN_BROWSER else ""
    return Source(
        step if step in STEPS else PASSWORD, attempt.username or "", attempt.ip_address or NO_ADDRESS, known
    )


def free(attempt: AccessAttempt) -> None:
    """Delete what locks out this row's user at its client, also where either of them is locked out as a whole."""
    rows = Q(pk=attempt.pk)
    own = source_of_row(attempt)
    for step in STEPS:
        source = source_of(step, own.username, own.address, own.browser)
        for scope in ("pair", *(each.scope for each in lockouts(source))):
            rows |= Q(user_agent=source.kind) & _covered(scope, source.username, source.address)
    AccessAttempt.objects.filter(rows).delete()


def with_totals(rows: QuerySet[AccessAttempt]) -> QuerySet[AccessAttempt]:
    """Add the sums over all users of a row's client and over all clients of its user, for ``state``."""
    alike = AccessAttempt.objects.filter(_still_counts(), user_agent=OuterRef("user_agent"))
    annotated: QuerySet[AccessAttempt] = rows.annotate(
        client_total=_total(alike.filter(ip_address=OuterRef("ip_address")), "ip_address"),
        user_total=_total(alike.filter(username=OuterRef("username")), "username"),
    )
    return annotated


def _total(rows: QuerySet[AccessAttempt], by: str) -> Subquery:
    return Subquery(rows.order_by().values(by).annotate(total=Sum("failures_since_start")).values("total"))


def state(attempt: Any, now: datetime) -> str:
    """Return "over", "failed", or the scope of the lock-out that this row of ``with_totals`` is part of."""
    source = source_of_row(attempt)
    for rule in rules(source.step, known=bool(source.browser)):
        total = {"client": attempt.client_total, "user": attempt.user_total}.get(
            rule.scope, attempt.failures_since_start
        )
        if (total or 0) >= rule.limit and now - attempt.attempt_time <= rule.lasts:
            return rule.scope
    return "over" if now - attempt.attempt_time > settings.AXES_COOLOFF_TIME else "failed"
