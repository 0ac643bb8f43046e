"""Recall: what is made from memory is what the operation would have made, and nothing that shares is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_tui.core.memory.simulation.recall import Recall
from finetune_tui.core.memory.weights import Precision

_aten = torch.ops.aten
sizes = st.lists(st.integers(1, 5), min_size=2, max_size=3)
dtypes = st.sampled_from([torch.float32, torch.bfloat16, torch.int64])


def tensor(shape: list[int], dtype: torch.dtype, turned: bool) -> torch.Tensor:
    made = torch.empty(shape, dtype=dtype, device="meta")
    return made.transpose(0, 1) if turned else made


@given(sizes, dtypes, dtypes, st.booleans(), st.booleans(), st.sampled_from([2, 2.0, True]))
@settings(max_examples=60, deadline=None)
def test_what_is_recalled_is_what_would_be_made(
    shape: list[int],
    first: torch.dtype,
    second: torch.dtype,
    turned: bool,
    other_turned: bool,
    number: float,
) -> None:
    recall = Recall()
    shape[1] = shape[0]
    left, right = tensor(shape, first, turned), tensor(shape, second, other_turned)
    for function, arguments, named in (
        (_aten.mul.Tensor, (left, right), {}),
        (_aten.add.Tensor, (left, right[:1]), {}),
        (_aten.mul.Scalar, (left, number), {}),
        (_aten.cat.default, ([left, left], 1), {}),
        (_aten._to_copy.default, (left,), {"dtype": second}),
        (_aten.max.dim, (left, 0), {}),
    ):
        plainly = function(*arguments, **named)
        for _ in range(2):
            made = recall.run(function, arguments, named)
            for one, other in zip(_all(made), _all(plainly), strict=True):
                assert (one.shape, one.stride(), one.dtype) == (
                    other.shape,
                    other.stride(),
                    other.dtype,
                )
                assert one.untyped_storage().nbytes() == other.untyped_storage().nbytes()
                assert one.is_meta


def test_each_answer_is_a_new_tensor_and_one_that_shares_still_shares() -> None:
    recall = Recall()
    x = torch.empty(4, 6, device="meta")
    first, second = (recall.run(_aten.neg.default, (x,), {}) for _ in range(2))
    assert first.untyped_storage()._cdata != second.untyped_storage()._cdata
    for function, arguments in (
        (_aten.view.default, (x, [24])),
        (_aten._unsafe_view.default, (x, [24])),
        (_aten.t.default, (x,)),
        (_aten.add_.Tensor, (x, x)),
    ):
        for _ in range(2):
            made = recall.run(function, arguments, {})
            assert made.untyped_storage()._cdata == x.untyped_storage()._cdata


def test_on_another_device_it_is_computed() -> None:
    x = torch.ones(3)
    recall = Recall()
    for factor in (2.0, 2.0):
        assert recall.run(_aten.mul.Tensor, (x, x * factor), {}).tolist() == [2, 2, 2]


def test_a_trace_is_the_same_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune_tui.core.models.resolve import find_model
    from finetune_tui.core.training.simulate import config_of, simulate
    from finetune_tui.core.tuning.presets import resolve_preset
    from finetune_tui.core.tuning.spec import Spec

    reference = find_model("demo")
    assert reference.entry is not None
    manifest = reference.entry.manifest()
    selection = resolve_preset("structured-output", manifest).selection
    spec = Spec(gradient_checkpointing=True, use_dora=True, load_in_4bit=True)

    def trace() -> tuple[list[int], list[int], list[tuple[str, str]]]:
        made = simulate(config_of(reference), manifest, selection, spec, Precision.NF4)
        return made.sizes, made.events, made.operations

    with_it = trace()
    monkeypatch.setattr(Recall, "run", lambda _, function, args, kwargs: function(*args, **kwargs))
    assert trace() == with_it


def _all(made: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return (made,) if isinstance(made, torch.Tensor) else tuple(made)
