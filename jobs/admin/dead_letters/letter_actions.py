"""Replay, discard and restore: the preview and the result per letter. The cluster carries the actions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from jobs.admin import previewed_actions
from jobs.admin.bulk.member_lines import JOB_UNSEEN
from jobs.admin.dead_letters.listed_letters import letters_of_group
from jobs.admin.previewed_actions import StepOrOutcome
from jobs.bulk import letter_actions
from jobs.dead_letters import cluster_work, operations
from jobs.dead_letters.scan_coverage import next_step
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, DeadLetterQueue, FailureGroup
from jobs.operations.steps import Outcome, Record, Step
from jobs.runs.timeline import Actor
from opsconsole.kit import pauses
from opsconsole.kit.counting import figure, plural
from opsconsole.kit.page_permissions import may_see

MOST_LETTERS = previewed_actions.MOST
# The groups of which a result names the rest, and how far their letters are counted.
MOST_GROUPS, MOST_COUNTED = 3, 1_000
# The actions that are only decided here and carried out by the cluster.
BY_CLUSTER = frozenset({LetterAction.REPLAY, LetterAction.DISCARD, LetterAction.MARK_SENT})
# The states in which nothing has been decided about a letter.
TO_BE_DECIDED = (DeadLetter.State.IN_QUEUE, DeadLetter.State.KEPT)
WITH_JOB_UNSEEN = f"It is replayed: as a new run of its job, or unchanged. {JOB_UNSEEN}"
NOT_WITH_JOB_UNSEEN = f"It cannot be replayed now. {JOB_UNSEEN}"


@dataclass(frozen=True)
class LetterLine:
    """One letter on the preview or result page."""

    letter: DeadLetter
    sentence: str


class PlannedLetters(previewed_actions.PlannedAdmin[LetterAction, DeadLetter]):
    choices = LetterAction
    words = previewed_actions.words_of(letter_actions.KINDS) | {
        LetterAction.MARK_SENT: ("Mark as sent", "marked as sent"),
        LetterAction.MARK_NOT_SENT: ("Mark as not sent", "marked as not sent"),
    }
    kept = operations.KEPT

    def begin(self, request: HttpRequest, action: LetterAction, rows: QuerySet[DeadLetter]) -> HttpResponse:
        return super().begin(request, action, rows.order_by(*letter_actions.AS_SENT))

    def plan(self, action: LetterAction, ids: Sequence[UUID]) -> Sequence[Step]:
        return operations.plan(action, ids)

    def carry_out(
        self, steps: Sequence[Step], actor: Actor, reason: str, record: Record
    ) -> Sequence[Outcome]:
        outcomes = operations.carry_out(steps, actor, reason, record=record)
        cluster_work.ask_to_fulfil()
        return outcomes

    def when(self, action: LetterAction) -> str:
        if action not in BY_CLUSTER:
            return ""
        if pauses.active(pauses.DEAD_LETTER_CHECKS):
            return (
                "Checks of dead letters are paused: what needs their queue is done when the pause ends "
                "or somebody resumes them."
            )
        return "The cluster carries out such decisions within a minute, once SQS answers."

    def rows(self, ids: Sequence[UUID]) -> Mapping[UUID, DeadLetter]:
        return DeadLetter.objects.light().select_related("group", "dlq").in_bulk(ids)

    def lines(
        self, rows: Mapping[UUID, DeadLetter], entries: Sequence[Step | Outcome]
    ) -> Sequence[LetterLine]:
        return [LetterLine(rows[each.job_id], each.sentence) for each in entries]

    def as_far_as_seen(
        self,
        request: HttpRequest,
        action: LetterAction,
        rows: Mapping[UUID, DeadLetter],
        entries: Sequence[StepOrOutcome],
    ) -> Sequence[StepOrOutcome]:
        if action != LetterAction.REPLAY or may_see(request.user, "jobs_job"):
            return entries
        return [
            replace(each, sentence=apart_from_job(rows[each.job_id], each.sentence, goes=_goes(each)))
            for each in entries
        ]

    def beyond(self, action: LetterAction, rows: Mapping[UUID, DeadLetter]) -> Sequence[str]:
        if action not in {LetterAction.REPLAY, LetterAction.DISCARD}:
            return ()
        queues = DeadLetterQueue.objects.filter(pk__in={letter.dlq_id for letter in rows.values()})
        return [sentence for dlq in queues.order_by("pk") if (sentence := next_step(dlq))]

    def rest(self, request: HttpRequest, keys: Sequence[str]) -> Sequence[tuple[str, str]]:
        """Return where the other letters with the same failures are decided: on the pages of their groups, or in the list."""
        groups = FailureGroup.objects.filter(pk__in=DeadLetter.objects.filter(pk__in=keys).values("group"))
        counted = groups.with_letters(TO_BE_DECIDED, MOST_COUNTED).order_by("-last_seen_at", "-pk")
        sees_groups = may_see(request.user, "jobs_failuregroup")
        return [
            _rest_of(group, count, sees_groups=sees_groups)
            for group in counted
            if (count := group.open_letters)  # type: ignore[attr-defined]  # an annotation
        ][:MOST_GROUPS]

    def asked_for(self, ids: Sequence[UUID]) -> Sequence[UUID]:
        return ids[:MOST_LETTERS]


def _rest_of(group: FailureGroup, count: int, *, sees_groups: bool) -> tuple[str, str]:
    more = f"{figure(count, MOST_COUNTED)} more {plural(count, 'dead letter')} with the same failure to decide about"
    page = (
        reverse("admin:jobs_failuregroup_change", args=[group.pk])
        if sees_groups
        else letters_of_group(group.pk)
    )
    return page, f"{more}: {group.shown_title}"


def _goes(entry: Step | Outcome) -> bool:
    return entry.will if isinstance(entry, Step) else entry.done


def apart_from_job(letter: DeadLetter, sentence: str, *, goes: bool) -> str:
    """Return what a replay does, or why it does nothing (not ``goes``), without what only the page of its job may tell."""
    if letter.job_id is None:
        return sentence
    if goes:
        return WITH_JOB_UNSEEN
    apart = operations.step_for(LetterAction.REPLAY, letter, None)
    return NOT_WITH_JOB_UNSEEN if apart.will else apart.sentence
