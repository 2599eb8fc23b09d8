"""What a search finds: hits of one kind, each with the page that it leads to, and the numbers that pages show."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlencode

from django.urls import reverse

from opsconsole.kit import addresses
from opsconsole.kit.one_statement import Steps

SHOWN = 10


@dataclass(frozen=True)
class Hit:
    title: str
    about: str
    url: str


@dataclass(frozen=True)
class Found:
    """The hits of one kind. ``more`` is the address of the whole list, or '' when all hits are shown."""

    heading: str
    hits: list[Hit]
    more: str = ""


# What a finder does: the readings of all finders are sent together.
Finding: TypeAlias = Steps[Found]


def number_in(term: str, *words: str) -> int | None:
    """Return the number of "12", of "#12", and of "sweep 12" where one of these words is "sweep"."""
    named = "|".join(re.escape(word) for word in words)
    found = re.fullmatch(rf"(?:(?:{named}) )?#?([0-9]{{1,18}})", term, re.ASCII | re.IGNORECASE)
    return int(found[1]) if found else None


def group(heading: str, hits: list[Hit], model: str, **query: str) -> Found:
    return Found(heading, hits[:SHOWN], list_of(model, **query) if len(hits) > SHOWN else "")


def page_of(model: str, key: object) -> str:
    return addresses.of_row(model, key)


def list_of(model: str, **query: str) -> str:
    return f"{reverse(f'admin:{model}_changelist')}?{urlencode(query)}"
