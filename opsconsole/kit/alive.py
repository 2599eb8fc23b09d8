"""A sign of life of programs that serve no address: a file that probes look at, and systemd's watchdog.

A loop gives it after each turn, also after one in which the database was away: restarting the program would not bring
the database back. It gives more while it waits for the next turn. No sign means that a turn does not end, or that the sign
can't be given: the work goes on then, and the log says so.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from django.conf import settings

logger = logging.getLogger(__name__)

_heard = threading.local()


@contextmanager
def heard_by(listener: Callable[[], None]) -> Iterator[None]:
    """Call the listener at each sign of the loop that this thread runs, in place of telling the outside."""
    _heard.by = listener
    try:
        yield
    finally:
        del _heard.by


class SignOfLife:
    """The sign of this process, or of this thread where somebody listens. Children that are started later give none in its name."""

    # Whether this process, or the one that forked it, promised to touch the file: without that, an old file says nothing.
    is_promised: ClassVar[bool] = False

    def __init__(self) -> None:
        self._listener: Callable[[], None] | None = getattr(_heard, "by", None)
        # A fork has our settings, and no longer the variable.
        is_mine = bool(os.environ.pop("OPSCONSOLE_ALIVE_FILE", ""))
        self._file = settings.OPSCONSOLE_ALIVE_FILE if is_mine else ""
        SignOfLife.is_promised |= bool(self._file)
        address = os.environ.get("NOTIFY_SOCKET", "")
        # An address that begins with @ is in the abstract namespace.
        self._watchdog = (
            ("\0" + address[1:] if address.startswith("@") else address)
            if os.environ.pop("WATCHDOG_USEC", "")
            else ""
        )
        self._failed = False

    def give(self) -> None:
        """Touch the file that ``OPSCONSOLE_ALIVE_FILE`` names, and tell systemd's watchdog, where there is one."""
        if self._listener:
            self._listener()
            return
        try:
            self._tell_outside()
            self._failed = False
        except OSError as error:
            if not self._failed:
                logger.error(  # noqa: TRY400 - a sentence for whoever runs it
                    "The sign of life can't be given, so that whoever watches this process may restart it: %s.",
                    error,
                )
            self._failed = True

    def _tell_outside(self) -> None:
        if self._file:
            Path(self._file).touch()
        if self._watchdog:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as watchdog:
                watchdog.sendto(b"WATCHDOG=1", self._watchdog)
