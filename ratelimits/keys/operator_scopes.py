"""What the scopes of the operator's API stand for: permissions of the account that makes the key."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from ratelimits.models.api_key import Scope


class Holder(Protocol):
    """Whoever has permissions: a user."""

    def has_perm(self, perm: str, obj: None = None, /) -> bool: ...


@dataclass(frozen=True)
class Grant:
    """The permissions of a scope. Its maker must hold all that it ``needs``, and one of those it ``acts`` with, if any.

    ``quotes``: permissions of other pages that answers quote; without them, these parts are left out. ``one_of``: the maker
    must hold one of these, which the scope does not give.
    """

    needs: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()

    @property
    def all(self) -> frozenset[str]:
        return frozenset((*self.needs, *self.acts, *self.quotes))


_JOBS, _LETTERS = ("jobs.view_job",), ("jobs.view_deadletter",)
_BULK = ("jobs.view_bulkoperation",)
GRANTS: dict[Scope, Grant] = {
    Scope.JOBS_READ: Grant(_JOBS, quotes=(*_BULK, "jobs.view_outbox", "jobs.view_queuestate")),
    Scope.JOBS_OPERATE: Grant(
        _JOBS, acts=("jobs.requeue_job", "jobs.cancel_job", "jobs.release_job"), quotes=_BULK
    ),
    Scope.JOBS_EDIT: Grant(_JOBS, acts=("jobs.edit_job",), quotes=("jobs.requeue_job", "jobs.release_job")),
    Scope.PAYLOADS_READ: Grant(one_of=(*_JOBS, *_LETTERS)),
    Scope.LETTERS_READ: Grant(_LETTERS, quotes=_BULK),
    Scope.LETTERS_OPERATE: Grant(
        _LETTERS, acts=("jobs.replay_deadletter", "jobs.discard_deadletter"), quotes=_BULK
    ),
    Scope.LETTERS_EDIT: Grant(_LETTERS, acts=("jobs.edit_deadletter",), quotes=("jobs.replay_deadletter",)),
    Scope.ALERTS_READ: Grant(("alerts.view_alert",)),
    Scope.ALERTS_OPERATE: Grant(
        ("alerts.view_alert",),
        acts=("alerts.acknowledge_alert", "alerts.snooze_alert", "alerts.resolve_alert"),
    ),
    Scope.PAUSES_READ: Grant(("opsconsole.view_pause",)),
    Scope.PAUSES_OPERATE: Grant(("opsconsole.view_pause",), acts=("opsconsole.switch",)),
    Scope.LIMITS_READ: Grant(("ratelimits.view_policy",), quotes=("ratelimits.view_limitercontrol",)),
    Scope.LIMITS_OPERATE: Grant(
        ("ratelimits.view_policy",),
        acts=("ratelimits.change_policy", "ratelimits.switch_limiter"),
        quotes=("ratelimits.view_limitercontrol",),
    ),
}


def of_operators(scopes: Collection[str]) -> list[Scope]:
    """Return those of these scopes for which a key acts for the account that made it."""
    return [scope for scope in GRANTS if scope in scopes]


def may_give(maker: Holder | None, scope: Scope) -> bool:
    """Tell whether this account may make a key with this scope: nobody hands out what they don't hold."""
    grant = GRANTS.get(scope)
    if grant is None:
        return True
    if maker is None or not all(map(maker.has_perm, grant.needs)):
        return False
    return all(any(map(maker.has_perm, choice)) for choice in (grant.acts, grant.one_of) if choice)


def held(maker: Holder | None, scopes: Collection[str]) -> list[str]:
    """Return the permissions that these scopes stand for, as far as the maker has them now, sorted."""
    meant = frozenset().union(*(GRANTS[scope].all for scope in of_operators(scopes)))
    return sorted(filter(maker.has_perm, meant)) if maker else []
