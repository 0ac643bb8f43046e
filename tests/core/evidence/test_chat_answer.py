"""Answers token by token: what `generate` would write, on both sides at once, stopped within a token."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.calls.cancelled import Cancelled
from finetune_tui.core.data.rows import Format, Row
from finetune_tui.core.data.tokens import answer_ends, asked_ids, question_of
from finetune_tui.core.errors import UserError
from finetune_tui.core.evidence import chat_answer, chat_call
from finetune_tui.core.evidence.chat_answer import Writer
from finetune_tui.core.evidence.conversation import BOTH, Answer, Ended, Side
from finetune_tui.core.evidence.sampling import Sampling
from finetune_tui.core.evidence.text_stream import TextStream
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.tuned import Tuned, load_tuned
from tests.core.data.templates import QWEN3_STYLE, STYLES, make_tokenizer
from tests.core.training.families import make_folder
from tests.core.training.trained_runs import as_trained, finished_run, spec_of

PROMPT = list(range(3, 67))
NEVER = frozenset({-1})
KEYS: dict[str, Any] = {
    "modules": [
        {"model.layers.{0..4}.self_attn.{q_proj,v_proj}": "lora"},
        {"model.layers.{0..4}.input_layernorm": "full"},
    ]
}


def trained(folder: Path, family: str) -> tuple[RunDirectory, Tuned]:
    spec = spec_of(make_folder(family, folder / family), **KEYS)
    run = finished_run(folder / "home", spec, as_trained(spec))
    return run, load_tuned(run)


@pytest.fixture(scope="module")
def run_and_tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Tuned]:
    return trained(tmp_path_factory.mktemp("chat"), "llama")


@pytest.fixture
def tuned(run_and_tuned: tuple[RunDirectory, Tuned]) -> Tuned:
    return run_and_tuned[1]


def generated(tuned: Tuned, side: Side, **settings: Any) -> list[int]:
    """What plain Transformers writes."""
    lent = tuned.as_base() if side is Side.BASE else tuned.as_tuned()
    with lent as model, torch.no_grad(), tuned.precision():
        ids = torch.tensor([PROMPT])
        found = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            use_cache=True,
            eos_token_id=None,
            **{"do_sample": False, "max_new_tokens": 14, **settings},
        )
    return [int(token) for token in found[0, len(PROMPT) :]]


def written(tuned: Tuned, sampling: Sampling) -> dict[Side, list[int]]:
    """What both sides write, a token in turn."""
    writers = [Writer(tuned, side, PROMPT, NEVER, sampling, 128) for side in BOTH]
    while any(writer.ended is None for writer in writers):
        for writer in writers:
            if writer.ended is None:
                writer.step()
    assert {writer.ended for writer in writers} == {Ended.LENGTH}
    return {writer.side: writer.token_ids for writer in writers}


@pytest.mark.parametrize("at_once", [512, 16])
def test_greedy_answers_are_those_of_generate(
    tuned: Tuned, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_answer, "_AT_ONCE", at_once)
    found = written(tuned, Sampling(max_new_tokens=14))
    assert found[Side.BASE] != found[Side.TUNED]
    for side in BOTH:
        assert found[side] == generated(tuned, side)


@pytest.mark.soak
@pytest.mark.parametrize(
    "family", ["phi", "phi3", "mistral", "qwen2-tied", "qwen3-moe", "gemma2-tied", "gemma3-tied"]
)
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_answers_of_every_family(tmp_path: Path, family: str, penalty: float) -> None:
    """Also past the sliding window of 64 tokens that some of them have."""
    spec = spec_of(make_folder(family, tmp_path / family), preset="all-linear")
    tuned = load_tuned(finished_run(tmp_path / "home", spec, as_trained(spec)))
    found = written(tuned, Sampling(max_new_tokens=14, repetition_penalty=penalty))
    for side in BOTH:
        assert found[side] == generated(tuned, side, repetition_penalty=penalty)


@pytest.mark.soak
@pytest.mark.parametrize(
    "held", [{"dtype": "bfloat16"}, {"load_in_4bit": True}, {"load_in_8bit": True}]
)
def test_greedy_answers_however_the_base_is_held(tmp_path: Path, held: dict[str, Any]) -> None:
    modules = [{"model.layers.{0..4}.self_attn.{q_proj,v_proj}": "lora"}]
    spec = spec_of(make_folder("llama", tmp_path / "llama"), modules=modules, **held)
    tuned = load_tuned(finished_run(tmp_path / "home", spec, as_trained(spec)))
    found = written(tuned, Sampling(max_new_tokens=14))
    for side in BOTH:
        assert found[side] == generated(tuned, side)


def test_a_repetition_penalty_is_that_of_generate(tuned: Tuned) -> None:
    found = written(tuned, Sampling(max_new_tokens=14, repetition_penalty=1.5))
    assert found[Side.TUNED] == generated(tuned, Side.TUNED, repetition_penalty=1.5)


def test_a_seed_draws_the_same_answer_again(tuned: Tuned) -> None:
    sampling = Sampling(temperature=1.2, top_p=0.95, top_k=200, max_new_tokens=8)
    first = written(tuned, sampling)
    torch.manual_seed(99)
    assert written(tuned, sampling) == first
    assert written(tuned, replace(sampling, seed=2)) != first


# The call


def ask(run: RunDirectory, progress: Any = lambda _: None, **params: Any) -> dict[str, Any]:
    asked = {"run": str(run.path), "use_cpu": None, "sampling": Sampling().to_json(), **params}
    return chat_call.chat_call(asked, progress)


def test_the_model_is_loaded_once_and_another_run_takes_its_place(
    run_and_tuned: tuple[RunDirectory, Tuned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[RunDirectory] = []

    def load(run: RunDirectory, **_: Any) -> Tuned:
        loaded.append(run)
        return run_and_tuned[1]

    monkeypatch.setattr(chat_call, "load_tuned", load)
    monkeypatch.setattr(chat_call, "_held", None)
    run, other = run_and_tuned[0], RunDirectory(tmp_path)
    asked = {"tuned": {"prompt": "hello"}}
    for one in (run, run, other, run):
        ask(one, asked=asked, sampling={"max_new_tokens": 2})
    assert loaded == [run, other, run]
    assert (
        chat_call.open_call({"run": str(run.path), "use_cpu": None}, lambda _: None)["step"] is None
    )


@pytest.fixture
def held(
    run_and_tuned: tuple[RunDirectory, Tuned], monkeypatch: pytest.MonkeyPatch
) -> RunDirectory:
    monkeypatch.setattr(chat_call, "load_tuned", lambda *_args, **_more: run_and_tuned[1])
    monkeypatch.setattr(chat_call, "_held", None)
    return run_and_tuned[0]


def test_both_sides_stream_in_turn_and_what_streams_is_the_answer(held: RunDirectory) -> None:
    told: list[dict[str, Any]] = []
    row = {"prompt": "Order: nine helmets.", "completion": " {}"}
    sampling = {"max_new_tokens": 6}
    answers = ask(held, told.append, asked={"base": row, "tuned": row}, sampling=sampling)
    sides = [one["side"] for one in told]
    assert sides[:6] == ["base", "tuned"] * 3
    for side, answer in answers["answers"].items():
        pieces = "".join(one["text"] for one in told if one["side"] == side)
        assert pieces == answer["text"]
        assert answer["ended"] == "max_new_tokens"
        assert answer["tokens"] == 6
        assert answer["exact"] is False
        assert answer["tokens_per_second"] > 0
    assert answers["expected"] == "{}"


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_cancel_stops_within_a_token(held: RunDirectory, after: int) -> None:
    told = 0

    def progress(_: dict[str, Any]) -> None:
        nonlocal told
        if told == after:
            raise Cancelled
        told += 1

    row = {"prompt": "hello"}
    answers = ask(held, progress, asked={"base": row, "tuned": row})["answers"]
    assert {answer["ended"] for answer in answers.values()} == {"stopped"}
    assert sum(answer["tokens"] for answer in answers.values()) == after + 1


def test_a_prompt_beyond_the_context_is_one_clear_line(held: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"^\d+ tokens are asked and the model takes 128") as error:
        ask(held, asked={"tuned": {"prompt": "x y z " * 200}})
    assert "new conversation" in str(error.value)


def test_the_context_is_written_to_its_end_and_no_further(held: RunDirectory) -> None:
    prompt = {"prompt": "x" * 110}
    answer = ask(held, asked={"tuned": prompt}, sampling={"max_new_tokens": 1000})
    found = answer["answers"]["tuned"]
    assert found["ended"] == "context full"
    assert found["prompt_tokens"] + found["tokens"] == 128


def test_without_a_template_a_chat_is_put_in_the_documented_format(
    held: RunDirectory, tuned: Tuned
) -> None:
    messages = ({"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"})
    ids = asked_ids(Row(Path("x"), 1, Format.MESSAGES, messages=messages), tuned.tokenizer)
    assert tuned.tokenizer.decode(ids) == "Be short.\n\nInstruct: Hi\n\nOutput:"


# Tokens and text


@pytest.mark.parametrize("style", sorted(STYLES))
def test_what_is_asked_is_what_training_put_before_the_answer(style: str) -> None:
    tokenizer = make_tokenizer(STYLES[style])
    turns = ({"role": "user", "content": "Which?"}, {"role": "assistant", "content": "That."})
    whole = Row(Path("x"), 1, Format.MESSAGES, messages=turns)
    ids, answer = question_of(whole, tokenizer)
    assert asked_ids(replace(whole, messages=turns[:1]), tokenizer) == ids
    assert answer[-1] in answer_ends(True, tokenizer)


def test_a_base_model_stops_where_its_template_ends_a_turn() -> None:
    tokenizer = make_tokenizer(QWEN3_STYLE)
    tokenizer.eos_token = "<|endoftext|>"  # as base models say that their chats end
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in answer_ends(True, tokenizer)
    assert end not in answer_ends(False, tokenizer)


TOKENIZERS = [make_tokenizer(style) for style in (STYLES["qwen2.5"], STYLES["phi-3.5"])]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.sampled_from(TOKENIZERS), st.data())
def test_pieces_are_whole_characters_and_join_to_the_text(
    text: str, tokenizer: Any, data: st.DataObject
) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    special = data.draw(st.lists(st.sampled_from(tokenizer.all_special_ids), max_size=2))
    for token in special:
        ids.insert(data.draw(st.integers(0, len(ids))), token)
    stream = TextStream(tokenizer)
    pieces = [stream.add(token) for token in ids]
    whole = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces) + stream.end() == whole == stream.text
    if "\ufffd" not in whole:
        assert not any("\ufffd" in piece for piece in pieces)
    assert not any(name in piece for name in tokenizer.all_special_tokens for piece in pieces)


def test_an_answer_has_no_rate_before_it_has_begun() -> None:
    assert Answer().tokens_per_second is None
    assert Answer.from_json(Answer("x", 2, 0.5, Ended.END).to_json()).tokens_per_second == 4


def test_what_a_template_refuses_is_a_line_without_a_place(held: RunDirectory) -> None:
    gemma = SimpleNamespace(tokenizer=make_tokenizer(STYLES["gemma-2"]))
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
    with pytest.raises(UserError, match="the chat template refuses") as error:
        chat_call._writer(cast(Tuned, gemma), Side.TUNED, {"messages": turns}, Sampling())
    assert error.value.where is None
    assert "first user turn" in str(error.value)
