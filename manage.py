#!/usr/bin/env python
"""The console's commands: ``manage.py help`` lists them."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import OperationalError

if __name__ == "__main__":
    if sys.argv[1:] == ["demo"]:
        # It starts the services that the settings name, so it can't begin by reading them.
        from opsconsole.demo.main import main

        sys.exit(main())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsconsole.settings")
    try:
        execute_from_command_line(sys.argv)
    except OperationalError as error:
        # Whatever the command, a database that is away is a sentence and no traceback.
        sentence = str(error).strip().partition("\n")[0]
        sys.exit(f"The database does not answer: {sentence}")
