"""The keys of TRL that only change their name, are left out, or have no counterpart; and why."""

from collections.abc import Mapping

from finetune_tui.core.tuning.importing import common
from finetune_tui.core.tuning.importing.common import keyed

TELLING = frozenset(
    [
        "attn_implementation",
        "bnb_4bit_quant_type",
        "chat_template_path",
        "dataset_config",
        "dataset_name",
        "dataset_num_proc",
        "dataset_test_split",
        "dataset_text_field",
        "dataset_train_split",
        "eval_packing",
        "lora_target_parameters",
        "lora_task_type",
        "loss_type",
        "max_seq_length",
        "model_init_kwargs",
        "model_revision",
        "packing_strategy",
        "padding_free",
        "truncation_mode",
        "use_bnb_nested_quant",
        "use_peft",
    ]
)
"""Keys that tell one of its files; those that other tools share are left out."""

SAME: Mapping[str, str] = {
    "model_name_or_path": "model_name_or_path",
    "per_device_train_batch_size": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "learning_rate": "learning_rate",
    "num_train_epochs": "num_train_epochs",
    "max_grad_norm": "max_grad_norm",
    "weight_decay": "weight_decay",
    "seed": "seed",
    "lora_r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "use_dora": "use_dora",
    "use_rslora": "use_rslora",
    "load_in_4bit": "load_in_4bit",
    "load_in_8bit": "load_in_8bit",
    "packing": "packing",
    "gradient_checkpointing": "gradient_checkpointing",
    "neftune_noise_alpha": "neftune_noise_alpha",
    "max_length": "max_length",
    "completion_only_loss": "completion_only_loss",
    "assistant_only_loss": "assistant_only_loss",
    "use_liger_kernel": "use_liger_kernel",
    "torch_compile": "torch_compile",
    "save_total_limit": "save_total_limit",
    "load_best_model_at_end": "load_best_model_at_end",
    "tf32": "tf32",
    "use_cpu": "use_cpu",
    "max_seq_length": "max_length",
}
"""Same value, our name."""

DROPPED = keyed(
    {
        common.FOLDER: "output_dir overwrite_output_dir run_name",
        common.LOGGED: "logging_steps logging_strategy logging_first_step log_level disable_tqdm",
        common.WORKERS: (
            "dataset_num_proc dataloader_num_workers dataloader_pin_memory dataset_kwargs "
            "dataset_streaming dataset_batch_size remove_unused_columns"
        ),
        "a matter of speed or memory, not of the result": (
            "per_device_eval_batch_size eval_accumulation_steps padding_free eval_packing "
            "pad_to_multiple_of activation_offloading gradient_checkpointing_kwargs "
            "packing_strategy torch_empty_cache_steps ddp_timeout"
        ),
        "`finetune-tui export --push` sends a result to the Hub": (
            "push_to_hub hub_model_id hub_strategy hub_token hub_private_repo"
        ),
        "checkpoints are safetensors, and can be resumed": "save_only_model save_safetensors",
        "a run trains, and evaluates what is held out": "do_train do_eval",
        common.ATTENTION: "attn_implementation",
        "code that comes with a model is never run here": "trust_remote_code",
        "what pads is never read nor learnt here": "pad_token",
        "always a language model here": "lora_task_type",
    }
)
"""Nothing differs without them."""

CHANGES = keyed(
    {
        common.MACHINERY: "deepspeed fsdp fsdp_config local_rank",
        "one rate and one schedule for everything that trains": (
            "lr_scheduler_kwargs optim_args optim_target_modules"
        ),
        "the model's own chat template and tokens are taken": "chat_template_path eos_token",
        "the model is taken as its config says": "model_init_kwargs router_aux_loss_coef",
        "the newest version of the model is taken": "model_revision",
        "training begins at the base": "resume_from_checkpoint",
        "packed expert weights stay frozen in this version": "lora_target_parameters",
        "the loss is plain cross-entropy": "label_smoothing_factor",
        "of the data set what lies in its main part is read": "dataset_config",
    }
)
"""Training differs without them."""
