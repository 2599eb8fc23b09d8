"""Commands of Django and of other packages that change something: each leaves a line of the audit behind."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from django.db import Error

from opsconsole.kit import audit
from opsconsole.kit.errors import first_line

# Commands whose arguments may be told: names of users, addresses, applications.
WITH_ARGUMENTS = frozenset({
    "axes_reset", "axes_reset_failure_logs", "axes_reset_ip", "axes_reset_ip_username", "axes_reset_logs", "axes_reset_username",
    "clearsessions", "createcachetable", "loaddata", "remove_stale_contenttypes",
})  # fmt: skip
# Their arguments may be secret: a backup code, a statement.
BY_NAME = frozenset({"addstatictoken", "dbshell", "shell"})


def note(arguments: Sequence[str]) -> None:
    """Write to the audit who ran this command, if it is one of these. The command itself has done its work."""
    name, *others = arguments or [""]
    if name not in WITH_ARGUMENTS | BY_NAME or {"-h", "--help"} & set(others):
        return
    command = " ".join([name, *others]) if name in WITH_ARGUMENTS else name
    try:
        audit.log_without_user(audit.command_actor(""), f"Ran the command {command}.", why=audit.NOT_ASKED)
    except Error as error:
        sys.stderr.write(f"{name} was not written to the audit: {first_line(error)}\n")
