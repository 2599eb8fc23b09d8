"""The ASGI application with a middleware around it, which hides the socket from it."""

from __future__ import annotations

from typing import Any

from opsconsole.asgi import application as console


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    async def pass_on() -> Any:
        return await receive()

    await console(scope, pass_on, send)
