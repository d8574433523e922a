"""Errors that a user can fix, and the range checks that raise them."""

import math


class UserError(ValueError):
    """A user's mistake: one line that says what was attempted, what arrived, and how to fix it.

    The command line prints it without a traceback and exits with 2.
    """


def require_positive(**values: float | int) -> None:
    """Refuse any of the named values that is not above zero, or infinite.

    >>> require_positive(hidden_size=128, layers=1)
    >>> require_positive(hidden_size=0)
    Traceback (most recent call last):
        ...
    rnnae_bench.errors.UserError: hidden_size is 0; it must be above 0
    """
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"{name} is {value}; it must be above 0")
        _require_finite(name, value)


def require_not_negative(**values: float | int) -> None:
    """Refuse any of the named values that is below zero, infinite, or not a number.

    >>> require_not_negative(delay=-1)
    Traceback (most recent call last):
        ...
    rnnae_bench.errors.UserError: delay is -1; it must be 0 or more
    """
    for name, value in values.items():
        if not value >= 0:
            raise UserError(f"{name} is {value}; it must be 0 or more")
        _require_finite(name, value)


def _require_finite(name: str, value: float | int) -> None:
    if value == math.inf:
        raise UserError(f"{name} is {value}; it must be a finite number")


def require_fraction(**values: float | int) -> None:
    """Refuse any of the named values outside [0, 1).

    >>> require_fraction(dropout=1.5)
    Traceback (most recent call last):
        ...
    rnnae_bench.errors.UserError: dropout is 1.5; it must be at least 0 and below 1
    """
    for name, value in values.items():
        if not 0 <= value < 1:
            raise UserError(f"{name} is {value}; it must be at least 0 and below 1")


def require_choice(choices: tuple[str, ...], **values: str) -> None:
    """Refuse any of the named values that is not one of the choices.

    >>> require_choice(("tanh", "relu"), activation="sin")
    Traceback (most recent call last):
        ...
    rnnae_bench.errors.UserError: activation is 'sin'; it must be one of tanh, relu
    """
    for name, value in values.items():
        if value not in choices:
            raise UserError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")


def missing_extra(purpose: str, package: str, extra: str) -> UserError:
    """The refusal of what needs a package that only an extra of the suite installs.

    The suite is installed from its checkout, so the way to the extra leads through there too.

    >>> str(missing_extra("a query", "DuckDB", "query"))
    "a query needs DuckDB; install it in the checkout of rnnae-bench: pip install '.[query]'"
    """
    return UserError(f"{purpose} needs {package}; install it in the checkout of rnnae-bench: pip install '.[{extra}]'")


def in_a_line(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
