"""A simulation as the call would answer it, with fixed numbers."""

from finetune_tui.core.memory.simulated import Simulation
from finetune_tui.core.memory.weights import Precision

GIB = 2**30

SIMULATION = Simulation(
    precision=Precision.BF16,
    allocated=int(20.1 * GIB),
    reserved=int(21.2 * GIB),
    device=int(21.7 * GIB),
    phase="backward",
    module="base_model.model.model.layers.17.mlp.fc2.base_layer",
    operation="aten::mm",
    parts={},
    phases={},
    card="24 GB",
    budget=int(23.1 * GIB),
    fits=True,
    largest={"rows": 2, "tokens": 1112},
)
