"""``python -m opsconsole_worker``."""

from opsconsole_worker.command_line import run

if __name__ == "__main__":
    run()
