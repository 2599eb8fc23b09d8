"""``python -m opsconsole``: the command line, for processes that the console starts itself."""

from opsconsole.command_line import main

if __name__ == "__main__":
    main()
