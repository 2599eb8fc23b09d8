"""Which handler runs the jobs of a queue: named by its path, in a module of handlers, or by an entry point of a package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from opsconsole_worker.working.handlers import Handler, InvalidHandler, RunContext, checked, load

# The entry points of this group are named after queues: default = "shop.jobs:submit".
GROUP = "opsconsole_worker"
# The name in a module of handlers: {"default": submit, "large": submit_large}.
TABLE = "HANDLERS"


def chosen(queue: str, *, path: str | None, module: str | None) -> Handler:
    """Return the handler of this queue: that of ``path``, of the table in ``module``, or of an entry point.

    Raise ``InvalidHandler`` where there is none, or where it can't be called with a run's context.
    """
    if path:
        return load(path)
    return _of_module(module, queue) if module else _of_entry_point(queue)


def _of_module(module: str, queue: str) -> Handler:
    try:
        found = import_module(module)
    except ImportError as error:
        raise InvalidHandler(f"The module '{module}' can't be imported: {error}.") from error
    table = getattr(found, TABLE, None)
    if not isinstance(table, Mapping):
        raise InvalidHandler(
            f"The module '{module}' has no {TABLE}, a dict from names of queues to functions."
        )
    if queue not in table:
        known = ", ".join(sorted(map(str, table))) or "none"
        raise InvalidHandler(
            f"{TABLE} in '{module}' has no handler for the queue '{queue}'. It has: {known}."
        )
    return checked(table[queue], f"{module}.{TABLE}['{queue}']")


def _of_entry_point(queue: str) -> Handler:
    points = list(entry_points(group=GROUP, name=queue))
    if not points:
        raise InvalidHandler(
            f"No handler was named, and no installed package has an entry point '{queue}' in the group '{GROUP}'. "
            "Give --handler or --handlers."
        )
    if len({point.value for point in points}) > 1:
        several = ", ".join(sorted(point.value for point in points))
        raise InvalidHandler(
            f"Several entry points handle the queue '{queue}': {several}. Choose one with --handler."
        )
    [point, *_] = points
    try:
        handler = point.load()
    except (ImportError, AttributeError) as error:
        raise InvalidHandler(
            f"The handler '{point.value}' of an entry point can't be loaded: {error}."
        ) from error
    return checked(handler, point.value)


def after(preparation: str, handler: Handler) -> Handler:
    """Return a handler before which a function without arguments is called, such as ``django.db.close_old_connections``."""
    prepare = loaded_function(preparation)

    def prepared(context: RunContext) -> Mapping[str, Any] | None:
        prepare()
        return handler(context)

    return prepared


def loaded_function(path: str) -> Any:
    """Return the function with this dotted path. Raise ``InvalidHandler`` if there is none."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name) if module else None
    except (ImportError, AttributeError) as error:
        raise InvalidHandler(f"The function '{path}' can't be imported: {error}.") from error
    if not callable(found):
        raise InvalidHandler(f"'{path}' is not a function.")
    return found
