"""Signatures of Slack's requests (v0): an HMAC over the time and the body, with the signing secret of the app.

https://docs.slack.dev/authentication/verifying-requests-from-slack
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from opsconsole.kit.errors import OpsConsoleError

# As long as Slack's documentation advises; its clock or ours may be wrong by as much.
LONGEST_AGE = 300
SIGNATURE, TIME = "X-Slack-Signature", "X-Slack-Request-Timestamp"


class Refused(OpsConsoleError):
    """A request has no effect; the message says why, and ``status`` is the answer."""

    def __init__(self, why: str, status: int = 401) -> None:
        super().__init__(why)
        self.status = status


def of(secret: str, sent_at: str, body: bytes) -> str:
    """Return the signature of a body that was sent at this time, in seconds as text."""
    signed = b"v0:" + sent_at.encode() + b":" + body
    return "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def verify(body: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: float) -> str:
    """Return the signature of a request that Slack signed with one of these secrets, or raise ``Refused``."""
    sent_at, given = headers.get(TIME, ""), headers.get(SIGNATURE, "")
    if not re.fullmatch(r"[0-9]{1,12}", sent_at):
        raise Refused("It names no time.")
    if abs(now - int(sent_at)) > LONGEST_AGE:
        raise Refused("It is older than five minutes, or from the future. Compare the clock of this host.")
    expected = [of(secret, sent_at, body) for secret in secrets]
    # Each is compared, in the same time whichever it is.
    matches = [hmac.compare_digest(each.encode(), given.encode()) for each in expected]
    if not any(matches):
        raise Refused("Its signature is not that of OPSCONSOLE_SLACK_SIGNING_SECRETS.")
    return expected[matches.index(True)]
