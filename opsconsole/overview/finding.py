"""A finding: one thing that an operator should know, with the page where it can be settled."""

from __future__ import annotations

from dataclasses import dataclass, replace

from django.urls import reverse

from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.sign_in import look_only


@dataclass(frozen=True)
class Finding:
    """One thing that an operator should know, with the page where it can be settled: a list, or the row ``key``.

    ``rule``: the alert rule about the same thing. ``alert``: its alert that fires, for those who may not see this. ``acts``: the model
    on whose page the advice names buttons, such as 'jobs.job'; '' where it names none.
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
    acts: str = ""

    def is_for(self, user: Person) -> bool:
        """Tell whether this person may open every page that the finding quotes."""
        page, _, _ = self.link.rpartition("_")
        return all(may_see(user, each) for each in (page, *self.quotes))

    def for_user(self, user: Person) -> Finding | None:
        """Return what this person may see of it: itself, its alert, or nothing. Who has none of the buttons is told who has."""
        if not self.is_for(user):
            return self.alert.for_user(user) if self.alert else None
        advice = look_only.who_can(user, self.acts)
        return replace(self, advice=advice) if advice else self

    @property
    def url(self) -> str:
        return reverse(f"admin:{self.link}", args=[] if self.key is None else [self.key]) + self.query
