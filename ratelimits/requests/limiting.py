"""A request and its policies: each is asked once, whoever asks first (the middleware by path, a view by name)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from ratelimits.engine import store
from ratelimits.engine.decision import Decision
from ratelimits.identity import caller, client_ip
from ratelimits.identity.caller import Identity
from ratelimits.policies import in_force
from ratelimits.policies.policy_snapshot import OFF, Address, Network, Terms
from ratelimits.records import background_thread, recording, troubles
from ratelimits.requests import responses

ATTRIBUTE = "rate_limits"
UNKNOWN_ROUTE = "(unknown)"


@dataclass(slots=True)
class Seen:
    """What was decided about a request so far."""

    decisions: list[Decision] = field(default_factory=list)
    identities: dict[str, Identity] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    @property
    def refused(self) -> bool:
        return any(not decision.allowed for decision in self.decisions)


def seen(request: HttpRequest) -> Seen:
    found: Seen | None = getattr(request, ATTRIBUTE, None)
    if found is None:
        found = Seen()
        setattr(request, ATTRIBUTE, found)
    return found


def by_path(request: HttpRequest) -> bool:
    """Ask the policies that cover the request's path; whether one of them refuses it."""
    method = request.method or ""
    stack = [terms for terms in in_force.current().by_path if terms.covers(request.path_info, method)]
    return bool(stack) and _ask(request, stack)


def by_name(request: HttpRequest, *names: str) -> bool:
    """Ask the policies of these names; whether one refuses the request. Raises ``UnknownPolicy``."""
    snapshot, method = in_force.current(), request.method or ""
    found = [snapshot.get(name) for name in names]
    stack = [terms for terms in found if terms.mode != OFF and terms.covers_method(method)]
    return bool(stack) and _ask(request, stack)


def _ask(request: HttpRequest, stack: Sequence[Terms]) -> bool:
    background_thread.ensure()
    troubles.note_processes(multiprocess=bool(request.META.get("wsgi.multiprocess")))
    so_far = seen(request)
    address = client_ip.of(request.META)
    asked: list[Terms] = []
    for terms in stack:
        if terms.name in so_far.asked or _within(address, terms.allow):
            continue
        so_far.asked.add(terms.name)
        so_far.identities[terms.name] = caller.of(request, terms.key)
        if _within(address, terms.deny) and terms.mode == "enforce":
            so_far.decisions.append(
                Decision(terms, allowed=False, exceeded=True, remaining=0, reset_after=0, denied=True)
            )
        else:
            asked.append(terms)
    if asked and not so_far.refused:
        values = [so_far.identities[terms.name].value for terms in asked]
        so_far.decisions += store.check_all(asked, values)
    return so_far.refused


def _within(address: Address | None, networks: Sequence[Network]) -> bool:
    return bool(networks) and address is not None and any(address in network for network in networks)


def finish(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Tell the client where it stands, and count how the request ended."""
    so_far: Seen | None = getattr(request, ATTRIBUTE, None)
    if so_far is None or not so_far.decisions:
        return response
    for name, value in responses.headers(so_far.decisions).items():
        if name != "Cache-Control" or response.status_code == 429:
            response.headers[name] = value
    route = _route(request)
    for decision in so_far.decisions:
        who = so_far.identities[decision.policy].value
        recording.note(decision.policy, who, route, request.method or "", decision.outcome)
    return response


def _route(request: HttpRequest) -> str:
    """The pattern, not the path: a few routes instead of a path for each customer."""
    match = request.resolver_match
    if match is None:
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return UNKNOWN_ROUTE
    return f"/{match.route}"
