"""Blocking work beside the screen, in threads that nobody waits for on leaving."""

import asyncio
import contextlib
import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

_TURN = 0.001  # seconds; Python's own 5 ms are waited for again at each step of the event loop


def share_in_short_turns() -> None:
    """Threads of this process give way to the screen's after a millisecond of reading."""
    sys.setswitchinterval(_TURN)


def in_daemon_thread(work: Callable[[], T]) -> Awaitable[T]:
    """What `work` returns or raises. An executor's threads would hold up the exit of the app."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():  # nobody wants it any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the app is gone
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, daemon=True, name="finetune-tui work").start()
    return future


def on_this_thread(call: Callable[P, object]) -> Callable[P, None]:
    """For work in another thread to tell something: it runs here, soon; nobody waits for it."""
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()

    def later(*arguments: P.args, **options: P.kwargs) -> None:
        with contextlib.suppress(RuntimeError):  # the app is gone
            loop.call_soon_threadsafe(lambda: call(*arguments, **options), context=context)

    return later
