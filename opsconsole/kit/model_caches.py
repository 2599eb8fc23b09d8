"""What Django works out about a model at its first statement, and then keeps."""

from __future__ import annotations

from functools import cache

from django.apps import apps


@cache
def fill() -> None:
    """Work it out for all models before processes are forked, because each fork would keep a copy of its own. Ask no database."""
    for model in apps.get_models(include_auto_created=True):
        model._meta.get_fields()  # noqa: SLF001 - documented, as the next
        str(model._base_manager.filter(pk__isnull=False).order_by("pk").query)  # noqa: SLF001
