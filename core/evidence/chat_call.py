"""The calls `chat_open` and `chat`: a trained run answers beside its base, from one loaded model. Starred.

The process that answers holds the model of one run until it is asked for another's, or ends.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from finetune_tui.core.calls.cancelled import Cancelled
from finetune_tui.core.data.tokens import answer_ends, asked_ids, question_of
from finetune_tui.core.errors import UserError, WorkFailed
from finetune_tui.core.evidence.chat_answer import Writer
from finetune_tui.core.evidence.conversation import Answer, Side, has_answer, row_of
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.out_of_memory import forget_memory, is_out_of_memory
from finetune_tui.core.training.tuned import Tuned, load_tuned

Progress = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class _Held:
    run: str
    use_cpu: bool | None
    tuned: Tuned
    seconds: float


_held: _Held | None = None


def open_call(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """{"run", "use_cpu"} → {"model", "device", "dtype", "context", "has_template", "step", "seconds",
    "bytes"}: the run's model is loaded, unless it is already.

    bytes: of the GPU's memory, null on the CPU. step: of the checkpoint that stands for the result, or null.
    """
    held = _open(params, progress)
    device = held.tuned.device
    on_gpu = device.on_gpu
    return {
        "model": held.tuned.reference.name,
        "device": torch.cuda.get_device_name(device.torch_device) if on_gpu else "CPU",
        "dtype": _precision_of(held.tuned),
        "context": held.tuned.manifest.config.context,
        "has_template": held.tuned.tokenizer.chat_template is not None,
        "step": held.tuned.step,
        "seconds": held.seconds,
        "bytes": torch.cuda.memory_reserved(device.torch_device) if on_gpu else None,
    }


def chat_call(params: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """{"run", "use_cpu", "asked": {side: row}, "sampling"} → {"answers": {side: answer}, "expected"}.

    A row is a prompt or messages, with the expected answer or without. Progress: {"side", "text", "tokens",
    "seconds", "read", "to_read"}, each side's next text in turn. A cancel ends the answers where they are.
    """
    held = _open(params, progress)
    sampling = Sampling(**params["sampling"])
    writers, expected = [], None
    for name, asked in params["asked"].items():
        writer, wanted = _writer(held.tuned, Side(name), asked, sampling)
        writers.append(writer)
        expected = wanted if wanted is not None else expected
    try:
        _write(writers, progress)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        del writers
        forget_memory()
        raise WorkFailed(
            "the memory ran out while answering",
            hint="a shorter prompt or fewer max_new_tokens; or ask on the CPU",
        ) from None
    return {
        "answers": {
            writer.side.value: _judged(writer.answer, expected).to_json() for writer in writers
        },
        "expected": expected,
    }


def _open(params: Mapping[str, Any], progress: Progress) -> _Held:
    """The model that is wanted. The one held before is let go of first: two may not fit."""
    global _held
    run, use_cpu = str(params["run"]), params["use_cpu"]
    if _held is not None and (_held.run, _held.use_cpu) == (run, use_cpu):
        return _held
    _held = None
    forget_memory()

    def say(
        phase: str,
        done: int | None = None,
        total: int | None = None,
        words: str | None = None,
    ) -> None:
        progress({"words": words or phase, "done": None if words else done, "total": total})

    begun = time.perf_counter()
    try:
        tuned = load_tuned(RunDirectory(Path(run)), use_cpu=use_cpu, say=say)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        forget_memory()
        raise WorkFailed(
            "the model does not fit into the memory that is free",
            hint="ask on the CPU, or when the GPU is free",
        ) from None
    _held = _Held(run, use_cpu, tuned, round(time.perf_counter() - begun, 2))
    return _held


def _writer(
    tuned: Tuned, side: Side, asked: Mapping[str, Any], sampling: Sampling
) -> tuple[Writer, str | None]:
    """Who will answer, and the text that is expected, None where nothing is."""
    row, expected = row_of(asked), None
    tokenizer = tuned.tokenizer
    try:
        if has_answer(row) and not _is_open(row.messages):
            ids, wanted = question_of(row, tokenizer)
            expected = str(tokenizer.decode(wanted, skip_special_tokens=True)).strip()
        else:
            ids = asked_ids(row, tokenizer)
        ends = answer_ends(row.messages is not None, tokenizer)
    except UserError as error:  # the row has no place in a file
        raise UserError(error.message, hint=error.hint) from None
    context = tuned.manifest.config.context
    if not ids:
        raise UserError("nothing is asked", hint="write a prompt")
    if context is not None and len(ids) >= context:
        raise UserError(
            f"{len(ids)} tokens are asked and the model takes {context}, its answer included",
            hint="shorten the prompt, or begin a new conversation",
        )
    return Writer(tuned, side, ids, ends, sampling, context), expected


def _is_open(messages: Any) -> bool:
    """Whether a chat waits for an answer, whatever was answered before."""
    return bool(messages) and messages[-1].get("role") != "assistant"


def _write(writers: list[Writer], progress: Progress) -> None:
    """A token of each side in turn until all have ended, or nobody wants more."""
    try:
        while True:
            writing = [writer for writer in writers if writer.ended is None]
            if not writing:
                return
            for writer in writing:
                _tell(writer, writer.step(), progress)
    except Cancelled:
        for writer in writers:
            writer.stop()


def _tell(writer: Writer, text: str, progress: Progress) -> None:
    answer = writer.progress
    progress(
        {
            "words": "reading the prompt" if writer.is_reading else "answering",
            "side": writer.side.value,
            "text": text,
            "tokens": answer.tokens,
            "seconds": answer.seconds,
            "read": answer.read,
            "to_read": answer.to_read,
        }
    )


def _judged(answer: Answer, expected: str | None) -> Answer:
    if expected is None or answer.ended is None:
        return answer
    return replace(answer, exact=answer.text.strip() == expected)


def _precision_of(tuned: Tuned) -> str:
    if tuned.spec.load_in_4bit:
        return "nf4"
    if tuned.spec.load_in_8bit:
        return "8bit"
    return str(tuned.device.dtype).removeprefix("torch.")
