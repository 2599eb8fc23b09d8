"""What is hidden stays hidden over real servers: undeclared filters, text that names nothing, pages of others."""

from __future__ import annotations

import pytest

from tests.field.console import PASSWORD, Console, Serve
from tests.field.visitor import Visitor
from tests.serving import gunicorn, uvicorn

# No client may ask for these. nginx refuses NUL by itself.
REFUSED = [
    "/admin/jobs/deadletter/?body__contains=a",
    "/admin/ratelimits/apikey/?digest__startswith=a",
    "/admin/auth/user/?password__startswith=p",
    "/admin/jobs/job/?queue=%00",
    "/admin/jobs/job/?queue=%ED%A0%80",
    "/admin/jobs/job/%00/change/",
    "/admin/jobs/job/%ED%A0%80/change/",
    "/admin/alerts/rule/%ED%A0%80/edit/",
    "/api/queue/a%ED%A0%80",
]


@pytest.mark.parametrize("serve", [gunicorn, uvicorn], ids=["gunicorn as shipped", "uvicorn"])
def test_viewer_asks_for_nothing_hidden_and_sees_nothing_of_others(console: Console, serve: Serve) -> None:
    from django.contrib.auth.hashers import PBKDF2PasswordHasher
    from django.contrib.auth.models import Permission, User

    from tests import people

    with console.database.as_default():
        people.viewer("vera")
        paul = User.objects.create_user("paul", is_staff=True)
        paul.user_permissions.add(Permission.objects.get(codename="view_job"))
        # Tests hash passwords in a quicker way, which the server does not know.
        User.objects.update(password=PBKDF2PasswordHasher().encode(PASSWORD, "salt-of-the-tests"))
    with console.served(serve=serve) as proxy:
        with Visitor(proxy) as visitor:
            welcome = visitor.log_in("vera", PASSWORD)
            assert (welcome.status, welcome.headers["Location"]) == (302, "/admin/"), welcome.text
            assert {path: visitor.get(path).status for path in REFUSED} == dict.fromkeys(REFUSED, 400)
            assert visitor.get("/admin/jobs/job/?status=failed").status == 200
        with Visitor(proxy) as visitor:
            visitor.log_in("paul", PASSWORD)
            overview = visitor.get("/admin/").text
            assert "Stale now" in overview
            assert [word for word in ("What people did", "Monitors", "Alerts open") if word in overview] == []
            assert visitor.get("/admin/alerts/alert/").status == 403
        with Visitor(proxy, around_the_proxy=True) as visitor:
            assert [visitor.get(path).status for path in REFUSED[5:]] == [400] * len(REFUSED[5:])
