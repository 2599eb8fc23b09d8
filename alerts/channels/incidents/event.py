"""An event about an alert, as every service for incidents understands it: open or update an incident, or resolve it."""

from __future__ import annotations

from dataclasses import dataclass

from alerts.channels.wording import AlertMessage, MessageItem

SUMMARY_LENGTH = 1_000
TEXT_LENGTH = 3_000
TEST_KEY = "opsconsole-test"


@dataclass(frozen=True, kw_only=True)
class IncidentEvent:
    """``key`` identifies the incident: a repeated event and all later ones about the alert have the same key."""

    key: str
    resolved: bool
    severity: str
    summary: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    @property
    def link(self) -> str:
        return self.links[0][1] if self.links else ""

    def short(self, length: int) -> str:
        """Return the summary, cut to this length."""
        return self.summary if len(self.summary) <= length else self.summary[: length - 1] + "…"


def events(message: AlertMessage) -> list[IncidentEvent]:
    """Return the events of a message in order. A test opens an incident and resolves it at once."""
    result = []
    for item in message.items:
        if item.incident:
            result.append(_event(message, item, resolved=item.good))
        else:
            result += [_event(message, item, resolved=resolved) for resolved in (False, True)]
    return result


def _event(message: AlertMessage, item: MessageItem, *, resolved: bool) -> IncidentEvent:
    lines = [] if message.plain else [*message.remarks, *item.lines]
    return IncidentEvent(
        key=item.incident or TEST_KEY,
        resolved=resolved,
        severity=item.severity,
        # The headline of an update differs from that of the first event, but the incident keeps its name.
        summary=(item.title if item.incident else item.headline)[:SUMMARY_LENGTH],
        text="\n".join([item.headline, *lines])[:TEXT_LENGTH],
        facts=() if message.plain else item.facts,
        links=() if message.plain else item.links,
    )
