"""The pages of single sign-on: begin it at the provider, come back from there, and the page for those whom it refuses."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from opsconsole.kit.audit_models import Refusal
from opsconsole.sign_in import local_addresses, refusals, second_factor
from opsconsole.sign_in.oidc import (
    accounts,
    back_channel,
    backend,
    begun,
    claims,
    configuration,
    ended,
    log_out,
    provider,
)
from opsconsole.sign_in.oidc.claims import Person
from opsconsole.sign_in.oidc.errors import BadAnswer, ProviderAway
from ratelimits.identity import client_ip

logger = logging.getLogger(__name__)

# A browser keeps no cookie of more than 4 KB.
LONGEST_NEXT = 1_000


@dataclass(frozen=True)
class RefusalPage:
    """What a page says: the reason is for the audit."""

    reason: str
    sentence: str
    advice: str
    status: int = HTTPStatus.FORBIDDEN


AGAIN = "Nothing was changed. Go to the login page and sign in again."
LOCALLY = "Try again in a minute. Meanwhile, an account with a password of this console can log in on the login page."
AWAY = RefusalPage(
    "the provider did not answer",
    "The identity provider did not answer in time, or not as it should. Nothing was changed.",
    LOCALLY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
STRANGE = RefusalPage(
    "this browser began no such sign-in",
    "This sign-in was not begun in this browser, was begun too long ago, or was completed already.",
    AGAIN,
    HTTPStatus.BAD_REQUEST,
)
BAD = RefusalPage(
    "the provider's answer is not to be trusted",
    "The answer of the identity provider could not be trusted, so nobody was signed in.",
    f"{AGAIN} If it happens again, the console’s log says what was wrong.",
    HTTPStatus.BAD_REQUEST,
)
ENDED = RefusalPage(
    "the provider ended the session meanwhile",
    "Your session at the identity provider ended while you were signing in, so the console opened none.",
    AGAIN,
)
DENIED = RefusalPage(
    "the provider refused",
    "The identity provider did not sign you in: it refused, or the sign-in was cancelled there.",
    AGAIN,
)


class _Refused(Exception):
    """Nobody is signed in. ``account``: the name of the account it is about; ``who``: the person at the provider."""

    def __init__(self, page: RefusalPage, *, account: str = "", who: str = "") -> None:
        super().__init__(page.reason)
        self.page, self.account, self.who = page, account, who


def offer(request: HttpRequest) -> dict[str, str]:
    """Return what the login page needs for its link, or nothing where single sign-on is not set up."""
    if not configuration.is_on():
        return {}
    address = f"{reverse('oidc_begin')}?{urlencode({'next': local_addresses.wanted(request)})}"
    return {"name": settings.OPSCONSOLE_OIDC_NAME, "address": address}


@never_cache
@require_safe
def begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the provider."""
    _only_if_on()
    redirect_uri = request.build_absolute_uri(reverse("oidc_return"))
    try:
        started = provider.begin(redirect_uri)
    except ProviderAway:
        return _refuse(request, AWAY)
    response = HttpResponseRedirect(started.pop("url"))
    wanted = local_addresses.wanted(request)
    if len(wanted) > LONGEST_NEXT:
        wanted = reverse("admin:index")
    begun.keep(request, response, started | {"next": wanted, "redirect_uri": redirect_uri})
    return response


@never_cache
@require_safe
def come_back(request: HttpRequest) -> HttpResponse:
    """Sign in whom the provider vouches for, or say why not. Whatever the answer, the same sign-in does not come back again."""
    _only_if_on()
    state = request.GET.get("state", "")
    try:
        kept = _kept(request, state)
        person, id_token = _vouched_for(request, kept)
        user = _account(person, _address(request))
        _open_session(request, user, person, id_token, begun.at(kept))
        response: HttpResponse = HttpResponseRedirect(kept["next"])
    except _Refused as refused:
        response = _refuse(request, refused.page, account=refused.account, who=refused.who)
    begun.forget(response, state)
    return response


def _kept(request: HttpRequest, state: str) -> dict[str, Any]:
    """Return what this browser began, if the provider sends it back with a code."""
    kept = begun.find(request, state) if request.method == "GET" else None
    if kept is None:
        raise _Refused(STRANGE)
    if "code" not in request.GET:
        raise _Refused(DENIED)
    if request.GET.get("iss", settings.OPSCONSOLE_OIDC_ISSUER) != settings.OPSCONSOLE_OIDC_ISSUER:
        raise _Refused(BAD)
    return kept


def _vouched_for(request: HttpRequest, kept: dict[str, Any]) -> tuple[Person, str]:
    """Return who it is by the provider's checked answer, and the ID token."""
    try:
        answer = {name: request.GET[name] for name in ("code", "state")}
        person_claims, id_token = provider.exchange(answer, kept)
    except ProviderAway as error:
        logger.warning("Single sign-on: the identity provider can't be used: %s", error)
        raise _Refused(AWAY) from error
    except BadAnswer as error:
        logger.warning("Single sign-on: the identity provider's answer is not to be trusted: %s", error)
        raise _Refused(BAD) from error
    if not begun.complete(kept["state"]):
        raise _Refused(STRANGE)
    return claims.read(person_claims, configuration.current()), id_token


def _account(person: Person, address: str) -> User:
    admission = accounts.admit(person, address)
    if admission.user is not None:
        return admission.user
    reason = admission.refused or accounts.Refused.NO_ROLE
    account = accounts.account_named_by(person)
    raise _Refused(
        RefusalPage(reason.reason, reason.sentence, reason.advice),
        account=account.get_username() if account else "",
        who=_named(person),
    )


def _named(person: Person) -> str:
    return f"{(person.name or person.username)[:60]} ({person.subject[:60]}): "


@transaction.atomic
def _open_session(
    request: HttpRequest, user: User, person: Person, id_token: str, begun_at: datetime
) -> None:
    """Log in, unless the provider has ended the session since the sign-in was begun. The session is stored before this ends."""
    ended.wait_for_log_outs()
    if ended.has_ended(person, begun_at):
        raise _Refused(ENDED, account=user.get_username(), who=_named(person))
    _log_in(request, user, person, id_token)
    request.session.save()


def _log_in(request: HttpRequest, user: User, person: Person, id_token: str) -> None:
    proof = (
        f"second factor there: {person.second_factor}" if person.second_factor else "no second factor there"
    )
    request.signed_in_by = f"By single sign-on as {person.subject} at {person.issuer}, {proof}."  # type: ignore[attr-defined]  # for the audit
    login(request, user, backend=backend.PATH)
    request.session[log_out.ID_TOKEN] = id_token
    request.session[back_channel.PROVIDER_SESSION] = person.session
    # The same person may have signed in before with one.
    request.session[second_factor.AT_PROVIDER] = person.second_factor


def _refuse(request: HttpRequest, page: RefusalPage, *, account: str = "", who: str = "") -> HttpResponse:
    refusals.count(
        Refusal.Kind.SINGLE_SIGN_ON, who=account, address=_address(request), subject=f"{who}{page.reason}"
    )
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "You are not signed in",
        "page": page,
        "issuer": settings.OPSCONSOLE_OIDC_ISSUER,
    }
    response = TemplateResponse(request, "admin/oidc/refused.html", context, status=page.status)
    if page.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["Retry-After"] = str(provider.REST_SECONDS)
    return response


def _only_if_on() -> None:
    if not configuration.is_on():
        raise Http404


def _address(request: HttpRequest) -> str:
    return str(client_ip.client_address(request.META) or "")


urlpatterns = [
    path("begin/", begin, name="oidc_begin"),
    path("return/", come_back, name="oidc_return"),
    path("log-out/", back_channel.log_out, name="oidc_log_out"),
]
