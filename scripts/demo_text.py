"""Text of the embedded demo: invented order sentences, questions about them, and JSON records.

Everything comes from short word lists and one ``random.Random``, so that the demo needs no
download, quotes nobody, names no person, and is the same text for the same seed.
"""

import json
from dataclasses import dataclass
from random import Random

# Singular and plural: the sentence uses the plural, the records the singular, so that an answer
# is more than a copy of the sentence.
ITEMS: dict[str, str] = {
    "lamp": "lamps",
    "chair": "chairs",
    "table": "tables",
    "shelf": "shelves",
    "kettle": "kettles",
    "bowl": "bowls",
    "blanket": "blankets",
    "bicycle": "bicycles",
    "helmet": "helmets",
    "basket": "baskets",
    "mirror": "mirrors",
    "clock": "clocks",
    "knife": "knives",
    "candle": "candles",
    "curtain": "curtains",
    "bench": "benches",
    "brush": "brushes",
    "suitcase": "suitcases",
    "umbrella": "umbrellas",
    "notebook": "notebooks",
}
COLOURS = ("red", "blue", "green", "black", "white", "yellow", "orange", "purple", "grey", "brown")
CITIES = (
    "Oslo",
    "Lisbon",
    "Prague",
    "Vienna",
    "Madrid",
    "Dublin",
    "Athens",
    "Warsaw",
    "Turin",
    "Lyon",
    "Ghent",
    "Bergen",
    "Porto",
    "Krakow",
    "Hamburg",
    "Zurich",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
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


def question(order: Order, rng: Random) -> tuple[str, str]:
    """A question about one field of the order: what the base model learns to answer."""
    key = rng.choice(tuple(QUESTIONS))
    asked = rng.choice(QUESTIONS[key])
    return f"Order: {order.sentence}\nQuestion: {asked}\nAnswer:", f" {order.fields[key]}"


def partial_record(order: Order, rng: Random) -> tuple[str, str]:
    """A record of two to four fields in any order.

    The base model learns from these what JSON looks like, but never the record that the
    fine-tuning asks for: it has other keys, a fixed order and shortened values.
    """
    keys = rng.sample(tuple(order.fields), rng.randint(2, 4))
    record = {key: order.fields[key] for key in keys}
    return f"Order: {order.sentence}\nJSON:", " " + json.dumps(record)


def full_record(order: Order) -> tuple[str, str]:
    """The six-key record of the fine-tuning task."""
    fields = order.fields
    record = {
        "sku": fields["item"],
        "hue": fields["colour"],
        "qty": fields["quantity"],
        "to": fields["city"],
        "due": str(fields["day"])[:3].lower(),
        "speed": SHIPPING.index(str(fields["shipping"])) + 1,
    }
    return f"Order: {order.sentence}\nJSON:", " " + json.dumps(record)
