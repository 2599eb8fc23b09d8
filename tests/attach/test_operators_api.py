"""Every endpoint of the operator's API on a database whose jobs have numbers or texts as ids, with the ids that its answers gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attach.mapped import mapped

TABLE = """
CREATE TABLE jobs (
    id {id}, customer_id text NOT NULL, package_size integer NOT NULL, priority_level text NOT NULL DEFAULT 'starter',
    status text NOT NULL DEFAULT 'pending', error_message text, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz, completed_at timestamptz
);
"""
KINDS = {
    "bigint": ("bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", ""),
    "integer": ("serial PRIMARY KEY", ""),
    # What a path can hold: slashes, blanks, percent signs, and the marks that would end it.
    "text": ("text PRIMARY KEY", "job/{} ü%2F?#"),
}
WALK = """
import json
from urllib.parse import quote
from django.test import Client
from alerts.models import Alert
from jobs.models import DeadLetter, Job, JobEvent, ReplayAttempt
from opsconsole.api.routes import api
from tests import factories, keys, people
from tests.operators import Program

ID = "@ID@"
number = 0
def new(status, **fields):
    global number
    number += 1
    if ID:
        fields["id"] = ID.format(number)
    return Job.objects.create(customer_id=f"c-{number}", package_size=5, status=status, **fields)

program = Program(*keys.OPERATORS)
program.client = Client(headers={"host": "localhost"}, raise_request_exception=False)
program.client.defaults["wsgi.url_scheme"] = "https"
walked = set()

def answered(response, *wanted):
    assert response.status_code in (wanted or (200,)), (response.status_code, response.content)
    match = response.wsgi_request.resolver_match
    walked.add((response.wsgi_request.method.lower(), match.view_name + " " + match.route))
    return response.json()
def get(path, **query):
    return answered(program.get(path, **query))
def change(path, version, **more):
    return answered(program.change(path, version, **more))
def at(row_id):
    return quote(str(row_id), safe="")

# Jobs: the ids of the list lead to every other address.
for status in ["failed", "failed", "failed", "failed"]:
    new(status)
first = get("jobs", status="failed", limit=2)
rest = get("jobs", status="failed", limit=2, after=first["next"])
listed = [job["id"] for job in first["jobs"] + rest["jobs"]]
assert sorted(listed) == sorted(Job.objects.values_list("pk", flat=True)) and rest["next"] is None, listed
shown = get(f"jobs/{at(listed[0])}")
assert shown["job"]["id"] == listed[0] and shown["payload"] == {}, shown
assert [job["id"] for job in get("jobs", q=str(listed[0]))["jobs"]] == [listed[0]]
done = change(f"jobs/{at(listed[0])}/requeue", shown["job"]["version"])
assert (done["job"]["status"], done["job"]["run"]) == ("pending", 2), done
done = change(f"jobs/{at(listed[0])}/cancel", done["job"]["version"])
assert done["job"]["status"] == "cancelled", done
held = new("quarantined")
done = change(f"jobs/{at(held.pk)}/release", get(f"jobs/{at(held.pk)}")["job"]["version"])
assert done["job"]["status"] == "pending", done
seen = get(f"jobs/{at(listed[1])}/payload")
done = change(f"jobs/{at(listed[1])}/edit", seen["version"], payload='{"street": "Main Street 1"}')
assert (done["job"]["status"], Job.objects.get(pk=listed[1]).payload["street"]) == ("pending", "Main Street 1"), done
assert answered(program.get("jobs/" + at("7" * 9 if not ID else "nobody")), 404)["status"] == 404

# Dead letters: of a known job, and of something else.
of_job = factories.dead_letter(Job.objects.get(pk=listed[2]))
other = factories.dead_letter(body='{"order": 4711}')
letters = {letter["id"]: letter for letter in get("letters")["letters"]}
assert letters[str(of_job.pk)]["job_id"] == listed[2], letters
assert get(f"letters/{of_job.pk}")["letter"]["job_status"] == "failed"
done = change(f"letters/{of_job.pk}/replay", letters[str(of_job.pk)]["version"])
assert get(f"jobs/{at(listed[2])}")["job"]["run"] == 2, done
done = change(f"letters/{other.pk}/discard", letters[str(other.pk)]["version"])
done = change(f"letters/{other.pk}/restore", done["letter"]["version"])
body = get(f"letters/{other.pk}/body")
done = change(f"letters/{other.pk}/edit", body["version"], body='{"order": 4712}')
assert ReplayAttempt.objects.filter(edited_body__isnull=False).count() == 1, done

# Bulk operations, with the ids that the list gave, and by filters.
many = [new("failed").pk for _ in range(3)]
given = [job["id"] for job in get("jobs", status="failed")["jobs"]]
assert set(given) == {*many, listed[3]}, given
begun = answered(program.post("bulk", {"action": "requeue", "ids": given[:2]}))["operation"]
assert begun["will"] == 2, begun
shown = get(f"bulk/{begun['number']}/preview")
assert (shown["operation"]["number"], {member["id"] for member in shown["sample"]}) == (begun["number"], {*map(str, given[:2])})
running = change(f"bulk/{begun['number']}/confirm", begun["version"], will=2)
members = get(f"bulk/{begun['number']}")["members"]
assert {str(each) for each in given[:2]} == {member["id"] for member in members}, members
stopped = change(f"bulk/{begun['number']}/cancel", running["version"])
change(f"bulk/{begun['number']}/resume", stopped["version"])
by_filter = answered(program.post("bulk", {"action": "requeue", "filters": {"status": "failed"}}))["operation"]
assert by_filter["will"] >= 2, by_filter
assert [each["number"] for each in get("bulk/all")["operations"]] == [begun["number"]]

# The rest names no job; its pages may.
alert = Alert.objects.create(fingerprint="f-1", severity="critical", title="Dead letters")
seen = get("alerts")["alerts"][0]
for verb, more in [("acknowledge", {}), ("snooze", {"minutes": 5}), ("resolve", {})]:
    seen = get(f"alerts/{alert.pk}")
    change(f"alerts/{alert.pk}/{verb}", (seen.get("alert") or seen)["version"], **more)
pause = next(each for each in get("pauses")["pauses"] if each["name"] == "recovery")
change("pauses/begin", pause["version"], name="recovery", minutes=5)
pause = next(each for each in get("pauses")["pauses"] if each["name"] == "recovery")
change("pauses/end", pause["version"], name="recovery")
limits = get("limits")
policy = next(each for each in limits["policies"] if each["name"] == "relaxed")
change("limits/policies/relaxed", policy["version"], fields={"limit": policy["limit"] + 1})
limits = get("limits")
change("limits/mode", limits["mode"]["version"], mode="shadow")

known = sum(len(methods) for path, methods in api.get_openapi_schema()["paths"].items() if "/operator/" in path)
assert len({(method, view) for method, view in walked}) == known, (len(walked), known, sorted(walked))
print("walked")
"""


@pytest.mark.parametrize("kind", KINDS)
def test_every_endpoint_works_with_ids_of_this_type(kind: str, tmp_path: Path, django_db_setup: None) -> None:
    column, new_id = KINDS[kind]
    mapping = f'[jobs]\nid_type = "{kind}"\n'
    with mapped(tmp_path, mapping, TABLE.format(id=column)) as there:
        walk = WALK.replace("@ID@", new_id)
        said = there.manage("shell", "-v0", "-c", walk, OPSCONSOLE_EDIT_DEAD_LETTERS="true")
        assert said.strip().endswith("walked")
