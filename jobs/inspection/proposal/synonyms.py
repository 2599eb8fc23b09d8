"""The names that databases give to the columns of the contract, best first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from jobs.inspection.contract import AS_TEXT, TEXT, WHOLE
from jobs.inspection.proposal.snapshot import ColumnFacts, TableFacts

TIMES = ("timestamp with time zone", "timestamp without time zone", "bigint", "integer")
STATUS = (
    "status",
    "jobstatus",
    "state",
    "jobstate",
    "taskstatus",
    "runstatus",
    "statusid",
    "jobstatusid",
    "statusname",
    "statename",
)
JOB_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "customer_id": (
        "customerid", "clientref", "clientid", "customer", "accountid", "tenantid", "organizationid", "orgid", "teamid",
        "userid", "ownerid", "serviceid", "applicationid", "projectid", "owner",
    ),
    "package_size": ("packagesize", "size", "itemcount", "items", "total"),
    "priority_level": ("prioritylevel", "priority", "prio", "tier"),
    "error_message": (
        "errormessage", "lasterror", "error", "failuremessage", "failurereason", "failure", "failuredetails", "errortext",
        "failedreason", "reason", "exception",
    ),
    "created_at": (
        "createdat", "created", "createat", "createtime", "creationtime", "tcreated", "insertedat", "submittedat", "enqueuedat",
        "queuedat", "createdon", "datecreated", "createddate",
    ),
    "updated_at": (
        "updatedat", "updated", "updateat", "updatetime", "tupdated", "modifiedat", "lastmodified", "changedat", "lasttransition",
        "lastupdated", "updatedon", "dateupdated", "updateddate",
    ),
    "started_at": (
        "startedat", "started", "startat", "starttime", "tstarted", "processingstarted", "processingstartedat", "begunat",
        "beganat", "startedon", "attemptedat", "performedat", "datestarted", "starteddate",
    ),
    "completed_at": (
        "completedat", "completed", "finishedat", "endedat", "tfinished", "endtime", "processingfinished", "finished", "doneat",
        "processedat", "endat", "completedon", "finalizedat", "datedone", "datefinished", "finisheddate",
    ),
}  # fmt: skip
TYPES: Mapping[str, tuple[str, ...]] = {
    "customer_id": AS_TEXT,
    "package_size": WHOLE,
    "priority_level": AS_TEXT,
    "error_message": TEXT,
    "created_at": TIMES,
    "updated_at": TIMES,
    "started_at": TIMES,
    "completed_at": TIMES,
}
# Of a column that is unique, where the primary key has several.
ID = ("id", "jobid", "taskid", "uuid", "jobuuid", "guid", "publicid")
BEAT = (
    "lastheartbeat", "lastheartbeatat", "heartbeatat", "lastseen", "lastseenat", "tseen", "lastbeat", "beatat", "lastping",
    "pingedat", "lastactivityat", "heartbeat", "seenat",
)  # fmt: skip
LOCK = ("lockedat", "leasedat", "claimedat", "reservedat")
WORKER = ("workerid", "worker", "workername", "id", "name", "hostname", "host")
WORKER_OF_JOB = (
    "workerid",
    "lockedby",
    "claimedby",
    "reservedby",
    "assignedworkerid",
    "worker",
    "workername",
)
# Of these, a waiting job must be free, or their workers pass over it.
LOCKED_BY = ("lockedby", "claimedby", "reservedby")
JOB_OF_BEAT = ("currentjobid", "jobid", "taskid", "currentjob", "currenttaskid")
ATTEMPTS = ("attempts", "attempt", "retries", "retrycount", "numfailures", "tries", "retried")


def spelled(name: str) -> str:
    """Return a name without capitals, underscores and the like: createdAt and created_at are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find(
    table: TableFacts, names: Iterable[str], types: Iterable[str] = (), taken: Iterable[str] = ()
) -> ColumnFacts | None:
    """Return the column with the best of these names, of one of these types if any are given."""
    by_name = {spelled(name): column for name, column in table.columns.items() if name not in taken}
    accepted = tuple(types)
    for name in names:
        column = by_name.get(name)
        if column is not None and (not accepted or column.type in accepted):
            return column
    return None
