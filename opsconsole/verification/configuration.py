"""Checks of the settings, the web processes and the proxies in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import requests
from django.conf import settings
from django.core.checks import INFO, WARNING, CheckMessage
from django.core.checks.registry import registry

from opsconsole.overview.limiter_findings import LIMITER_TROUBLES
from opsconsole.verification.check import Judgement, Problem, Wishes, of, ok, skipped, wrong
from ratelimits import checks as limiter_checks
from ratelimits.models import LimiterTrouble

# Checks with these tags ask the database, the store or SQS: their questions have checks of their own here.
ASKED_APART = frozenset({"database", "sessions", "seals", "proxies", "store", "queues"})
TIMEOUT_SECONDS = (3.0, 10.0)
# What a serving process says about itself. The proxies' own rows are judged by a system check.
OF_PROCESSES = (LimiterTrouble.Kind.HIDDEN_PEER, LimiterTrouble.Kind.PROCESSES)


def settings_fit(_: Wishes) -> Judgement:
    """Run the checks of ``check --deploy`` that ask nobody else."""
    messages = [message for message in _settings_messages() if not message.is_silenced()]
    found = problems_in(messages)
    return of(found, fine=f"Nothing is wrong with the settings ({settings.OPSCONSOLE_ENV}).")


def problems_in(messages: Iterable[CheckMessage]) -> list[Problem]:
    """Return warnings and errors of system checks as problems."""
    return [
        Problem(f"{message.id}: {message.msg}", str(message.hint or ""))
        for message in messages
        if message.level >= WARNING
    ]


def doubts_in(messages: Iterable[CheckMessage]) -> list[Problem]:
    """Return what system checks could not judge: they say so at the level of an information."""
    return [Problem(str(each.msg), str(each.hint or "")) for each in messages if each.level <= INFO]


def _settings_messages() -> Iterator[CheckMessage]:
    production = settings.OPSCONSOLE_ENV == "production"
    every: Iterable[Callable[..., Any]] = registry.get_checks(include_deployment_checks=production)
    for check in every:
        if not ASKED_APART & set(getattr(check, "tags", ())):
            yield from check(app_configs=None, databases=None)


def web_answers(_: Wishes) -> Judgement:
    """Ask the console at its public address whether it is ready, as a load balancer and a person would reach it."""
    address: str | None = settings.OPSCONSOLE_PUBLIC_URL
    if not address:
        return skipped("OPSCONSOLE_PUBLIC_URL is not set.", "Set it to the address that people open.")
    base = address.rstrip("/")
    try:
        # An address of the API is counted by the limiter, so that the process looks at the headers of the proxy.
        ready = requests.get(f"{base}/readyz", timeout=TIMEOUT_SECONDS, allow_redirects=False)
        requests.get(f"{base}/api/verify", timeout=TIMEOUT_SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        return wrong(
            f"{base} does not answer: {type(error).__name__}.",
            "Check that the web processes run, the proxy in front of them, its certificate and the name in DNS.",
        )
    return judge_readiness(base, ready.status_code, ready.text)


def judge_readiness(address: str, status: int, body: str) -> Judgement:
    if status == 200:
        return ok(f"{address} is ready.")
    if status == 503:
        return wrong(
            f"{address} is not ready: {body[:300]}",
            "The names of what fails are those of the other checks here.",
        )
    return wrong(
        f"{address}/readyz answers {status}.",
        "Check OPSCONSOLE_PUBLIC_URL, and that the proxy hands this address to the console.",
    )


def proxies_are_trusted(_: Wishes) -> Judgement:
    """Tell what the serving processes saw of proxies within the last day, and of their own number."""
    messages = limiter_checks.check_seen_proxies(databases=["default"])
    present = LimiterTrouble.objects.present().filter(kind__in=OF_PROCESSES)
    seen = dict.fromkeys(present.order_by("kind").values_list("kind", flat=True))
    problems = problems_in(messages) + [
        Problem(*LIMITER_TROUBLES[LimiterTrouble.Kind(kind)][1:]) for kind in seen
    ]
    number = settings.OPSCONSOLE_WEB_PROCESSES
    trusted = ", ".join(map(str, settings.OPSCONSOLE_TRUSTED_PROXIES)) or "none"
    return of(
        problems,
        fine=f"No process saw a proxy that it can't trust. Trusted: {trusted}; web processes stated: {number}.",
    )
