"""Replay, discard, restore: a preview, a reason, and a result. What is decided here is done by the cluster.

As with jobs, the preview is signed and comes back with the reason: what was previewed is what is done.
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
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django_q.tasks import async_task

from jobs.admin import bulk_start
from jobs.bulk import of_letters
from jobs.bulk.registry import kind_of
from jobs.dead_letters import operations, redaction
from jobs.dead_letters.ledger import Action
from jobs.models import DeadLetter
from jobs.operations import Outcome, Step
from jobs.timeline import Actor
from opsconsole import audit

if TYPE_CHECKING:
    from jobs.admin.dead_letters import DeadLetterAdmin

MOST_LETTERS = 500
PLAN_LASTS_SECONDS = 3_600
SALT = "dead_letters.operate"
WHOLE = 4 * 1_048_576

VERBS = {
    Action.REPLAY: "Replay",
    Action.DISCARD: "Discard",
    Action.RESTORE: "Restore",
    Action.MARK_SENT: "Mark as sent",
    Action.MARK_NOT_SENT: "Mark as not sent",
}
DONE = {
    Action.REPLAY: "decided to be replayed",
    Action.DISCARD: "discarded",
    Action.RESTORE: "restored",
    Action.MARK_SENT: "marked as sent",
    Action.MARK_NOT_SENT: "marked as not sent",
}


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "autofocus": True}),
        help_text="Kept in each letter's ledger, beside your name.",
        error_messages={"required": "Give a reason: it is kept in each letter's ledger."},
    )
    plan = forms.CharField(widget=forms.HiddenInput)


@dataclass(frozen=True)
class Line:
    """One letter on the preview or result page."""

    letter: DeadLetter
    sentence: str


def view(admin: DeadLetterAdmin, request: HttpRequest, name: str) -> HttpResponse:
    """GET with ``?id=`` shows the preview, POST does what was previewed."""
    if name not in Action.values:
        raise Http404
    action = Action(name)
    if not admin.may(request, action):
        raise PermissionDenied
    if request.method == "POST":
        return _do(admin, request, action)
    return _preview(admin, request, action, _ids(request.GET.getlist("id"))[:MOST_LETTERS])


def begin(
    admin: DeadLetterAdmin, request: HttpRequest, action: Action, letters: QuerySet[Any]
) -> HttpResponse:
    """The preview of what an action of the list was called with: as with jobs, few are done at once."""
    at_once = settings.OPSCONSOLE_BULK_AT_ONCE
    ids = list(letters.order_by(*of_letters.AS_SENT).values_list("pk", flat=True)[: at_once + 1])
    if len(ids) <= at_once:
        return _preview(admin, request, action, ids)
    return bulk_start.start(admin, request, kind_of(action), letters)


def _preview(
    admin: DeadLetterAdmin, request: HttpRequest, action: Action, ids: Sequence[UUID]
) -> HttpResponse:
    steps = operations.plan(action, ids)
    form = ReasonForm(initial={"plan": _freeze(request, action, steps)}, label_suffix="")
    return _preview_page(admin, request, action, steps, form)


def _ids(values: Iterable[str]) -> list[UUID]:
    try:
        return [UUID(value) for value in values]
    except ValueError as error:
        raise Http404 from error


def _do(admin: DeadLetterAdmin, request: HttpRequest, action: Action) -> HttpResponse:
    form = ReasonForm(request.POST, label_suffix="")
    try:
        steps = _thaw(request, action, request.POST.get("plan", ""))
    except signing.BadSignature:
        return _expired(admin, request, action)
    if not form.is_valid():
        return _preview_page(admin, request, action, steps, form)
    actor = Actor.operator(request.user.get_username(), request.user.pk)
    outcomes = operations.carry_out(steps, actor, form.cleaned_data["reason"])
    ask_cluster("jobs.tasks.work_dead_letters")
    return result_page(admin, request, action, outcomes, form.cleaned_data["reason"])


def ask_cluster(task: str) -> None:
    """Let the cluster do it now instead of at its next minute."""
    async_task(task, group="dead letters")


def _freeze(request: HttpRequest, action: Action, steps: Iterable[Step]) -> str:
    rows = [asdict(step) | {"job_id": str(step.job_id)} for step in steps]
    return signing.dumps({"action": action, "user": request.user.pk, "steps": rows}, salt=SALT, compress=True)


def _thaw(request: HttpRequest, action: Action, frozen: str) -> list[Step]:
    said = signing.loads(frozen, salt=SALT, max_age=PLAN_LASTS_SECONDS)
    if said["action"] != action or said["user"] != request.user.pk:
        raise signing.BadSignature("This preview belongs to another action or user.")
    return [Step(**row | {"job_id": UUID(row["job_id"]), "action": action}) for row in said["steps"]]


def _preview_page(
    admin: DeadLetterAdmin, request: HttpRequest, action: Action, steps: Sequence[Step], form: ReasonForm
) -> HttpResponse:
    letters = _shown(step.job_id for step in steps)
    lines = [
        (step.will, Line(letters[step.job_id], step.sentence)) for step in steps if step.job_id in letters
    ]
    context = {
        "title": f"{VERBS[action]} {_letters(len(lines))}?",
        "verb": VERBS[action],
        "done_word": DONE[action],
        "will": [line for will, line in lines if will],
        "skipped": [line for will, line in lines if not will],
        "form": form,
    }
    return _page(admin, request, "admin/jobs/deadletter/preview.html", action, context)


def result_page(
    admin: DeadLetterAdmin,
    request: HttpRequest,
    action: Action,
    outcomes: Sequence[Outcome],
    reason: str,
) -> HttpResponse:
    letters = _shown(outcome.job_id for outcome in outcomes)
    known = [outcome for outcome in outcomes if outcome.job_id in letters]
    done = [Line(letters[outcome.job_id], outcome.sentence) for outcome in known if outcome.done]
    audit.log(request.user, [line.letter for line in done], DONE[action].capitalize(), why=reason)
    context = {
        "title": f"{_letters(len(done))} {DONE[action]}",
        "done": done,
        "skipped": [Line(letters[each.job_id], each.sentence) for each in known if not each.done],
        "reason": reason,
        "by_cluster": action in {Action.REPLAY, Action.DISCARD, Action.MARK_SENT},
    }
    return _page(admin, request, "admin/jobs/deadletter/result.html", action, context)


def _expired(admin: DeadLetterAdmin, request: HttpRequest, action: Action) -> HttpResponse:
    context = {"title": "Nothing was done", "verb": VERBS[action]}
    response = _page(admin, request, "admin/jobs/deadletter/expired.html", action, context)
    response.status_code = 400
    return response


def _page(
    admin: DeadLetterAdmin, request: HttpRequest, template: str, action: Action, context: dict[str, Any]
) -> TemplateResponse:
    common = {**admin.admin_site.each_context(request), "opts": admin.opts, "action": action}
    return TemplateResponse(request, template, common | context)


def _shown(ids: Iterable[UUID]) -> dict[UUID, DeadLetter]:
    return DeadLetter.objects.light().select_related("group").in_bulk(list(ids))


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"


def body(request: HttpRequest, letter_id: UUID) -> HttpResponse:
    """The whole body as a file, redacted as on the page; a browser shows it as text at most."""
    letter = get_object_or_404(DeadLetter.objects.only("body"), pk=letter_id)
    response = HttpResponse(redaction.show(letter.body, WHOLE).text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="dead-letter-{str(letter.pk)[:8]}.txt"'
    return response
