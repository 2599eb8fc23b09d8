"""Edit and replay: the body in an editor, then the changes and the reason."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse

from jobs.admin.bulk.member_lines import JOB_UNSEEN
from jobs.admin.bulk.start import actor_of
from jobs.admin.dead_letters.letter_actions import PlannedLetters
from jobs.admin.dead_letters.letter_page import why_it_failed
from jobs.dead_letters import cluster_work, editing, letter_locks, operations, redaction, requeue
from jobs.dead_letters.requeue import NamedJob
from jobs.letter_ledger.entries import LetterAction
from jobs.models import DeadLetter, ReplayAttempt
from jobs.operations import payload_edits
from jobs.operations.steps import OperationRefused
from opsconsole.kit import addresses, form_versions
from opsconsole.kit.form_versions import Value, Version
from opsconsole.kit.line_diffs import CHANGED_SINCE, digest_of
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.kit.reasons import ReasonField, ReasonForm

PREVIEW, SEND = "preview", "send"


class EditForm(ReasonForm):
    body = forms.CharField(
        strip=False,
        widget=forms.Textarea(attrs={"rows": 18, "spellcheck": "false"}),
        help_text="The body is sent exactly as shown here. Redacted values are restored where you keep the placeholder.",
    )
    reason = ReasonField(
        operations.KEPT,
        rows=2,
        help_text=f"Kept {operations.KEPT}, beside your name and both bodies.",
    )

    def __init__(self, letter: DeadLetter, data: Any = None, initial: Any = None) -> None:
        super().__init__(data, initial=initial, version=_version(letter))
        # Whoever only looks at the changes may not know yet why.
        self.fields["reason"].required = bool(data) and data.get("step") == SEND
        self.letter = letter

    def clean_body(self) -> str:
        # Browsers send every line end as CRLF, whatever it was in the body.
        typed = self.cleaned_data["body"]
        if "\r\n" not in self.letter.body:
            typed = typed.replace("\r\n", "\n")
        try:
            return editing.entered_body(self.letter, typed)
        except OperationRefused as error:
            raise forms.ValidationError(str(error)) from error


def _version(letter: DeadLetter) -> Version:
    """Return what an edit is based on. The body may hold what must not be shown, so only its digest travels."""
    attempts = ReplayAttempt.objects.filter(letter_id=letter.pk).count()
    # Not named "body": after a conflict, the entered body stays.
    content = Value.of(letter.body, form_versions.HIDDEN)
    return form_versions.of([letter], {"content": content, "state": letter.state, "attempts": attempts})


def other_way(letter: DeadLetter, job: NamedJob | None, user: Person) -> dict[str, Any]:
    """Return how what is wrong in the body can be mended elsewhere, for whoever may mend it.

    ``payload_url``: the editor of the payload of the job from which the console makes the message. ``editing_off``: a setting keeps
    this body from being edited.
    """
    if job is None:
        allowed = user.has_perms(["jobs.edit_deadletter", "jobs.replay_deadletter"])
        off = not settings.OPSCONSOLE_EDIT_DEAD_LETTERS
        return {"editing_off": off and allowed and editing.offered(letter, job)}
    may = may_see(user, "jobs_job") and payload_edits.may(user, job.status)
    if not may or letter.state not in DeadLetter.OPEN or not payload_edits.step_of(job, size=0).will:
        return {}
    return {"payload_url": reverse("admin:jobs_job_payload", args=[addresses.row_key(job.pk)])}


def view(admin: PlannedLetters, request: HttpRequest, letter_id: UUID) -> HttpResponse:
    """Show the editor on GET; on POST show the changes or, when confirmed, send."""
    letter = get_object_or_404(DeadLetter.objects.select_related("group", "dlq").defer("words"), pk=letter_id)
    job = requeue.jobs_of([letter]).get(letter.job_id)
    if why := editing.why_not(letter, job):
        shown = why if job is None or may_see(request.user, "jobs_job") else JOB_UNSEEN
        return _page(admin, request, letter, None, why=shown)
    if request.method != "POST":
        return _page(
            admin, request, letter, EditForm(letter, initial={"body": redaction.as_it_is(letter.body)})
        )
    form = EditForm(letter, request.POST)
    if not form.is_valid():
        return _page(admin, request, letter, form)
    body, sends = form.cleaned_data["body"], request.POST.get("step") == SEND
    # Nothing is sent but what the changes were shown of.
    if sends and request.POST.get("previewed") == digest_of(body):
        return _send(admin, request, letter)
    if sends:
        form.add_error(None, CHANGED_SINCE)
    return _page(admin, request, letter, form, diff=editing.diff(letter.body, body))


def _send(admin: PlannedLetters, request: HttpRequest, letter: DeadLetter) -> HttpResponse:
    form = EditForm(letter, request.POST)
    try:
        with transaction.atomic():
            letter = letter_locks.lock_one(letter.pk)
            form = EditForm(letter, request.POST)
            if not form.is_valid():
                return _page(admin, request, letter, form)
            reason = form.cleaned_data["reason"]
            outcome = editing.replay_edited(letter.pk, form.cleaned_data["body"], actor_of(request), reason)
            if outcome.done:
                admin.log(request, LetterAction.REPLAY, reason, {letter.pk: outcome.sentence})
    except OperationRefused as error:
        form.add_error(None, str(error))
        return _page(admin, request, letter, form)
    cluster_work.ask_to_fulfil()
    return admin.result_page(request, LetterAction.REPLAY, [outcome], reason)


def _page(
    admin: PlannedLetters,
    request: HttpRequest,
    letter: DeadLetter,
    form: EditForm | None,
    diff: list[tuple[str, str]] | None = None,
    why: str = "",
) -> HttpResponse:
    context = {"title": "Edit and replay", "letter": letter, "form": form, "diff": diff, "why": why}
    if form and diff is not None:
        context["previewed"] = digest_of(form.cleaned_data["body"])
    context |= why_it_failed(letter)
    return admin.render(request, "admin/jobs/deadletter/edit.html", context)
