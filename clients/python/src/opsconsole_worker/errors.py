"""Errors that are shown as a sentence on a page, in a terminal or in an API response."""


class OpsConsoleError(Exception):
    """What is wrong, and what to do about it: "There is no queue 'fast'. Queues: default, slow."

    The message is written for the person who reads it: one or two plain sentences, with the names and
    values concerned, without a traceback and without secrets. Each kind of refusal is a subclass.
    """


class InvalidSetting(Exception):
    """A variable of the environment, or a file that it names, can't be used. The sentence names it and what is accepted."""


def first_line(error: BaseException) -> str:
    """Return what the error says in one line: PostgreSQL's own sentence, without its hints and its query."""
    return str(error).strip().partition("\n")[0].strip() or type(error).__name__
