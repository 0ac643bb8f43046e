"""Data counted in tokens without a tokenizer: every word is one, so that screens need no process."""

import re
import threading
from collections.abc import Callable
from typing import Any

from finetune_tui.core.data.report import lengths_of, report_of
from finetune_tui.core.data.rows import Row
from finetune_tui.core.data.source import open_rows
from finetune_tui.core.data.token_report import TokenQuestion, TokenReport

END = "<|endoftext|>"


def count_words(
    question: TokenQuestion,
    progress: Callable[[str], None],
    _cancelled: threading.Event,
) -> TokenReport:
    """What the real call answers, had the model a word for every word."""
    progress("tokenising")
    rows = [_tokens(row, question) for row in open_rows(question.sources, question.strict)]
    longest = question.max_length
    kept = [row[:longest] for row in rows]
    trained = sum(trains for row in kept for _, trains in row)
    report = report_of(question.sources, question.strict)
    answer: dict[str, Any] = {
        **report.to_json(),
        "lengths": lengths_of([len(row) for row in rows], "tokens").to_json(),
        "tokens": sum(map(len, rows)),
        "trained_tokens": trained,
        "ends_trained": True,
        "max_length": longest,
        "share_trained": round(trained / sum(map(len, kept)), 4),
        "cut_rows": sum(len(row) > longest for row in rows),
        "cut_tokens": sum(map(len, rows)) - sum(map(len, kept)),
        "examples": [
            {"where": f"{one.path}:{one.line}", "tokens": row, "cut": len(whole) - len(row)}
            for one, row, whole in zip(report.examples, kept, rows, strict=False)
        ],
    }
    return TokenReport.from_json(question, answer)


def _tokens(row: Row, question: TokenQuestion) -> list[list[Any]]:
    if row.messages is None:
        begin = [(row.prompt or "", False), (row.completion or row.text or "", True), (END, True)]
    else:
        begin = []
        for message in row.messages:
            trains = message["role"] == "assistant" or not question.assistant_only_loss
            begin += [
                (f"<|im_start|>{message['role']}\n", False),
                (str(message.get("content") or ""), trains),
                ("<|im_end|>", trains),
                ("\n", False),
            ]
    return [[word, trains] for text, trains in begin for word in re.findall(r"\s?\S+|\s", text)]
