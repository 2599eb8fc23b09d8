"""Back-channel log-out: the provider says that a session, or all sessions of a person, ended there, and they end here, too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.functions import Now
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from opsconsole.kit import audit
from opsconsole.kit.counting import exactly
from opsconsole.kit.identity_models import SignInIdentity
from opsconsole.sign_in.oidc import backend, begun, configuration, ended, provider
from opsconsole.sign_in.oidc.errors import BadAnswer, ProviderAway
from ratelimits.requests import limiting
from ratelimits.requests.responses import Limited

logger = logging.getLogger(__name__)

# Of a session that single sign-on opened: how the provider calls its own, or ''.
PROVIDER_SESSION = "oidc_sid"
LONGEST_TOKEN = 16_384
PAGE = 500


@csrf_exempt
@never_cache
@require_POST
def log_out(request: HttpRequest) -> JsonResponse:
    """End the sessions that a logout token names. The provider calls it; no browser does.

    Only what proves nothing is limited: no stranger at the provider's address uses up what its log-outs need, and a provider that
    ends hundreds of sessions at once is not refused.
    """
    if not configuration.is_on():
        raise Http404
    try:
        claims = _checked(request.POST.get("logout_token", ""))
        _end(claims)
    except ProviderAway as error:
        _limit(request)
        logger.warning("Single sign-on: a log-out by the provider can't be checked: %s", error)
        answer = _problem("temporarily_unavailable", HTTPStatus.SERVICE_UNAVAILABLE)
        answer["Retry-After"] = str(provider.REST_SECONDS)
        return answer
    except BadAnswer as error:
        _limit(request)
        logger.warning("Single sign-on: a log-out by the provider is refused: %s", error)
        return _problem("invalid_request", HTTPStatus.BAD_REQUEST)
    return JsonResponse({})


def _limit(request: HttpRequest) -> None:
    """Count a request that proved nothing, and raise ``Limited`` above the limit."""
    if refusal := limiting.check_by_name(request, "standard"):
        raise Limited(refusal)


def _checked(token: str) -> dict[str, Any]:
    if not 0 < len(token) <= LONGEST_TOKEN:
        raise BadAnswer("there is no logout_token, or a very long one")
    return provider.logout_claims(token)


def _problem(error: str, status: int) -> JsonResponse:
    return JsonResponse({"error": error}, status=status)


@transaction.atomic
def _end(claims: dict[str, Any]) -> None:
    """End the sessions of this person, or the one of this name. Each account has a line in the audit.

    Raise ``BadAnswer`` for a copy of a token, which must not end what began since.
    """
    ended.wait_for_sign_ins()
    if not begun.complete(f"log-out {claims['jti']}"):
        raise BadAnswer("this logout_token was used before")
    ended.mark(claims)
    counts: dict[str, int] = {}
    for session, account in _sessions(claims.get("sub"), claims.get("sid")):
        session.delete()
        counts[account] = counts.get(account, 0) + 1
    for account, count in counts.items():
        user = User.objects.filter(pk=account).first()
        if user:
            did = f"The identity provider ended {exactly(count, 'session')}."
            audit.log_without_user(
                "single sign-on", did, why=audit.NOT_ASKED, result="By back-channel log-out.", rows=[user]
            )


def _sessions(subject: str | None, name: str | None) -> Iterator[tuple[Session, str]]:
    """Yield the sessions that single sign-on opened for this person and this session of the provider, with their account.

    A session whose name at the provider is not known ends with any of its person's.
    """
    mine = SignInIdentity.objects.filter(issuer=settings.OPSCONSOLE_OIDC_ISSUER, user__isnull=False)
    accounts = (
        {str(pk) for pk in mine.filter(subject=subject).values_list("user", flat=True)} if subject else None
    )
    if accounts is not None and not accounts:
        return
    for session in Session.objects.filter(expire_date__gt=Now()).iterator(chunk_size=PAGE):
        held = session.get_decoded()
        account = str(held.get(SESSION_KEY))
        if held.get(BACKEND_SESSION_KEY) != backend.PATH or (
            accounts is not None and account not in accounts
        ):
            continue
        own = held.get(PROVIDER_SESSION, "")
        if name is None or own == name or (not own and accounts is not None):
            yield session, account
