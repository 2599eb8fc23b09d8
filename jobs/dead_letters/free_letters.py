"""Letters that nobody else has locked: one locked letter costs its own turn, and never that of the others (I13)."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import QuerySet

from jobs.models import DeadLetter
from opsconsole.kit.row_locks import WaitBudget, limit_waits


@dataclass
class FreeLetters:
    """The letters that one turn may change. It waits for locked ones once, however many pages it takes.

    ``passed_over``: the letters that others kept locked. A later turn takes them.
    """

    budget: WaitBudget = field(default_factory=WaitBudget)
    passed_over: set[UUID] = field(default_factory=set)

    def lock(self, letters: QuerySet[DeadLetter]) -> list[UUID]:
        """Lock those of these letters that others do not keep locked, and return their ids. Call it in a transaction.

        ``letters`` may not join other tables, whose rows would be locked too.
        """
        wanted = set(letters.values_list("pk", flat=True))
        if not wanted:
            return []
        mine = self.budget.lock(letters.order_by("pk").values_list("pk", flat=True))
        # The other statements of the transaction may wait as usual.
        limit_waits()
        self.passed_over = (self.passed_over - set(mine)) | (wanted - set(mine))
        return mine
