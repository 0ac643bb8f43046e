"""What a stranger's file may cost: a clock that no loop outlasts, and a bound on memory.

For processes that run a foreign tokenizer, template or config; never for the app itself.
"""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 5.0
"""Seconds of CPU for one row's tokens, or for building one model without its weights."""
MOST_MEMORY = 4 * 2**30
"""Bytes that a tokenizer and its rows may take beside what the process holds."""
_RESERVED_BY_THREAD = 2**27  # its stack and glibc's arena: address space, hardly memory
TOO_LONG = signal.SIGPROF
"""What a process ends of when its clock runs out; who waits for it puts that into words."""


@contextmanager
def clock(seconds: float = LONGEST) -> Iterator[None]:
    """End this process with SIGPROF unless the block is through in time.

    Seconds of CPU, so that a busy machine is not mistaken for a loop. The kernel does it: a regex that
    backtracks inside a library never comes back to Python, where an exception could be raised.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextmanager
def bounded_memory(most: int = MOST_MEMORY) -> Iterator[None]:
    """Let the block take `most` more bytes of address space; beyond it Python raises MemoryError.

    Relative to what is mapped already, and only for a while: CUDA reserves far more than it uses.
    A thread of the tokenizer reserves too, and it starts one for every core.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = _mapped() + most + (os.cpu_count() or 1) * _RESERVED_BY_THREAD
    for other in (soft, hard):
        bound = bound if other == resource.RLIM_INFINITY else min(bound, other)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _mapped() -> int:
    """Bytes of address space of this process; where /proc is missing, too many rather than too few."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 2**46
    return pages * resource.getpagesize()
