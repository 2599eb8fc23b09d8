"""What a caller says about something that is wrong, and the form in which it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alerts.models.alert import Severity
from opsconsole.kit.storable import plain_text

Pairs = Sequence[tuple[str, str]]

MOST_PAIRS = 20


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Something that is wrong, in words for people. Nothing of a message's body belongs into any of them.

    ``severity`` is one of ``Severity``. Of a figure that is measured, ``title`` and ``severity`` may be left to its
    rule, and ``value`` and ``threshold`` are those of the measurement; else they are in the unit that the title names.
    ``link`` is a path within the console, ``facts`` are pairs of a label and a text, ``links`` pairs of a label and an
    address or path.

    Of an alert that is open already people hear again only when ``news`` says what is new, when the figure has grown
    tenfold, or when a reminder is due. ``breaks_through``: the news is told although somebody has acknowledged or
    snoozed the alert, which fires again then.
    """

    title: str = ""
    severity: str = ""
    summary: str = ""
    value: float | None = None
    threshold: float | None = None
    link: str = ""
    facts: Pairs = ()
    links: Pairs = ()
    news: str = ""
    breaks_through: bool = False

    def stored(self) -> Trouble:
        """Return it in a form and size that can be stored. Raise ``ValueError`` for an unknown severity."""
        return replace(
            self,
            title=storable(self.title, 300),
            severity=Severity(self.severity),
            summary=storable(self.summary, 3_000),
            link=storable(self.link, 1_000),
            facts=[(storable(label, 100), storable(text, 1_000)) for label, text in self.facts[:MOST_PAIRS]],
            links=[(storable(label, 100), storable(to, 2_900)) for label, to in self.links[:MOST_PAIRS]],
            news=storable(self.news, 1_000),
        )


# Of a figure whose rule says it all.
UNTITLED = Trouble()


def storable(text: str, length: int) -> str:
    """Return at most so many characters, without those that PostgreSQL or UTF-8 refuses."""
    return plain_text(text if len(text) <= length else text[: length - 1] + "…")
