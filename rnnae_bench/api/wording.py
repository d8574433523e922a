"""What a mistake is told as to who calls from Python: arguments and options rather than flags."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from rnnae_bench.errors import UserError


@contextmanager
def told_in_python() -> Iterator[None]:
    """Have the mistakes found in the block speak of arguments, where they speak of the command line's flags."""
    try:
        yield
    except UserError as error:
        error.args = (in_python(str(error)),)
        raise


def in_python(message: str) -> str:
    """A message in the words of a call.

    >>> in_python("--after 90: the protocol has 50 steps; set --task.protocol.max_steps for more")
    'after 90: the protocol has 50 steps; set task option protocol.max_steps for more'
    >>> in_python("--model.layers is not an option of gru (--help lists them); leave --checkpoint-every out")
    'layers is not an option of gru; leave checkpoint_every out'
    """
    message = message.replace(" (--help lists them)", "")
    message = re.sub(r"(?<![\w-])--model\.(?=\w)", "", message)
    message = re.sub(r"(?<![\w-])--(task|trainer)\.(?=\w)", r"\1 option ", message)
    return re.sub(r"(?<![\w-])--([a-z][a-z_-]*)", lambda flag: flag[1].replace("-", "_"), message)
