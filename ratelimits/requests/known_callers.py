"""Programs and clients that are known to call: keys that were used lately, and the records of the last hour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from django.db.models import Sum
from django.db.models.functions import Now

from opsconsole.kit.durations import HOUR
from opsconsole.kit.ip_addresses import Address
from ratelimits.identity import client_ip
from ratelimits.models import ApiKey, RateLimitRequest, Scope
from ratelimits.policies.policy_snapshot import CHECK_QUOTA, PolicySnapshot
from ratelimits.requests.lockout_hits import MANY, Hit
from ratelimits.requests.lockout_trial import PRIVATE, Trial, Visit, program_at, refused_share

# A worker's beats, where no request of its key was recorded in the last hour.
BEATS_PER_HOUR = 240
MOST_SIMULATED = 2_000
MOST_KEYS = 20
MOST_RECORDS = 2_000
RECENT = timedelta(days=1)
A_JOB = "/api/jobs/00000000-0000-0000-0000-000000000000"
# What a key with this scope is used for, in words, and the requests that it makes.
CALLERS = {
    Scope.WORKER: (
        "running workers at the API",
        (
            "/api/workers/beat",
            *(f"{A_JOB}/{verb}" for verb in ("claim", "beat", "progress", "percent", "complete", "fail")),
        ),
    ),
    Scope.JOBS_WRITE: ("programs that submit jobs", ("/api/jobs",)),
    Scope.LIMITS_CHECK: ("services that have their clients checked", ("/api/limits/check",)),
    Scope.LIMITS_FREE: ("programs that free clients", ("/api/limits/free",)),
}


def refused_programs(policies: Sequence[PolicySnapshot]) -> Iterator[Hit]:
    """Tell of programs whose keys were used within a day: those of each scope whose requests these policies refuse."""
    keys = (
        ApiKey.objects.valid().filter(last_used_at__gt=Now() - RECENT).order_by("-last_used_at")[:MOST_KEYS]
    )
    for scope, (who, paths) in CALLERS.items():
        visits = [Visit("POST", path) for path in paths]
        found = {key.name: _refused_by(key, scope, policies, visits) for key in keys if scope in key.scopes}
        refused = {name: by for name, by in found.items() if by}
        if refused:
            yield Hit(who, frozenset().union(*refused.values()), names=tuple(refused), kind="key")


def _refused_by(
    key: ApiKey, scope: Scope, policies: Sequence[PolicySnapshot], visits: Sequence[Visit]
) -> set[str]:
    """Return the policies that refuse a program from where it may be, or at the rate of its key in the last hour."""
    # The policy that a key names covers all its requests, whatever its paths are; at the checking route, another one does.
    own = CHECK_QUOTA if scope == Scope.LIMITS_CHECK else key.policy
    covering = [replace(each, prefixes=("/",)) if each.name == own else each for each in policies]
    counted_as = f"key:{key.pk}"
    for address in PRIVATE:
        trial = Trial(
            [replace(each, limit=MOST_SIMULATED) for each in covering], program_at(address, counted_as)
        )
        if any(trial.refuses([visit]) for visit in visits):
            return trial.refused_by
    share, by = refused_share(covering, visits, dict.fromkeys(("default", "api_key"), counted_as))
    return by if share >= MANY else _too_slow(covering, scope, visits[0], counted_as)


def _too_slow(covering: Sequence[PolicySnapshot], scope: Scope, visit: Visit, counted_as: str) -> set[str]:
    """Return the policies whose limits the program exceeds as it goes on; elsewhere than where they deny."""
    beats = BEATS_PER_HOUR if scope == Scope.WORKER else 0
    limits = [replace(each, deny=()) for each in covering]
    for policies, requests in (
        (
            [each for each in limits if each.key in {"default", "api_key"}],
            max(beats, _in_last_hour(counted_as)),
        ),
        ([each for each in limits if each.key in {"user", "address"}], beats),
    ):
        pace = replace(visit, after=3_600 / max(1, requests))
        trial = Trial(policies, program_at(None, counted_as))
        if trial.refuses([pace] * min(requests, MOST_SIMULATED), 0.0):
            return trial.refused_by
    return set()


def _in_last_hour(key: str) -> int:
    """Return how many requests of this client were recorded under the policy that counted most."""
    rows = RateLimitRequest.objects.filter(key=key, created_at__gt=Now() - HOUR)
    per_policy = (
        rows.values("policy").annotate(sum=Sum("hits")).order_by("-sum").values_list("sum", flat=True)
    )
    return per_policy.first() or 0


def refused_clients(policies: Sequence[PolicySnapshot]) -> Iterator[Hit]:
    """Tell of addresses that called within the hour, where a policy denies a network that is wider than one client.

    Whoever denies a single address means that client.
    """
    denying = [policy for policy in policies if policy.deny]
    refused: dict[str, str] = {}
    if denying:
        rows = RateLimitRequest.objects.filter(key__startswith="address:", created_at__gt=Now() - HOUR)
        seen = (
            rows.values_list("key", "endpoint", "method", "policy").annotate(sum=Sum("hits")).order_by("-sum")
        )
        for key, endpoint, method, counted_by, _ in seen[:MOST_RECORDS]:
            text = key.removeprefix("address:")
            address = client_ip.parse(text.partition("/")[0])
            for policy in denying:
                covers = policy.covers(endpoint, method) or policy.name == counted_by
                if address and covers and not policy.exempts(address) and _denies_widely(policy, address):
                    refused.setdefault(text, policy.name)
    if refused:
        names = tuple(refused)
        yield Hit(
            "clients that called in the last hour", frozenset(refused.values()), names=names, kind="client"
        )


def _denies_widely(policy: PolicySnapshot, address: Address) -> bool:
    one_client = 32 if address.version == 4 else 64
    return any(address in network and network.prefixlen < one_client for network in policy.deny)
