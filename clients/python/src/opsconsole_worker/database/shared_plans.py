"""Plans that the sessions behind a pooler keep for all of its clients: SQL's ``PREPARE`` and ``EXECUTE``.

Which session runs a transaction is the pooler's choice, so no client knows what is prepared in it. The name of a prepared
statement is made of its text, so whoever prepared it there meant the same; and where it is missing, it is prepared then.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from opsconsole_worker import log_lines
from opsconsole_worker.database.door import Errors, Rows

SETTING = "OPSCONSOLE_POOLER_KEEPS_PLANS"
# So many in a row are no new sessions: the pooler empties them after each transaction.
MOST_MISSES = 10
USELESS = (
    f"The pooler keeps no prepared statements, so {SETTING} is of no use here: heartbeats are sent as text"
)

_MISSING, _PRESENT = "26000", "42P05"
# A type that is not known without its value, or a result whose type a migration changed.
_NOT_AS_A_PLAN = ("42", "0A")
_PARAMETER = re.compile(r"%\((\w+)\)s")


class SharedPlans:
    """The plans as the connection of one thread uses them.

    ``send`` runs statements as one transaction; ``errors`` is what it raises.
    """

    def __init__(self, send: Callable[[str, Mapping[str, Any]], list[Rows]], errors: Errors) -> None:
        self._send = send
        self._errors = errors
        self._misses = 0
        self._helps = True

    def run(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """Run one statement by its plan, or as text where that does not work; return its rows."""
        prepare, execute = _prepared(statement)
        # Another session may run the second one, in which it is prepared already: then the text does.
        for sent in (execute, f"{prepare};\n{execute}"):
            if not self._helps:
                break
            try:
                rows = self._send(sent, parameters)[-1]
            except self._errors as error:
                self._learn(error)
            else:
                self._misses = self._misses if sent is not execute else 0
                return rows
        return self._send(statement, parameters)[-1]

    def _learn(self, error: Exception) -> None:
        """Raise the error again unless the plan is its reason."""
        state = _state(error)
        if state == _MISSING:
            self._misses += 1
            if self._misses == MOST_MISSES:
                self._helps = False
                log_lines.tell(USELESS, logging.WARNING, {})
        elif state.startswith(_NOT_AS_A_PLAN) and state != _PRESENT:
            self._helps = False
        elif state != _PRESENT:
            raise error


@cache
def _prepared(statement: str) -> tuple[str, str]:
    """Return how to prepare the statement, and how to execute it with named parameters."""
    name = f"opsconsole_{hashlib.sha256(statement.encode()).hexdigest()[:16]}"
    parameters = list(dict.fromkeys(_PARAMETER.findall(statement)))
    numbered = _PARAMETER.sub(lambda found: f"${parameters.index(found[1]) + 1}", statement)
    values = ", ".join(f"%({each})s" for each in parameters)
    return f"PREPARE {name} AS {numbered}", f"EXECUTE {name} ({values})" if values else f"EXECUTE {name}"


def _state(error: Exception) -> str:
    """Return the SQLSTATE of an error, which Django wraps in one of its own; '' if the server said nothing."""
    return getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None) or ""
