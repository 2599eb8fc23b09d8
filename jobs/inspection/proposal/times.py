"""How a column holds its times: the kind that a mapping names, or a doubt."""

from __future__ import annotations

from jobs.inspection.proposal.proposed import TableProposal
from jobs.inspection.proposal.snapshot import ColumnFacts
from opsconsole.kit.mapping import EPOCH_MILLISECONDS, EPOCH_SECONDS, WITHOUT_ZONE

ZONELESS, UTC = "timestamp without time zone", "UTC"
# A number of seconds reaches this in the year 5138.
LEAST_MILLISECONDS = 100_000_000_000


def note(part: TableProposal, name: str, column: ColumnFacts) -> None:
    """Note how a column holds its times, and what can't be known of that."""
    if part.facts is None or column.type == "timestamp with time zone":
        return
    seen = part.facts.seen(column.name)
    if column.type == ZONELESS:
        # Where nothing is known of this column, it is as others of the table.
        zones = [column.zone, *(each.zone for each in part.facts.columns.values())]
        zone = next(filter(None, zones), UTC)
        is_local = zone != UTC
        part.times[name] = f"{WITHOUT_ZONE}:{zone}" if is_local else WITHOUT_ZONE
        part.reasons[f"times.{name}"] = "a timestamp without a zone" + (
            ", as a default writes the time in the zone of the database" if is_local else ""
        )
        if is_local and not any(zone in doubt for doubt in part.doubts):
            part.doubts.append(
                f'"{column.name}" and its like are read in {zone}, as a default writes: if your programs write UTC, leave the zone out'
            )
        if not is_local and not any(ZONELESS in doubt for doubt in part.doubts):
            part.doubts.append(
                f'"{column.name}" and its like are {ZONELESS}: read as UTC. For local times write "without_zone:Europe/Berlin"'
            )
        return
    numbers = [int(value) for value in seen if value.lstrip("-").isdigit() and int(value) > 0]
    milliseconds = bool(numbers) and max(numbers) >= LEAST_MILLISECONDS
    part.times[name] = (
        EPOCH_MILLISECONDS if milliseconds or (not numbers and column.type == "bigint") else EPOCH_SECONDS
    )
    example = f"such as {numbers[0]}" if numbers else "no row shows which"
    part.reasons[f"times.{name}"] = f"{column.type}, {example}"
    if not numbers:
        part.doubts.append(f'"{column.name}" is a number without an example: check {part.times[name]}')
