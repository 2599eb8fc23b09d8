"""Limits: list the policies, change one, and switch all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Field, Router, Schema
from pydantic import StrictInt, StringConstraints

from opsconsole.kit import form_versions, operator_api
from opsconsole.kit.operator_api import Change, OperatorRequest
from opsconsole.kit.problems import Problem
from opsconsole.kit.row_locks import locked
from opsconsole.kit.storable import LARGEST_INTEGER
from ratelimits.models import LimiterControl, Policy
from ratelimits.models.policy import Mode
from ratelimits.policies import changes, global_switch, policy_cache, wording
from ratelimits.requests import lockout_check
from ratelimits.requests.lockout_check import LocksOut
from ratelimits.requests.lockout_trial import Requester

VIEW, VIEW_MODE = "ratelimits.view_policy", "ratelimits.view_limitercontrol"
CHANGE, SWITCH = "ratelimits.change_policy", "ratelimits.switch_limiter"
MOST_POLICIES = 500
MOST_ENTRIES = 1_000
LONGEST_ENTRY = 300
LONGEST_CONFIRMATION = 5_000

reading = Router(tags=[operator_api.TAG])
operating = Router(tags=[operator_api.TAG])

Entry = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=LONGEST_ENTRY, pattern=r"^[^\x00-\x1f]*$")
]
Entries = Annotated[list[Entry], Field(max_length=MOST_ENTRIES)]
ModeName = Literal["enforce", "shadow", "off"]
Confirmation = Annotated[
    str, StringConstraints(strict=True, max_length=LONGEST_CONFIRMATION, pattern=r"^[^\x00-\x1f]*$")
]
ALGORITHM = "`moving`: exact, never more than the limit in any window. `counter`: about the limit, for little room in the store."
CONFIRM = "The name of the policy, if it is meant to refuse people, hooks or programs, and `me` for this key."


class PolicyItem(Schema):
    name: str = Field(examples=["standard"])
    meaning: str = Field(examples=["100 requests per minute"])
    limit: int = Field(examples=[100])
    window_seconds: int = Field(examples=[60])
    mode: str = Field(examples=["enforce"])
    key: str = Field(examples=["default"])
    algorithm: str = Field(examples=["moving"])
    when_store_is_away: str = Field(examples=["local"])
    path_prefixes: list[str] = Field(examples=[["/api/"]])
    methods: list[str] = Field(examples=[["POST"]])
    allow_networks: list[str] = Field(examples=[[]])
    deny_networks: list[str] = Field(examples=[[]])
    position: int = Field(examples=[100])
    changed_at: datetime
    changed_by: str = Field(examples=["olga"])
    version: str = Field(
        examples=["9f2c41d07be35a88c1406d2f7e90b6a3"],
        description="Send it back with a change of what you saw.",
    )


class ModeItem(Schema):
    mode: str = Field(examples=["enforce"])
    version: str = Field(examples=["9f2c41d07be35a88c1406d2f7e90b6a3"])


class PolicyList(Schema):
    mode: ModeItem | None = Field(
        description="Of all policies together; null unless the key may see the page *Limiter*."
    )
    policies: list[PolicyItem]


class PolicyFields(operator_api.Asked):
    """The fields to change; the others stay as they are."""

    limit: Annotated[StrictInt, Field(ge=1, le=LARGEST_INTEGER)] | None = Field(
        None, examples=[200], description="The number of requests that a client may make per window."
    )
    window_seconds: Annotated[StrictInt, Field(ge=1, le=LARGEST_INTEGER)] | None = Field(
        None, description="The length of the window."
    )
    mode: ModeName | None = Field(
        None, description="`enforce`: refuse. `shadow`: count and record only. `off`: do not count."
    )
    key: Literal["default", "address", "user", "api_key"] | None = Field(
        None,
        description="What a client is. `default`: its API key, otherwise its user, otherwise its address.",
    )
    algorithm: Literal["moving", "counter"] | None = Field(None, description=ALGORITHM)
    when_store_is_away: Literal["local", "open", "closed"] | None = Field(
        None,
        description="`local`: each process counts its share of the limit. `open`: allow. `closed`: refuse.",
    )
    path_prefixes: Entries | None = Field(
        None, examples=[["/api/"]], description="Paths to limit. Views can also name the policy in code."
    )
    methods: Entries | None = Field(None, examples=[["POST"]], description="Methods to limit; empty: all.")
    allow_networks: Entries | None = Field(
        None, examples=[["10.0.0.0/8"]], description="Networks that are never limited."
    )
    deny_networks: Entries | None = Field(
        None, examples=[["192.0.2.0/24"]], description="Networks whose requests are always refused with 403."
    )
    position: Annotated[StrictInt, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)] | None = Field(
        None, description="If several policies cover a request, they are listed in this order, lowest first."
    )


class ChangePolicy(Change):
    fields: PolicyFields = Field(
        examples=[{"limit": 200}], description="What the policy has from now on; what is left out stays."
    )
    confirm: Confirmation = Field("", description=CONFIRM)


class PolicyChanged(Schema):
    did: str = Field(examples=["Limit: 100 to 200"], description="Empty if nothing differs.")
    policy: PolicyItem = Field(
        description="The policy as it is now. It takes effect everywhere within two seconds."
    )


class SwitchMode(Change):
    mode: ModeName = Field(
        examples=["shadow"], description="Of all policies together; each keeps its own beside it."
    )
    confirm: Confirmation = Field(
        "", description="The names of the policies that are meant to refuse people."
    )


class ModeChanged(Schema):
    did: str = Field(examples=["Rate limits are enforced."])
    mode: ModeItem


@reading.get(
    "operator/limits", response=PolicyList, operation_id="list_policies", summary="The rate limit policies"
)
def list_policies(request: OperatorRequest) -> Any:
    """Return all policies in the order in which they apply, and the mode of all of them."""
    request.auth.require(VIEW)
    sees_mode = request.auth.has_perm(VIEW_MODE)
    return {
        "mode": _mode(LimiterControl.load()) if sees_mode else None,
        "policies": [_item(policy) for policy in Policy.objects.all()[:MOST_POLICIES]],
    }


@operating.post(
    "operator/limits/mode", response=ModeChanged, operation_id="switch_limits", summary="Switch all policies"
)
def switch_limits(request: OperatorRequest, change: SwitchMode) -> Any:
    """Set the mode of all policies together: of it and a policy's own mode, the weaker applies."""
    request.auth.require(VIEW_MODE, SWITCH)
    control = LimiterControl.locked()
    seen = _mode(control).model_dump(mode="json")
    operator_api.refuse_if_changed(change.version, seen)
    before = form_versions.of_row(control, ["mode"])
    with _confirmed():
        lockout_check.refuse_unconfirmed_mode(change.mode, _requester(request), change.confirm)
    if not global_switch.switch(change.mode, by=request.auth.name, reason=change.reason):
        raise operator_api.refused(f"The mode is {change.mode} already", seen)
    after, did = LimiterControl.load(), global_switch.RESULTS[Mode(change.mode)]
    result = form_versions.difference(before, form_versions.of_row(after, ["mode"]))
    operator_api.log(request, [after], did, why=change.reason, result=result)
    return ModeChanged(did=did, mode=_mode(after))


@operating.post(
    "operator/limits/policies/{policy}",
    response=PolicyChanged,
    operation_id="change_policy",
    summary="Change a policy",
)
def change_policy(request: OperatorRequest, policy: str, change: ChangePolicy) -> Any:
    """Change fields of a policy, with the checks of its page.

    422 with `reason` `locks_out`: the policy would refuse people, hooks or programs; `detail` says whom, and how to confirm it.
    """
    request.auth.require(VIEW, CHANGE)
    stored = locked(Policy.objects.filter(name=policy)).first()
    if stored is None:
        raise Problem(404, "There is no policy with this name.", reason="unknown_policy")
    operator_api.refuse_if_changed(change.version, _item(stored).model_dump(mode="json"))
    requester = _requester(request)
    with _confirmed():
        did = changes.write(
            policy,
            _values(change.fields),
            by=request.auth.name,
            check=lambda before, after: lockout_check.refuse_unconfirmed(
                [before], [after], requester, change.confirm
            ),
            log=lambda row, did: operator_api.log(request, [row], f"{did}.", why=change.reason),
        )
    policy_cache.clear()
    return PolicyChanged(did=did, policy=_item(Policy.objects.get(name=policy)))


@contextmanager
def _confirmed() -> Iterator[None]:
    """Answer what would lock somebody out, and was not confirmed, with a reason for programs."""
    try:
        yield
    except LocksOut as error:
        raise Problem(422, str(error), reason="locks_out") from error


def _values(fields: PolicyFields) -> dict[str, Any]:
    values = fields.model_dump(exclude_none=True)
    if "methods" in values:
        values["methods"] = [method.upper() for method in values["methods"]]
    return values


def _requester(request: OperatorRequest) -> Requester:
    return Requester.of(request, request.auth)


def _item(policy: Policy) -> PolicyItem:
    values = {field: getattr(policy, field) for field in changes.FIELDS}
    return PolicyItem(
        name=policy.name,
        meaning=wording.meaning(policy),
        changed_at=policy.changed_at,
        changed_by=policy.changed_by,
        version=operator_api.version_of(policy, *values.values()),
        **values,
    )


def _mode(control: LimiterControl) -> ModeItem:
    return ModeItem(mode=control.mode, version=operator_api.version_of(control, control.mode))
