"""What cannot work is refused in one line that names the key and the remedy; what can is let through."""

from typing import Any

import pytest

from finetune_tui.core.errors import UserError
from finetune_tui.core.models.catalog import catalog
from finetune_tui.core.tuning.modes import LORA, Choice, Mode
from finetune_tui.core.tuning.refusals import Machine, refuse_impossible, remarks
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec

PHI2 = catalog()["microsoft/phi-2"].manifest()
QWEN = catalog()["Qwen/Qwen2.5-0.5B"].manifest()
QKV = {"preset": "attention-refinement"}
BITFIT = {"preset": "bitfit-top-4"}


def everything(_name: str) -> Any:
    return "here"


def nothing(_name: str) -> Any:
    return None


WHOLE: dict[str, Any] = {"has_package": everything, "has_program": everything}
BARE: dict[str, Any] = {"has_package": nothing, "has_program": nothing}
CPU = Machine(on_gpu=False, **WHOLE)
T4 = Machine(on_gpu=True, capability=(7, 5), gpus=("GPU-1a", "MIG-2b"), **WHOLE)
A100 = Machine(on_gpu=True, capability=(8, 0), gpus=("GPU-1a",), **WHOLE)
NOTHING_INSTALLED = Machine(on_gpu=True, capability=(8, 0), **BARE)


def refuse(machine: Machine, **keys: Any) -> None:
    spec = Spec(model_name_or_path="microsoft/phi-2").changed(**keys)
    refuse_impossible(spec, PHI2, selection_of(spec, PHI2), machine)


@pytest.mark.parametrize(
    ("keys", "machine", "where", "says", "remedy"),
    [
        (BITFIT | {"use_dora": True}, A100, "use_dora", "mode lora", "choose lora"),
        (BITFIT | {"use_rslora": True}, A100, "use_rslora", "mode lora", "take the key out"),
        (BITFIT | {"init_lora_weights": "pissa"}, A100, "init_lora_weights", "mode lora", "lora"),
        (
            QKV | {"init_lora_weights": "olora", "use_dora": True},
            A100, "use_dora", "start from olora", "use_dora: false",
        ),
        (
            QKV | {"init_lora_weights": "pissa", "lora_r": 4096},
            A100, "init_lora_weights", "has 2560 directions", "2560 at most",
        ),
        (QKV | {"trainable_token_indices": [51200]}, A100, "trainable_token_indices", "51200", "51199"),
        (QKV | {"trainable_token_indices": [7, "7"]}, A100, "trainable_token_indices", "twice", "once"),
        (
            {"preset": "new-knowledge", "trainable_token_indices": [7]},
            A100, "trainable_token_indices", "trains as lora already", "one of the two",
        ),
        (
            QKV | {"early_stopping_patience": 5, "eval_steps": 0},
            A100, "early_stopping_patience", "eval_steps is 0", "set eval_steps",
        ),
        (
            QKV | {"early_stopping_patience": 5, "eval_split": 0},
            A100, "early_stopping_patience", "no rows are held out", "eval_split",
        ),
        (QKV | {"eval_replies": 5, "eval_split": 0}, A100, "eval_replies", "no rows", "eval_split"),
        (
            QKV | {"last_turn_only": True, "assistant_only_loss": False},
            A100, "last_turn_only", "cannot both", "assistant_only_loss: true",
        ),
        (QKV | {"max_length": 4096}, A100, "max_length", "more than the 2048", "max_length: 2048"),
        (QKV | {"dtype": "float16"}, CPU, "dtype", "needs a GPU", "bfloat16 or float32"),
        (QKV | {"dtype": "bfloat16"}, T4, "dtype", "no bfloat16", "float16"),
        (QKV | {"gpus": ["GPU-1a"], "use_cpu": True}, CPU, "gpus", "use_cpu", "keep one"),
        (QKV | {"gpus": ["GPU-9"]}, T4, "gpus", "no GPU 'GPU-9'", "GPU-1a, MIG-2b"),
        (QKV | {"use_liger_kernel": True}, CPU, "use_liger_kernel", "need a GPU", "false"),
        (
            QKV | {"use_liger_kernel": True},
            NOTHING_INSTALLED, "use_liger_kernel", "not installed", "pip install liger-kernel",
        ),
        (QKV | {"torch_compile": True}, NOTHING_INSTALLED, "torch_compile", "compiler", "g++"),
        (QKV | {"load_in_4bit": True}, NOTHING_INSTALLED, "load_in_4bit", "not installed", "pip"),
        (QKV | {"load_in_8bit": True}, NOTHING_INSTALLED, "load_in_8bit", "not installed", "pip"),
        (QKV | {"optim": "adamw_8bit"}, NOTHING_INSTALLED, "optim", "bitsandbytes", "pip"),
        (QKV | {"optim": "paged_adamw_32bit"}, NOTHING_INSTALLED, "optim", "bitsandbytes", "pip"),
        (QKV | {"report_to": "tensorboard"}, NOTHING_INSTALLED, "report_to", "tensorboard", "pip"),
        (QKV | {"report_to": "wandb"}, NOTHING_INSTALLED, "report_to", "wandb", "pip install wandb"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(
    keys: dict[str, Any], machine: Machine, where: str, says: str, remedy: str
) -> None:
    with pytest.raises(UserError) as error:
        refuse(machine, **keys)
    assert error.value.where == where
    assert says in error.value.message
    assert remedy in (error.value.hint or "")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "machine"),
    [
        (QKV, NOTHING_INSTALLED),
        (BITFIT, CPU),
        (QKV | {"use_dora": True, "load_in_4bit": True, "optim": "paged_adamw_8bit"}, A100),
        (QKV | {"init_lora_weights": "pissa_niter_16", "load_in_8bit": True}, CPU),
        (QKV | {"dtype": "float16"}, T4),
        (QKV | {"dtype": "bfloat16"}, A100),
        (QKV | {"dtype": "bfloat16"}, CPU),
        (QKV | {"gpus": ["MIG-2b"]}, T4),
        (QKV | {"eval_steps": 0}, A100),  # the default patience then simply does nothing
        (QKV | {"trainable_token_indices": [7, "<|call|>"]}, A100),
        ({"trainable_token_indices": [7]}, A100),
        (QKV | {"max_length": 2048, "packing": True}, A100),
        ({"preset": "personas", "init_lora_weights": "olora"}, A100),
    ],
)
def test_what_can_work_is_let_through(keys: dict[str, Any], machine: Machine) -> None:
    refuse(machine, **keys)


def test_a_rank_of_its_own_is_refused_too() -> None:
    selection = Selection().set(["lm_head"], Choice(Mode.LORA, r=3000))
    spec = Spec().changed(init_lora_weights="pissa")
    with pytest.raises(UserError, match=r"lm_head.*2560 directions"):
        refuse_impossible(spec, PHI2, selection, A100)
    refuse_impossible(Spec(), PHI2, selection, A100)


def test_an_embedding_in_full_has_no_single_tokens_left() -> None:
    selection = Selection().set(["model.embed_tokens"], Choice(Mode.FULL))
    spec = Spec().changed(trainable_token_indices=[3])
    with pytest.raises(UserError, match="trains as full already"):
        refuse_impossible(spec, QWEN, selection, A100)


def test_wandb_needs_a_login_that_nobody_could_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(UserError, match="wandb login"):
        refuse(A100, **QKV, report_to="wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    refuse(A100, **QKV, report_to="wandb")
    monkeypatch.delenv("WANDB_MODE")
    (tmp_path / ".netrc").touch()
    refuse(A100, **QKV, report_to="wandb")


def test_remarks_say_what_is_not_as_one_might_think() -> None:
    head = Selection().set(["lm_head"], LORA)
    spec = Spec(use_cpu=True).changed(optim="paged_adamw_8bit", eval_steps=0)
    keys = [key for _, key in remarks(PHI2, head, spec)]
    assert keys == ["modules", "optim", "early_stopping_patience"]
    attention = selection_of(Spec().changed(**QKV), PHI2)
    assert not list(remarks(PHI2, attention, Spec()))
