"""Where exported months are kept: a folder, a bucket of S3, or nowhere (``OPSCONSOLE_ARCHIVE``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from opsconsole.kit.scratch_folders import scratch_folder
from opsconsole.retention import month_export
from opsconsole.retention.month_export import Content, ExportFailed
from opsconsole.retention.months import Month
from opsconsole_worker.sqs.buckets import Bucket, BucketError

NOWHERE = "none"


@dataclass(frozen=True)
class Archived:
    """A month in the archive. ``place`` and ``digest`` are empty where nothing is kept."""

    content: Content
    place: str = ""
    digest: str = ""


def is_chosen() -> bool:
    """Tell whether somebody decided where months go. Until then, none is dropped."""
    return bool(settings.OPSCONSOLE_ARCHIVE)


def keep(month: Month, name: str) -> Archived:
    """Export a month under this name, and read it back. Raise ``ExportFailed`` if that fails."""
    wanted: str = settings.OPSCONSOLE_ARCHIVE
    if wanted == NOWHERE:
        return Archived(month_export.write(month, None))
    with _folder(wanted) as folder:
        file = folder / name
        content = month_export.write(month, file)
        digest = month_export.digest(file)
        if not wanted.startswith("s3://"):
            return Archived(content, str(file), digest)
        name_of_bucket, _, prefix = wanted.removeprefix("s3://").partition("/")
        bucket = Bucket(name_of_bucket, settings.AWS_DEFAULT_REGION, settings.AWS_ENDPOINT_URL)
        key = f"{prefix}/{name}" if prefix else name
        returned = folder / "returned"
        try:
            bucket.store(key, file)
            bucket.fetch(key, returned)
        except BucketError as error:
            raise ExportFailed(str(error)) from error
        month_export.check(returned, content)
        return Archived(content, f"s3://{bucket.name}/{key}", digest)


@contextmanager
def _folder(wanted: str) -> Iterator[Path]:
    try:
        if wanted.startswith("s3://"):
            with scratch_folder("archive") as folder:
                yield folder
        else:
            Path(wanted).mkdir(parents=True, exist_ok=True)
            yield Path(wanted)
    except OSError as error:
        raise ExportFailed(f"The archive {wanted} can't be used: {error.strerror or error}.") from error
