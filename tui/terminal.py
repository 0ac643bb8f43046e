"""The terminal itself: whether it is still there."""

import errno
import os
import sys


def is_gone() -> bool:
    """Whether the terminal on stdin has hung up.

    A closed window sends SIGHUP, which ends the app, but only to the terminal's own group of processes. In
    any other (started by make, by a script) nothing tells, and reading from what is left spins.
    """
    try:
        os.tcgetpgrp(sys.__stdin__.fileno() if sys.__stdin__ else 0)
    except OSError as error:
        return error.errno == errno.EIO
    except ValueError:  # stdin was closed on purpose
        return False
    return False
