"""Whom policies refuse: a kind of client, how many of them, and who they are where that is known."""

from __future__ import annotations

from dataclasses import dataclass

from ratelimits.requests.lockout_trial import Requester

# A change after which this part of the internet is refused, and more than before, must be meant.
MANY = 1 / 16
SHOWN = 3


@dataclass(frozen=True)
class Hit:
    """``by``: the policies. ``share``: of the addresses of the internet. ``kind``: of ``names``, "client" or "key"."""

    who: str
    by: frozenset[str]
    share: float = 0.0
    names: tuple[str, ...] = ()
    kind: str = ""

    def goes_beyond(self, earlier: Hit | None) -> bool:
        """Tell whether more are refused than before, and enough to ask."""
        if self.share or self.names:
            share, names = (earlier.share, earlier.names) if earlier else (0.0, ())
            grows_large = self.share >= MANY and self.share > share
            return grows_large or bool(set(self.names) - set(names))
        return earlier is None

    def in_words(self, requester: Requester | None) -> str:
        """Say who it is; the names only to somebody who may see them."""
        details = [f"from {self.share:.0%} of the addresses of the internet"] * (0 < self.share < 1)
        sees = {"client": True, "key": True} if requester is None else requester.sees
        if self.names and sees.get(self.kind):
            more = len(self.names) - SHOWN
            details.append(", ".join(self.names[:SHOWN]) + (f" and {more} more" if more > 0 else ""))
        elif self.names:
            details.append(f"{len(self.names)} of them")
        return f"{self.who} ({'; '.join(details)})" if details else self.who
