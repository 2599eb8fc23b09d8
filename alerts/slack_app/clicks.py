"""Clicks on the buttons of messages in Slack, read from the form that Slack posts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from alerts.channels.slack import DECISIONS
from alerts.operator_decisions import Decision
from alerts.slack_app.signatures import Refused
from alerts.trouble import storable

_MEMBER = re.compile(r"[UW][A-Z0-9]{1,30}")
_TEAM = re.compile(r"[TE][A-Z0-9]{1,30}")
_NUMBER = re.compile(r"[0-9]{1,18}")
MOST_FIELDS = 10


@dataclass(frozen=True, kw_only=True)
class Click:
    """Who pressed which button about which alert. ``reply_to``: where Slack expects the answer, which is a secret."""

    team: str
    member: str
    name: str
    decision: Decision
    length: timedelta | None
    alert: int
    reply_to: str = field(repr=False)


def read(body: bytes) -> Click | None:
    """Read the form; None for what asks for nothing, such as a link that was opened. Raise ``Refused`` for nonsense."""
    try:
        form = parse_qs(body.decode(), max_num_fields=MOST_FIELDS)
        payload = json.loads(form.get("payload", ["{}"])[0])
        return _read(payload)
    except (ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise Refused("It is no interaction that Slack documents.", 400) from error


def _read(payload: dict[str, Any]) -> Click | None:
    if payload.get("type") != "block_actions":
        return None
    pressed = payload["actions"][0]
    known = DECISIONS.get(str(pressed["action_id"]))
    if known is None:
        return None
    # Of an app that is installed for a whole organization, Slack names no workspace.
    team = (payload.get("team") or payload["enterprise"])["id"]
    member, alert = payload["user"]["id"], pressed["value"]
    if not (_TEAM.fullmatch(team) and _MEMBER.fullmatch(member) and _NUMBER.fullmatch(alert)):
        raise ValueError("ids of another form")
    return Click(
        team=team,
        member=member,
        name=storable(str(payload["user"].get("username") or payload["user"].get("name") or ""), 100),
        decision=Decision(known.decision),
        length=known.length,
        alert=int(alert),
        reply_to=str(payload.get("response_url") or ""),
    )
