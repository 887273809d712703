"""The training of an adapter: that of a U-Net (``training.unet.task``), of which only the changes are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from latentsync.checkpoint import WeightsCard
from latentsync.checkpoint.adapter import LowRank, save_adapter
from latentsync.recipe import AdapterSection
from latentsync.training.adapters.low_rank import factors_of, merged
from latentsync.training.unet.task import UNetSetup, UNetTask

CHANGES = "changes.safetensors"  # in a checkpoint, in place of the whole network


class AdapterTask(UNetTask):
    """The network of ``setup`` has changes attached (``low_rank.attach``) whose shape ``section`` says."""

    def __init__(self, section: AdapterSection, setup: UNetSetup) -> None:
        super().__init__(setup)
        self._low_rank = LowRank(section.rank, section.alpha)
        self._section = section
        self._base = Path(setup.recipe.ckpt.resume_ckpt_path or "")

    def _plain(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return merged(weights, self._low_rank)

    def card(self, step: int) -> WeightsCard:
        """That of an adapter, which names its U-Net, the videos and the consent."""
        return replace(
            super().card(step),
            kind="adapter",
            base=self._section.base,
            base_name=self._base.name,
            videos=self._section.videos or None,
            consent=self._section.consent or None,
        )

    def export(self, path: Path, step: int) -> None:
        """Write the adapter with its card."""
        card = self.card(step)
        with self._with_ema():
            save_adapter(path, factors_of(self.network.state_dict()), self._low_rank, card)


def keep_changes_only(accelerator: Accelerator, network: nn.Module) -> None:
    """Have the checkpoints of a run hold of ``network`` what is trained: the rest is in the file that it began with."""

    def save(_models: list[nn.Module], weights: list[Any], folder: str) -> None:
        weights.clear()
        if accelerator.is_main_process:
            trained = {name: p.detach().cpu() for name, p in network.named_parameters() if p.requires_grad}
            save_file(trained, Path(folder) / CHANGES)

    def load(models: list[nn.Module], folder: str) -> None:
        models.clear()
        _restore(network, load_file(Path(folder) / CHANGES))

    accelerator.register_save_state_pre_hook(save)
    accelerator.register_load_state_pre_hook(load)


def _restore(network: nn.Module, trained: Mapping[str, Tensor]) -> None:
    """Raises ``ValueError`` for changes of another network, as a checkpoint that cannot be read does."""
    own = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    if own.keys() != trained.keys() or any(own[name].shape != trained[name].shape for name in own):
        raise ValueError("the changes are of another network")
    for name, parameter in own.items():
        parameter.data.copy_(trained[name])
