"""Findings of an inspection, and what to do about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Severity(StrEnum):
    """The severity of a finding. ``blocker``: a person must act first. ``warning``: it works, with a stated limit."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    BLOCKER = "blocker"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding. ``id`` is a stable slug, ``subject`` a table and column, ``action`` exact SQL or a setting."""

    id: str
    severity: Severity
    subject: str
    found: str
    wanted: str = ""
    action: str = ""

    @property
    def sentence(self) -> str:
        wanted = f" Wanted: {self.wanted}." if self.wanted else ""
        return f"{self.subject}: {self.found}.{wanted}"


def blockers(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == Severity.BLOCKER]
