"""Previewed plans, encrypted in the form that carries them out, so that exactly what was previewed is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from django.core import signing
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.http import Http404, HttpRequest

from jobs.operations import previews
from jobs.operations.steps import Step
from opsconsole.kit import audit, encrypted_fields

# The name that this had in earlier versions, whose previews may be open.
SALT = "jobs.admin.previewed_actions"


def freeze(request: HttpRequest, action: str, steps: Iterable[Step]) -> str:
    """Return the steps as an encrypted text that only this person can send back, for this action."""
    rows = [asdict(step) | {"job_id": str(step.job_id)} for step in steps]
    # A letter's step says what was seen of its job, which not everybody may see.
    plan = {"action": action, "user": request.user.pk, "steps": rows, "newest": audit.newest()}
    return encrypted_fields.encrypt(plan, SALT)


def thaw(model: type[Model], request: HttpRequest, action: str, frozen: str) -> tuple[list[Step], int]:
    """Return the steps of a preview, and the newest line of the audit when it was made.

    Raise ``signing.BadSignature`` for a text that is not of this person and action, or too old.
    """
    plan = encrypted_fields.decrypt(frozen, SALT, max_age=previews.PREVIEW_LASTS)
    if plan["action"] != action or plan["user"] != request.user.pk:
        raise signing.BadSignature("This preview belongs to another action or user.")
    ids = keys_of(model, (row["job_id"] for row in plan["steps"]))
    steps = [Step(**row | {"job_id": job_id}) for row, job_id in zip(plan["steps"], ids, strict=True)]
    # A preview of an earlier version tells of no line.
    return steps, plan.get("newest", audit.newest())


def keys_of(model: type[Model], values: Iterable[str]) -> list[Any]:
    """Return the keys that an address or a plan names. Raise ``Http404`` for what is none."""
    try:
        return [model._meta.pk.to_python(value) for value in values]  # noqa: SLF001 - documented
    except (ValueError, ValidationError) as error:
        raise Http404 from error
