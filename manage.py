#!/usr/bin/env python
"""The console's commands: ``manage.py help`` lists them."""

from opsconsole.command_line import main

if __name__ == "__main__":
    main()
