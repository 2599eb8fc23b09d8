"""Pauses: what can be paused, what is paused, pause and resume."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from ninja import Field, Router, Schema
from pydantic import StrictBool, StrictInt

from opsconsole import switches
from opsconsole.kit import operator_api, pauses
from opsconsole.kit.api_text import Identifier
from opsconsole.kit.models import Pause
from opsconsole.kit.operator_api import Change, OperatorRequest
from opsconsole.kit.problems import Problem
from opsconsole.switches import Switch

VIEW, SWITCH = "opsconsole.view_pause", "opsconsole.switch"
LONGEST_MINUTES = int(pauses.LONGEST.total_seconds() // 60)

reading = Router(tags=[operator_api.TAG])
operating = Router(tags=[operator_api.TAG])

Name = Annotated[
    Identifier, Field(examples=["recovery"], description="`recovery`, `dead letter checks` or `queue:NAME`.")
]


class PauseItem(Schema):
    """Something that can be paused, and whether it is."""

    name: str = Field(examples=["recovery"])
    title: str = Field(examples=["Automatic recovery"])
    paused: bool
    until: datetime | None = Field(description="When it resumes by itself; null for a pause without end.")
    by: str = Field(examples=[""])
    reason: str = Field(examples=[""])
    version: str = Field(
        examples=["9f2c41d07be35a88c1406d2f7e90b6a3"],
        description="Send it back with a change of what you saw.",
    )


class PauseList(Schema):
    pauses: list[PauseItem]


class BeginPause(Change):
    name: Name
    minutes: Annotated[StrictInt, Field(ge=1, le=LONGEST_MINUTES)] | None = Field(
        None,
        examples=[20],
        description="It resumes by itself after this time. Left out: when somebody resumes it.",
    )
    shorten: StrictBool = Field(
        default=False,
        examples=[False],
        description="Let it end after `minutes` also if the pause in force lasts longer.",
    )


class EndPause(Change):
    name: Name


class PauseChanged(Schema):
    did: str = Field(examples=["Recovery is paused."])
    pause: PauseItem = Field(description="Its state now.")


@reading.get("operator/pauses", response=PauseList, operation_id="list_pauses", summary="What is paused")
def list_pauses(request: OperatorRequest) -> Any:
    """Return everything that can be paused, in the order of the page *Controls*, and its pause if there is one."""
    request.auth.require(VIEW)
    held = {switch.name: pause for switch, pause in switches.in_force()}
    return {"pauses": [_item(switch, held.get(switch.name)) for switch in switches.table()]}


@operating.post(
    "operator/pauses/begin",
    response=PauseChanged,
    operation_id="begin_pause",
    summary="Pause recovery, the checks or a queue",
)
def begin_pause(request: OperatorRequest, change: BeginPause) -> Any:
    """A pause in force is replaced: with your `version` you say that you have seen it.

    409 with `reason` `refused`: the one in force lasts longer, and `shorten` does not say that it is to end earlier.
    """
    switch = _look(request, change.name, change.version)
    lasting = None if change.minutes is None else timedelta(minutes=change.minutes)
    try:
        pause = switches.pause(
            switch,
            by=request.auth.name,
            reason=change.reason,
            lasting=lasting,
            shorten=change.shorten,
        )
    except pauses.WouldEndEarlier as longer:
        current = _item(switch, longer.held).model_dump(mode="json")
        how = "To let it end earlier on purpose, send `shorten`: true"
        raise operator_api.refused(f"{longer} {how}", current) from longer
    operator_api.log(request, [pause], switch.did_pause, why=change.reason)
    return PauseChanged(did=switch.did_pause, pause=_item(switch, pause))


@operating.post("operator/pauses/end", response=PauseChanged, operation_id="end_pause", summary="Resume")
def end_pause(request: OperatorRequest, change: EndPause) -> Any:
    """409 with `reason` `refused`: nothing was paused."""
    switch = _look(request, change.name, change.version)
    pause = switches.resume(switch, by=request.auth.name, reason=change.reason)
    if pause is None:
        raise operator_api.refused("It is not paused", _item(switch, None).model_dump(mode="json"))
    operator_api.log(request, [pause], switch.did_resume, why=change.reason)
    return PauseChanged(did=switch.did_resume, pause=_item(switch, None))


def _look(request: OperatorRequest, name: str, version: str) -> Switch:
    """Return the switch, of which nobody else changes the state until the transaction ends, if it is as the caller saw it."""
    request.auth.require(VIEW, SWITCH)
    switch = switches.find(name)
    if switch is None:
        names = ", ".join(f"'{known.name}'" for known in switches.table())
        raise Problem(404, f"This can't be paused. Choose one of: {names}.", reason="unknown_pause")
    held = switches.locked_state(switch)
    operator_api.refuse_if_changed(version, _item(switch, held).model_dump(mode="json"))
    return switch


def _item(switch: Switch, pause: Pause | None) -> PauseItem:
    return PauseItem(
        name=switch.name,
        title=switch.title,
        paused=pause is not None,
        until=pause.until if pause else None,
        by=pause.began_by if pause else "",
        reason=pause.reason if pause else "",
        version=operator_api.version_of(pause or Pause(name=switch.name), switch.name),
    )
