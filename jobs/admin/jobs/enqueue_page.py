"""Enqueue a job: a form for what producers send to the API. Sent twice, it makes one job."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.db import DatabaseError, models
from django.db.models import Value
from django.db.models.functions import Cast
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from jobs.admin.bulk.start import actor_of
from jobs.admin.jobs.filters import newest_priorities
from jobs.admin.jobs.payload_page import PayloadField
from jobs.intake import idempotency
from jobs.intake.enqueue import InvalidJob, NewJob, enqueue
from jobs.intake.idempotency import KeyReused
from jobs.models import Job
from jobs.models.columns import JOBS
from jobs.operations import job_operations
from opsconsole.kit import audit
from opsconsole.kit.changed_rows import require_changed
from opsconsole.kit.characters import first_hidden
from opsconsole.kit.job_pages import job_page
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.reasons import ReasonField
from opsconsole.kit.storable import LARGEST_INTEGER
from opsconsole_worker import refusals

# Somebody went back to it from the page of the job.
ENQUEUED_BEFORE = (
    "Nothing was enqueued: this form has enqueued a job already, with other values. "
    "Send it again to enqueue another one."
)


class NameField(forms.CharField):
    """A name that nobody could tell from another one if it had characters that nobody sees."""

    def clean(self, value: Any) -> str:
        name = str(super().clean(value))
        if hidden := first_hidden(name):
            raise forms.ValidationError(
                f"Take out the character U+{ord(hidden):04X}, which can’t be seen, or type this instead of pasting it."
            )
        return name


class EnqueueForm(forms.Form):
    customer_id = NameField(label="Customer id", max_length=500)
    package_size = forms.IntegerField(min_value=1, max_value=LARGEST_INTEGER, initial=1)
    queue = forms.ChoiceField()
    priority = NameField(required=False, max_length=500, help_text="Empty: as the database sets it.")
    not_before = forms.DateTimeField(
        required=False, help_text="UTC, such as 2026-11-27 18:00. Empty: at once."
    )
    payload = PayloadField("JSON, which the worker reads.")
    reason = ReasonField(job_operations.KEPT, rows=2)
    # Of the form as it was shown.
    token = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(self, data: Any = None) -> None:
        super().__init__(data, initial={"payload": "{}", "token": uuid4()}, label_suffix="")
        self.fields["queue"].choices = [(name, name) for name in sorted(settings.QUEUES)]  # type: ignore[attr-defined]  # of a ChoiceField


def view(admin: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    """Show the form on GET; on POST accept the job and open its page."""
    form = EnqueueForm(request.POST if request.method == "POST" else None)
    if form.is_valid() and (job_id := _accepted(request, form)) is not None:
        return redirect(job_page(job_id))
    if seen := sorted(newest_priorities()):
        form.fields["priority"].help_text += f" The newest jobs have: {', '.join(seen)}."
    context = {"title": "Enqueue a job", "form": form, "queues": sorted(settings.QUEUES)}
    return admin.render(request, "admin/jobs/job/enqueue.html", context)


def _accepted(request: HttpRequest, form: EnqueueForm) -> str | None:
    """Return the id of the job, or None when it is refused: the form then says why."""
    asked = {name: form.cleaned_data[name] for name in form.fields if name != "token"}
    caller, key = f"user:{request.user.pk}", str(form.cleaned_data["token"])
    try:
        answer = idempotency.once(caller, key, asked, lambda: _enqueue(request, **asked))
    except InvalidJob as error:
        form.add_error(None, str(error))
        return None
    except KeyReused:
        form.add_error(None, ENQUEUED_BEFORE)
        form.data = request.POST.copy()
        form.data["token"] = str(uuid4())
        return None
    except DatabaseError as error:
        refusal = refusals.of(error)
        if refusal is None:
            raise
        # Theirs may need more of a new row.
        form.add_error(None, f"{refusal.sentence} Nothing was enqueued.")
        return None
    messages.success(
        request, "This job had been enqueued already." if answer.replayed else "The job is enqueued."
    )
    return str(answer.fields["id"])


def _enqueue(
    request: HttpRequest, *, payload: str, reason: str, priority: str, **fields: Any
) -> dict[str, str]:
    job = enqueue(NewJob(priority=priority or None, **fields), actor=actor_of(request), reason=reason)
    # As text: a number keeps all its digits.
    stored = Job.objects.filter(pk=job.pk).update(payload=Cast(Value(payload), models.JSONField()))
    require_changed(stored, 1, JOBS.name)
    audit.log(request.user, [job], "Enqueued a job.", why=reason, flag=ADDITION)
    return {"id": str(job.pk)}
