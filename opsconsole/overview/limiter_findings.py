"""Findings about the rate limiter."""

from __future__ import annotations

from opsconsole.overview.current_figures import Overview
from opsconsole.overview.finding import Finding
from ratelimits.models import LimiterTrouble

LIMITER_TROUBLES = {
    LimiterTrouble.Kind.STORE_AWAY: (
        "bad",
        "Rate limits are not shared: the store does not answer.",
        "Each process admits its share of a limit until it does.",
    ),
    LimiterTrouble.Kind.UNTRUSTED_PROXY: (
        "warning",
        "An untrusted proxy sends client addresses, which are ignored.",
        "If the proxy is yours, name it in OPSCONSOLE_TRUSTED_PROXIES. Until then all its clients count as one.",
    ),
    LimiterTrouble.Kind.UNREAD_HEADER: (
        "warning",
        "A trusted proxy sends client addresses in a header that is not read.",
        "If your proxies overwrite it, set OPSCONSOLE_FORWARDED_HEADER. Until then all their clients count as one.",
    ),
    LimiterTrouble.Kind.HIDDEN_PEER: (
        "warning",
        "The web server hides who connects, so no proxy is trusted.",
        "Sign-in by a header is off, and all clients behind a proxy count as one. Use gunicorn, or uvicorn alone.",
    ),
    LimiterTrouble.Kind.PROCESSES: (
        "warning",
        "More processes serve than OPSCONSOLE_WEB_PROCESSES says.",
        "While the store is away, the processes together would admit too much.",
    ),
    LimiterTrouble.Kind.EVICTION: (
        "warning",
        "The rate limit store deletes counts when its memory is full.",
        "Set its maxmemory-policy to noeviction, or give the limiter a store of its own.",
    ),
}


def of_the_limiter(seen: Overview) -> list[Finding]:
    page = ("Open the limiter", "ratelimits_limitercontrol_changelist")
    problems = [
        Finding(*LIMITER_TROUBLES[kind], *page) for kind in LIMITER_TROUBLES if kind in seen.limiter_troubles
    ]
    if seen.limiter_mode != "enforce":
        sentence = f"All rate limits are switched to {seen.limiter_mode}."
        problems.append(
            Finding(
                "warning",
                sentence,
                "Switch them back when the emergency is over.",
                *page,
                acts="ratelimits.limitercontrol",
            )
        )
    return problems
