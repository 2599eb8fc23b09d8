"""The logout token of OpenID Connect Back-Channel Logout 1.0, as the claims that Authlib's check of a token builds.

Authlib has no back-channel log-out of its own. Its check of an ID token finds the key and the algorithm; what makes this token one
of another kind is checked here, so that no ID token is taken for one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from joserfc.errors import InvalidClaimError
from joserfc.jwt import JWTClaimsRegistry

from opsconsole.sign_in.oidc.claims import LONGEST_SUBJECT, has_usable_subject

EVENT = "http://schemas.openid.net/event/backchannel-logout"
KINDS = {None, "jwt", "logout+jwt"}
# The provider sends it at once; an old one is a copy.
OLDEST_SECONDS = 300


class LogoutToken(dict[str, Any]):
    """The claims of a logout token. ``validate`` raises what Authlib's own do."""

    def __init__(
        self, claims: Mapping[str, Any], header: Mapping[str, Any], options: Any = None, params: Any = None
    ) -> None:
        super().__init__(claims)
        self._header = header
        self._options = options or {}

    def validate(self, leeway: int) -> None:
        """Raise ``InvalidClaimError`` unless every claim is as the specification demands."""
        essential = {name: {"essential": True} for name in ("iat", "exp", "jti")}
        JWTClaimsRegistry(leeway=leeway, **self._options | essential).validate(self)
        if time.time() - self["iat"] > OLDEST_SECONDS + leeway:
            raise InvalidClaimError("iat", "it is too old")
        kind = self._header.get("typ")
        if (kind.lower() if isinstance(kind, str) else kind) not in KINDS:
            raise InvalidClaimError("typ", "it is a token of another kind")
        events = self.get("events")
        if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
            raise InvalidClaimError("events", "it is no logout token")
        if "nonce" in self:
            raise InvalidClaimError("nonce", "a logout token has none")
        self._check_whose()

    def _check_whose(self) -> None:
        if "sub" not in self and "sid" not in self:
            raise InvalidClaimError("sub", "it names neither a person nor a session")
        if "sub" in self and not has_usable_subject(self):
            raise InvalidClaimError("sub", "it is no usable subject")
        session = self.get("sid", "x")
        if not isinstance(session, str) or not 0 < len(session) <= LONGEST_SUBJECT:
            raise InvalidClaimError("sid", "it is no usable name of a session")
