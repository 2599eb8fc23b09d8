"""The pages of a bulk operation: its preview, then its progress and the outcome of each member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, UUIDField
from django.db.models.functions import Cast
from django.http import QueryDict
from django.urls import reverse
from django.utils.safestring import SafeString

from jobs.admin import labels, what_became
from jobs.admin.bulk import followed_members
from jobs.bulk import freezing, registry, trial
from jobs.bulk.freezing import Group
from jobs.bulk.kinds import MOST_NAMED, Kind, MemberResult
from jobs.models import BulkMember, BulkOperation, Job
from opsconsole.kit import job_ids
from opsconsole.kit.counting import of_selected
from opsconsole.kit.display import badge
from opsconsole.kit.durations import spell
from opsconsole.kit.page_permissions import Asker, may_see

SAMPLE = 12
MEMBERS_A_PAGE = 25
REASONS_SHOWN = 8
# What names members or says something of them, in the contexts of both pages.
MEMBER_LISTS = ("sample", "members", "failed_again")
ABOUT_MEMBERS = (*MEMBER_LISTS, "will", "skipped", "why", "results", "helped")
# What says something of the jobs that letters name.
ABOUT_JOBS = ("failed_again", "why", "results", "helped")

JOB_UNSEEN = "To see what its job has to do with it, you need the permission “View jobs”."

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
OUTCOME_TONES: dict[str, str] = {
    Outcome.WAITING: "waiting",
    Outcome.DONE: "good",
    Outcome.SKIPPED: "quiet",
    Outcome.FAILED: "bad",
}


@dataclass(frozen=True)
class MemberLine:
    """One member, with its owner and the link to its page. ``result``: what became of it, shown as ``became``."""

    member: BulkMember
    url: str
    about: str
    seen: SafeString
    seen_epoch: int | None
    outcome: SafeString
    became: SafeString
    sentence: str
    result: MemberResult | None


@dataclass(frozen=True)
class CountedGroup:
    """Members of which the same was seen, as a preview shows them."""

    group: Group
    what: SafeString
    example: str


@dataclass(frozen=True)
class Figure:
    """The number of members with an outcome, and the link to their list."""

    label: str
    count: int
    query: str
    tone: str
    chosen: bool


def state_badge(operation: BulkOperation) -> SafeString:
    tone = STATE_TONES.get(operation.state, "quiet")
    if operation.state == State.ENDED and operation.failed:
        tone = "warning"
    return badge(_state_word(operation), tone)


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
        "will": [_counted(group, kind) for group in freezing.groups(operation, will=True)],
        "skipped": [_counted(group, kind) for group in freezing.groups(operation, will=False)],
        "left_out": operation.total - operation.will,
        "sample": _lines(freezing.sample(operation, SAMPLE), kind),
        "most": settings.OPSCONSOLE_BULK_MOST,
        "caveats": kind.caveats(),
        "takes": _at_this_pace(operation.will),
        "trial": trial.announced(kind, operation.will),
    }


def _counted(group: Group, kind: Kind) -> CountedGroup:
    return CountedGroup(group, _seen(group.seen_status, group.seen_reason, kind), group.example)


def _seen(status: str, reason: str, kind: Kind) -> SafeString:
    """Return the status as its own pages show it, with what else was seen: a job's diagnosis, a letter's job."""
    if status in kind.states:
        about = badge(f"job {reason.replace('_', ' ')}") if reason else SafeString("")
        return badge(kind.states[status].capitalize(), "waiting") + about
    words = reason.replace("_", " ").capitalize()
    return labels.status(status) + (badge(words, "bad") if words else SafeString(""))


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
    told = [f"{kind.count(operation.done)} {kind.done_word}"]
    told += [f"{operation.skipped:,} skipped"] if operation.skipped else []
    told += [f"{operation.failed:,} failed"] if operation.failed else []
    return ", ".join(told) + "."


def page_context(operation: BulkOperation, kind: Kind, query: QueryDict) -> dict[str, Any]:
    chosen = query.get("outcome", "")
    outcomes = [chosen] if chosen in Outcome.values else Outcome.values
    members = _members(operation, outcomes, query.get("after", ""))
    shown = members[:MEMBERS_A_PAGE]
    more = f"{shown[-1].pk}" if len(members) > MEMBERS_A_PAGE else ""
    return (
        progress_context(operation, kind, chosen=chosen)
        | {
            "members": _lines(shown, kind),
            "chosen": chosen if chosen in Outcome.values else "",
            "after": more,
            "on_first_page": not query.get("after"),
            "why": _why_not_done(operation),
            "events": operation.events.order_by("id"),
        }
        | results_context(operation, kind)
    )


def as_far_as_seen(context: Mapping[str, Any], kind: Kind, user: Asker) -> dict[str, Any]:
    """Return the context without what was chosen and what became of it, unless this person may open the members' pages.

    Of letters, those who may not see jobs are told nothing that their jobs say.
    """
    sees, sees_jobs = may_see(user, kind.page), may_see(user, "jobs_job")
    shown: dict[str, Any] = {name: context[name] for name in ABOUT_MEMBERS if name in context}
    if not sees:
        shown = {name: [] for name in shown}
    elif not sees_jobs:
        shown |= {name: [] for name in ABOUT_JOBS if name in shown}
        shown |= {name: [_apart_from_job(line) for line in shown.get(name, ())] for name in MEMBER_LISTS}
        shown |= {name: _by_state(shown[name], kind) for name in ("will", "skipped") if name in shown}
    return {**context, **shown, "sees_members": sees, "sees_jobs": sees_jobs}


def sentence_apart_from_job(member: BulkMember) -> str:
    """Return what happens to a letter, or what happened, without what was seen of its job."""
    return JOB_UNSEEN if member.seen_reason else member.sentence


def _apart_from_job(line: MemberLine) -> MemberLine:
    sentence = sentence_apart_from_job(line.member)
    return replace(line, about="", seen_epoch=None, became=SafeString(""), result=None, sentence=sentence)


def _by_state(counted: Sequence[CountedGroup], kind: Kind) -> list[CountedGroup]:
    """Return the numbers of letters by their own state, with an example of one that names no known job."""
    merged: dict[str, CountedGroup] = {}
    for each in counted:
        group = each.group
        example = JOB_UNSEEN if group.seen_reason else group.example
        if before := merged.get(group.seen_status):
            group = replace(group, count=group.count + before.group.count)
            example = before.example if example == JOB_UNSEEN else example
        merged[group.seen_status] = CountedGroup(group, _seen(group.seen_status, "", kind), example)
    return list(merged.values())


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
        "failed_again": _lines(list(members), kind),
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
    said = later.values_list("sentence").annotate(count=Count("pk")).order_by("-count", "sentence")
    return [*said[:REASONS_SHOWN], *left_out[:REASONS_SHOWN]]


def _lines(members: Sequence[BulkMember], kind: Kind) -> list[MemberLine]:
    subjects = [member.subject for member in members]
    about = kind.describe(subjects)
    done = [member.subject for member in members if member.outcome == Outcome.DONE]
    results = registry.results_of({kind.action: done})[kind.action]
    return [
        _line(member, kind, about.get(member.subject, ""), results.get(member.subject)) for member in members
    ]


def _line(member: BulkMember, kind: Kind, about: str, result: MemberResult | None) -> MemberLine:
    # That it was done is no success yet where its result says otherwise.
    tone = "quiet" if result else OUTCOME_TONES[member.outcome]
    outcome = badge(Outcome(member.outcome).label.capitalize(), tone)
    seen = _seen(member.seen_status, "", kind) if member.seen_status else SafeString("")
    url = reverse(f"admin:{kind.page}_change", args=[member.subject])
    became = labels.result(result, kind.page) if result else SafeString("")
    return MemberLine(member, url, about, seen, member.seen_epoch, outcome, became, member.sentence, result)
