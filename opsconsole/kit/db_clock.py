"""The database's time, read with a row: ages that don't depend on this host's clock."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict


class DbNow(TypedDict):
    """Added by ``annotate(db_now=Now())``. A row that has it is a ``WithAnnotations[Model, DbNow]``."""

    db_now: datetime
