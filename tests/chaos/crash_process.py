"""A process that acts out one scenario and kills itself at one of its steps.

Arguments: scenario, step, the file of receipts, and the scenario's subject.
"""

from __future__ import annotations

import sys
from pathlib import Path

import django


def main() -> None:
    django.setup()
    # Models can be imported only now.
    from tests.chaos.crash_points import crash_points, kill_this_process
    from tests.chaos.crash_scenarios import SCENARIOS

    name, step, receipts, subject = sys.argv[1:]
    with crash_points(int(step), kill_this_process, Path(receipts)):
        SCENARIOS[name].act(subject)


if __name__ == "__main__":
    main()
