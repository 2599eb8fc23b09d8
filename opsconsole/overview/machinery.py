"""The machinery in one line: workers, messages, sweeps and monitors, and whether any of them needs a look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opsconsole.kit.counting import many
from opsconsole.kit.display import rough
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.overview.charts_and_events import Watch
from opsconsole.overview.current_figures import Overview


@dataclass(frozen=True)
class Part:
    """One part of the machinery; ``page`` is the page that the sentence quotes."""

    page: str
    sentence: str
    healthy: bool


@dataclass(frozen=True)
class Machinery:
    sentence: str
    healthy: bool


def in_one_line(seen: Overview, watches: Sequence[Watch], user: Person) -> Machinery | None:
    """Return what this person may see of the machinery; None when that is nothing."""
    parts = [part for part in _parts(seen, watches) if may_see(user, part.page)]
    if not parts:
        return None
    ill = [part.sentence for part in parts if not part.healthy]
    return Machinery(", ".join(ill or [part.sentence for part in parts]), not ill)


def _parts(seen: Overview, watches: Sequence[Watch]) -> Iterator[Part]:
    workers = f"{many(seen.workers_alive, 'worker')} alive"
    if silent := seen.workers_silent:
        workers += f", {silent:,} silent"
    if dead := seen.workers_dead:
        workers += f", {dead:,} dead"
    yield Part("jobs_workerheartbeat", workers, bool(seen.workers_alive or not seen.waiting))
    if seen.overdue:
        yield Part("jobs_outbox", f"{many(seen.overdue, 'message')} overdue", healthy=False)
    else:
        yield Part("jobs_outbox", "messages sent in time", healthy=True)
    age = f"last sweep {rough(seen.sweep_age)} ago" if seen.sweep_age else "no sweep has ended yet"
    yield Part("jobs_sweep", age, not seen.sweep_is_late)
    late = [watch.name for watch in watches if watch.late]
    yield Part("alerts_monitor", f"late: {', '.join(late)}" if late else "no monitor late", not late)
    if seen.unread_queues:
        yield Part("jobs_queuestate", f"unread: {', '.join(seen.unread_queues)}", healthy=False)
