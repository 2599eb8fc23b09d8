"""What live pages say while the cluster, or one of its monitors, has been silent for too long."""

from __future__ import annotations

from opsconsole.kit.display import clock_time
from opsconsole.kit.page_permissions import Person, may_see
from opsconsole.overview.charts_and_events import watches


def in_a_sentence(user: Person) -> str:
    """Return since when what the cluster measures is old, or an empty string. Names of monitors quote their page."""
    all_watches = watches()
    late = [watch for watch in all_watches if watch.late]
    if not late:
        return ""
    since = clock_time(min(watch.last_ok_at for watch in late))
    if len(late) == len(all_watches):
        since = clock_time(max(watch.last_ok_at for watch in late))
        return (
            f"The cluster has been silent since {since}. What it measures is from then, and is shown in grey."
        )
    names = (
        ", ".join(watch.name for watch in late) if may_see(user, "alerts_monitor") else "Part of the cluster"
    )
    return f"Silent since {since}: {names}. What it measures is from then, and is shown in grey."
