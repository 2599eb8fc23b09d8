"""The SQS emulator, serving on the listening socket whose descriptor is its argument."""

from __future__ import annotations

import logging
import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


def _serve(descriptor: int) -> None:
    # A line per request would fill the disk.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    emulator = DomainDispatcherApplication(create_backend_app)
    make_server("127.0.0.1", 0, emulator, threaded=True, fd=descriptor).serve_forever()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
