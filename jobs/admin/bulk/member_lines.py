"""The members of a bulk operation as its pages show them, and what a person may see of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.safestring import SafeString

from jobs.admin import labels
from jobs.bulk import registry
from jobs.bulk.freezing import Group
from jobs.bulk.kinds import Kind, MemberResult
from jobs.models import BulkMember
from opsconsole.kit import addresses
from opsconsole.kit.display import badge
from opsconsole.kit.page_permissions import Asker, may_see

# What names members or says something of them, in the contexts of both pages.
MEMBER_LISTS = ("sample", "members", "failed_again")
ABOUT_MEMBERS = (*MEMBER_LISTS, "will", "skipped", "why", "results", "helped")
# What says something of the jobs that letters name.
ABOUT_JOBS = ("failed_again", "why", "results", "helped")

JOB_UNSEEN = "To see what its job has to do with it, you need the permission “View jobs”."

Outcome = BulkMember.Outcome

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


def lines(members: Sequence[BulkMember], kind: Kind) -> list[MemberLine]:
    """Return a line per member, with what became of those that were done."""
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
    url = addresses.of_row(kind.page, member.subject)
    became = labels.result(result, kind.page) if result else SafeString("")
    return MemberLine(member, url, about, seen, member.seen_epoch, outcome, became, member.sentence, result)


def counted(group: Group, kind: Kind) -> CountedGroup:
    """Return a group of a preview with its badge."""
    return CountedGroup(group, _seen(group.seen_status, group.seen_reason, kind), group.example)


def _seen(status: str, reason: str, kind: Kind) -> SafeString:
    """Return the status as its own pages show it, with what else was seen: a job's diagnosis, a letter's job."""
    if status in kind.states:
        about = badge(f"job {reason.replace('_', ' ')}") if reason else SafeString("")
        return badge(kind.states[status].capitalize(), "waiting") + about
    words = reason.replace("_", " ").capitalize()
    return labels.status(status) + (badge(words, "bad") if words else SafeString(""))


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
