"""Buttons on the page of a row that lead to the preview of an action."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from jobs.operations.steps import Step


@dataclass(frozen=True)
class Button:
    """A button on the page of a row. ``why`` says what would happen, or why it is disabled.

    ``plain``: it is not what this page advises first.
    """

    action: str
    label: str
    url: str
    enabled: bool
    why: str
    plain: bool = False


def button(page: str, step: Step, label: str) -> Button:
    url = f"{reverse(f'admin:{page}_operate', args=[step.action])}?{urlencode({'id': step.job_id})}"
    return Button(step.action, label, url, step.will, step.sentence)
