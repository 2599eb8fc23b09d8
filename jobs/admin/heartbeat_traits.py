"""What the heartbeats of workers prove, as far as a person may see the workers and jobs that it names."""

from __future__ import annotations

from jobs.runs import worker_kinds
from jobs.runs.worker_kinds import Trait
from opsconsole.kit.page_permissions import Person, may_see


def traits_for(user: Person) -> list[Trait]:
    return [trait for trait in worker_kinds.traits() if may_see(user, trait.page)]
