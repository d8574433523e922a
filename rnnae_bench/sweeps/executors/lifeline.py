"""A process that ends when the one that started it is gone, however that went."""

import fcntl
import os
import select
import signal
import threading


def die_with_parent(lifeline: int) -> None:
    """Have the whole process group killed as soon as a pipe's other end closes.

    The kernel sends the signal, so that it needs no help of this process, whose interpreter a plugin may hold for
    ever; where the kernel does not do that (it is Linux's), a thread waits for the end of the pipe.

    Args:
        lifeline: The reading end of a pipe on which nothing is ever written, and whose writing end the parent holds.
    """
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        # It may have closed before the kernel was asked to tell.
        if select.select([lifeline], [], [], 0)[0]:
            os.killpg(0, signal.SIGKILL)
    else:
        threading.Thread(target=_wait_and_die, args=(lifeline,), daemon=True).start()


def _wait_and_die(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)
