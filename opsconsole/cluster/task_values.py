"""The values of django-q2's tasks (arguments and result) as JSON text.

django-q2 pickles them, and its own code reads them back on many occasions: before it stores a result, in its pages, in
lists of results. What is in a column of the database must not become code, so these columns hold JSON, and whatever else
they contain is read as a remark.
"""

from __future__ import annotations

import json
from typing import Any

from django.db.models import Model
from django.db.models.signals import post_save
from django_q.models import Task
from django_q.signals import call_hook
from picklefield.fields import PickledObjectField

COLUMNS = ("args", "kwargs", "result")
NOT_JSON = "Not shown: this console did not store it."


class TaskValue(PickledObjectField):  # type: ignore[misc]  # picklefield has no types
    """A column of django-q2 that is written as JSON and never unpickled."""

    def from_db_value(self, value: str | None, *_: Any) -> Any:
        return read(value)

    def to_python(self, value: Any) -> Any:
        return value

    def pre_save(self, model_instance: Model, add: bool) -> Any:  # noqa: FBT001 - Django's signature
        return getattr(model_instance, self.attname)

    def get_db_prep_value(self, value: Any, *_: Any, **__: Any) -> str | None:
        return None if value is None else json.dumps(value, default=repr)

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        """Return what django-q2's migrations say, because the column is the same."""
        name, _, args, keywords = super().deconstruct()
        return name, "picklefield.fields.PickledObjectField", args, keywords


def read(text: str | None) -> Any:
    """Return the value of a stored text, or a remark for a text that is no JSON, such as a pickle."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return NOT_JSON


def use() -> None:
    """Let the tasks of django-q2 have these columns, and call no function that a task names for its result."""
    for name in COLUMNS:
        Task._meta.get_field(name).__class__ = TaskValue  # noqa: SLF001 - Django's documented interface
    post_save.disconnect(call_hook, sender=Task)
