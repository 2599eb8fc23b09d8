"""What a check of the installation is, and what it may answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

LIMIT = timedelta(seconds=20)


class Verdict(StrEnum):
    """``unknown``: it could not be judged, which is never taken for well. ``skipped``: nobody asked for it."""

    OK = "ok"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Judgement:
    """The answer of a check: a sentence, and what to do unless all is well."""

    verdict: Verdict
    sentence: str
    action: str = ""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the person who verifies asked for. ``by`` is who it is, for the test messages and the audit."""

    by: str = "a command"
    letter: bool = False
    channels: bool = True


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question about the installation. ``name`` is stable: scripts rely on it.

    ``action`` is what to do when the check itself could not be carried out. It has ``limit`` for its answer.
    """

    name: str
    question: str
    judge: Callable[[Wishes], Judgement]
    action: str
    limit: timedelta = LIMIT


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    sentence: str
    action: str


def ok(sentence: str) -> Judgement:
    return Judgement(Verdict.OK, sentence)


def wrong(sentence: str, action: str) -> Judgement:
    return Judgement(Verdict.WRONG, sentence, action)


def unknown(sentence: str, action: str) -> Judgement:
    return Judgement(Verdict.UNKNOWN, sentence, action)


def skipped(sentence: str, action: str) -> Judgement:
    return Judgement(Verdict.SKIPPED, sentence, action)


def of(problems: Iterable[Problem], unjudged: Iterable[Problem] = (), *, fine: str) -> Judgement:
    """Return the answer that names all problems; what could not be judged makes it unknown, where nothing is wrong."""
    wrongs, doubts = list(problems), list(unjudged)
    if not wrongs and not doubts:
        return ok(fine)
    every = [*wrongs, *doubts]
    sentence = " ".join(dict.fromkeys(each.sentence for each in every))
    action = " ".join(dict.fromkeys(each.action for each in every))
    return Judgement(Verdict.WRONG if wrongs else Verdict.UNKNOWN, sentence, action)
