"""A clock that no loop outlasts, and a bound on memory: in processes of their own."""

import subprocess
import sys
import time

from finetune_tui.core.limits import TOO_LONG, clock


def run(script: str) -> "subprocess.CompletedProcess[str]":
    script = f"import os\nfrom finetune_tui.core.limits import *\n{script}"
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )


def test_a_loop_is_ended_by_the_clock() -> None:
    assert run("with clock(0.2):\n    while True: pass").returncode == -TOO_LONG


def test_what_never_comes_back_to_python_is_ended_too() -> None:
    assert run("with clock(0.2): 9 ** 9 ** 9").returncode == -TOO_LONG


def test_what_is_through_in_time_goes_on() -> None:
    done = run("with clock(0.2): pass\nend = sum(range(10**7))\nprint('on')")
    assert done.stdout == "on\n"


def test_waiting_is_no_work() -> None:
    with clock(0.2):
        time.sleep(0.3)


def test_memory_is_bounded_for_a_while_only() -> None:
    script = """
os.cpu_count = lambda: 1
try:
    with bounded_memory(2**28): bytearray(2**30)
except MemoryError:
    print("refused")
print(len(bytearray(2**29)))
"""
    assert run(script).stdout.split() == ["refused", str(2**29)]
