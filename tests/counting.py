"""The metrics of this test process, read as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from opsconsole.kit import metric_files

TOKEN = "a token of Prometheus with enough characters"

Key = tuple[str, tuple[tuple[str, str], ...]]


def samples(text: str) -> dict[Key, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@dataclass
class Counted:
    """What was counted since the test began. The client's files are the process's, not the test's."""

    folder: Path
    before: dict[Key, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.before = self._now()

    def _now(self) -> dict[Key, float]:
        with metric_files.locked(self.folder):
            return samples(metric_files.exposition(self.folder).decode())

    def __call__(self, name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return self._now().get(key, 0.0) - self.before.get(key, 0.0)


Count = Callable[..., float]
