"""Edit payload: the payload of a job in an editor, then the changes and the reason, then the job starts again with it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from jobs.admin.action_buttons import Button
from jobs.admin.bulk.start import actor_of
from jobs.intake import payload_text
from jobs.models import Job
from jobs.models.job import JobWithEvidence
from jobs.operations import job_operations, payload_edits
from jobs.operations.payload_edits import Seen
from jobs.operations.steps import JobAction, OperationRefused
from jobs.runs import status_wording
from opsconsole.kit import addresses, audit, form_versions
from opsconsole.kit.job_pages import job_page
from opsconsole.kit.line_diffs import CHANGED_SINCE, between, digest_of
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.reasons import ReasonField, ReasonForm

SAVE = "save"
LABELS = {
    JobAction.REQUEUE: "Save and requeue",
    JobAction.RELEASE: "Save and release from quarantine",
    None: "Save",
}


class PayloadField(forms.CharField):
    """The text of a payload, as ``jobs.intake.payload_text`` accepts it."""

    def __init__(self, help_text: str) -> None:
        super().__init__(
            strip=False,
            widget=forms.Textarea({"rows": 18, "spellcheck": "false"}),
            help_text=help_text,
        )

    def clean(self, value: Any) -> str:
        text = str(super().clean(value))
        if problem := payload_text.problem_with(text):
            raise forms.ValidationError(problem)
        return text


class EditForm(ReasonForm):
    payload = PayloadField("JSON. The timeline keeps the payload that it replaces.")
    reason = ReasonField(job_operations.KEPT, rows=2)

    def __init__(self, seen: Seen, data: Any = None) -> None:
        job = seen.job
        status = form_versions.Value.of(job.status, status_wording.of_status(job.status))
        # Not named "payload": after a conflict, the entered payload stays.
        version = form_versions.of(
            [job], {"stored payload": seen.pretty, "status": status, "run": job.run_epoch}
        )
        super().__init__(data, initial={"payload": seen.pretty}, version=version)
        # Whoever only looks at the changes may not know yet why.
        self.fields["reason"].required = bool(data) and data.get("step") == SAVE
        self.seen = seen

    def clean_payload(self) -> str:
        text = str(self.cleaned_data["payload"])
        if payload_text.pretty(text) == self.seen.pretty:
            raise forms.ValidationError(payload_edits.UNCHANGED)
        return text


def button(job: JobWithEvidence) -> Button:
    step = payload_edits.step_of(job, size=0)
    address = reverse("admin:jobs_job_payload", args=[addresses.row_key(job.pk)])
    return Button("plain", "Edit payload", address, step.will, step.sentence)


def view(admin: ReadOnlyAdmin, request: HttpRequest, job_id: Any) -> HttpResponse:
    """Show the editor on GET; on POST show the changes or, when confirmed, write them."""
    seen = payload_edits.look(job_id) if job_id is not None else None
    if seen is None:
        raise Http404
    if not seen.step.will:
        return _page(admin, request, seen, None)
    if not payload_edits.may(request.user, seen.job.status):
        return _page(
            admin,
            request,
            seen,
            None,
            why="You lack the permission to start this job again with another payload.",
        )
    if request.method != "POST":
        return _page(admin, request, seen, EditForm(seen))
    form = EditForm(seen, request.POST)
    if not form.is_valid():
        return _page(admin, request, seen, form)
    payload, saves = form.cleaned_data["payload"], request.POST.get("step") == SAVE
    if saves and request.POST.get("previewed") == digest_of(payload):
        return _save(admin, request, form)
    if saves:
        form.add_error(None, CHANGED_SINCE)
    return _page(admin, request, seen, form, diff=between(seen.pretty, payload_text.pretty(payload)))


def _save(admin: ReadOnlyAdmin, request: HttpRequest, form: EditForm) -> HttpResponse:
    seen, reason = form.seen, form.cleaned_data["reason"]
    try:
        with transaction.atomic():
            outcome = payload_edits.carry_out(
                seen.step, seen.digest, form.cleaned_data["payload"], actor_of(request), reason
            )
            if outcome.done:
                did = payload_edits.did(seen.step)
                audit.log(request.user, [seen.job], did, why=reason, result=outcome.sentence)
    except OperationRefused as error:
        form.add_error(None, str(error))
        return _page(admin, request, seen, form)
    if not outcome.done:
        form.add_error(None, outcome.sentence)
        return _page(admin, request, seen, form)
    messages.success(request, f"The payload was edited. {outcome.sentence}")
    return redirect(job_page(seen.job.pk))


def _page(
    admin: ReadOnlyAdmin,
    request: HttpRequest,
    seen: Seen,
    form: EditForm | None,
    *,
    diff: list[tuple[str, str]] | None = None,
    why: str = "",
) -> HttpResponse:
    context = {
        "title": "Edit payload",
        "job": Job(pk=seen.job.pk),
        "form": form,
        "diff": diff,
        "previewed": digest_of(form.cleaned_data["payload"]) if form and diff is not None else "",
        "error": seen.job.error_message,
        "sentence": why or seen.step.sentence,
        "button": LABELS[payload_edits.action_for(seen.job.status)],
    }
    return admin.render(request, "admin/jobs/job/payload.html", context)
