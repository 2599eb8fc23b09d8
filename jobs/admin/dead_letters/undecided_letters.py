"""The undecided letters of a failure group: which of them its buttons take and which are left out, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobs.admin.dead_letters.letter_actions import TO_BE_DECIDED
from jobs.models import DeadLetter
from opsconsole.kit.counting import exactly
from opsconsole.kit.one_statement import Reading, column_of

# Counting stops here: a page never counts a million letters.
MOST_COUNTED = 1_000
MORE = (
    "“All undecided” takes the dead letters that are in the queue or kept in the console: the preview counts them. Those being "
    "replayed, and those whose outcome is unknown, are left out."
)
NOT_TAKEN = tuple(state for state in DeadLetter.OPEN if state not in TO_BE_DECIDED)


@dataclass(frozen=True)
class Undecided:
    """How many letters of a group are in each open state; ``more``: there are more than were counted."""

    counts: Mapping[str, int]
    more: bool

    @property
    def some_to_decide(self) -> bool:
        """Tell whether a button would take a letter."""
        return self.more or any(self.counts.get(state) for state in TO_BE_DECIDED)

    @property
    def sentences(self) -> list[str]:
        """Return which letters the buttons take, and which they leave out."""
        if self.more:
            return [MORE]
        taken = sum(self.counts.get(state, 0) for state in TO_BE_DECIDED)
        left_out = self._counted(NOT_TAKEN)
        takes = f"“All undecided” takes {exactly(taken, 'dead letter', 'dead letters')}: {self._counted(TO_BE_DECIDED)}."
        if not taken:
            return [f"No dead letter is to be decided now: {left_out}."] if left_out else []
        return [takes, *([f"Left out: {left_out}."] if left_out else [])]

    def _counted(self, states: Iterable[str]) -> str:
        parts = (
            f"{self.counts[state]:,} {DeadLetter.State(state).label}"
            for state in states
            if self.counts.get(state)
        )
        return " and ".join(parts)


def of_group(group_id: int) -> Reading[Undecided]:
    """Count the open letters of a failure group by state, up to ``MOST_COUNTED``."""
    states = DeadLetter.objects.open().filter(group=group_id).values_list("state", flat=True)
    return column_of(states[: MOST_COUNTED + 1]).then(
        lambda found: Undecided(Counter(found), len(found) > MOST_COUNTED)
    )
