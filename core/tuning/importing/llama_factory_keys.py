"""The keys of LLaMA-Factory that only change their name, are left out, or have no counterpart; and why."""

from collections.abc import Mapping

from finetune_tui.core.tuning.importing import common
from finetune_tui.core.tuning.importing.common import keyed

TELLING = frozenset(
    [
        "additional_target",
        "cutoff_len",
        "dataset_dir",
        "do_train",
        "finetuning_type",
        "flash_attn",
        "freeze_trainable_layers",
        "freeze_trainable_modules",
        "lora_rank",
        "lora_target",
        "mask_history",
        "max_samples",
        "neat_packing",
        "overwrite_cache",
        "overwrite_output_dir",
        "pissa_init",
        "plot_loss",
        "preprocessing_num_workers",
        "quantization_bit",
        "quantization_method",
        "stage",
        "template",
        "train_on_prompt",
        "use_unsloth",
        "val_size",
    ]
)
"""Keys that tell one of its files; those that other tools share are left out."""

SAME: Mapping[str, str] = {
    "model_name_or_path": "model_name_or_path",
    "cutoff_len": "max_length",
    "per_device_train_batch_size": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "num_train_epochs": "num_train_epochs",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "lora_rank": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "use_dora": "use_dora",
    "use_rslora": "use_rslora",
    "mask_history": "last_turn_only",
    "neftune_noise_alpha": "neftune_noise_alpha",
    "early_stopping_steps": "early_stopping_patience",
    "load_best_model_at_end": "load_best_model_at_end",
    "save_total_limit": "save_total_limit",
    "seed": "seed",
    "enable_liger_kernel": "use_liger_kernel",
    "torch_compile": "torch_compile",
}
"""Same value, our name."""

DROPPED = keyed(
    {
        common.FOLDER: "output_dir overwrite_output_dir run_name cache_dir",
        common.LOGGED: "logging_steps plot_loss logging_dir include_effective_tokens_per_second",
        common.WORKERS: (
            "preprocessing_num_workers preprocessing_batch_size dataloader_num_workers "
            "overwrite_cache tokenized_path streaming buffer_size media_dir "
            "data_shared_file_system dataloader_pin_memory remove_unused_columns"
        ),
        "a matter of speed or memory, not of the result": (
            "ddp_timeout use_unsloth use_unsloth_gc use_reentrant_gc low_cpu_mem_usage use_kv_cache "
            "per_device_eval_batch_size eval_accumulation_steps upcast_lmhead_output"
        ),
        "code that comes with a model is never run here": "trust_remote_code",
        "`finetune-tui export --push` sends a result to the Hub": (
            "push_to_hub hub_model_id hub_token hf_hub_token ms_hub_token"
        ),
        "checkpoints are safetensors, and can be resumed": "save_only_model save_safetensors",
        "a run trains, and evaluates what is held out": "do_train do_eval do_predict",
        "eval_replies has held-out rows answered": "predict_with_generate compute_accuracy",
        "only tensorboard and wandb are written to": (
            "use_swanlab swanlab_project swanlab_run_name swanlab_mode"
        ),
        "of a model with pictures the text part trains": (
            "image_max_pixels image_min_pixels video_max_pixels video_min_pixels "
            "freeze_vision_tower freeze_multi_modal_projector"
        ),
        common.ATTENTION: "flash_attn",
        "the tokenizer says it itself": "use_fast_tokenizer",
        "what pads is never learnt": "ignore_pad_token_for_loss",
        "text of special tokens in rows stays text here, always": "split_special_tokens",
        "the result is plain LoRA on the base as it was published, always": "pissa_convert",
        "what trains is float32": "upcast_layernorm",
        "a setting of its chat, not of training": "infer_backend",
        "the model's own template decides": "enable_thinking",
    }
)
"""Nothing differs without them."""

CHANGES = keyed(
    {
        common.MACHINERY: (
            "deepspeed fsdp fsdp_config ddp_find_unused_parameters "
            "ray_num_workers ray_run_name local_rank device_map"
        ),
        "training begins at the base, not at an adapter or checkpoint": (
            "adapter_name_or_path resume_from_checkpoint create_new_adapter"
        ),
        "one rate and one schedule for everything that trains": (
            "loraplus_lr_ratio lr_scheduler_kwargs optim_args optim_target_modules"
        ),
        "no such optimizer here: the one of `optim` takes its place": (
            "use_galore use_apollo use_badam use_adam_mini use_muon"
        ),
        "the vocabulary stays as it is": (
            "resize_vocab add_tokens add_special_tokens new_special_tokens_config"
        ),
        "the model's own chat template is taken as it is": (
            "default_system tool_format efficient_eos"
        ),
        "all rows are taken once an epoch, shuffled by the seed": (
            "mix_strategy interleave_probs disable_shuffling"
        ),
        "the model is taken as its config says": (
            "rope_scaling shift_attn mixture_of_depths moe_aux_loss_coef train_from_scratch"
        ),
        "the loss is plain cross-entropy": (
            "use_dft_loss use_asft_loss use_eaft_loss label_smoothing_factor"
        ),
        "all rows train; put fewer into the file": "max_samples",
        "the newest version of the model is taken": "model_revision",
        "no 8-bit floats here": "fp8",
    }
)
"""Training differs without them."""
