"""The documents of the operator's API about alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from ninja import Field, Schema
from pydantic import StrictInt

from alerts.operator_decisions import LONGEST_SNOOZE
from opsconsole.kit.api_text import Identifier
from opsconsole.kit.operator_api import ListQuery, OfSeen, OptionalReason

LONGEST_MINUTES = int(LONGEST_SNOOZE.total_seconds() // 60)


class AlertsQuery(ListQuery):
    """The filters of the page *Alerts*. Without `state`, open alerts are listed, as there."""

    state: Literal["open", "firing", "acknowledged", "snoozed", "unknown", "resolved", "all"] = Field(
        "open", description="`unknown`: open, and the value can't be read."
    )
    severity: Literal["info", "warning", "critical"] | None = Field(
        None, description="Only of this severity."
    )
    rule: Identifier | None = Field(None, description="The name of a rule.")


class AlertItem(Schema):
    number: int = Field(examples=[12])
    fingerprint: str = Field(examples=["dead_letters:default"])
    rule: str = Field(examples=["dead_letters"], description="Empty for an alert of another program.")
    severity: str = Field(examples=["critical"])
    state: str = Field(examples=["firing"])
    title: str = Field(examples=["3 dead letters in default"])
    summary: str = Field(examples=["Paid work waits."])
    value: float | None = Field(examples=[3.0])
    threshold: float | None = Field(examples=[0.0])
    since: datetime
    last_seen_at: datetime
    unknown_since: datetime | None = Field(description="Since when the value can't be read.")
    clear_since: datetime | None = Field(
        description="Since when the problem is away. The alert resolves if it stays away."
    )
    snoozed_until: datetime | None
    resolved_at: datetime | None
    handled_by: str = Field(examples=[""])
    handled_reason: str = Field(examples=[""])
    link: str = Field(examples=["/admin/jobs/deadletter/"], description="The page of the console to look at.")
    version: str = Field(
        examples=["9f2c41d07be35a88c1406d2f7e90b6a3"],
        description="Send it back with a change of what you saw.",
    )


class AlertList(Schema):
    alerts: list[AlertItem]
    next: str | None = Field(
        examples=[None], description="Send it as `after` for the next alerts; null at the end."
    )


class Fact(Schema):
    label: str = Field(examples=["Oldest"])
    text: str = Field(examples=["3 h"])


class ShownAlert(Schema):
    alert: AlertItem
    facts: list[Fact]
    decisions: list[str] = Field(
        examples=[["acknowledge", "snooze", "resolve"]], description="What this key may decide now."
    )


class Acknowledge(OfSeen):
    reason: OptionalReason = Field(
        "", examples=["I look at it"], description="May be left out. Kept with the alert."
    )


class Snooze(Acknowledge):
    minutes: Annotated[StrictInt, Field(ge=1, le=LONGEST_MINUTES)] = Field(
        examples=[60], description="For how long no reminder is sent."
    )


class AlertChanged(Schema):
    did: str = Field(examples=["Acknowledged."])
    alert: AlertItem = Field(description="The alert as it is now.")
