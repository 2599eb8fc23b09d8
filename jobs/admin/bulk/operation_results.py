"""What became of the members of several bulk operations at once, for lists that name operations, such as the audit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.admin import what_became
from jobs.bulk.kinds import MemberResult
from jobs.bulk.registry import KINDS
from jobs.models import BulkMember, BulkOperation
from opsconsole.kit.display import badge
from opsconsole.kit.page_permissions import Asker, may_see

# A list follows at most this many members in all, of the newest operations first: the page of each tells about larger ones.
MOST_MEMBERS = 2_000


@dataclass(frozen=True)
class FollowedOperations:
    """The operations of a list that this person may follow. ``counted``: those whose members are few enough to be followed here.

    ``members``: the number of an operation and a subject of it, of each member that was done.
    """

    all_of_them: Sequence[BulkOperation]
    counted: Mapping[int, str]
    members: Sequence[tuple[int, str]]

    def subjects(self) -> dict[str, set[str]]:
        """Return the subjects to look up, by action."""
        found = defaultdict(set)
        for operation, subject in self.members:
            found[self.counted[operation]].add(subject)
        return found

    def shown(self, results: Mapping[str, Mapping[str, MemberResult]]) -> dict[int, SafeString]:
        """Return a badge per result with the number of members that have it, for each operation."""
        totals: dict[int, Counter[MemberResult]] = defaultdict(Counter)
        for operation, subject in self.members:
            if result := results[self.counted[operation]].get(subject):
                totals[operation][MemberResult(result.label, result.tone)] += 1
        return {
            each.pk: _shown(totals[each.pk]) if each.pk in self.counted else _elsewhere(each)
            for each in self.all_of_them
        }


def followed(ids: Collection[int], user: Asker) -> FollowedOperations:
    """Return what a list follows of these operations, as far as this person may: read by two statements."""
    # Their own pages tell the same.
    rows = _with_results(ids) if may_see(user, "jobs_bulkoperation") else []
    operations = [each for each in rows if what_became.may_follow(KINDS[each.action], user)]
    counted, left = {}, MOST_MEMBERS
    for operation in operations:
        if operation.done <= left:
            counted[operation.pk] = operation.action
            left -= operation.done
    done = BulkMember.objects.filter(operation__in=counted, outcome=BulkMember.Outcome.DONE)
    return FollowedOperations(
        operations, counted, list(done.values_list("operation", "subject")) if counted else []
    )


def _with_results(ids: Collection[int]) -> list[BulkOperation]:
    """Return the operations of which something was done that can be followed, the newest first."""
    followed = [action for action, kind in KINDS.items() if kind.results is not None]
    if not ids:
        return []
    begun = BulkOperation.objects.filter(pk__in=ids, action__in=followed, done__gt=0)
    return list(begun.order_by("-pk"))


def _shown(totals: Counter[MemberResult]) -> SafeString:
    by_count = sorted(totals.items(), key=lambda each: (-each[1], each[0].label))
    badges = ((badge(f"{count:,} {result.label.lower()}", result.tone),) for result, count in by_count)
    return format_html_join(" ", "{}", badges) if totals else badge("No longer stored", "quiet")


def _elsewhere(operation: BulkOperation) -> SafeString:
    url = reverse("admin:jobs_bulkoperation_change", args=[operation.pk])
    return format_html('<a href="{}#results">See what became of {}</a>', url, f"{operation.done:,}")
