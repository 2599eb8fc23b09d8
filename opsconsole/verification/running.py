"""Checks carried out one after the other, each within its time limit. None of them can stop the others."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread

from django.db import Error, connection

from opsconsole.kit.database_troubles import headline, trouble_behind
from opsconsole.kit.durations import spell
from opsconsole.kit.errors import OpsConsoleError, first_line
from opsconsole.kit.exit_codes import COULD_NOT
from opsconsole.verification.check import Check, Judgement, Verdict, Wishes, unknown
from opsconsole_worker.sqs import QueueError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """A check with its answer."""

    check: Check
    judgement: Judgement

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    def as_json(self) -> dict[str, str]:
        return {
            "check": self.check.name,
            "question": self.check.question,
            "verdict": self.verdict.value,
            "answer": self.judgement.sentence,
            "action": self.judgement.action,
        }


def carry_out(checks: Iterable[Check], wishes: Wishes) -> Iterator[Result]:
    """Yield the result of each check as soon as it is there."""
    for check in checks:
        yield Result(check, _judged(check, wishes))


def _judged(check: Check, wishes: Wishes) -> Judgement:
    """Carry out a check in a thread of its own: what hangs is left behind, and ends with the process."""
    answer: Future[Judgement] = Future()
    Thread(target=_answer, args=(check, wishes, answer), name=f"verify-{check.name}", daemon=True).start()
    try:
        return answer.result(check.limit.total_seconds())
    except TimeoutError:
        return unknown(f"There was no answer within {spell(check.limit)}.", check.action)


def _answer(check: Check, wishes: Wishes, answer: Future[Judgement]) -> None:
    try:
        answer.set_result(check.judge(wishes))
    except Error as error:
        answer.set_result(unknown(f"{headline(trouble_behind(error))}: {first_line(error)}.", check.action))
    except (QueueError, OpsConsoleError) as error:
        answer.set_result(unknown(str(error), check.action))
    except Exception as error:
        # Whatever goes wrong in one check, the others are carried out.
        logger.warning("The check '%s' failed.", check.name, exc_info=True)
        answer.set_result(
            unknown(f"The check itself failed: {type(error).__name__}: {first_line(error)}.", check.action)
        )
    finally:
        connection.close()


def exit_code(results: Iterable[Result]) -> int:
    """Return 1 when something is wrong, 3 when nothing is wrong and something could not be judged, otherwise 0."""
    verdicts = {result.verdict for result in results}
    if Verdict.WRONG in verdicts:
        return 1
    return COULD_NOT if Verdict.UNKNOWN in verdicts else 0
