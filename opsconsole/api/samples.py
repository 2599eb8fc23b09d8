"""Samples of calls of the operator's API, for curl, Python and TypeScript. A test runs each of them as it stands here.

The TypeScript is plain enough to be JavaScript as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

LANGUAGES = ("curl", "Python", "TypeScript")
# What stands in the samples for what a caller has to fill in.
JOB, LETTER = "5a3c91d2-7f40-4be1-9d0e-2b6f8c11a901", "0c9f1b6e-52ad-4f0b-9d59-0c2d8c7f6a10"
PLACES = {"job_id": JOB, "letter_id": LETTER, "alert_id": "12", "number": "7", "policy": "relaxed"}
IDEMPOTENCY_KEY = "ticket-118"

_CURL = """\
curl --silent --fail-with-body "$CONSOLE_URL{path}" \\
  -H "Authorization: Bearer $CONSOLE_KEY"{change}
"""
_CURL_CHANGE = """ \\
  -H "Idempotency-Key: {key}" \\
  --json '{body}'"""

_PYTHON = """\
import json
import os
import urllib.request

request = urllib.request.Request(
    os.environ["CONSOLE_URL"] + "{path}",
    headers={{"Authorization": "Bearer " + os.environ["CONSOLE_KEY"]{headers}}},{data}
)
with urllib.request.urlopen(request) as answer:
    print(json.dumps(json.load(answer), indent=2))
"""
_PYTHON_HEADERS = ', "Content-Type": "application/json", "Idempotency-Key": "{key}"'
_PYTHON_DATA = "\n    data=json.dumps({body}).encode(),"

_TYPESCRIPT = """\
const answer = await fetch(`${{process.env.CONSOLE_URL}}{path}`, {{
  headers: {{
    Authorization: `Bearer ${{process.env.CONSOLE_KEY}}`,{headers}
  }},{change}
}});
if (!answer.ok) throw new Error(await answer.text());
console.log(await answer.json());
"""
_TYPESCRIPT_HEADERS = """
    "Content-Type": "application/json",
    "Idempotency-Key": "{key}","""
_TYPESCRIPT_CHANGE = """
  method: "POST",
  body: JSON.stringify({body}),"""


@dataclass(frozen=True)
class Sample:
    language: str
    source: str

    @property
    def as_json(self) -> dict[str, str]:
        """Return the sample as the extension ``x-codeSamples`` has it, which programs that show OpenAPI read."""
        return {"lang": self.language, "source": self.source}


def of_route(path: str, body: Any) -> list[Sample]:
    """Return the samples of a route with this path; ``body`` is an example of its body, None for a route that reads."""
    filled, text = path.format(**PLACES), json.dumps(body, ensure_ascii=False)
    changes = body is not None
    fill = {"path": filled, "key": IDEMPOTENCY_KEY}
    sources = (
        _CURL.format(path=filled, change=_CURL_CHANGE.format(body=text, **fill) if changes else ""),
        _PYTHON.format(
            path=filled,
            headers=_PYTHON_HEADERS.format(**fill) if changes else "",
            data=_PYTHON_DATA.format(body=repr(body)) if changes else "",
        ),
        _TYPESCRIPT.format(
            path=filled,
            headers=_TYPESCRIPT_HEADERS.format(**fill) if changes else "",
            change=_TYPESCRIPT_CHANGE.format(body=text) if changes else "",
        ),
    )
    return [Sample(language, source) for language, source in zip(LANGUAGES, sources, strict=True)]
