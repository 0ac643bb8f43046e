"""A selection counted by kinds says what counting one by one says."""

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.selection import Selection, module_parameters
from finetune_tui.core.tuning.tally import blocks_of, tally

PHI = catalog()["microsoft/phi-2"].manifest()


def test_alike_modules_with_one_choice_are_one_line() -> None:
    names = [f"model.layers.{block}.mlp.fc1" for block in range(32)]
    selection = (
        Selection().set(names, LORA).set(names[:3], Choice(Mode.FULL)).set(["lm_head"], LORA)
    )
    found = tally(PHI, selection.choices)
    assert sorted(one.times for one in found) == [1, 3, 29]
    assert blocks_of(PHI, selection.choices) == {*range(32), None}
    one_by_one = sum(
        module_parameters(PHI, PHI.module(name), choice, 16)
        for name, choice in selection.choices.items()
    )
    counted = sum(n * module_parameters(PHI, module, choice, 16) for module, choice, n in found)
    assert counted == one_by_one


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="fc9"):
        tally(PHI, {"model.layers.0.mlp.fc9": LORA})
