"""Work beside the screen."""

import asyncio
import subprocess
import sys

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.tui.threads import in_daemon_thread


async def test_results_and_errors_come_back() -> None:
    assert await in_daemon_thread(lambda: 7) == 7

    def fail() -> None:
        raise UserError("no such file")

    with pytest.raises(UserError, match="no such file"):
        await in_daemon_thread(fail)


async def test_an_answer_nobody_waits_for_is_dropped() -> None:
    waiting = asyncio.ensure_future(in_daemon_thread(lambda: 7))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await in_daemon_thread(lambda: 8) == 8


def test_leaving_does_not_wait() -> None:
    script = """
import asyncio, time
from finetune_tui.tui.threads import in_daemon_thread
async def main(): in_daemon_thread(lambda: time.sleep(60))
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
