"""What the limiter page says of each problem that a process reports."""

from __future__ import annotations

from ratelimits.identity.untrusted_forwarding import SET_HEADER
from ratelimits.models import LimiterTrouble

_SENTENCES: dict[str, str] = {
    LimiterTrouble.Kind.STORE_AWAY: "The store does not answer process {process}, which therefore counts on its own: {detail}",
    LimiterTrouble.Kind.HIDDEN_PEER: (
        "The web server of process {process} hides who connects, so no proxy is trusted: sign-in by a header is off, and all clients "
        "behind a proxy count as one."
    ),
    LimiterTrouble.Kind.UNTRUSTED_PROXY: (
        "{detail} sent headers of a proxy (X-Forwarded-For, X-Forwarded-Proto, Forwarded or X-Real-IP), which process {process} "
        "ignored, because OPSCONSOLE_TRUSTED_PROXIES does not name this address. If it is your proxy, name it there."
    ),
    LimiterTrouble.Kind.UNREAD_HEADER: (
        f"{{detail}}, which process {{process}} does not read: all clients of this proxy count as one. {SET_HEADER}"
    ),
    LimiterTrouble.Kind.EVICTION: (
        "The store’s maxmemory-policy is {detail}: when its memory is full it deletes counts, and clients get more than their limit. "
        "Set it to noeviction (reported by process {process})."
    ),
    LimiterTrouble.Kind.PROCESSES: (
        "The server runs several processes, but OPSCONSOLE_WEB_PROCESSES is 1. While the store is unavailable, each process would "
        "admit the whole limit (reported by process {process})."
    ),
}


def in_words(trouble: LimiterTrouble) -> str:
    """Return the problem in a sentence or two. A process of a later version may report kinds that are not known here."""
    sentence = _SENTENCES.get(trouble.kind, "{kind}: {detail} (reported by process {process}).")
    return sentence.format(kind=trouble.kind, process=trouble.process, detail=trouble.detail)
