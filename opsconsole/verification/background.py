"""Verifications that a page starts: in a thread of the web process, whose results the page reads as they come."""

from __future__ import annotations

import logging
from threading import Thread

from django.contrib.auth.models import User
from django.db import Error, connection, transaction

from opsconsole.kit import audit
from opsconsole.kit.errors import first_line
from opsconsole.kit.models import Verification
from opsconsole.verification import record, running, table
from opsconsole.verification.check import Wishes
from opsconsole.verification.running import Result

logger = logging.getLogger(__name__)


def start(user: User, wishes: Wishes) -> bool:
    """Begin a verification, and write to the audit who asked for it. Return False while another one goes on."""
    with transaction.atomic():
        if record.going_on():
            return False
        row = record.begin(wishes.by)
        extras = [
            word
            for word, asked in (("a probe letter", wishes.letter), ("tests of the channels", wishes.channels))
            if asked
        ]
        did = f"Began to verify the installation{', with ' if extras else ''}{' and '.join(extras)}."
        audit.log(user, [row], did, why=audit.NOT_ASKED)
        transaction.on_commit(
            lambda: Thread(target=_carry_out, args=(row, wishes), name="verify", daemon=True).start()
        )
    return True


def _carry_out(row: Verification, wishes: Wishes) -> None:
    results: list[Result] = []
    try:
        for result in running.carry_out(table.CHECKS, wishes):
            results.append(result)
            _keep(row, results, ended=len(results) == len(table.CHECKS))
    finally:
        connection.close()


def _keep(row: Verification, results: list[Result], *, ended: bool) -> None:
    try:
        record.keep(row, results, ended=ended)
    except Error as error:
        # A check says so too, and the next result is kept with this one.
        logger.warning("The results of a verification were not kept: %s", first_line(error))
        connection.close()
