"""Trials of policies: whether they would refuse requests, asked of the code that decides, on a clock and counts of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from django.http import HttpRequest

from opsconsole.kit.ip_addresses import Address
from opsconsole.kit.page_permissions import Asker
from ratelimits.engine import store
from ratelimits.engine.engine import Engine
from ratelimits.engine.questions import PREFIX
from ratelimits.identity import caller, client_ip
from ratelimits.policies.policy_snapshot import PolicySnapshot

# How long somebody waits, altogether, on the way to undo a change.
PATIENCE = 90.0
# Addresses all over the internet, of each kind, and those that private networks have.
EVERYWHERE = (
    tuple(ip_address(f"{first}.113.7.9") for first in range(1, 224, 2)),
    tuple(ip_address(f"2{middle:02x}1:db9:7::9") for middle in range(0, 256, 4)),
)
PRIVATE = tuple(map(ip_address, ("127.0.0.1", "10.113.7.9", "172.20.7.9", "192.168.7.9", "fd00:7::9")))
KEYS = ("default", "user", "api_key", "address")


@dataclass(frozen=True)
class Requester:
    """Who asks: the address, and the value under which each kind of policy counts their requests."""

    address: Address | None
    signed_in: Mapping[str, str]
    anonymous: str
    # Whether they may learn which clients and keys would be refused.
    sees: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, request: HttpRequest, asker: Asker | None = None) -> Requester:
        """Return who sent the request; ``asker``: who it is, if not the signed-in person."""
        asker = asker or request.user
        address = client_ip.client_address(request.META)
        values = {key: caller.identify(request, key, address).value for key in KEYS}
        return cls(
            address,
            values,
            values["address"],
            {
                "client": asker.has_perm("ratelimits.view_ratelimithour"),
                "key": asker.has_perm("ratelimits.view_apikey"),
            },
        )


def person_at(address: Address) -> Requester:
    value = f"address:{client_ip.group(address)}"
    signed_in = dict.fromkeys(KEYS, value) | dict.fromkeys(("default", "user"), "user:(somebody)")
    return Requester(address, signed_in, value)


def program_at(address: Address | None, value: str) -> Requester:
    """Return a program that is counted under this value, such as a key's."""
    return Requester(address, dict.fromkeys(KEYS, value), value)


@dataclass(frozen=True)
class Visit:
    """A request that somebody makes ``after`` this many seconds."""

    method: str
    path: str
    after: float = 2.0
    signed_in: bool = True


@dataclass
class Trial:
    """All of these policies and one client. ``refused_by`` names those that refused a request, or made it wait for too long."""

    policies: Sequence[PolicySnapshot]
    client: Requester
    now: float = 0.0
    refused_by: set[str] = field(default_factory=set)
    slowed_by: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.engine = Engine(None, clock=lambda: self.now)

    def begin_with_present_counts(self) -> None:
        for policy in self.policies:
            for value in {self.client.signed_in[policy.key], self.client.anonymous}:
                left = store.remaining(policy, value)
                used = 0 if left is None else policy.limit - left
                if used:
                    key = f"{PREFIX}{policy.name}:{value}"
                    self.engine.local.count(key, policy.limit, policy.window, used)

    def refuses(self, visits: Iterable[Visit], patience: float = PATIENCE) -> bool:
        """Tell whether one of these visits is refused, or all of them together have to wait for longer than this."""
        for visit in visits:
            self.now += visit.after
            covering = [
                policy
                for policy in self.policies
                if policy.covers(visit.path, visit.method) and not policy.exempts(self.client.address)
            ]
            if denying := {policy.name for policy in covering if policy.denies(self.client.address)}:
                self.refused_by |= denying
                return True
            patience -= self._wait(covering, visit, patience)
            if patience < 0:
                self.refused_by |= self.slowed_by
                return True
        return False

    def _wait(self, covering: Sequence[PolicySnapshot], visit: Visit, patience: float) -> float:
        """Ask until the visit is allowed, or would have to wait for longer than this; return how long it has to."""
        of = self.client
        values = [of.signed_in[policy.key] if visit.signed_in else of.anonymous for policy in covering]
        waited = 0.0
        while covering and waited <= patience:
            refusals = [each for each in self.engine.check_all(covering, values) if not each.allowed]
            if not refusals:
                break
            wait = max(each.reset_after for each in refusals)
            self.slowed_by |= {each.policy for each in refusals}
            waited += wait
            self.now += wait
        return waited


def covering_any(policies: Iterable[PolicySnapshot], visits: Sequence[Visit]) -> list[PolicySnapshot]:
    return [policy for policy in policies if any(policy.covers(visit.path, visit.method) for visit in visits)]


def refused_share(
    policies: Iterable[PolicySnapshot], visits: Sequence[Visit], who: Mapping[str, str] | None = None
) -> tuple[float, set[str]]:
    """Return which part of the internet's addresses is refused, of the kind of which more are, and by which policies.

    ``who`` is the value under which they all are counted; without it, they are people.
    """
    covering = covering_any(policies, visits)
    tried: dict[tuple[tuple[bool, bool], ...], set[str]] = {}
    largest: tuple[float, set[str]] = (0.0, set())
    for addresses in EVERYWHERE if covering else ():
        refused_by = []
        for address in addresses:
            # Addresses that are in the same networks are treated alike.
            alike = tuple((policy.exempts(address), policy.denies(address)) for policy in covering)
            if alike not in tried:
                trial = Trial(covering, _at(address, who))
                tried[alike] = trial.refused_by if trial.refuses(visits) else set()
            refused_by.append(tried[alike])
        share = sum(map(bool, refused_by)) / len(addresses)
        largest = max(largest, (share, set().union(*refused_by)), key=lambda each: each[0])
    return largest


def _at(address: Address, who: Mapping[str, str] | None) -> Requester:
    if who is None:
        return person_at(address)
    own = f"address:{client_ip.group(address)}"
    return Requester(address, {key: who.get(key, own) for key in KEYS}, own)
