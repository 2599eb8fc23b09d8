"""The mapping of this process: that of the environment, or that which the program around the worker chose."""

from __future__ import annotations

from opsconsole_worker.environment import Environment
from opsconsole_worker.mapping import mapping_file
from opsconsole_worker.mapping.whole_mapping import Mapping

_chosen: list[Mapping] = []


def use(mapping: Mapping) -> None:
    """Choose the mapping before anything asks for it: statements are made of it once."""
    _chosen[:] = [mapping]


def current() -> Mapping:
    """Return the mapping of this process. It never changes while it runs."""
    if not _chosen:
        use(mapping_file.of_environment(Environment()))
    return _chosen[0]
