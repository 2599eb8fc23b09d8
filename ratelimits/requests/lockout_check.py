"""Whether a change of the limits would lock people out: the one who makes it, other people, hooks, or running workers.

A policy is asked for its decisions about the requests that these people and programs make next, by the code that decides
about requests, on a clock and with counts of its own. Health checks are answered before the limiter, so no policy can
refuse them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_address

from django.conf import settings
from django.contrib import admin
from django.db.models import Sum
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import get_script_prefix, reverse

from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.ip_addresses import Address
from ratelimits.engine import store
from ratelimits.engine.store import Engine
from ratelimits.engine.store_client import PREFIX
from ratelimits.identity import caller, client_ip
from ratelimits.models import ApiKey, LimiterControl, Policy, RateLimitRequest, Scope
from ratelimits.policies.policy_snapshot import ENFORCE, PolicySnapshot, snapshot_of

# How long somebody waits, altogether, on the way to undo a change.
PATIENCE = 90.0
# A worker's beats, where no request of its key was recorded in the last hour.
BEATS_PER_HOUR = 240
MOST_SIMULATED = 2_000
MOST_KEYS = 20
RECENT = timedelta(days=1)
WORKERS_PATH = "/api/workers/beat"
# Addresses all over the internet, and those that private networks have.
EVERYWHERE = (
    tuple(ip_address(f"{first}.113.7.9") for first in range(1, 224, 6)),
    tuple(ip_address(f"2{digit:x}01:db9:7::9") for digit in range(16)),
)
PRIVATE = tuple(map(ip_address, ("127.0.0.1", "10.113.7.9", "172.20.7.9", "192.168.7.9", "fd00:7::9")))


class LocksOut(OpsConsoleError):
    """The change would lock people out, and was not confirmed. The message says whom, and how to confirm it."""


@dataclass(frozen=True)
class Requester:
    """Who makes the change: the address, and the value under which each kind of policy counts their requests."""

    address: Address | None
    signed_in: dict[str, str]
    anonymous: str

    @classmethod
    def of(cls, request: HttpRequest) -> Requester:
        values = {
            key: caller.identify(request, key).value for key in ("default", "user", "api_key", "address")
        }
        return cls(client_ip.client_address(request.META), values, values["address"])


@dataclass(frozen=True)
class Visit:
    """A request that somebody makes ``after`` this many seconds."""

    method: str
    path: str
    after: float = 2.0
    signed_in: bool = True


def refuse_unconfirmed(
    before: Sequence[PolicySnapshot],
    after: Sequence[PolicySnapshot],
    requester: Requester | None,
    confirmed: str,
) -> None:
    """Raise ``LocksOut`` if the policies as changed lock somebody out whom they did not before, unless that is confirmed.

    It is confirmed by the names of all policies that do, separated by commas. ``requester`` is None for a command.
    """
    known = {policy.name: policy for policy in before}
    names = {name.strip() for name in confirmed.split(",")}
    found: dict[str, list[str]] = {}
    for policy in after:
        earlier = known.get(policy.name)
        present = set(locked_out(earlier, requester)) if earlier else set()
        if new := [who for who in locked_out(policy, requester) if who not in present]:
            found[policy.name] = new
    if found.keys() - names:
        told = "; ".join(f"the policy '{name}' would refuse {'; '.join(new)}" for name, new in found.items())
        raise LocksOut(
            f"{told[0].upper()}{told[1:]}. Nothing was changed. If you mean that, confirm it by typing the name of the "
            f"policy: {', '.join(found)}"
        )


def refuse_unconfirmed_mode(mode: str, requester: Requester | None, confirmed: str) -> None:
    """Raise ``LocksOut`` if the global mode brings policies back that lock somebody out, unless that is confirmed."""
    if mode != ENFORCE or LimiterControl.load().mode == ENFORCE:
        return
    refuse_unconfirmed([], [snapshot_of(policy) for policy in Policy.objects.all()], requester, confirmed)


def locked_out(policy: PolicySnapshot, requester: Requester | None) -> list[str]:
    """Return whom the policy would refuse, in words; it counts as it would with the global mode 'enforce'."""
    if policy.mode != ENFORCE:
        return []
    found = [
        ("your own requests to undo this", requester is not None and _refuses_requester(policy, requester)),
        (
            "most people at the log-in and in the console",
            _refuses_most(policy, _of_people(policy), people=True),
        ),
        (
            "Amazon SNS at the hook",
            _refuses_most(policy, [Visit("POST", _path("hooks-sns"), 6.0, signed_in=False)] * 5),
        ),
        ("running workers at the API", _refuses_workers(policy)),
    ]
    return [who for who, refused in found if refused]


def _path(name: str, *args: object) -> str:
    """Return the path as policies see it, which is without the one under which the console is mounted."""
    return "/" + reverse(name, args=args).removeprefix(get_script_prefix())


def _of_people(policy: PolicySnapshot) -> list[Visit]:
    """Return what people ask for: the way back, and one of the console's pages that a denying policy covers."""
    pages = [
        _path(f"admin:{each.opts.app_label}_{each.opts.model_name}_changelist")
        for each in (admin.site._registry.values() if policy.deny else ())  # noqa: SLF001 - there is no other list
    ]
    visits = [Visit(method, page) for page in pages for method in ("GET", "POST")]
    return _way_back() + [visit for visit in visits if policy.covers(visit.path, visit.method)][:1]


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


def _refuses_requester(policy: PolicySnapshot, requester: Requester) -> bool:
    """Tell whether the person's own next requests are refused, with what the store counts of theirs already."""
    trial = _Trial(policy, requester.address, requester.signed_in[policy.key], requester.anonymous)
    trial.begin_with_present_counts()
    return trial.refuses(_of_people(policy), PATIENCE)


def _refuses_most(policy: PolicySnapshot, visits: Sequence[Visit], *, people: bool = False) -> bool:
    """Tell whether the policy refuses most addresses of one kind, IPv4 or IPv6."""
    for addresses in EVERYWHERE:
        refused = sum(
            _of_stranger(policy, address, people=people).refuses(visits, PATIENCE) for address in addresses
        )
        if refused > len(addresses) // 2:
            return True
    return False


def _of_stranger(policy: PolicySnapshot, address: Address, *, people: bool) -> _Trial:
    value = f"address:{client_ip.group(address)}"
    return _Trial(
        policy, address, "user:(somebody)" if people and policy.key in {"default", "user"} else value, value
    )


def _refuses_workers(policy: PolicySnapshot) -> bool:
    """Tell whether workers whose keys were used lately are refused."""
    keys = ApiKey.objects.valid().filter(scopes__contains=[Scope.WORKER], last_used_at__gt=Now() - RECENT)
    return any(_refuses_worker(policy, key) for key in keys.order_by("-last_used_at")[:MOST_KEYS])


def _refuses_worker(policy: PolicySnapshot, key: ApiKey) -> bool:
    """Tell whether a worker is refused from where it may be, or at the rate of its key in the last hour."""
    if key.policy == policy.name:
        # The policy that a key names covers all its requests, whatever its paths are.
        policy = replace(policy, prefixes=("/",))
    beat = Visit("POST", WORKERS_PATH)
    if not policy.covers(beat.path, beat.method):
        return False
    if any(policy.denies(address) and not policy.exempts(address) for address in PRIVATE):
        return True
    by_key = policy.key in {"default", "api_key"}
    requests = _requests_in_last_hour(f"key:{key.pk}") if by_key else BEATS_PER_HOUR
    visits = [replace(beat, after=3600 / requests)] * min(requests, MOST_SIMULATED)
    trial = _Trial(replace(policy, deny=()), None, f"key:{key.pk}", f"key:{key.pk}")
    return _refuses_most(policy, [beat]) or trial.refuses(visits, 0.0)


def _requests_in_last_hour(key: str) -> int:
    """Return how many requests of this client were recorded, or what one worker makes if none were."""
    rows = RateLimitRequest.objects.filter(key=key, created_at__gt=Now() - timedelta(hours=1))
    per_policy = (
        rows.values("policy").annotate(sum=Sum("hits")).order_by("-sum").values_list("sum", flat=True)
    )
    return max(BEATS_PER_HOUR, per_policy.first() or 0)


class _Trial:
    """One policy and one client, on a clock and with counts of their own."""

    def __init__(
        self, policy: PolicySnapshot, address: Address | None, signed_in: str, anonymous: str
    ) -> None:
        self.policy, self.address = policy, address
        self.signed_in, self.anonymous = signed_in, anonymous
        self.now = 0.0
        self.engine = Engine(None, clock=lambda: self.now)

    def begin_with_present_counts(self) -> None:
        for value in {self.signed_in, self.anonymous}:
            left = store.remaining(self.policy, value)
            used = 0 if left is None else self.policy.limit - left
            if used:
                key = f"{PREFIX}{self.policy.name}:{value}"
                self.engine.local.count(key, self.policy.limit, self.policy.window, used)

    def refuses(self, visits: Iterable[Visit], patience: float) -> bool:
        """Tell whether one of these visits is refused, or all of them together have to wait for longer than this."""
        for visit in visits:
            self.now += visit.after
            if not self.policy.covers(visit.path, visit.method) or self.policy.exempts(self.address):
                continue
            if self.policy.denies(self.address):
                return True
            value = self.signed_in if visit.signed_in else self.anonymous
            while not (decision := self.engine.check_all([self.policy], [value])[0]).allowed:
                patience -= decision.reset_after
                if patience < 0:
                    return True
                self.now += decision.reset_after
        return False
