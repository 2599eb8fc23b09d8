"""Send to a queue chosen by hand: the queue and the reason, then what will happen."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from jobs.admin.bulk.member_lines import JOB_UNSEEN
from jobs.admin.bulk.start import actor_of
from jobs.admin.dead_letters.letter_actions import PlannedLetters
from jobs.dead_letters import chosen_queue, cluster_work, letter_locks, operations, requeue
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, ReplayAttempt
from jobs.operations.steps import OperationRefused, Outcome
from opsconsole.kit import form_versions
from opsconsole.kit.form_versions import Version
from opsconsole.kit.page_permissions import may_see
from opsconsole.kit.reasons import ReasonField, ReasonForm

SEND = "send"


class QueueForm(ReasonForm):
    queue = forms.ChoiceField(
        help_text="The message is sent there unchanged, without what was said about its failure."
    )
    reason = ReasonField(operations.KEPT)

    def __init__(self, letter: DeadLetter, data: Any = None) -> None:
        super().__init__(data, version=_version(letter))
        field = self.fields["queue"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type
        field.choices = [("", "Choose a queue"), *((name, name) for name in settings.QUEUES)]


def _version(letter: DeadLetter) -> Version:
    attempts = ReplayAttempt.objects.filter(letter_id=letter.pk).count()
    # Not named "queue": that is what the person enters.
    return form_versions.of([letter], {"source": letter.queue, "state": letter.state, "attempts": attempts})


def view(admin: PlannedLetters, request: HttpRequest, letter_id: UUID) -> HttpResponse:
    """Show the form on GET; on POST show what will happen or, when confirmed, send."""
    letter = get_object_or_404(DeadLetter.objects.light().select_related("dlq", "group"), pk=letter_id)
    if not chosen_queue.is_offered(letter, requeue.jobs_of([letter]).get(letter.job_id)):
        return _refused(admin, request, letter)
    if request.method != "POST":
        return _page(admin, request, letter, QueueForm(letter))
    # Nothing is sent to a queue other than the one in the preview.
    if request.POST.get("step") == SEND and request.POST.get("previewed") == request.POST.get("queue"):
        return _send(admin, request, letter)
    form = QueueForm(letter, request.POST)
    preview = chosen_queue.preview(letter, form.cleaned_data["queue"]) if form.is_valid() else ""
    return _page(admin, request, letter, form, preview)


def _send(admin: PlannedLetters, request: HttpRequest, letter: DeadLetter) -> HttpResponse:
    form = QueueForm(letter, request.POST)
    try:
        with transaction.atomic():
            letter = letter_locks.lock_one(letter.pk)
            form = QueueForm(letter, request.POST)
            if not form.is_valid():
                return _page(admin, request, letter, form)
            queue, reason = form.cleaned_data["queue"], form.cleaned_data["reason"]
            if not chosen_queue.send_to(letter, queue, actor_of(request), reason):
                return _refused(admin, request, letter)
            outcome = Outcome(letter.pk, done=True, sentence=operations.will_be_sent(queue))
            admin.log(request, LetterAction.REPLAY, reason, {letter.pk: outcome.sentence})
    except OperationRefused as error:
        form.add_error(None, str(error))
        return _page(admin, request, letter, form)
    cluster_work.ask_to_fulfil()
    return admin.result_page(request, LetterAction.REPLAY, [outcome], reason)


def _refused(admin: PlannedLetters, request: HttpRequest, letter: DeadLetter) -> HttpResponse:
    """Say why the queue can't be chosen, as far as this person may know."""
    job = requeue.jobs_of([letter]).get(letter.job_id)
    why = chosen_queue.why_not(letter, job)
    shown = why if job is None or may_see(request.user, "jobs_job") else JOB_UNSEEN
    return _page(admin, request, letter, None, why=shown)


def _page(
    admin: PlannedLetters,
    request: HttpRequest,
    letter: DeadLetter,
    form: QueueForm | None,
    preview: str = "",
    why: str = "",
) -> HttpResponse:
    context = {"title": "Send to a queue", "letter": letter, "form": form, "preview": preview, "why": why}
    return admin.render(request, "admin/jobs/deadletter/choose_queue.html", context)
