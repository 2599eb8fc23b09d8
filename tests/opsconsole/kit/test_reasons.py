"""Tests of reasons: what is refused, what is cleaned, and that every form uses the same field."""

from __future__ import annotations

from pathlib import Path

import pytest
from django import forms

from opsconsole.kit import reasons
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.reasons import MOST_CHARACTERS, ReasonField, ReasonForm

ROOT = Path(__file__).resolve().parents[3]
UNREADABLE = ["", "  ", "\n\t ", "\x00", "\xa0\u3000", "\u200b\ufeff", "\x00 \x07"]


class Refused(OpsConsoleError):
    pass


@pytest.mark.parametrize("reason", [None, *UNREADABLE])
def test_unreadable_reason_is_refused(reason: str | None) -> None:
    with pytest.raises(Refused, match=r"Give a reason: it is kept with the change\."):
        reasons.required(reason, Refused)


@pytest.mark.parametrize("reason", UNREADABLE)
def test_form_refuses_what_the_duty_refuses(reason: str) -> None:
    form = ReasonForm({"reason": reason})

    assert form.errors == {"reason": ["Give a reason: it is kept with the change."]}


def test_reason_is_cleaned_of_what_cannot_be_stored() -> None:
    form = ReasonForm({"reason": " deploy\x00 at \ud83d noon\n"})

    assert form.is_valid()
    assert form.cleaned_data["reason"] == "deploy at ? noon"
    assert reasons.required(" deploy\x00 at \ud83d noon\n", Refused) == "deploy at ? noon"


def test_reason_has_a_longest_length() -> None:
    assert ReasonForm({"reason": "r" * MOST_CHARACTERS}).is_valid()
    assert "at most 500 characters" in str(ReasonForm({"reason": "r" * (MOST_CHARACTERS + 1)}).errors)


def test_sentences_say_where_the_reason_is_kept() -> None:
    field = ReasonField("with the alert", rows=3, autofocus=True)

    assert field.help_text == "Kept with the alert, beside your name."
    assert field.error_messages["required"] == "Give a reason: it is kept with the alert."
    assert isinstance(field.widget, forms.Textarea)
    assert field.widget.attrs["rows"] == 3
    assert field.widget.attrs["autofocus"] is True
    with pytest.raises(Refused, match=r"Give a --reason: it is kept with the alert\."):
        reasons.required("", Refused, "with the alert", name="--reason")


@pytest.mark.parametrize(
    "spelled", ["reason = forms.CharField", "Give a reason", "reason.strip()", "def _require_reason"]
)
def test_every_module_uses_the_shared_reason_field(spelled: str) -> None:
    sources = [
        path
        for room in ("opsconsole", "opsconsole_worker", "jobs", "alerts", "ratelimits")
        for path in (ROOT / room).rglob("*.py")
    ]

    assert sources
    assert [path for path in sources if spelled in path.read_text(encoding="utf-8")] == []
