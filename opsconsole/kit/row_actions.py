"""The actions of a list on the pages of its rows: the same forms, permissions and questions, with the row selected."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ValidationError
from django.db.models import Field
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

# What an action says for which no row was selected.
NOTHING_SELECTED = (
    "No {many} were selected, so nothing was done. Select them by the boxes at the beginning of their rows, then choose the "
    "action again. The box above the rows selects this page; if more match, it then offers to select all that match."
)


class RowActionsAdmin(admin.ModelAdmin[Any]):
    """Offers on the page of a row what its list offers for it. ``templates/admin/change_form.html`` shows the buttons."""

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if row := context.get("original"):
            context |= {
                "row_actions": self.row_actions(request, row),
                "row_checkbox": ACTION_CHECKBOX_NAME,
                "row_list": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"),
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def row_actions(self, request: HttpRequest, row: Any) -> list[tuple[str, str]]:
        """Return the list's own actions that the page of a row offers: their names and labels."""
        offered = self.get_actions(request)
        return [
            (name, str(action[2]))
            for name in map(str, self.actions or ())
            if (action := offered.get(name)) and self.applies(name, row)
        ]

    def applies(self, action: str, row: Any) -> bool:
        """Tell whether an action of the list would do something with this row."""
        return True

    def nothing_is_selected(self, request: HttpRequest) -> bool:
        """Tell whether a button of the list's actions was pressed without a row; Django would speak of "items"."""
        pressed = "index" in request.POST and request.POST.get("select_across") != "1"
        return pressed and not request.POST.getlist(ACTION_CHECKBOX_NAME) and bool(self.get_actions(request))


def choose_all_that_match(request: HttpRequest) -> None:
    """Let an action on all that match begin without a selected row; Django asks for one."""
    if request.POST.get("select_across") == "1" and not request.POST.get(ACTION_CHECKBOX_NAME):
        sent = request.POST.copy()
        sent[ACTION_CHECKBOX_NAME] = "all"
        request.POST = sent  # type: ignore[assignment]  # a copy


def leave_out_impossible_rows(request: HttpRequest, key: Field[Any, Any]) -> None:
    """Leave out selected rows whose key is none. Django leaves out those that no longer exist, and fails with these."""
    selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
    possible = [value for value in selected if _may_be(key, value)]
    # With all that match, the selection is not read.
    if possible != selected and request.POST.get("select_across") != "1":
        sent = request.POST.copy()
        sent.setlist(ACTION_CHECKBOX_NAME, possible)
        request.POST = sent  # type: ignore[assignment]  # a copy


def _may_be(key: Field[Any, Any], value: str) -> bool:
    try:
        key.to_python(value)
    except ValidationError:
        return False
    return "\x00" not in value
