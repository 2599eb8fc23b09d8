"""Whether a change of the limits would lock people out: the one who makes it, other people, hooks, or programs with keys.

All policies together are asked for their decisions about the requests that these make next, before and after the change.
Health checks are answered before the limiter, so no policy can refuse them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.conf import settings
from django.urls import get_script_prefix, reverse

from opsconsole.kit import admin_pages
from opsconsole.kit.errors import OpsConsoleError
from ratelimits.models import LimiterControl, Policy
from ratelimits.policies.policy_snapshot import ENFORCE, PolicySnapshot, snapshot_of
from ratelimits.requests import known_callers
from ratelimits.requests.lockout_hits import Hit
from ratelimits.requests.lockout_trial import Requester, Trial, Visit, covering_any, refused_share

OWN = "your own requests to undo this"
# Confirms that somebody means to lock out themselves.
MYSELF = "me"


class LocksOut(OpsConsoleError):
    """The change would lock people out, and was not confirmed. The message says whom, and how to confirm it."""


def refuse_unconfirmed(
    before: Sequence[PolicySnapshot],
    after: Sequence[PolicySnapshot],
    requester: Requester | None,
    confirmed: str,
) -> None:
    """Raise ``LocksOut`` if all policies, with these as changed, lock somebody out whom they did not before.

    It is confirmed by the names of the changed policies that do, separated by commas, and by MYSELF where the requester is
    among those. ``requester`` is None for a command, which no policy refuses.
    """
    changed = [policy.name for policy in after]
    others = [snapshot_of(policy) for policy in Policy.objects.exclude(name__in=changed)]
    earlier = {hit.who: hit for hit in hits([*others, *before], requester)}
    new = [hit for hit in hits([*others, *after], requester) if hit.goes_beyond(earlier.get(hit.who))]
    refusing = set().union(*(hit.by for hit in new))
    to_confirm = [name for name in changed if name in refusing] or changed
    needed = to_confirm + [MYSELF] * any(hit.who == OWN for hit in new)
    if new and not set(needed) <= {name.strip() for name in confirmed.split(",")}:
        raise LocksOut(
            f"{_sentence(new, to_confirm, requester)} Nothing was changed. If you mean that, confirm it by typing the name "
            f"of the policy{f', and {MYSELF!r} for yourself' if needed != to_confirm else ''}: {', '.join(needed)}"
        )


def refuse_unconfirmed_mode(mode: str, requester: Requester | None, confirmed: str) -> None:
    """Raise ``LocksOut`` if the global mode brings policies back that lock somebody out, unless that is confirmed."""
    if mode != ENFORCE or LimiterControl.load().mode == ENFORCE:
        return
    refuse_unconfirmed([], [snapshot_of(policy) for policy in Policy.objects.all()], requester, confirmed)


def _sentence(new: Sequence[Hit], changed: Sequence[str], requester: Requester | None) -> str:
    others = sorted(set().union(*(hit.by for hit in new)) - set(changed))
    names = [f"'{name}'" for name in changed]
    subject = f"The policy {names[0]}" if len(names) == 1 else f"The policies {', '.join(names)}"
    together = f", together with {', '.join(others)}," if others else ""
    return f"{subject}{together} would refuse {'; '.join(hit.in_words(requester) for hit in new)}."


def hits(policies: Sequence[PolicySnapshot], requester: Requester | None) -> list[Hit]:
    """Return whom these policies would refuse; they count as they would with the global mode 'enforce'."""
    enforced = [policy for policy in policies if policy.mode == ENFORCE]
    return [
        *_requester(enforced, requester),
        *_strangers(enforced),
        *known_callers.refused_programs(enforced),
        *known_callers.refused_clients(enforced),
    ]


def _requester(policies: Sequence[PolicySnapshot], requester: Requester | None) -> Iterator[Hit]:
    """Tell of the person's own next requests, with what the store counts of theirs already."""
    if requester is None:
        return
    visits = _of_people(policies)
    trial = Trial(covering_any(policies, visits), requester)
    trial.begin_with_present_counts()
    if trial.refuses(visits):
        yield Hit(OWN, frozenset(trial.refused_by))


def _strangers(policies: Sequence[PolicySnapshot]) -> Iterator[Hit]:
    """Tell of people, Amazon SNS, Slack and customers, who may be anywhere."""
    groups = {
        "people at the login and in the console": _of_people(policies),
        "Amazon SNS at the hook": [Visit("POST", _path("hooks-sns"), 6.0, signed_in=False)] * 5,
        "Slack at the hook": [Visit("POST", _path("hooks-slack"), 6.0, signed_in=False)] * 5,
        "customers who ask for their place in the queue": [Visit("GET", "/api/queue/x", signed_in=False)],
    }
    if settings.OPSCONSOLE_OIDC_ISSUER:
        log_out = Visit("POST", _path("oidc_log_out"), 6.0, signed_in=False)
        groups["the identity provider that ends sessions"] = [log_out] * 5
    for who, visits in groups.items():
        share, by = refused_share(policies, visits)
        if by:
            yield Hit(who, frozenset(by), share)


def _path(name: str, *args: object) -> str:
    """Return the path as policies see it, which is without the one under which the console is mounted."""
    return "/" + reverse(name, args=args).removeprefix(get_script_prefix())


def _of_people(policies: Sequence[PolicySnapshot]) -> list[Visit]:
    """Return what people ask for: the way back, and the pages of the console, one for each denying policy."""
    pages = [
        _path(f"admin:{each.opts.app_label}_{each.opts.model_name}_changelist")
        for each in admin_pages.site()._registry.values()  # noqa: SLF001 - there is no other list
    ]
    visits = [Visit(method, page) for page in pages for method in ("GET", "POST")]
    denied = [
        next((visit for visit in visits if policy.covers(visit.path, visit.method)), None)
        for policy in policies
        if policy.deny
    ]
    return _way_back() + [visit for visit in dict.fromkeys(denied) if visit]


def _way_back() -> list[Visit]:
    """Return the requests of somebody who logs in and changes a policy back."""
    login, policies = _path("admin:login"), _path("admin:ratelimits_policy_changelist")
    change = _path("admin:ratelimits_policy_change", 1)
    return [
        Visit("GET", login, signed_in=False),
        Visit("POST", login, signed_in=False),
        *_second_factor(),
        *(Visit("GET", path) for path in (_path("admin:index"), policies, change, _path("admin:jsi18n"))),
        Visit("POST", change),
        Visit("GET", policies),
    ]


def _second_factor() -> list[Visit]:
    if settings.OPSCONSOLE_SECOND_FACTOR == "off":
        return []
    prove = _path("second_factor_prove")
    return [Visit("GET", prove), Visit("POST", prove)]
