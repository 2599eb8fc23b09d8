"""The task that the cluster runs each minute: write down what was refused, seal, check a part of what was
sealed, and look for log-ins beside single sign-on."""

from __future__ import annotations

from alerts import notify
from opsconsole.kit.intervals import EACH_MINUTE
from opsconsole.seals import checking, sealer
from opsconsole.sign_in import local_log_ins, refusals

MONITOR = "sealing of the audit"


def seal() -> str:
    refusals.write_down()
    turn = sealer.seal()
    notify.monitor_ok(MONITOR, EACH_MINUTE)
    return f"{turn}; {checking.check_next()}; {local_log_ins.watch()}"
