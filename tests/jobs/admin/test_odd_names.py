"""Pages of queues and workers whose names mean a folder, or end a path: links lead to them, as browsers follow links."""

from __future__ import annotations

import html
import re
from urllib.parse import urljoin

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs.models import QueueState
from tests.factories import SECOND, beat, dead_letter, job, run

pytestmark = pytest.mark.django_db

NAMES = ["..", ".", "a/b", "/", "../jobs", "%2e%2e", "a%2Fb", "a?b#c", "_2E_2E", "x/change"]
HOST = "http://ops.example"


def followed(client: Client, page: str, link: str) -> str:
    """Return the text of the page that a browser opens for this link of a page."""
    answer = client.get(urljoin(f"{HOST}{page}", html.unescape(link)).removeprefix(HOST))
    assert answer.status_code == 200, (link, answer.status_code)
    return answer.text


def links_of(text: str, model: str) -> list[str]:
    found = re.findall(rf'href="(/admin/jobs/{model}/[^"]+/change/)"', text)
    return sorted(set(found))


@pytest.mark.parametrize(
    ("model", "titled"), [("queuestate", "Queue"), ("workerheartbeat", "Worker")], ids=["queues", "workers"]
)
def test_links_of_a_list_open_the_page_of_each_row(operator: Client, model: str, titled: str) -> None:
    for name in NAMES:
        QueueState.objects.create(name=name, read_at=timezone.now())
        beat(name)
    page = f"/admin/jobs/{model}/"

    links = links_of(operator.get(page).text, model)

    titles = [re.search(r"<title>([^|]*)", followed(operator, page, link)) for link in links]
    assert sorted(html.unescape(title[1].strip()) for title in titles if title) == sorted(
        f"{titled} {name}" for name in NAMES
    )


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_job_and_a_letter_open_their_queue_and_worker(operator: Client, name: str) -> None:
    waiting, running = job(queue=name), run(worker=name, queue=name, silent=SECOND)
    pages = [f"/admin/jobs/job/{each.pk}/change/" for each in (waiting, running)]
    pages.append(f"/admin/jobs/deadletter/{dead_letter(queue=name).pk}/change/")

    for page in pages:
        text = operator.get(page).text
        [link] = links_of(text, "queuestate")
        assert html.escape(f"Queue {name}") in followed(operator, page, link)
        for link in links_of(text, "workerheartbeat"):
            assert html.escape(f"Worker {name}") in followed(operator, page, link)
    assert links_of(operator.get(pages[1]).text, "workerheartbeat")


@pytest.mark.parametrize("name", ["orders_2417", "vm_40@host_5F", "a%2Fb", "a?b#c", "x/change", ".."])
def test_search_leads_to_the_queue_and_the_worker_of_this_name(operator: Client, name: str) -> None:
    """In Django's addresses, "_24" stands for "$"."""
    QueueState.objects.create(name=name, read_at=timezone.now())
    beat(name)
    page = reverse("search")

    text = operator.get(page, {"q": name}).text

    [queue], [worker] = links_of(text, "queuestate"), links_of(text, "workerheartbeat")
    assert html.escape(f"Queue {name}") in followed(operator, page, queue)
    assert html.escape(f"Worker {name}") in followed(operator, page, worker)
