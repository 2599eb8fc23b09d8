"""What retention dropped of the sealed rows, so that verification can tell it from what somebody deleted.

A record says exactly which rows went, and for each seal that keeps some of its rows, what these hold. Only the owner's
function writes records, in the transaction that drops the rows, and the sealed audit quotes each by its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsconsole.kit.retention_models import DroppedRows
from opsconsole.seals import id_ranges
from opsconsole.seals.canonical import encoded
from opsconsole.seals.chain import Seal
from opsconsole.seals.id_ranges import Range

FIELDS = ("source", "name", "ids", "row_count", "content", "file", "left_over", "by")


@dataclass(frozen=True)
class Drops:
    """The dropped rows of one source. ``left_over``: by the number of a seal, the hash of the rows that it still has."""

    ranges: Sequence[Range] = ()
    left_over: Mapping[str, str] = field(default_factory=dict)

    def left_of(self, seal: Seal, wanted: Sequence[Range]) -> tuple[list[Range], str]:
        """Return which rows of a seal must be there, and the hash that they must have."""
        left = subtracted(wanted, self.ranges)
        if id_ranges.size(left) == id_ranges.size(wanted):
            return list(wanted), seal.content
        return left, self.left_over.get(str(seal.number), "")


def of_records(records: Iterable[Mapping[str, Any]]) -> dict[str, Drops]:
    """Return what these records, oldest first, say of each source."""
    ranges: dict[str, list[Range]] = {}
    left_over: dict[str, dict[str, str]] = {}
    for record in records:
        ranges.setdefault(record["source"], []).extend(id_ranges.from_text(record["ids"]))
        left_over.setdefault(record["source"], {}).update(record["left_over"])
    return {source: Drops(id_ranges.joined(ranges[source]), left_over[source]) for source in ranges}


def every() -> dict[str, Drops]:
    return of_records(DroppedRows.objects.order_by("pk").values(*FIELDS))


def read(source: str) -> Drops:
    return every().get(str(source), Drops())


def fingerprint(record: Mapping[str, Any]) -> str:
    """Return the hash of a record, by which the audit quotes it."""
    texts = [json.dumps(record[name], sort_keys=True) for name in FIELDS]
    return hashlib.sha256(encoded(texts)).hexdigest()


def subtracted(ranges: Sequence[Range], without: Sequence[Range]) -> list[Range]:
    """Return the parts of these ascending ranges that the other ascending ranges leave out."""
    left: list[Range] = []
    place = 0
    for first, last in ranges:
        while place < len(without) and without[place][1] < first:
            place += 1
        end = place
        while end < len(without) and without[end][0] <= last:
            end += 1
        left += id_ranges.gaps((first, last), without[place:end])
    return left
