"""The keys of axolotl that only change their name, are left out, or have no counterpart; and why."""

from collections.abc import Mapping

from finetune_tui.core.tuning.importing import common
from finetune_tui.core.tuning.importing.common import keyed

TELLING = frozenset(
    [
        "adapter",
        "base_model",
        "dataset_prepared_path",
        "datasets",
        "eval_sample_packing",
        "evals_per_epoch",
        "flash_attention",
        "lora_model_dir",
        "lora_target_linear",
        "micro_batch_size",
        "num_epochs",
        "pad_to_sequence_len",
        "peft_use_dora",
        "peft_use_rslora",
        "sample_packing",
        "saves_per_epoch",
        "sequence_len",
        "special_tokens",
        "train_on_inputs",
        "unfrozen_parameters",
        "val_set_size",
    ]
)
"""Keys that tell one of its files; those that other tools share are left out."""

SAME: Mapping[str, str] = {
    "base_model": "model_name_or_path",
    "sequence_len": "max_length",
    "micro_batch_size": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "num_epochs": "num_train_epochs",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "lora_r": "lora_r",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "peft_use_dora": "use_dora",
    "peft_use_rslora": "use_rslora",
    "sample_packing": "packing",
    "neftune_noise_alpha": "neftune_noise_alpha",
    "early_stopping_patience": "early_stopping_patience",
    "load_best_model_at_end": "load_best_model_at_end",
    "save_total_limit": "save_total_limit",
    "seed": "seed",
    "load_in_8bit": "load_in_8bit",
    "load_in_4bit": "load_in_4bit",
}
"""Same value, our name."""

DROPPED = keyed(
    {
        common.FOLDER: "output_dir run_name dataset_prepared_path",
        common.LOGGED: "logging_steps include_tokens_per_second include_tkps",
        common.ATTENTION: (
            "flash_attention sdp_attention xformers_attention flex_attention eager_attention "
            "sage_attention attn_implementation flash_attn_fuse_mlp flash_attn_cross_entropy "
            "flash_attn_rms_norm flash_attn_fuse_qkv flash_optimum"
        ),
        common.WORKERS: (
            "dataset_processes dataset_num_proc dataloader_num_workers streaming "
            "dataloader_prefetch_factor dataloader_pin_memory dataset_keep_in_memory "
            "skip_prepare_dataset dataset_shard_num push_dataset_to_hub hf_use_auth_token "
            "sample_packing_group_size sample_packing_bin_size sample_packing_eff_est "
            "sample_packing_sequentially multipack_real_batches total_num_tokens"
        ),
        "`finetune-tui export --push` sends a result to the Hub": (
            "hub_model_id hub_strategy hub_private_repo hub_revision"
        ),
        "only tensorboard and wandb are written to, under the run's own name": (
            "wandb_entity wandb_watch wandb_name wandb_run_id wandb_log_model wandb_mode "
            "mlflow_experiment_name mlflow_tracking_uri use_mlflow comet_project_name "
            "use_comet use_trackio trackio_project_name"
        ),
        "a matter of speed or memory, not of the result": (
            "ddp_timeout pad_to_sequence_len pad_to_multiple_of eval_sample_packing batch_flattening "
            "lora_mlp_kernel lora_qkv_kernel lora_o_kernel lora_embedding_kernel lora_on_cpu "
            "lora_fan_in_fan_out activation_offloading tiled_mlp liger_rope liger_rms_norm "
            "liger_glu_activation liger_layer_norm liger_swiglu "
            "liger_fused_linear_cross_entropy liger_cross_entropy cut_cross_entropy "
            "chunked_cross_entropy gradient_checkpointing_kwargs low_cpu_mem_usage gc_steps "
            "torch_compile_backend torch_compile_mode bnb_config_kwargs eval_batch_size "
            "group_by_modality_length auto_find_batch_size embeddings_skip_upcast"
        ),
        "model and tokenizer say it themselves": (
            "model_type tokenizer_type tokenizer_use_fast tokenizer_legacy "
            "is_llama_derived_model is_mistral_derived_model is_falcon_derived_model "
            "is_qwen_derived_model cls_model_config model_config_type"
        ),
        "a run stops by itself when its loss is no number any more": (
            "loss_watchdog_threshold loss_watchdog_patience"
        ),
        "code that comes with a model is never run here": "trust_remote_code",
        "checkpoints are safetensors, and a run is resumed by `finetune-tui resume`": (
            "save_safetensors save_only_model save_first_step auto_resume_from_checkpoints"
        ),
        "a switch of axolotl's own": (
            "strict debug axolotl_config_path profiler_steps profiler_steps_start"
        ),
        "rows are shuffled by the seed": "shuffle_merged_datasets shuffle_before_merging_datasets",
        "what trains is float32 here": "peft_autocast_adapter_dtype",
        "one matrix under two names stays one here": "peft_ensure_weight_tying",
        "no token is added here": "mean_resizing_embeddings",
    }
)
"""Nothing differs without them."""

CHANGES = keyed(
    {
        "no 8-bit floats here": "fp8",
        common.MACHINERY: (
            "deepspeed fsdp fsdp_config fsdp_version ddp local_rank "
            "ddp_bucket_cap_mb ddp_broadcast_buffers ddp_find_unused_parameters world_size "
            "sequence_parallel_degree context_parallel_size tensor_parallel_size "
            "dp_shard_size dp_replicate_size device_map max_memory accelerator_config"
        ),
        "training begins at the base, not at an adapter or checkpoint": (
            "lora_model_dir resume_from_checkpoint"
        ),
        "one rate and one schedule for everything that trains": (
            "lr_scheduler_kwargs cosine_min_lr_ratio cosine_constant_lr_ratio lr_div_factor "
            "lr_quadratic_warmup embedding_lr embedding_lr_scale lr_groups optim_args "
            "loraplus_lr_ratio loraplus_lr_embedding relora relora_steps optim_target_modules "
            "relora_warmup_steps relora_anneal_steps jagged_restart_steps"
        ),
        "the vocabulary stays as it is": (
            "tokens added_tokens_overrides resize_token_embeddings_to_32x shrink_embeddings"
        ),
        "the base model's own is taken": (
            "tokenizer_config base_model_config revision_of_model model_quantization_config"
        ),
        "the model's own chat template is taken as it is": (
            "default_system_message chat_template_jinja chat_template_kwargs eot_tokens"
        ),
        "the model is taken as its config says": (
            "overrides_of_model_config overrides_of_model_kwargs rope_scaling use_pose"
        ),
        "equal rows are kept; `finetune-tui data` tells how many there are": (
            "dataset_exact_deduplication"
        ),
        "packed expert weights stay frozen in this version": "lora_target_parameters",
        "blocks are not doubled here": "peft_layer_replication",
        "a base that is quantised already is not trained here": "gptq",
        "attention is full here": "s2_attention",
        "say neftune_noise_alpha": "noisy_embedding_alpha",
        "the loss is plain cross-entropy": "use_eaft",
        "the model's own attention is taken": "scaling_softmax",
        "short rows train too": "min_sample_len",
        "held-out rows are cut at max_length too": "eval_sequence_len",
        "training begins at the base's own weights": "reinit_weights",
    }
)
"""Training differs without them."""
