"""Requeue, cancel, release: a preview of each job, a reason, and a result that says what became of each.

The preview is signed and comes back with the reason, so that what was previewed is what is done; a job that
changed in between is skipped by ``operations.carry_out``, also when the form is sent twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from jobs.admin import bulk_start, done_before
from jobs.admin.done_before import DoneByRun
from jobs.bulk.registry import kind_of
from jobs.models import Job
from jobs.models.job import JobQuerySet
from jobs.operations import Action, Outcome, Step, carry_out, plan
from jobs.timeline import Actor
from opsconsole import audit

if TYPE_CHECKING:
    from jobs.admin.job import JobAdmin

# As many as OPSCONSOLE_BULK_AT_ONCE may allow.
MOST_JOBS = 500
PLAN_LASTS_SECONDS = 3_600
SALT = "jobs.operate"
NOTES_SHOWN = 5

VERBS = {Action.REQUEUE: "Requeue", Action.CANCEL: "Cancel", Action.RELEASE: "Release"}
DONE = {Action.REQUEUE: "requeued", Action.CANCEL: "cancelled", Action.RELEASE: "released"}


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "autofocus": True}),
        help_text="Kept on each job's timeline, beside your name.",
        error_messages={"required": "Give a reason: it is kept on each job's timeline."},
    )
    plan = forms.CharField(widget=forms.HiddenInput)


@dataclass(frozen=True)
class Line:
    """One job on the preview or result page."""

    job: Job
    sentence: str
    done_before: Sequence[DoneByRun] = ()


def begin(admin: JobAdmin, request: HttpRequest, action: Action, jobs: JobQuerySet) -> HttpResponse:
    """The preview of what an action of the list was called with: each job when they are few, else their counts.

    Few are done while one waits, many become a bulk operation (docs/decisions/0030).
    """
    at_once = settings.OPSCONSOLE_BULK_AT_ONCE
    ids = list(jobs.values_list("pk", flat=True)[: at_once + 1])
    if len(ids) <= at_once:
        return preview(admin, request, action, ids)
    return bulk_start.start(admin, request, kind_of(action), jobs)


def view(admin: JobAdmin, request: HttpRequest, name: str) -> HttpResponse:
    """GET with ``?id=`` shows the preview, POST does what was previewed."""
    if name not in Action.values:
        raise Http404
    action = Action(name)
    if not admin.may(request, action):
        raise PermissionDenied
    if request.method == "POST":
        return _do(admin, request, action)
    return preview(admin, request, action, _ids(request.GET.getlist("id")))


def _ids(values: Iterable[str]) -> list[UUID]:
    try:
        ids = [UUID(value) for value in values]
    except ValueError as error:
        raise Http404 from error
    if len(ids) > MOST_JOBS:
        raise Http404
    return ids


def preview(admin: JobAdmin, request: HttpRequest, action: Action, ids: Sequence[UUID]) -> HttpResponse:
    """What would happen to each job; nothing is changed."""
    steps = plan(action, ids)
    form = ReasonForm(initial={"plan": _freeze(request, action, steps)}, label_suffix="")
    return _preview_page(admin, request, action, steps, form)


def _do(admin: JobAdmin, request: HttpRequest, action: Action) -> HttpResponse:
    form = ReasonForm(request.POST, label_suffix="")
    try:
        steps = _thaw(request, action, request.POST.get("plan", ""))
    except signing.BadSignature:
        return _expired(admin, request, action)
    if not form.is_valid():
        return _preview_page(admin, request, action, steps, form)
    user = request.user
    actor = Actor.operator(user.get_username(), user.pk)
    outcomes = carry_out(steps, actor, form.cleaned_data["reason"])
    return _result_page(admin, request, action, outcomes, form.cleaned_data["reason"])


def _freeze(request: HttpRequest, action: Action, steps: Iterable[Step]) -> str:
    rows = [asdict(step) | {"job_id": str(step.job_id)} for step in steps]
    return signing.dumps({"action": action, "user": request.user.pk, "steps": rows}, salt=SALT, compress=True)


def _thaw(request: HttpRequest, action: Action, frozen: str) -> list[Step]:
    said = signing.loads(frozen, salt=SALT, max_age=PLAN_LASTS_SECONDS)
    if said["action"] != action or said["user"] != request.user.pk:
        raise signing.BadSignature("This preview belongs to another action or user.")
    return [Step(**row | {"job_id": UUID(row["job_id"]), "action": action}) for row in said["steps"]]


def _preview_page(
    admin: JobAdmin,
    request: HttpRequest,
    action: Action,
    steps: Sequence[Step],
    form: ReasonForm,
) -> HttpResponse:
    jobs = _shown([step.job_id for step in steps])
    done = done_before.of_jobs([step.job_id for step in steps if step.will], shown=NOTES_SHOWN)
    lines = [
        (step.will, Line(jobs[step.job_id], step.sentence, done.get(step.job_id, ())))
        for step in steps
        if step.job_id in jobs
    ]
    context = {
        "title": f"{VERBS[action]} {_jobs(len(steps))}?",
        "verb": VERBS[action],
        "done_word": DONE[action],
        "will": [line for will, line in lines if will],
        "skipped": [line for will, line in lines if not will],
        "form": form,
    }
    return _page(admin, request, "admin/jobs/job/preview.html", action, context)


def _result_page(
    admin: JobAdmin, request: HttpRequest, action: Action, outcomes: Sequence[Outcome], reason: str
) -> HttpResponse:
    jobs = _shown([outcome.job_id for outcome in outcomes])
    done = [outcome for outcome in outcomes if outcome.done and outcome.job_id in jobs]
    _log(request, action, done, jobs, reason)
    context = {
        "title": f"{_jobs(len(done))} {DONE[action]}",
        "done": [Line(jobs[outcome.job_id], outcome.sentence) for outcome in done],
        "skipped": [
            Line(jobs[outcome.job_id], outcome.sentence)
            for outcome in outcomes
            if not outcome.done and outcome.job_id in jobs
        ],
        "reason": reason,
    }
    return _page(admin, request, "admin/jobs/job/result.html", action, context)


def _log(
    request: HttpRequest, action: Action, done: Iterable[Outcome], jobs: dict[UUID, Job], reason: str
) -> None:
    by_result: dict[str, list[Job]] = {}
    for outcome in done:
        by_result.setdefault(outcome.sentence, []).append(jobs[outcome.job_id])
    for sentence, rows in by_result.items():
        audit.log(request.user, rows, f"{DONE[action].capitalize()}.", why=reason, result=sentence)


def _expired(admin: JobAdmin, request: HttpRequest, action: Action) -> HttpResponse:
    context = {"title": "Nothing was done", "verb": VERBS[action]}
    response = _page(admin, request, "admin/jobs/job/expired.html", action, context)
    response.status_code = 400
    return response


def _page(
    admin: JobAdmin, request: HttpRequest, template: str, action: Action, context: dict[str, Any]
) -> TemplateResponse:
    common = {**admin.admin_site.each_context(request), "opts": admin.opts, "action": action}
    return TemplateResponse(request, template, common | context)


def _shown(ids: Iterable[UUID]) -> dict[UUID, Job]:
    return Job.objects.defer("payload").in_bulk(list(ids))


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"
