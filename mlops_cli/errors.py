"""The error tree and the exit codes.

Every failure that a user can cause or meet is an `MlopsError`: it says what went wrong, where, and what to do next.
Any other exception is a bug in mlops and ends with exit code 1 and a traceback. Typer ends usage errors with 2.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_BUG = 1
EXIT_SOME_FAILED = 9
EXIT_GATE_FAILED = 10
EXIT_INTERRUPTED = 130


class MlopsError(Exception):
    """A failure to be told to the user, with a hint.

    Args:
        message: what went wrong and where (file:key, ticker:day).
        hint: what to type or change next; may be empty.
    """

    exit_code = EXIT_BUG

    def __init__(self, message: str, hint: str = "") -> None:
        # it may hold the words of a broker, a server or a file
        self.message = printable(message)
        self.hint = printable(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConfigError(MlopsError):
    """A config, a parameter or the project folder is wrong."""

    exit_code = 3


class DataError(MlopsError):
    """Prices or features are missing, broken or too short."""

    exit_code = 4


class TrainingError(MlopsError):
    """A model could not be trained or exported."""

    exit_code = 5


class ModelError(MlopsError):
    """A model folder is missing, unfinished or damaged."""

    exit_code = 6


class BrokerError(MlopsError):
    """The broker refused, or its state is unknown."""

    exit_code = 7


class ServiceError(MlopsError):
    """The network, a third party or another process of mlops prevents the work."""

    exit_code = 8


def error_with(exit_code: int, message: str, hint: str = "") -> MlopsError:
    """Make an error of the class that has this exit code, for failures that another process reported as text.

    >>> type(error_with(4, "no prices")).__name__
    'DataError'
    """
    # only the classes of this module: subclasses elsewhere share exit codes with them
    classes = {cls.exit_code: cls for cls in MlopsError.__subclasses__() if cls.__module__ == __name__}
    return classes.get(exit_code, MlopsError)(message, hint)


def printable(text: str) -> str:
    r"""Write characters that a terminal would obey, or cannot show, as escapes; line breaks and tabs stay.

    >>> printable("\x1b[31mred"), printable("Zürich\n")
    ('\\x1b[31mred', 'Zürich\n')
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def bounded(items: list[str], limit: int = 5) -> str:
    """Join at most `limit` items, and count the rest.

    >>> bounded(["a", "b"])
    'a, b'
    >>> bounded(list("abcdefg"), 2)
    'a, b and 5 more'
    """
    shown = ", ".join(items[:limit])
    rest = len(items) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown
