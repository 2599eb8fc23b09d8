"""The parts of the mapping file that only the table of jobs has: status words, words of queues, and the sign of life."""

from __future__ import annotations

from collections.abc import Mapping as Dictionary
from types import MappingProxyType
from typing import Any

from opsconsole_worker.mapping import contract_words
from opsconsole_worker.mapping.file_values import (
    MappingError,
    checked_name,
    checked_table,
    checked_time,
    checked_words,
    refuse_unknown_keys,
    shown,
)
from opsconsole_worker.mapping.mapped_jobs import Life
from opsconsole_worker.mapping.mapped_tables import Time

# A status without any word would make a whole page or duty mean nothing.
_NEEDS_A_WORD = (contract_words.PENDING, contract_words.IN_PROGRESS, contract_words.COMPLETED)


def of_jobs(content: dict[str, Any]) -> dict[str, Any]:
    """Return these parts as the arguments of ``Jobs``."""
    statuses = _statuses(checked_table("jobs.statuses", content.get("statuses", {})))
    return {
        "statuses": statuses,
        "queues": _queues(checked_table("jobs.queues", content["queues"])) if "queues" in content else None,
        "life": _life(checked_table("jobs.life", content.get("life", {}))),
    }


def _statuses(content: dict[str, Any]) -> Dictionary[str, tuple[str, ...]]:
    refuse_unknown_keys("jobs.statuses", content, contract_words.STATUSES)
    statuses = {
        status: checked_words(f"[jobs.statuses] {status}", content[status])
        for status in contract_words.STATUSES
        if status in content
    }
    for status in _NEEDS_A_WORD:
        if statuses.get(status) == ():
            raise MappingError(
                f"[jobs.statuses] {status} is empty. At least one word is needed: the first one is written."
            )
    meanings: dict[str, str] = {}
    for status in contract_words.STATUSES:
        for word in statuses.get(status, (status,)):
            if word in meanings:
                raise MappingError(
                    f"[jobs.statuses] The word {word[:80]!r} stands for {meanings[word]} and for {status}. Keep one of them."
                )
            meanings[word] = status
    return MappingProxyType({status: words for status, words in statuses.items() if words != (status,)})


def _queues(content: dict[str, Any]) -> Dictionary[str, tuple[str, ...]]:
    queues = {
        checked_name("[jobs.queues]", queue): checked_words(f"[jobs.queues] {queue}", words)
        for queue, words in content.items()
    }
    listed = [word for words in queues.values() for word in words]
    twice = next((word for word in listed if listed.count(word) > 1), None)
    if twice is not None:
        raise MappingError(f"[jobs.queues] The word {twice[:80]!r} stands for two queues. Keep one of them.")
    return MappingProxyType(queues)


def _life(content: dict[str, Any]) -> Life:
    refuse_unknown_keys("jobs.life", content, ("told_by", "column", "time", "worker"))
    told_by = content.get("told_by", "beats")
    if told_by not in contract_words.LIVES:
        raise MappingError(
            f"[jobs.life] told_by must be one of {', '.join(contract_words.LIVES)}, not {shown(told_by)}."
        )
    if ("column" in content) != (told_by == "job_column"):
        raise MappingError('[jobs.life] column belongs to told_by = "job_column", and to nothing else.')
    if "time" in content and told_by != contract_words.JOB_COLUMN:
        raise MappingError('[jobs.life] time belongs to told_by = "job_column", and to nothing else.')
    column = checked_name("[jobs.life] column", content["column"]) if "column" in content else None
    worker = checked_name("[jobs.life] worker", content["worker"]) if "worker" in content else None
    time = _life_time(content["time"]) if "time" in content else None
    return Life(told_by, column, time, None if worker == "worker_id" else worker)


def _life_time(kind: object) -> Time:
    return (
        Time(contract_words.WITH_ZONE)
        if kind == contract_words.WITH_ZONE
        else checked_time("[jobs.life] time", kind)
    )
