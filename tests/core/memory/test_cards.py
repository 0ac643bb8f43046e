"""Cards: the sizes a person may name, and the smallest that does."""

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.memory.cards import CARDS, card_named, smallest_card_for
from finetune_tui.core.memory.estimate import GIB, Precision, Verdict, estimate, verdict
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.presets import resolve_preset
from finetune_tui.core.tuning.spec import Spec


@pytest.mark.parametrize("text", ["24", "24GB", "24 gb", " 24 GiB ", "24g"])
def test_a_card_by_its_size(text: str) -> None:
    assert card_named(text) == "24 GB"


@pytest.mark.parametrize(
    ("text", "says"),
    [("25", "nearest has 24 GB"), ("100", "nearest has 80 GB"), ("4090", "nearest has 141 GB")],
)
def test_a_size_that_is_not_sold_names_the_nearest(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        card_named(text)


@pytest.mark.parametrize("text", ["", "big", "-24", "24 TB", "\x1b[31m24", "9" * 400])
def test_what_is_no_size_says_which_there_are(text: str) -> None:
    with pytest.raises(UserError, match="8, 12, 16, 24, 40, 48, 80, 141 GB") as caught:
        card_named(text)
    assert "\x1b" not in str(caught.value)


def test_a_process_never_gets_all_of_a_card() -> None:
    assert all(usable < int(name.split()[0]) * GIB for name, usable in CARDS.items())


def test_the_smallest_card_surely_fits_and_the_one_below_does_not() -> None:
    manifest = catalog()["microsoft/phi-2"].manifest()
    selection = resolve_preset("all-linear", manifest).selection
    names = list(CARDS)
    for rows in (1, 2, 4, 64):
        spec = Spec(per_device_train_batch_size=rows)
        made = estimate(manifest, selection, spec, Precision.BF16)
        found = smallest_card_for(made)
        below = names if found is None else names[: names.index(found)]
        assert all(verdict(made, CARDS[name]) is not Verdict.FITS for name in below)
        assert found is None or verdict(made, CARDS[found]) is Verdict.FITS
    assert smallest_card_for(made) is None  # 64 rows at once
