"""The ASGI application. It refuses to serve with settings that the system checks refuse.

The server's own rules for proxies have no effect: ``opsconsole.socket_peer`` reads the peer from the socket.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.core.management import call_command

from opsconsole import socket_peer
from opsconsole.timeouts import limit_statements

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsconsole.settings")
_django = get_asgi_application()
limit_statements()
call_command("check", tags=["opsconsole"])
call_command("check", tags=["store"], deploy=True)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
    else:
        await _django(socket_peer.with_socket_peer(scope, receive), receive, send)


async def _live(receive: Receive, send: Send) -> None:
    """Answer lifespan messages. An ASGI server stops its processes by a signal, so only this message announces the end."""
    from ratelimits.records import background_thread  # noqa: PLC0415 - models must be loaded first

    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await sync_to_async(background_thread.stop)()
    await send({"type": "lifespan.shutdown.complete"})
