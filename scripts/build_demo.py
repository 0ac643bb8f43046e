"""Build the embedded demo: a small Phi model, its tokenizer and the example files.

The app must be able to show a whole fine-tuning run with no network and no GPU, within a minute.
So it ships a one-million-parameter model that this script pretrains on text it generates itself,
and a task that the model does not know yet. The text comes from short word lists and a seeded
``Random``: it needs no download, quotes nobody and names no person.

Run from the repository: ``.venv/bin/python scripts/build_demo.py`` (about six minutes, one core).
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.optim.lr_scheduler import OneCycleLR
from transformers import PhiConfig, PhiForCausalLM, PreTrainedTokenizerFast

SEED = 20
DEMO = Path(__file__).resolve().parent.parent / "core" / "demo"
END = "<|endoftext|>"
VOCABULARY = 700
STEPS = 1500
BATCH = 32
PEAK_LR = 2e-3
ANSWER_TOKENS = 8
TRAIN_ROWS, HELDOUT_ROWS, QUESTION_ROWS = 2000, 240, 100

Pair = tuple[str, str]

# Singular and plural: the sentence has the plural and the answers have the singular, so that an
# answer is more than a copy.
# fmt: off
ITEMS = {
    "lamp": "lamps", "chair": "chairs", "table": "tables", "shelf": "shelves",
    "kettle": "kettles", "bowl": "bowls", "blanket": "blankets", "bicycle": "bicycles",
    "helmet": "helmets", "basket": "baskets", "mirror": "mirrors", "clock": "clocks",
    "knife": "knives", "candle": "candles", "curtain": "curtains", "bench": "benches",
    "brush": "brushes", "suitcase": "suitcases", "umbrella": "umbrellas", "notebook": "notebooks",
}
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "orange", "purple", "grey", "brown")
CITIES = (
    "Oslo", "Lisbon", "Prague", "Vienna", "Madrid", "Dublin", "Athens", "Warsaw",
    "Turin", "Lyon", "Ghent", "Bergen", "Porto", "Krakow", "Hamburg", "Zurich",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# fmt: on
SHIPPING = ("standard", "express", "overnight")

SENTENCES = (
    "Please send {quantity} {colour} {items} to {city} by {day}, {shipping} shipping, "
    "{price} euros each.",
    "We need {quantity} {items} in {colour} for {city} on {day}; {shipping} shipping, "
    "at {price} euros.",
    "By {day} our shop in {city} wants {quantity} {colour} {items} for {price} euros each, "
    "sent {shipping}.",
    "At {price} euros each, ship {quantity} {colour} {items} to {city} before {day} "
    "with {shipping} shipping.",
    "{city} ordered {quantity} {items}, colour {colour}, due {day}, {shipping} shipping, "
    "price {price} euros.",
    "Use {shipping} shipping to bring {quantity} {colour} {items} to {city} on {day} "
    "for {price} euros each.",
    "On {day}, deliver to {city}: {quantity} {items}, {colour}, {price} euros each, "
    "{shipping} shipping.",
    "An order from {city}: {items} in {colour}, {quantity} of them, {price} euros each, "
    "{shipping}, by {day}.",
)

QUESTIONS: dict[str, tuple[str, ...]] = {
    "item": ("Which item is ordered?", "What is the item?"),
    "colour": ("Which colour is it?", "What is the colour?"),
    "quantity": ("How many are ordered?", "What is the quantity?"),
    "price": ("What does one cost?", "What is the price?"),
    "city": ("Where does it go?", "What is the city?"),
    "day": ("When is it due?", "What is the day?"),
    "shipping": ("How is it shipped?", "What is the shipping?"),
}


@dataclass(frozen=True)
class Order:
    """One invented order and the sentence that states it."""

    sentence: str
    fields: dict[str, str | int]


def make_order(rng: Random) -> Order:
    """Draw an order and one of the ways of saying it."""
    item = rng.choice(tuple(ITEMS))
    fields: dict[str, str | int] = {
        "item": item,
        "colour": rng.choice(COLOURS),
        "quantity": rng.randint(2, 60),
        "price": rng.randint(2, 60),
        "city": rng.choice(CITIES),
        "day": rng.choice(WEEKDAYS),
        "shipping": rng.choice(SHIPPING),
    }
    return Order(rng.choice(SENTENCES).format(items=ITEMS[item], **fields), fields)


def question(order: Order, rng: Random) -> Pair:
    """A question about one field of the order: what the base model learns to answer."""
    key = rng.choice(tuple(QUESTIONS))
    asked = rng.choice(QUESTIONS[key])
    return f"Order: {order.sentence}\nQuestion: {asked}\nAnswer:", f" {order.fields[key]}"


def partial_record(order: Order, rng: Random) -> Pair:
    """A record of two to four fields in any order.

    The base model learns from these what JSON looks like, but never the record that the
    fine-tuning asks for: six keys in a fixed order, two of them with values rewritten as codes.
    """
    keys = rng.sample(tuple(order.fields), rng.randint(2, 4))
    record = {key: order.fields[key] for key in keys}
    return f"Order: {order.sentence}\nJSON:", " " + json.dumps(record)


def full_record(order: Order) -> Pair:
    """The record of the fine-tuning task.

    Four values are known to the base model and two are codes it never wrote, which is
    what tells the presets apart: where the output head or the feed-forward layers are trained the
    codes are learned, and attention alone does not reach them.
    """
    record = {key: order.fields[key] for key in ("item", "colour", "quantity", "city")}
    codes = {key: str(order.fields[key])[:3].upper() for key in ("day", "shipping")}
    return f"Order: {order.sentence}\nJSON:", " " + json.dumps(record | codes)


def pretraining_pairs(rng: Random) -> Iterator[Pair]:
    """Endless pretraining text: questions and partial records in equal shares."""
    while True:
        order = make_order(rng)
        yield question(order, rng) if rng.random() < 0.5 else partial_record(order, rng)


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE: words and numbers of the generated text mostly become one token each."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[END],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> PhiForCausalLM:
    """A Phi model of about one million parameters with its own output head."""
    end = tokenizer.eos_token_id
    return PhiForCausalLM(
        PhiConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=256,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            tie_word_embeddings=False,
        )
    )


def make_batch(
    tokenizer: PreTrainedTokenizerFast, pairs: Sequence[Pair]
) -> dict[str, torch.Tensor]:
    """Prompt and completion tokenized apart, as the app's trainer does it; loss on the second.

    The sentences are random draws, so predicting them teaches nothing: with loss on every token
    the model had learned to copy only some of the fields after the same number of steps.
    """
    end = tokenizer.eos_token_id
    prompts = tokenizer([prompt for prompt, _ in pairs])["input_ids"]
    answers = [[*ids, end] for ids in tokenizer([answer for _, answer in pairs])["input_ids"]]
    rows = list(zip(prompts, answers, strict=True))
    width = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((len(rows), width), end)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(rows):
        start, stop = len(prompt), len(prompt) + len(answer)
        ids[row, :stop] = torch.tensor(prompt + answer)
        mask[row, :stop] = 1
        labels[row, start:stop] = ids[row, start:stop]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def pretrain(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: Iterator[Pair]
) -> None:
    """Train on freshly generated text, so that the model never sees a batch twice."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=0.01)
    schedule = OneCycleLR(optimizer, max_lr=PEAK_LR, total_steps=STEPS, pct_start=0.05)
    model.train()
    started = time.monotonic()
    for step in range(1, STEPS + 1):
        loss = model(**make_batch(tokenizer, [next(pairs) for _ in range(BATCH)])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 100 == 0:
            elapsed = time.monotonic() - started
            print(f"step {step}/{STEPS}  loss {loss.item():.3f}  {elapsed:.0f} s", flush=True)


def share_correct(
    model: PhiForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[Pair]
) -> float:
    """Share of greedy answers that equal the wanted completion."""
    model.eval()
    right = 0
    for prompt, completion in pairs:
        ids = tokenizer(prompt, return_tensors="pt")
        out = model.generate(**ids, max_new_tokens=ANSWER_TOKENS, do_sample=False)
        answer = tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        right += answer.strip() == completion.strip()
    return right / len(pairs)


def write_rows(path: Path, pairs: Sequence[Pair]) -> None:
    """One JSON object per line, in the prompt and completion form the app reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"prompt": prompt, "completion": end}) for prompt, end in pairs]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(DEMO.parent.parent)}: {len(lines)} rows")


def unseen_orders(rng: Random, count: int) -> list[Order]:
    """Orders with all sentences different, so that held-out prompts are not training prompts."""
    orders: dict[str, Order] = {}
    while len(orders) < count:
        order = make_order(rng)
        orders[order.sentence] = order
    return list(orders.values())


def main() -> None:
    """Generate, pretrain, check, write."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rng = Random(SEED)
    pairs = pretraining_pairs(rng)

    tokenizer = train_tokenizer(
        [prompt + end for prompt, end in (next(pairs) for _ in range(5000))]
    )
    model = new_model(tokenizer)
    print(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens")

    orders = unseen_orders(rng, TRAIN_ROWS + HELDOUT_ROWS + QUESTION_ROWS)
    records = [full_record(order) for order in orders[: TRAIN_ROWS + HELDOUT_ROWS]]
    questions = [question(order, rng) for order in orders[TRAIN_ROWS + HELDOUT_ROWS :]]
    write_rows(DEMO / "data" / "train.jsonl", records[:TRAIN_ROWS])
    write_rows(DEMO / "data" / "heldout.jsonl", records[TRAIN_ROWS:])
    write_rows(DEMO / "data" / "questions.jsonl", questions)

    pretrain(model, tokenizer, pairs)
    model.to(torch.float16).save_pretrained(DEMO / "model")
    (DEMO / "model" / "model.safetensors").chmod(0o644)  # safetensors writes it as 0600
    tokenizer.save_pretrained(DEMO / "model")
    shipped = PhiForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32)
    print(f"questions answered: {share_correct(shipped, tokenizer, questions):.0%}")


if __name__ == "__main__":
    main()
