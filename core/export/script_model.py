"""Parts of a reproduce script: the model, what trains of it, the loss. Text, never run here."""

LOAD = r"""
# --- The model ------------------------------------------------------------------------------------

torch.set_num_threads(THREADS)  # on a CPU the last bits of a sum depend on it
config = AutoConfig.from_pretrained(MODEL, revision=REVISION, trust_remote_code=False)
text_config = config.get_text_config()  # of a multimodal model, the text part
TEXT_PART = {r"^(model\.)?language_model\.(model\.)?": "model."}
model = AutoModelForCausalLM.from_pretrained(
    MODEL,
    revision=REVISION,
    config=text_config,
    key_mapping=None if text_config is config else TEXT_PART,
    dtype=DTYPE,
    use_safetensors=True,
    trust_remote_code=False,
    attn_implementation="eager" if text_config.model_type == "gemma2" else "sdpa",
    quantization_config=QUANTISATION,
    device_map={"": DEVICE} if QUANTISATION and DEVICE != "cpu" else None,
)
"""

MOVE = r"""
model.to(DEVICE)
model.config.use_cache = False
"""

QUANTISED = r"""
model.config.use_cache = False
for module in model.modules():  # a fault of bitsandbytes on some CPUs: 4-bit training goes wrong
    if hasattr(module, "support_avx512bf16_for_cpu"):
        module.support_avx512bf16_for_cpu = False
"""

EIGHT_BIT_SCALES = r'''

def keep_scales(module):
    """A fault of bitsandbytes: an 8-bit weight that DoRA has looked at comes back without its scales."""
    take_over = module.init_8bit_state

    def init_8bit_state():
        if module.weight.SCB is None and module.state.SCB is not None:
            module.weight.CB = None
        else:
            take_over()

    module.init_8bit_state = init_8bit_state


for module in model.modules():
    if hasattr(module, "init_8bit_state"):
        keep_scales(module)
'''

SELECTION = r"""
# --- What trains ----------------------------------------------------------------------------------

set_seed(SEED)  # LoRA starts from random numbers: the same seed, the same start
model.requires_grad_(False)
"""

TOKEN_IDS = r'''

def token_id(text):
    """An id, a token by its own name, or text that is written with one token."""
    if text.isdecimal():
        return int(text)
    vocabulary = tokenizer.get_vocab()
    return vocabulary[text] if text in vocabulary else tokenizer.encode(text, add_special_tokens=False)[0]


TOKENS = [token_id(text) for text in TRAINED_TOKENS]
'''

ADAPTER = r"""
model = get_peft_model(
    model,
    LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=LORA,
        modules_to_save=FULL or None,
        ensure_weight_tying=TIED,
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=DROPOUT,
        use_rslora=RSLORA,
        use_dora=DORA,
        init_lora_weights=INIT,
        trainable_token_indices=TOKEN_INDICES,
        rank_pattern=RANKS,
        alpha_pattern=ALPHAS,
    ),
)
"""

TOKENS_ALONE = r"""
model = get_peft_model(
    model,
    TrainableTokensConfig(task_type="CAUSAL_LM", target_modules=[EMBEDDING], token_indices=TOKENS),
)
"""

STARTS = r'''

def start(module):
    """Start LoRA from the weight's own directions and take that start off the output: y = Wx + s(BA - B0A0)x.
    The base stays as it is."""
    weight = dequantize_module_weight(module.get_base_layer()).detach().float()
    weight = weight.T if getattr(module, "fan_in_fan_out", False) else weight
    rank, scale = module.r["default"], module.scaling["default"]
    if START == "olora":
        q, r = torch.linalg.qr(weight)
        a, b = r[:rank].contiguous(), q[:, :rank].contiguous()
    else:
        if START == "pissa":
            u, s, vh = torch.linalg.svd(weight, full_matrices=False)
            u, s, v = u[:, :rank], s[:rank], vh[:rank].T
        else:
            with torch.random.fork_rng():
                torch.manual_seed(SEED)
                u, s, v = torch.svd_lowrank(weight, q=rank, niter=int(START.rpartition("_")[2]))
        root = torch.sqrt(s / scale)
        a, b = (root[:, None] * v.T).contiguous(), (u * root).contiguous()
    lora_a, lora_b = module.lora_A["default"].weight, module.lora_B["default"].weight
    lora_a.data, lora_b.data = a.to(lora_a.device), b.to(lora_b.device)
    module.register_buffer("start_A", lora_a.detach().clone(), persistent=False)
    module.register_buffer("start_B", lora_b.detach().clone(), persistent=False)
    module.register_forward_hook(without_start)


def without_start(module, inputs, output):
    x = inputs[0]
    if not torch.is_autocast_enabled(x.device.type):
        x = x.to(module.start_A.dtype)
    begun = functional.linear(functional.linear(x, module.start_A), module.start_B)
    return output - (module.scaling["default"] * begun).to(output.dtype)


with torch.no_grad():
    for module in model.modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            start(module)
'''

OWN_PARAMETERS = r'''

def module_of(name):
    """A module by the model's own name, whether PEFT lies around the model or not."""
    return model.get_submodule(("base_model.model." if hasattr(model, "peft_config") else "") + name)

'''

FULL_ALONE = r"""
for name in FULL:
    for parameter in module_of(name).parameters(recurse=False):
        parameter.requires_grad_(True)
"""

BIAS = r"""
for name in BIAS:
    module_of(name).bias.requires_grad_(True)
"""

BIAS_OUTSIDE = r'''

def add_bias_outside(module):
    """bitsandbytes casts a bias to its input's dtype in place: one that trains would lose its float32."""
    multiply = module.forward

    def forward(x):
        bias, module.bias = module.bias, None
        try:
            product = multiply(x)
        finally:
            module.bias = bias
        return product + bias.to(product.dtype)

    module.forward = forward


for name in BIAS:
    weight = module_of(name).weight
    if hasattr(weight, "quant_type") or hasattr(weight, "CB"):
        add_bias_outside(module_of(name))
'''

IN_FLOAT32 = r"""
for module in model.modules():  # what trains is float32, and the vectors beside it
    own = list(module.parameters(recurse=False))
    if any(parameter.requires_grad for parameter in own):
        for parameter in own:
            if parameter.requires_grad or (parameter.dim() == 1 and parameter.is_floating_point()):
                parameter.data = parameter.data.float()
trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
print(f"{sum(p.numel() for p in trained.values()):,} numbers train")
"""

CHECKPOINTING = r"""
model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
model.disable_input_require_grads()
"""

LOSS = r"""
# --- The loss: only where a token trains, in chunks, so that the logits never lie there whole ------

causal = model.get_base_model() if hasattr(model, "peft_config") else model
stock_forward = causal.forward


@functools.wraps(stock_forward)
def forward(*arguments, labels=None, num_items_in_batch=None, **rest):
    if labels is None:
        return stock_forward(*arguments, **rest)
    hidden = getattr(causal, causal.base_model_prefix)(*arguments, **rest)[0]
    head = causal.get_output_embeddings()
    cap = getattr(causal.config, "final_logit_softcapping", None)
    following = functional.pad(labels[:, 1:], (0, 1), value=IGNORED).flatten().to(hidden.device)
    places = following.ne(IGNORED).nonzero().squeeze(1)
    targets = following.index_select(0, places)
    states = hidden.flatten(0, 1).index_select(0, places)
    loss = hidden.new_zeros((), dtype=torch.float32)
    if not len(targets):
        return CausalLMOutputWithPast(loss=loss + 0.0 * states.sum())

    def summed(states, targets):
        logits = head(states)
        if cap is not None:
            logits = torch.tanh(logits / cap) * cap
        return functional.cross_entropy(logits.float(), targets, reduction="sum")

    vocabulary = getattr(getattr(head, "original_module", head), "out_features", None) or 2**15
    size = min(len(targets), max(2**27 // (4 * vocabulary), 128), 1024)
    for some, wanted in zip(states.split(size), targets.split(size), strict=True):
        if torch.is_grad_enabled() and size < len(targets):
            loss = loss + checkpoint(summed, some, wanted, use_reentrant=False)
        else:
            loss = loss + summed(some, wanted)
    items = len(targets) if num_items_in_batch is None else num_items_in_batch
    return CausalLMOutputWithPast(loss=loss / items)


causal.forward = forward
"""
