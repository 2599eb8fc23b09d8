"""Actions on a few selected rows: a preview per row, a reason, and a result per row.

The preview is encrypted and returned with the reason, so that exactly what was previewed is done. The duty's
``carry_out`` skips what changed in between, also when the form is submitted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from uuid import UUID

from django import forms
from django.conf import settings
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet, TextChoices
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from jobs.admin import frozen_plans, what_became
from jobs.admin.bulk import start
from jobs.admin.bulk.start import actor_of
from jobs.bulk.kinds import Kind
from jobs.bulk.registry import KINDS, kind_of
from jobs.operations.steps import Outcome, Record, Step
from jobs.runs.timeline import Actor
from opsconsole.kit import audit
from opsconsole.kit.counting import exactly, of_selected
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.reasons import ReasonField, ReasonForm

# As many as OPSCONSOLE_BULK_AT_ONCE may allow.
MOST = 500
SIGNED_OUT = 401
# In characters, of the address of a list.
MOST_OF_ADDRESS = 2_000

Choice = TypeVar("Choice", bound=TextChoices)
Row = TypeVar("Row", bound=Model)
StepOrOutcome = TypeVar("StepOrOutcome", Step, Outcome)


class PreviewForm(ReasonForm):
    plan = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, kept: str, data: Any = None, **initial: str) -> None:
        super().__init__(data, initial=initial)
        self.fields["reason"] = ReasonField(kept, rows=2, autofocus=True)


def words_of(kinds: Iterable[Kind]) -> dict[str, tuple[str, str]]:
    return {kind.action: (kind.verb, kind.done_word) for kind in kinds}


class PlannedAdmin(ReadOnlyAdmin, Generic[Choice, Row]):
    """An admin with previewed actions. Subclasses define the plan and how it is shown."""

    choices: type[Choice]
    # The verb of each action, and its past participle.
    words: Mapping[str, tuple[str, str]]
    # Where the reason is kept.
    kept: str

    def may(self, request: HttpRequest, action: Choice) -> bool:
        raise NotImplementedError

    def plan(self, action: Choice, ids: Sequence[UUID]) -> Sequence[Step]:
        raise NotImplementedError

    def carry_out(
        self, steps: Sequence[Step], actor: Actor, reason: str, record: Record
    ) -> Sequence[Outcome]:
        raise NotImplementedError

    def rows(self, ids: Sequence[UUID]) -> Mapping[UUID, Row]:
        """Return the rows that the pages show, by id, without those that no longer exist."""
        raise NotImplementedError

    def lines(self, rows: Mapping[UUID, Row], entries: Sequence[Step | Outcome]) -> Sequence[object]:
        """Return what the model's preview_lines.html shows per row."""
        raise NotImplementedError

    def as_far_as_seen(
        self, request: HttpRequest, action: Choice, rows: Mapping[UUID, Row], entries: Sequence[StepOrOutcome]
    ) -> Sequence[StepOrOutcome]:
        """Return what is told without what this person may not see."""
        return entries

    def beyond(self, action: Choice, rows: Mapping[UUID, Row]) -> Sequence[str]:
        """Return what these rows leave to be done, in sentences."""
        return ()

    def rest(self, request: HttpRequest, keys: Sequence[str]) -> Sequence[tuple[str, str]]:
        """Return addresses of what is like these rows and is still to be decided, each with what the link says."""
        return ()

    def when(self, action: Choice) -> str:
        """Return when the cluster carries out what was only decided here; '' where it is done."""
        return ""

    def asked_for(self, ids: Sequence[UUID]) -> Sequence[UUID]:
        """Return the ids to preview out of those in an address, which could name any number."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.operate_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_operate"
        return [
            path("operate/<str:action>/", view, name=name),
            # Not wrapped in admin_view: a polling page must not be redirected to the login.
            path("became/<str:action>/", self.became_view, name=name.replace("_operate", "_became")),
            *super().get_urls(),
        ]

    def begin(self, request: HttpRequest, action: Choice, rows: QuerySet[Row]) -> HttpResponse:
        """Show the preview for a list's action: each row when there are few, otherwise their counts.

        A few rows are done in the request; many become a bulk operation (docs/decisions/0030-bulk-operations.md).
        """
        at_once = settings.OPSCONSOLE_BULK_AT_ONCE
        ids = list(rows.values_list("pk", flat=True)[: at_once + 1])
        if len(ids) <= at_once:
            return self.preview(request, action, ids)
        return start.start_from_list(self, request, kind_of(action), rows)

    def operate_view(self, request: HttpRequest, action: str) -> HttpResponse:
        """Show the preview on GET with ``?id=``; carry it out on POST."""
        if action not in self.choices.values:
            raise Http404
        chosen = self.choices(action)
        if not self.may(request, chosen):
            raise PermissionDenied
        if request.method == "POST":
            return self._do(request, chosen)
        if was_done := self._reopened(request, chosen):
            return was_done
        ids = frozen_plans.keys_of(self.model, request.GET.getlist("id"))
        return self.preview(request, chosen, self.asked_for(ids))

    def _reopened(self, request: HttpRequest, action: Choice) -> HttpResponse | None:
        """Return the result of what this person did on the page of this address, with what became of it; None: nothing."""
        if (before := what_became.line_before(request)) is None:
            return None
        ids = frozen_plans.keys_of(self.model, request.GET.getlist("id")[: what_became.MOST_FOLLOWED])
        asked = [Outcome(key, done=False, sentence="") for key in ids]
        done = self._done_before(request, action, asked, before)
        return self.result_page(request, action, [*done.values()], "", is_new=False) if done else None

    def became_view(self, request: HttpRequest, action: str) -> HttpResponse:
        """Return the part of a result page that says what became of the rows in the address."""
        if not self.admin_site.has_permission(request):
            return HttpResponse(status=SIGNED_OUT)
        kind = KINDS.get(action)
        if action not in self.choices.values or kind is None:
            raise Http404
        if not what_became.may_follow(kind, request.user):
            raise PermissionDenied
        ids = request.GET.getlist("id")[: what_became.MOST_FOLLOWED]
        keys = [str(key) for key in frozen_plans.keys_of(self.model, ids)]
        context = what_became.context(kind, keys) | {"rest": self.rest(request, keys)}
        response = TemplateResponse(request, "admin/jobs/previewed_actions/became.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response

    def preview(self, request: HttpRequest, action: Choice, ids: Sequence[UUID]) -> HttpResponse:
        """Show what would happen to each row; nothing is changed."""
        steps = self.plan(action, ids)
        form = PreviewForm(self.kept, plan=frozen_plans.freeze(request, action, steps))
        return self._preview_page(request, action, steps, form)

    def _do(self, request: HttpRequest, action: Choice) -> HttpResponse:
        form = PreviewForm(self.kept, request.POST)
        try:
            steps, newest = frozen_plans.thaw(self.model, request, action, request.POST.get("plan", ""))
        except signing.BadSignature:
            if was_done := self._reopened(request, action):
                return was_done
            return self._page(request, "expired", action, {"title": "Nothing was done"}, status=400)
        if not form.is_valid():
            return self._preview_page(request, action, steps, form)
        reason = form.cleaned_data["reason"]
        record = partial(self.log, request, action, reason)
        outcomes = self.carry_out(steps, actor_of(request), reason, record)
        before = self._done_before(request, action, [each for each in outcomes if not each.done], newest)
        return self.result_page(request, action, outcomes, reason, before)

    def _done_before(
        self, request: HttpRequest, action: Choice, skipped: Sequence[Outcome], newest: int
    ) -> Mapping[UUID, Outcome]:
        """Return what this person has done by this action since the preview, as when a page with its result is loaded again."""
        if not skipped:
            return {}
        lines = audit.with_details(audit.of_rows(self.model, [str(each.job_id) for each in skipped], newest))
        of_person = lines.filter(user=request.user.pk).order_by("pk")
        parts_by_row = {line.object_id: audit.parts_of(line) for line in of_person}
        did = self._did(action)
        return {
            each.job_id: Outcome(each.job_id, done=True, sentence=parts.result)
            for each in skipped
            if (parts := parts_by_row.get(str(each.job_id))) and parts.did == did
        }

    def _preview_page(
        self, request: HttpRequest, action: Choice, steps: Sequence[Step], form: PreviewForm
    ) -> HttpResponse:
        verb, done_word = self.words[action]
        rows = self.rows([step.job_id for step in steps])
        known = self.as_far_as_seen(request, action, rows, [step for step in steps if step.job_id in rows])
        will = [step for step in known if step.will]
        context = {
            "title": f"{verb} {self._of_selected(will, known)}?" if will else f"{verb}: nothing to do",
            "button": f"{verb} {self._count(will)}",
            "address": what_became.result_address(request, self.opts, action, [step.job_id for step in will]),
            "done_word": done_word,
            "will": self.lines(rows, will),
            "skipped": self.lines(rows, [step for step in known if not step.will]),
            "beyond": self.beyond(action, rows),
            "form": form,
        }
        return self._page(request, "preview", action, context)

    def result_page(
        self,
        request: HttpRequest,
        action: Choice,
        outcomes: Sequence[Outcome],
        reason: str,
        before: Mapping[UUID, Outcome] = MappingProxyType({}),
        *,
        is_new: bool = True,
    ) -> HttpResponse:
        """Show what was done, with what became of it. ``before``: what the same form did when it was sent before."""
        _, done_word = self.words[action]
        rows = self.rows([outcome.job_id for outcome in outcomes])
        kept = [before.get(outcome.job_id, outcome) for outcome in outcomes if outcome.job_id in rows]
        known = self.as_far_as_seen(request, action, rows, kept)
        done = [outcome for outcome in known if outcome.done]
        context = {
            "title": f"{self._count(done)} {done_word}",
            "done": self.lines(rows, done),
            "skipped": self.lines(rows, [outcome for outcome in known if not outcome.done]),
            "beyond": self.beyond(action, rows),
            "reason": reason,
            "when": self.when(action) if done and is_new else "",
        }
        keys = [str(outcome.job_id) for outcome in done]
        if keys and (kind := KINDS.get(action)) and what_became.may_follow(kind, request.user):
            context |= what_became.context(kind, keys) | {"became": what_became.address(kind, keys)}
            context["rest"] = self.rest(request, keys)
        return self._page(request, "result", action, context)

    def log(self, request: HttpRequest, action: Choice, reason: str, written: Mapping[UUID, str]) -> None:
        """Write an audit line per row, with its result, in the transaction that changes the rows."""
        by_result: dict[str, list[Row]] = {}
        for key, row in self.rows([*written]).items():
            by_result.setdefault(written[key], []).append(row)
        for sentence, rows in by_result.items():
            audit.log(request.user, rows, self._did(action), why=reason, result=sentence)

    def _did(self, action: Choice) -> str:
        """Return what the audit says of this action."""
        return f"{self.words[action][1].capitalize()}."

    def _page(
        self, request: HttpRequest, name: str, action: Choice, context: dict[str, Any], status: int = 200
    ) -> HttpResponse:
        common = {
            "action": action,
            "back": _list_query(request),
            "lines_template": f"admin/jobs/{self.opts.model_name}/preview_lines.html",
        }
        return self.render(
            request, f"admin/jobs/previewed_actions/{name}.html", common | context, status=status
        )

    def _count(self, some: Sequence[object]) -> str:
        return exactly(len(some), str(self.opts.verbose_name), str(self.opts.verbose_name_plural))

    def _of_selected(self, some: Sequence[object], selected: Sequence[object]) -> str:
        words = str(self.opts.verbose_name), str(self.opts.verbose_name_plural)
        return of_selected(len(some), len(selected), *words)


def _list_query(request: HttpRequest) -> str:
    """Return the query string of the list from which the action came, which its preview keeps."""
    if request.method != "POST":
        return ""
    query = request.POST.get("back", "") if "plan" in request.POST else request.GET.urlencode()
    return QueryDict(query[:MOST_OF_ADDRESS]).urlencode()
