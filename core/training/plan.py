"""Everything that is known of a run before a weight is loaded."""

from dataclasses import dataclass, replace

import torch

from finetune_tui.core.hardware import Hardware
from finetune_tui.core.memory.estimate import Estimate, estimate, precision_of
from finetune_tui.core.models.inspection import inspect_folder
from finetune_tui.core.models.manifest import Manifest
from finetune_tui.core.models.resolve import ModelReference, find_model, load_manifest
from finetune_tui.core.runs.directory import RunDirectory
from finetune_tui.core.training.load import Device, choose_device
from finetune_tui.core.tuning.refusals import Machine, refuse_impossible
from finetune_tui.core.tuning.resolve import selection_of
from finetune_tui.core.tuning.selection import Selection
from finetune_tui.core.tuning.spec import Spec


@dataclass(frozen=True, slots=True)
class Plan:
    """machine: what the run was checked against."""

    spec: Spec
    reference: ModelReference
    manifest: Manifest
    selection: Selection
    device: Device
    machine: Machine

    def estimate(self, spec: Spec, context: int | None) -> Estimate:
        """What a step takes on this run's device. spec: of the batch.

        context: bytes of CUDA's, on the CPU of the worker before it loads anything, where they were measured.
        """
        precision = precision_of(spec, self.device.on_gpu)
        here = replace(spec, use_cpu=not self.device.on_gpu)
        found = estimate(self.manifest, self.selection, here, precision, context)
        if self.device.on_gpu or context is None:
            return found
        more = context - found.breakdown.context
        breakdown = replace(found.breakdown, context=context)
        return replace(found, device=found.device + more, breakdown=breakdown)


def make_plan(run: RunDirectory, hardware: Hardware) -> Plan:
    """Read the spec and refuse what cannot be. Raises UserError."""
    spec = run.spec()
    reference = find_model(spec.model_name_or_path)
    device = choose_device(spec, is_demo=reference.kind == "demo")
    manifest = load_manifest(reference, lambda folder, name: inspect_folder(folder, name).to_json())
    selection = selection_of(spec, manifest)
    machine = _machine(device, hardware)
    refuse_impossible(spec, manifest, selection, machine)
    return Plan(spec, reference, manifest, selection, device, machine)


def _machine(device: Device, hardware: Hardware) -> Machine:
    gpus = tuple(gpu.uuid for gpu in hardware.gpus if gpu.uuid)
    capability = torch.cuda.get_device_capability(0) if device.on_gpu else None
    return Machine(on_gpu=device.on_gpu, capability=capability, gpus=gpus)
