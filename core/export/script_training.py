"""Parts of a reproduce script: order, batches, training, the result. Text, never run here."""

PACKS = r'''
# --- Several rows in one sequence -----------------------------------------------------------------


def packed(lengths):
    """Places of the rows that lie together: longest rows first, each into the pack that it fills best."""
    packs, with_room, rooms = [], {}, []
    places = sorted(range(len(lengths)), key=lambda place: (lengths[place], place), reverse=True)
    for place in places:
        at = bisect_left(rooms, lengths[place])
        if at == len(rooms):
            pack, room = len(packs), MAX_LENGTH
            packs.append([])
        else:
            room = rooms[at]
            pack = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[at]
        packs[pack].append(place)
        if left := room - lengths[place]:
            if left not in with_room:
                with_room[left] = []
                insort(rooms, left)
            with_room[left].append(pack)
    return [sorted(pack) for pack in packs]

'''

ORDER = r'''
# --- Order and batches ----------------------------------------------------------------------------


class Order(torch.utils.data.Sampler):
    """Every place once an epoch, by seed and epoch alone; the longest first of all, where memory peaks."""

    def __init__(self, lengths):
        self.lengths = torch.tensor(lengths, dtype=torch.int32)
        self.epoch = 0

    def __len__(self):
        return len(self.lengths)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter(self.places().tolist())
'''

PLACES = r"""
    def places(self):
        seed = (SEED * 1_000_003 + self.epoch) % 2**63
        generator = torch.Generator().manual_seed(seed)
        places = torch.randperm(len(self), generator=generator, dtype=torch.int32)
        longest = self.lengths.sort(descending=True, stable=True).indices[:STEP_ROWS].int()
        if self.epoch == 0:
            is_first = torch.zeros(len(self), dtype=torch.bool)
            is_first[longest] = True
            places = places[~is_first[places]]
"""

PLACES_GROUPED = r"""
        for group in places.split(STEP_ROWS * 50):  # by length, within groups of steps
            group.copy_(group[self.lengths[group].sort(descending=True, stable=True).indices])
        whole = len(places) // STEP_ROWS
        steps = places[: whole * STEP_ROWS].view(whole, STEP_ROWS)
        shuffled = steps[torch.randperm(whole, generator=generator)].flatten()
        places = torch.cat([shuffled, places[whole * STEP_ROWS :]])
"""

PLACES_END = r"""
        return torch.cat([longest, places]) if self.epoch == 0 else places
"""

PLACES_IN_ORDER = r"""
    def places(self):
        return torch.arange(len(self), dtype=torch.int32)
"""

COLLATE = r'''

def collate(sequences):
    """Padded on the right; no attention mask, because no token sees what stands to its right."""
    shape = len(sequences), max(sum(len(ids) for ids, _ in rows) for rows in sequences)
    input_ids = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORED)
    position_ids = torch.arange(shape[1]).repeat(shape[0], 1)
    for number, rows in enumerate(sequences):
        begin = 0
        for ids, mask in rows:
            end = begin + len(ids)
            row, trains = torch.tensor(ids), torch.tensor(mask, dtype=torch.bool)
            input_ids[number, begin:end] = row
            labels[number, begin:end] = row.where(trains, IGNORED)
            labels[number, begin] = IGNORED
            position_ids[number, begin:] -= position_ids[number, begin].item()
            begin = end
        if begin < shape[1]:
            position_ids[number, begin:] -= position_ids[number, begin].item()
    batch = {"input_ids": input_ids, "labels": labels}
    if any(len(rows) > 1 for rows in sequences):
        batch["position_ids"] = position_ids
    return batch
'''

TRAINER = r'''

# --- Training -------------------------------------------------------------------------------------


class OrderedTrainer(Trainer):
    """Trainer with the run's order, that says the loss of every step."""

    step_loss = 0.0

    def _get_train_sampler(self, *_, **__):
        return order

    def training_step(self, *arguments, **rest):
        loss = super().training_step(*arguments, **rest)
        self.step_loss = self.step_loss + loss
        return loss


class EveryStep(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        step, loss = state.global_step, float(trainer.step_loss)
        trainer.step_loss = 0.0
        print(f"step {step}/{state.max_steps} loss {loss!r}", flush=True)
        if step == wanted.steps:
            control.should_training_stop = True
'''

JUDGING = r'''

class Judge(TrainerCallback):
    """The held-out loss every so often: keeps the best step, and stops when nothing gets better."""

    best, best_step, without_better, kept = None, 0, 0, {}

    def on_step_end(self, args, state, control, **_):
        step = state.global_step
        every = int(EVAL_STEPS) if EVAL_STEPS >= 1 else math.ceil(EVAL_STEPS * state.max_steps)
        if step % every and step < state.max_steps:
            return
        loss = held_out_loss()
        is_best = math.isfinite(loss) and (self.best is None or loss < self.best)
        is_better = is_best and (self.best is None or self.best - loss > THRESHOLD)
        self.without_better = 0 if is_better else self.without_better + 1
        print(f"step {step}/{state.max_steps} held-out loss {loss!r}", flush=True)
        if is_best:
            self.best, self.best_step = loss, step
            if KEEP_BEST:
                self.kept = {name: p.detach().clone() for name, p in trained.items()}
        if PATIENCE and self.without_better >= PATIENCE:
            control.should_training_stop = True


def held_out_loss():
    """The mean over all tokens that train; the random numbers of the training stay as they are."""
    total = count = 0
    model.eval()
    with torch.random.fork_rng(), torch.no_grad():
        for begin in range(0, len(held_out), BATCH):
            batch = collate([[row] for row in held_out[begin : begin + BATCH]])
            batch = {name: tensor.to(DEVICE) for name, tensor in batch.items()}
            tokens = int(batch["labels"][:, 1:].ne(IGNORED).sum())
            total += float(model(**batch).loss) * tokens
            count += tokens
    return total / count


judge = Judge()
'''

GO = r"""
trainer = OrderedTrainer(
    model=model,
    args=arguments,
    train_dataset=sequences,
    data_collator=collate,
    callbacks=CALLBACKS,
)
trainer.remove_callback(PrinterCallback)
trainer.train()
"""

RESTORE = r"""
if KEEP_BEST and judge.best_step not in (0, trainer.state.global_step):
    print(f"keeping step {judge.best_step}")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(judge.kept[name])
"""

SAVE = r"""
# --- The result -----------------------------------------------------------------------------------

out = Path(wanted.out)
out.mkdir(parents=True, exist_ok=True)
"""

SAVE_ADAPTER = r"""
model.save_pretrained(out / "adapter", save_embedding_layers=False)
"""

SAVE_OWN = r"""
names = [f"{name}.bias" for name in OWN_BIAS]
for name in OWN_FULL:
    names += [f"{name}.{own}" for own, _ in module_of(name).named_parameters(recurse=False)]
own = {}
for name in names:
    module, _, parameter = name.rpartition(".")
    own[name] = getattr(module_of(module), parameter).detach().cpu().contiguous()
save_file(own, out / "trained.safetensors")
"""
