"""The admin site: its titles, its navigation, and the banners about recovery and alerts on every page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, NoReturn, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from alerts.sending import banner as alert_banner
from jobs.models import RecoveryControl
from opsconsole import live_pages, navigation, overview, switches, unavailable
from opsconsole.kit import audit, full_disk, one_statement, single_rows
from opsconsole.kit.built_once import built_once
from opsconsole.kit.display import NOTHING
from opsconsole.kit.one_statement import Reading, models_of
from opsconsole.kit.page_permissions import may_see
from opsconsole.live_pages import Followed
from opsconsole.overview import Finding
from opsconsole.sign_in import password_guesses, second_factor, sessions, unsent_forms
from opsconsole.sign_in.oidc import log_out
from opsconsole.sign_in.oidc import pages as oidc_pages
from opsconsole.verification import first_run
from ratelimits.policies import policy_cache

RECENT_ACTIONS = 8
QUEUES_NAMED = 20
# The figures of the overview are cached for five seconds, and those of a day for twenty.
OVERVIEW_TABLES = Followed(
    (
        "jobs.Job",
        "jobs.WorkerHeartbeat",
        "jobs.Outbox",
        "jobs.Sweep",
        "jobs.QueueState",
        "alerts.Channel",
        "alerts.Delivery",
        "alerts.Rule",
        "opsconsole.HourlyFigure",
        "ratelimits.LimiterControl",
        "ratelimits.LimiterTrouble",
        "ratelimits.RateLimitHour",
        "django_q.Task",
        "django_q.OrmQ",
        "admin.LogEntry",
    ),
    cached_for=26,
)


class ConsoleSite(AdminSite):
    site_title = "Ops console"
    site_header = "Ops console"
    index_title = "Overview"
    site_url = None
    empty_value_display = NOTHING
    index_template = "admin/overview.html"

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        context["environment"] = settings.OPSCONSOLE_ENV
        context["second_factor"] = settings.OPSCONSOLE_SECOND_FACTOR != "off"
        return (
            context
            | (self._banners(request) if self.has_permission(request) else {})
            | live_pages.context(request)
        )

    def _banners(self, request: HttpRequest) -> dict[str, Any]:
        """Return the banners of every page. Each quotes a page, and is for those who may open it."""
        context: dict[str, Any] = {"read_only": unavailable.is_read_only(), "disk_full": full_disk.is_full()}
        context["session_limits"] = sessions.limits(request)
        if may_see(request.user, "ratelimits_limitercontrol"):
            context["limiter_mode"] = policy_cache.current().mode
        if may_see(request.user, "jobs_recoverycontrol") or may_see(request.user, "opsconsole_pause"):
            context["banners"] = _decisions(request)
        if may_see(request.user, "alerts_channel"):
            banner = alert_banner.read()
            context["alert_banner"] = banner if banner and banner.everywhere else None
        if live_pages.is_live(request):
            context["silence"] = overview.silence.in_a_sentence(request.user)
        return context

    def has_permission(self, request: HttpRequest) -> bool:
        """Allow staff who have given all required factors; decided once per request."""
        proved: bool | None = getattr(request, "proved", None)
        if proved is None:
            proved = super().has_permission(request) and not second_factor.missing(request)
            request.proved = proved  # type: ignore[attr-defined]  # kept until the request ends
        return proved

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Ask for the second factor instead where the password was accepted and the second factor is missing."""
        if super().has_permission(request) and second_factor.missing(request):
            query = urlencode({"next": request.GET.get("next", "")})
            return redirect(f"{reverse('second_factor_prove')}?{query}")
        context = {
            "read_only": unavailable.is_read_only(),
            "disk_full": full_disk.is_full(),
            "session_ended": sessions.why_ended(request),
            "single_sign_on": oidc_pages.offer(request),
        }
        return super().login(request, context | (extra_context or {}))

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """End the session here, and let the browser end the one at the identity provider that opened it."""
        leaving = log_out.of_session(request)
        response = super().logout(request, extra_context)
        return log_out.page(request, leaving) if leaving and request.method == "POST" else response

    def password_change(  # type: ignore[override]  # a redirect, too
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Bound the guesses of the old password, by which a stolen session could become the account's."""
        if request.method == "POST" and (refused := password_guesses.refuse_guess(request)):
            return refused
        with transaction.atomic():
            response: HttpResponse = super().password_change(request, extra_context)
            if request.method == "POST" and response.status_code == HTTPStatus.FOUND:
                audit.log(
                    request.user,
                    [cast(User, request.user)],
                    "Changed their own password.",
                    why=audit.NOT_ASKED,
                )
        password_guesses.count_wrong_old_password(request, response)
        return response

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return the navigation; made once per request, though the overview asks for it twice."""
        if app_label:
            return super().get_app_list(request, app_label)
        kept: list[Any] | None = getattr(request, "navigation", None)
        if kept is None:
            kept = navigation.entries(self, request)
            request.navigation = kept  # type: ignore[attr-defined]  # kept until the request ends
        return kept

    def app_index(  # type: ignore[override]  # a redirect instead of a page
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Redirect to the overview: the navigation follows tasks, not apps, so apps have no pages."""
        return redirect("admin:index")

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [path("overview/live/", self.overview_live, name="overview_live"), *super().get_urls()]

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 - as in Django
        """Let the pages that follow tables answer their polls, too, and keep what was written when a session has ended."""
        page = unsent_forms.kept(super().admin_view(view, cacheable))
        return live_pages.answering_polls(page, self._followed(view), self.has_permission)

    def _followed(self, view: Callable[..., Any]) -> Followed | None:
        if isinstance(followed := getattr(view, "followed", None), Followed):
            return followed
        name, of_it = getattr(view, "__name__", ""), getattr(view, "__self__", None)
        if of_it is self:
            return OVERVIEW_TABLES if name == "index" else None
        is_page = name == "changelist_view" or (
            name == "change_view" and getattr(of_it, "rows_are_live", False)
        )
        tables = getattr(of_it, "live_on", ())
        return Followed(tables) if is_page and tables else None

    @method_decorator(never_cache)
    def overview_live(self, request: HttpRequest) -> HttpResponse:
        """Answer the polls of overviews that were opened before an update; others ask the overview itself."""
        return live_pages.poll(request, lambda: self.index(request), OVERVIEW_TABLES, self.has_permission)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        state, history = _state_of_things(request), overview.history().for_user(request.user)
        context = {
            "title": self.index_title,
            **state,
            "recent_actions": _recent_actions(request) if may_see(request.user, "admin_logentry") else (),
            "history": history,
            "history_at": history.read_at(state["seen"].read_at),
        }
        return super().index(request, context | (extra_context or {}))

    def autocomplete_view(self, request: HttpRequest) -> NoReturn:
        """Answer like an unknown address: no form of the console searches while somebody types."""
        raise Http404


def _state_of_things(request: HttpRequest) -> dict[str, Any]:
    moment = overview.read_moment()
    seen = moment.seen
    # The banners of this page are about the same moment.
    request.moment = moment  # type: ignore[attr-defined]  # read by ``_decisions``
    found = [*overview.findings(seen, moment.around), *overview.of_switches(moment.pauses)]
    return {
        "seen": seen,
        "findings": [each for each in (finding.for_user(request.user) for finding in found) if each],
        "flow": overview.flow.steps(seen, request.user),
        "queue_names": sorted(settings.QUEUES)[:QUEUES_NAMED],
        "machinery": overview.in_one_line(seen, overview.watches(), request.user),
        "first_run": first_run.for_user(request.user, jobs_are_known=bool(seen.running or seen.waiting)),
        "sees_figures": any(may_see(request.user, page) for page in overview.PAGES),
    }


def _recent_actions(request: HttpRequest) -> Iterable[LogEntry]:
    newest = audit.with_details(LogEntry.objects.order_by("-id"))[:RECENT_ACTIONS]
    return audit.linked_for(request.user, newest)


def _decisions(request: HttpRequest) -> list[Finding]:
    """Return the findings that need a decision, for every page but the one where it is made."""
    moment: overview.Moment | None = getattr(request, "moment", None)
    found = _of_moment(moment) if moment else _of_now()
    mine = [finding for finding in found if request.path != finding.url and finding.is_for(request.user)]
    return [shown for finding in mine if (shown := finding.for_user(request.user))]


def _of_moment(moment: overview.Moment) -> list[Finding]:
    acts = moment.around.armed and not moment.around.hold_until
    waiting = [] if acts else overview.of_recovery(moment.seen, moment.around)
    return [*waiting, *overview.of_switches(moment.pauses)]


def _of_now() -> list[Finding]:
    # One statement for both, because this runs on every page.
    read = one_statement.read(**_readings_of_now())
    control = single_rows.only(RecoveryControl, read["controls"])
    seen = None if control.armed and not control.hold_until else overview.read()
    waiting = overview.of_recovery(seen, overview.surroundings_now(seen)) if seen else []
    return [*waiting, *overview.of_switches(read["pauses"])]


@built_once
def _readings_of_now() -> dict[str, Reading[Any]]:
    return {
        "controls": models_of(RecoveryControl.objects.filter(pk=1)),
        "pauses": models_of(switches.active()),
    }
