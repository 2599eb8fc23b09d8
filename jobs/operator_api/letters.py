"""Dead letters: list, show, replay, discard, restore."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from ninja import Query, Router

from jobs.admin.dead_letters import letter_page
from jobs.admin.dead_letters.letter_actions import apart_from_job
from jobs.bulk.registry import kind_of
from jobs.dead_letters import cluster_work, fifo_order, operations, redaction, replay_results, requeue
from jobs.dead_letters.replay_results import Followed
from jobs.dead_letters.requeue import NamedJob
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter
from jobs.operations.steps import Step
from jobs.operator_api import job_schemas, letter_schemas
from jobs.operator_api.choosing import chosen
from jobs.operator_api.outcomes import actor_of, refuse
from opsconsole.kit import keyset, operator_api
from opsconsole.kit.operator_api import Change, OperatorRequest
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.problems import Problem

VIEW = "jobs.view_deadletter"
ONE = "operator/letters/{uuid:letter_id}"
ACTIONS = (LetterAction.REPLAY, LetterAction.DISCARD, LetterAction.RESTORE)
LEDGER_SHOWN = 100

reading = Router(tags=[operator_api.TAG])
operating = Router(tags=[operator_api.TAG])


@operating.post(
    f"{ONE}/replay",
    response=letter_schemas.LetterChanged,
    operation_id="replay_letter",
    summary="Replay a dead letter",
)
def replay_letter(request: OperatorRequest, letter_id: UUID, change: Change) -> Any:
    """A letter that names a known job requeues that job, or is refused while the job waits, runs or is completed.

    Any other is sent to its queue again by the cluster, and deleted from the dead letter queue after that.
    """
    return _act(request, LetterAction.REPLAY, letter_id, change)


@operating.post(
    f"{ONE}/discard",
    response=letter_schemas.LetterChanged,
    operation_id="discard_letter",
    summary="Discard a dead letter",
)
def discard_letter(request: OperatorRequest, letter_id: UUID, change: Change) -> Any:
    """The cluster deletes it from its queue. The console keeps a copy, which can be restored."""
    return _act(request, LetterAction.DISCARD, letter_id, change)


@operating.post(
    f"{ONE}/restore",
    response=letter_schemas.LetterChanged,
    operation_id="restore_letter",
    summary="Restore a discarded dead letter",
)
def restore_letter(request: OperatorRequest, letter_id: UUID, change: Change) -> Any:
    """Take a discard back: the letter stays in its queue if it was not deleted yet, otherwise as a copy in the console."""
    return _act(request, LetterAction.RESTORE, letter_id, change)


@reading.get(
    "operator/letters",
    response=letter_schemas.LetterList,
    operation_id="list_letters",
    summary="List dead letters",
)
def list_letters(request: OperatorRequest, query: Query[letter_schemas.LettersQuery]) -> Any:
    """Return dead letters newest first, with the filters of the page *Dead letters*; without `state`, undecided or being replayed."""
    request.auth.require(VIEW)
    operator_api.refuse_unknown(request, letter_schemas.LettersQuery)
    after = operator_api.read_cursor(query, UUID)
    asked = query.model_dump(exclude={"limit", "after", "q"}, exclude_none=True)
    rows = keyset.older(
        chosen(request, DeadLetter, asked, query.q or "").rows, "first_seen_at", after
    ).select_related("group", "dlq")
    letters = list(rows[: query.limit + 1])
    return {
        "letters": _items(request, letters[: query.limit]),
        "next": operator_api.next_text(query, keyset.next_of(letters, "first_seen_at", query.limit)),
    }


@reading.get(
    ONE, response=letter_schemas.ShownLetter, operation_id="show_letter", summary="Show a dead letter"
)
def show_letter(request: OperatorRequest, letter_id: UUID) -> Any:
    """Return the letter, what each action and each bulk operation under way would do, and what was done to it."""
    request.auth.require(VIEW)
    letter = load(letter_id)
    hidden = not request.auth.sees_payloads
    job = requeue.jobs_of([letter]).get(letter.job_id)
    ledger = letter.attempts.order_by("-pk").defer("edited_body")[:LEDGER_SHOWN]
    return {
        "letter": item(request, letter),
        "body": None if hidden else _body(letter),
        "body_hidden": hidden,
        "actions": _actions(request, letter, job),
        "turns": [job_schemas.Turn.of(turn) for turn in letter_page.bulk_turns(letter, job, request.auth)],
        "ledger": [_entry(row) for row in reversed(ledger)],
    }


def _act(
    request: OperatorRequest, action: LetterAction, letter_id: UUID, change: Change
) -> letter_schemas.LetterChanged:
    request.auth.require(VIEW, kind_of(action).permission)
    letter = load(letter_id)
    seen = item(request, letter)
    operator_api.refuse_if_changed(change.version, seen.model_dump(mode="json"))
    step = operations.step_for(action, letter, requeue.jobs_of([letter]).get(letter.job_id))
    if not step.will:
        sentence = _as_seen(request, action, letter, step.sentence, goes=False)
        raise operator_api.refused(sentence, seen.model_dump(mode="json"))
    [outcome] = operations.carry_out([step], actor_of(request), change.reason)
    now = load(letter_id)
    shown = item(request, now)
    if not outcome.done:
        refuse(outcome, shown.model_dump(mode="json"))
    cluster_work.ask_to_fulfil()
    operator_api.log(request, [now], kind_of(action).did, why=change.reason, result=outcome.sentence)
    sentence = _as_seen(request, action, letter, outcome.sentence, goes=True)
    return letter_schemas.LetterChanged(sentence=sentence, letter=shown)


def _as_seen(
    request: OperatorRequest, action: LetterAction, letter: DeadLetter, sentence: str, *, goes: bool
) -> str:
    """Return the sentence without what only the page of the letter's job may tell, unless the key may see jobs."""
    if action != LetterAction.REPLAY or may_see(request.auth, "jobs_job"):
        return sentence
    return apart_from_job(letter, sentence, goes=goes)


def _actions(request: OperatorRequest, letter: DeadLetter, job: NamedJob | None) -> list[job_schemas.Step]:
    permitted = [action for action in ACTIONS if request.auth.has_perm(kind_of(action).permission)]
    alone = [operations.step_for(action, letter, job) for action in permitted]
    steps: list[tuple[LetterAction, Step]] = [
        *zip(permitted, fifo_order.with_waits(alone, () if job else (letter,)), strict=True)
    ]
    return [
        job_schemas.Step(
            action=action,
            will=step.will,
            sentence=_as_seen(request, action, letter, step.sentence, goes=step.will),
        )
        for action, step in steps
    ]


def load(letter_id: UUID) -> DeadLetter:
    """Return the letter without its body. Raise ``Problem`` if there is none."""
    letters = DeadLetter.objects.light().select_related("group", "dlq")
    letter = letters.filter(pk=letter_id).first()
    if letter is None:
        raise unknown_letter()
    return letter


def unknown_letter() -> Problem:
    return Problem(404, "There is no dead letter with this id.", reason="unknown_letter")


def _body(letter: DeadLetter) -> str:
    return redaction.show(DeadLetter.objects.values_list("body", flat=True).get(pk=letter.pk)).text


def item(request: OperatorRequest, letter: DeadLetter) -> letter_schemas.LetterItem:
    """Return the letter as lists show it, as far as the key may see its job."""
    return _items(request, [letter])[0]


def _items(request: OperatorRequest, letters: Sequence[DeadLetter]) -> list[letter_schemas.LetterItem]:
    """Return the letters as lists show them, as far as the key may see their jobs."""
    sees_jobs = may_see(request.auth, "jobs_job")
    jobs: Mapping[Any, Any] = requeue.jobs_of(letters)
    replayed = [letter.pk for letter in letters if letter.state == DeadLetter.State.REPLAYED]
    results = replay_results.of_letters(replayed)
    return [
        _item(
            letter,
            jobs.get(letter.job_id),
            replay_results.as_far_as_seen(results.get(letter.pk), sees_jobs=sees_jobs),
            sees_jobs=sees_jobs,
        )
        for letter in letters
    ]


def _item(
    letter: DeadLetter, job: Any, followed: Followed | None, *, sees_jobs: bool
) -> letter_schemas.LetterItem:
    seen_of_job = (job.run_epoch, job.status) if job else ()
    return letter_schemas.LetterItem(
        id=str(letter.pk),
        state=letter.state,
        queue=letter.queue,
        group=letter.group_id,
        failure=letter.group.shown_title,
        job_id=letter.job_id if sees_jobs else None,
        job_status=str(job.status) if job and sees_jobs else None,
        result=followed.result.value if followed else None,
        came_back=letter.returns,
        size=letter.body_bytes,
        receives=letter.receive_count,
        first_seen_at=letter.first_seen_at,
        sent_at=letter.sent_at,
        expires_at=letter.expires_at,
        version=operator_api.version_of(letter, letter.state, *seen_of_job),
    )


def _entry(row: Any) -> letter_schemas.LedgerItem:
    return letter_schemas.LedgerItem(
        action=row.action,
        state=row.state,
        actor=row.actor,
        reason=row.reason,
        wanted_at=row.wanted_at,
        ended_at=row.ended_at,
    )
