"""Reasons: the form field that asks for one, and the check that one was given (I10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms

from opsconsole.kit.characters import first_visible
from opsconsole.kit.form_versions import VersionedForm
from opsconsole.kit.storable import plain_text

MOST_CHARACTERS = 500
WITH_THE_CHANGE = "with the change"


def required(
    reason: str | None,
    refusal: Callable[[str], Exception],
    kept: str = WITH_THE_CHANGE,
    *,
    name: str = "reason",
) -> str:
    """Return the reason as it is stored. Raise ``refusal`` if it has no visible text.

    ``kept`` says where it is stored; ``name`` is what the reason is called in the form.
    """
    text = _readable(reason or "")
    if not text:
        raise refusal(_request(kept, name))
    return text


def optional(reason: str | None) -> str:
    """Return the reason as it is stored; '' where none was given."""
    return _readable(reason or "")


def _readable(reason: str) -> str:
    text = plain_text(reason).strip()
    return text if first_visible(text) else ""


def _request(kept: str, name: str = "reason") -> str:
    return f"Give a {name}: it is kept {kept}."


class ReasonField(forms.CharField):
    """A reason of one line, or of several ``rows``."""

    def __init__(
        self,
        kept: str = WITH_THE_CHANGE,
        *,
        rows: int = 1,
        autofocus: bool = False,
        help_text: str = "",
        required: bool = True,
    ) -> None:
        focus = {"autofocus": True} if autofocus else {}
        super().__init__(
            required=required,
            max_length=MOST_CHARACTERS,
            widget=forms.Textarea({"rows": rows, **focus})
            if rows > 1
            else forms.TextInput({"size": 60, **focus}),
            help_text=help_text or f"Kept {kept}, beside your name.",
            error_messages={"required": _request(kept)},
        )

    def to_python(self, value: Any) -> str:
        return _readable(super().to_python(value) or "")


class ReasonForm(VersionedForm, forms.Form):
    """A form with a reason; subclasses add further fields. It carries the ``version`` of the rows that it changes."""

    reason = ReasonField()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"label_suffix": ""} | options)


class ReasonPageForm(ReasonForm):
    """A form with nothing but a reason, which has the focus."""

    reason = ReasonField(autofocus=True)
