"""The limiting of a request. Each policy is checked once, by the middleware (by path) or by a view (by name)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from opsconsole.kit import problems
from ratelimits.engine import store
from ratelimits.engine.decision import Decision
from ratelimits.identity import caller, client_ip
from ratelimits.identity.caller import Identity
from ratelimits.policies import policy_cache
from ratelimits.policies.policy_snapshot import OFF, PolicySnapshot
from ratelimits.records import background_thread, recording, troubles
from ratelimits.requests import responses

ATTRIBUTE = "rate_limits"
UNKNOWN_ROUTE = "(unknown)"
# The policy of API requests that no view answers.
UNANSWERED = "standard"


class LimitState(NamedTuple):
    """The decisions made about a request so far. ``identities``: by the names of the policies checked."""

    decisions: list[Decision]
    identities: dict[str, Identity]

    @property
    def refusal(self) -> Sequence[Decision]:
        """All decisions if one of them refuses the request, otherwise none."""
        for decision in self.decisions:
            if not decision.allowed:
                return self.decisions
        return ()


def check_by_path(request: HttpRequest) -> Sequence[Decision]:
    """Check the policies that cover the request's path. Return the decisions if one of them refuses the request."""
    method = request.method or ""
    policies = [
        policy for policy in policy_cache.current().by_path if policy.covers(request.path_info, method)
    ]
    return _check(request, policies) if policies else ()


def check_unanswered(request: HttpRequest, response: HttpResponseBase) -> Sequence[Decision]:
    """Count an API request for an unknown address, or with a wrong method, which no view has counted.

    Return the decisions if one of them refuses the request.
    """
    if response.status_code not in {404, 405} or not request.path_info.startswith(problems.PREFIX):
        return ()
    state: LimitState | None = getattr(request, ATTRIBUTE, None)
    return () if state and state.identities else check_by_name(request, UNANSWERED)


def check_by_name(request: HttpRequest, *names: str) -> Sequence[Decision]:
    """Check the policies with these names. Return the decisions if one of them refuses the request.

    An unknown name raises ``UnknownPolicy``.
    """
    current, method = policy_cache.current(), request.method or ""
    named = map(current.get, names)
    policies = [policy for policy in named if policy.mode != OFF and policy.covers_method(method)]
    return _check(request, policies) if policies else ()


def begin(request: HttpRequest) -> None:
    """Start the thread that writes records, and note what the server says about itself. Every limited request does this."""
    background_thread.ensure_running()
    # Of an ASGI request, Django always says so.
    if isinstance(request, WSGIRequest):
        troubles.note_processes(multiprocess=bool(request.META.get("wsgi.multiprocess")))


def _check(request: HttpRequest, policies: Sequence[PolicySnapshot]) -> Sequence[Decision]:
    begin(request)
    state = _state(request)
    address = client_ip.client_address(request.META)
    counted: list[PolicySnapshot] = []
    identities: list[str] = []
    for policy in policies:
        if policy.name in state.identities or policy.exempts(address):
            continue
        identity = state.identities[policy.name] = caller.identify(request, policy.key, address)
        if policy.denies(address):
            state.decisions.append(
                Decision(policy, allowed=False, exceeded=True, remaining=0, reset_after=0, denied=True)
            )
        else:
            counted.append(policy)
            identities.append(identity.value)
    if counted and not state.refusal:
        state.decisions.extend(store.check_all(counted, identities))
    return state.refusal


def add(request: HttpRequest, decision: Decision, identity: Identity) -> None:
    """Add a decision that a view made itself. Its headers and its record come with the response."""
    state = _state(request)
    state.identities[decision.policy] = identity
    state.decisions.append(decision)


def _state(request: HttpRequest) -> LimitState:
    state: LimitState | None = getattr(request, ATTRIBUTE, None)
    if state is None:
        state = LimitState([], {})
        setattr(request, ATTRIBUTE, state)
    return state


def finish(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Add the RateLimit headers to the response, and record the outcome of the request."""
    state: LimitState | None = getattr(request, ATTRIBUTE, None)
    if state is None or not state.decisions:
        return response
    fields = responses.headers(state.decisions)
    if response.status_code != 429:
        fields.pop("Cache-Control", None)
    for name, value in fields.items():
        response.headers[name] = value
    route = _route(request)
    for decision in state.decisions:
        identity = state.identities[decision.policy].value
        recording.note(decision.policy, identity, route, request.method or "", decision.outcome)
    return response


def _route(request: HttpRequest) -> str:
    """Return the URL pattern rather than the path, since paths differ for each customer."""
    match = request.resolver_match
    if match is None:
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return UNKNOWN_ROUTE
    return f"/{match.route}"
