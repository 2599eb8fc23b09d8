"""Trouble: a problem as a caller reports it, and the form in which it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alerts.models.alert import Severity
from opsconsole.kit import redaction_version
from opsconsole.kit.storable import plain_text

Pairs = Sequence[tuple[str, str]]
# A label and a text, and the redaction under which the text was read if that may hide more later.
Fact = tuple[str, str] | tuple[str, str, str]

MAX_PAIRS = 20


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A description of a problem for people. It must not contain anything from the body of a message.

    ``severity`` is a ``Severity``. For a measured value, ``title`` and ``severity`` may be left to the rule, and
    ``value`` and ``threshold`` come from the measurement. Otherwise, they are in the unit that the title names.
    ``link`` is the path of a console page, ``facts`` are labels with a text, and ``links`` are pairs of a label and a
    URL or path.

    While the alert is open, another notification is sent only if ``news`` says what is new, if the value has grown
    tenfold, if the severity has risen, or if a reminder is due. News waits until the rule allows another update, and is
    joined to what waits already; with ``is_all_news`` it is instead of that, because it includes it. With
    ``breaks_through``, the news is sent even if the alert is acknowledged or snoozed, and the alert fires again.
    """

    title: str = ""
    severity: str = ""
    summary: str = ""
    value: float | None = None
    threshold: float | None = None
    link: str = ""
    facts: Sequence[Fact] = ()
    links: Pairs = ()
    news: str = ""
    is_all_news: bool = False
    breaks_through: bool = False

    def stored(self) -> Trouble:
        """Return it in a form and size that can be stored. Raise ``ValueError`` for an unknown severity."""
        return replace(
            self,
            title=storable(self.title, 300),
            severity=Severity(self.severity),
            summary=storable(self.summary, 3_000),
            link=storable(self.link, 1_000),
            facts=[stored_fact(fact) for fact in self.facts[:MAX_PAIRS]],
            links=[(storable(label, 100), storable(to, 2_900)) for label, to in self.links[:MAX_PAIRS]],
            news=storable(self.news, 1_000),
        )


# For a measured value that needs no more description than its rule gives.
UNTITLED = Trouble()


def stored_fact(fact: Fact) -> Fact:
    """Return a fact in a form and size that can be stored."""
    label, text, *version = fact
    pair = storable(label, 100), storable(text, 1_000)
    return (*pair, version[0]) if version else pair


def shown_facts(facts: Sequence[Fact]) -> tuple[tuple[str, str], ...]:
    """Return stored facts with a sentence in place of each text that may show what is hidden now."""
    return tuple(
        (str(label), redaction_version.shown(str(text), version[0]) if version else str(text))
        for label, text, *version in facts
    )


def storable(text: str, length: int) -> str:
    """Cut the text to this length, and remove the characters that PostgreSQL or UTF-8 refuses."""
    return plain_text(text if len(text) <= length else text[: length - 1] + "…")
