"""A finding: one thing that an operator should know, with the page where it can be settled."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from opsconsole.kit.page_permissions import Person, may_see


@dataclass(frozen=True)
class Finding:
    """One thing that an operator should know, with the page where it can be settled: a list, or the row ``key``.

    ``rule``: the alert rule about the same thing. ``alert``: its alert that fires, for those who may not see this.
    """

    tone: str
    sentence: str
    advice: str
    where: str
    link: str
    query: str = ""
    # Further pages that the sentence quotes.
    quotes: tuple[str, ...] = ()
    key: int | None = None
    rule: str = ""
    alert: Finding | None = None

    def is_for(self, user: Person) -> bool:
        """Tell whether this person may open every page that the finding quotes."""
        page, _, _ = self.link.rpartition("_")
        return all(may_see(user, each) for each in (page, *self.quotes))

    def for_user(self, user: Person) -> Finding | None:
        """Return what this person may see of it: itself, its alert, or nothing."""
        if self.is_for(user):
            return self
        return self.alert if self.alert and self.alert.is_for(user) else None

    @property
    def url(self) -> str:
        return reverse(f"admin:{self.link}", args=[] if self.key is None else [self.key]) + self.query
