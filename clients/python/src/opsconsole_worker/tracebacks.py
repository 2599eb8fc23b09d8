"""The traceback of an error that ends the process, without the secrets of its environment."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType


def hide_secrets() -> None:
    """Let the last traceback of this process show no secret: an error may quote the address that it was given."""
    sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # Few processes end so.
    from opsconsole_worker.known_secrets import secrets_of  # noqa: PLC0415
    from opsconsole_worker.log_lines import without  # noqa: PLC0415

    text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(without(secrets_of(os.environ), text))
