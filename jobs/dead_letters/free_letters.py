"""Letters that nobody else has locked: one locked letter costs its own turn, and never that of the others (I13)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from jobs.models import DeadLetter
from opsconsole.kit.row_locks import WaitBudget, if_free_in_statement, limit_waits

# The ids are one parameter: the text and the planning of a statement with hundreds of them cost more than its work.
_LOCK_IF_FREE = """
SELECT id FROM dead_letters WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id {if_free}
""".replace("{if_free}", if_free_in_statement())


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

    def change(self, ids: Sequence[UUID], work: Callable[[list[UUID]], object]) -> set[UUID]:
        """Let ``work`` change those of these letters that nobody has locked, then those whose lock is released in time.

        Each time the letters are locked, in a transaction that ends before the next lock is waited for: who waits for a
        letter holds none. Return the letters that were changed.
        """
        with transaction.atomic():
            changed = _lock_if_free(ids)
            if changed:
                work(changed)
        self.passed_over.difference_update(changed)
        if left := set(ids).difference(changed):
            with transaction.atomic():
                others = self.lock(DeadLetter.objects.filter(pk__in=left))
                work(others)
            changed += others
        return set(changed)


def _lock_if_free(ids: Sequence[UUID]) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_IF_FREE, {"ids": list(ids)})
        return [row[0] for row in cursor.fetchall()]
