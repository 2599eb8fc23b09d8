"""Why a message could not be read, without what the sentence quotes from its body."""

from __future__ import annotations

import re

from opsconsole_worker import settings

PLACEHOLDER = "[redacted]"
# How ``opsconsole_worker.messages`` ends a sentence about a value that a message must not have.
QUOTED = re.compile("(, not |surrogate pair: ).*", re.DOTALL)


def unread_reason(reason: str) -> str:
    """Return why a worker could not read a message, without the value that it quotes from the body while any path is set."""
    return QUOTED.sub(rf'\1"{PLACEHOLDER}".', reason) if settings.current().redacts else reason
