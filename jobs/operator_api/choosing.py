"""What the filters of a list choose, with problem documents for those that it does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.admin import list_choice
from jobs.admin.list_choice import ListChoice, UnknownFilter
from opsconsole.kit.operator_api import OperatorRequest
from opsconsole.kit.problems import Problem

MOST_NAMED = 50


def chosen(request: OperatorRequest, model: Any, filters: Mapping[str, str], search: str) -> ListChoice:
    """Return what a list's filters choose. Raise ``Problem`` for a filter or a value that the list does not have."""
    try:
        return list_choice.choose(model, filters, search, request.auth)
    except UnknownFilter as error:
        known = ", ".join(error.known[:MOST_NAMED])
        if error.value is None:
            raise Problem(422, f"There is no filter '{error.name[:100]}'. This list has: {known}.") from error
        raise Problem(422, f"{error.name}: none of: {known}.") from error
