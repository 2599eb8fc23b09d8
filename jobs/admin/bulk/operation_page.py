"""The pages of a bulk operation: its preview, then its progress and the outcome of each member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, UUIDField
from django.db.models.functions import Cast
from django.http import QueryDict
from django.utils.safestring import SafeString

from jobs.admin import what_became
from jobs.admin.bulk import followed_members, member_lines
from jobs.bulk import freezing, registry, trial
from jobs.bulk.kinds import MOST_NAMED, Kind, MemberResult
from jobs.models import BulkMember, BulkOperation, Job
from opsconsole.kit import job_ids
from opsconsole.kit.counting import of_selected
from opsconsole.kit.display import badge
from opsconsole.kit.durations import spell

SAMPLE = 12
MEMBERS_A_PAGE = 25
REASONS_SHOWN = 8

State = BulkOperation.State
Outcome = BulkMember.Outcome

STATE_TONES: dict[str, str] = {
    State.FREEZING: "running",
    State.PREVIEW: "waiting",
    State.RUNNING: "running",
    State.CANCELLED: "warning",
    State.STOPPED: "bad",
    State.ENDED: "good",
}
# From the best to the worst.
TONES = ("good", "quiet", "warning", "bad")


@dataclass(frozen=True)
class Figure:
    """The number of members with an outcome, and the link to their list."""

    label: str
    count: int
    query: str
    tone: str
    chosen: bool


def state_badge(operation: BulkOperation) -> SafeString:
    """Return the state. That it ended is no success yet where what became of its members is told beside it."""
    tone = STATE_TONES.get(operation.state, "quiet")
    if operation.state == State.ENDED and operation.failed:
        tone = "warning"
    elif operation.state == State.ENDED and _is_followed(operation):
        tone = "quiet"
    return badge(_state_word(operation), tone)


def _is_followed(operation: BulkOperation) -> bool:
    kind = registry.KINDS.get(operation.action)
    return kind is not None and kind.results is not None


def verdict_tone(operation: BulkOperation, results: Sequence[tuple[MemberResult, int]]) -> str:
    """Return the tone of the page: the worse one of how the operation went and of what became of its members.

    ``results``: what this person may see of them.
    """
    if operation.state == State.RUNNING:
        return "quiet"
    went = STATE_TONES.get(operation.state, "quiet")
    if went == "good" and operation.failed:
        went = "warning"
    became = what_became.tone(results) if _is_followed(operation) else "good"
    return max(went, became, key=TONES.index)


def _state_word(operation: BulkOperation) -> str:
    return str(operation.get_state_display().capitalize())


def title(operation: BulkOperation, kind: Kind) -> str:
    return f"{kind.verb} {kind.count(operation.will)}"


def freezing_context(operation: BulkOperation, kind: Kind) -> dict[str, Any]:
    """Return the context of the page of a preview that the cluster is preparing."""
    return {
        "operation": operation,
        "kind": kind,
        "title": f"{kind.verb} {kind.many}: the preview is being prepared",
        "frozen": kind.count(operation.total),
        "most": settings.OPSCONSOLE_BULK_MOST,
    }


def preview_context(operation: BulkOperation, kind: Kind) -> dict[str, Any]:
    members = of_selected(operation.will, operation.total, kind.one, kind.many)
    return {
        "title": f"{kind.verb} {members}?" if operation.will else f"{kind.verb}: nothing to do",
        "will": [member_lines.counted(group, kind) for group in freezing.groups(operation, will=True)],
        "skipped": [member_lines.counted(group, kind) for group in freezing.groups(operation, will=False)],
        "left_out": operation.total - operation.will,
        "sample": member_lines.lines(freezing.sample(operation, SAMPLE), kind),
        "most": settings.OPSCONSOLE_BULK_MOST,
        "caveats": kind.caveats(),
        "takes": _at_this_pace(operation.will),
        "trial": trial.announced(kind, operation.will),
    }


def _at_this_pace(members: int) -> str:
    seconds = max(1, round(members / settings.OPSCONSOLE_BULK_PACE))
    return spell(timedelta(seconds=seconds))


def progress_context(operation: BulkOperation, kind: Kind, *, chosen: str = "") -> dict[str, Any]:
    """Return the context of the part of the page that is reloaded every few seconds."""
    sentence = _sentence(operation, kind)
    return {
        "operation": operation,
        "kind": kind,
        "title": title(operation, kind),
        # A sentence that says the state itself needs no badge before it.
        "state": "" if sentence.startswith(_state_word(operation)) else state_badge(operation),
        "sentence": sentence,
        "figures": [
            _figure("Waiting", operation.remaining, Outcome.WAITING, chosen),
            _figure(kind.done_word.capitalize(), operation.done, Outcome.DONE, chosen),
            _figure("Skipped", operation.skipped, Outcome.SKIPPED, chosen),
            _figure("Failed", operation.failed, Outcome.FAILED, chosen),
        ],
    }


def _figure(label: str, count: int, outcome: Outcome, chosen: str) -> Figure:
    tone = "bad" if outcome == Outcome.FAILED and count else ""
    return Figure(label, count, f"?outcome={outcome.value}", tone, outcome.value == chosen)


def _sentence(operation: BulkOperation, kind: Kind) -> str:
    if operation.sentence:
        return operation.sentence
    if operation.state == State.RUNNING:
        left = operation.remaining
        return f"{kind.count(left)} left: about {_at_this_pace(left)} at {settings.OPSCONSOLE_BULK_PACE:,} per second."
    parts = [f"{kind.count(operation.done)} {kind.done_word}"]
    parts += [f"{operation.skipped:,} skipped"] if operation.skipped else []
    parts += [f"{operation.failed:,} failed"] if operation.failed else []
    return ", ".join(parts) + "."


def page_context(operation: BulkOperation, kind: Kind, query: QueryDict) -> dict[str, Any]:
    chosen = query.get("outcome", "")
    outcomes = [chosen] if chosen in Outcome.values else Outcome.values
    members = _members(operation, outcomes, query.get("after", ""))
    shown = members[:MEMBERS_A_PAGE]
    more = f"{shown[-1].pk}" if len(members) > MEMBERS_A_PAGE else ""
    return (
        progress_context(operation, kind, chosen=chosen)
        | {
            "members": member_lines.lines(shown, kind),
            "chosen": chosen if chosen in Outcome.values else "",
            "after": more,
            "on_first_page": not query.get("after"),
            "why": _why_not_done(operation),
            "events": operation.events.order_by("-id"),
        }
        | results_context(operation, kind)
    )


def results_context(operation: BulkOperation, kind: Kind) -> dict[str, Any]:
    """Return what became of the members that were done: totals, and the first of those that failed again."""
    if kind.results is None or not operation.done:
        return {"results": [], "failed_again": []}
    followed = followed_members.of(operation)
    subjects = followed.annotate(
        key=Cast("subject", job_ids.reference() if kind.model is Job else UUIDField())
    ).values("key")
    totals, sampled = kind.results.totals(subjects), followed_members.is_sampled(operation)
    failed = kind.results.failed(subjects) if what_became.may_have_failed(totals) else []
    members = followed.filter(subject__in=failed).order_by("id") if failed else []
    helped = what_became.sentence(totals)
    return {
        "results": totals,
        "helped": f"In the sample: {helped}" if sampled else helped,
        "failed_again": member_lines.lines(list(members), kind),
        "most_named": MOST_NAMED,
        "sampled": sampled,
    }


def _members(operation: BulkOperation, outcomes: Sequence[str], after: str) -> list[BulkMember]:
    """Return one page of members and one more, by keyset, so that every page costs the same."""
    beginning = int(after[:18]) if after.isdecimal() else 0
    # An index has the members of each outcome in order.
    first, *others = (
        operation.members.filter(outcome=outcome, id__gt=beginning).order_by("id")[: MEMBERS_A_PAGE + 1]
        for outcome in outcomes
    )
    together = first.union(*others, all=True).order_by("id") if others else first
    return list(together[: MEMBERS_A_PAGE + 1])


def _why_not_done(operation: BulkOperation) -> list[tuple[str, int]]:
    """Count the skipped members: those the preview left out by what was seen, those that changed later by sentence."""
    if not operation.skipped + operation.failed:
        return []
    groups = freezing.groups(operation, will=False)
    left_out = [(group.example, group.count) for group in groups]
    if operation.skipped + operation.failed == sum(group.count for group in groups):
        return left_out[:REASONS_SHOWN]
    later = operation.members.filter(will=True, outcome__in=[Outcome.SKIPPED, Outcome.FAILED])
    reasons = later.values_list("sentence").annotate(count=Count("pk")).order_by("-count", "sentence")
    return [*reasons[:REASONS_SHOWN], *left_out[:REASONS_SHOWN]]
