"""Training a student from its configuration: the U-Net's training with a teacher beside it."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from latentsync.checkpoint import load_unet, load_unet_weights
from latentsync.checkpoint.adapter import LowRank
from latentsync.checkpoint.files import fingerprint
from latentsync.diffusion.settings import SamplerSettings
from latentsync.errors import ConfigError
from latentsync.models.codec import LatentCodec
from latentsync.models.unet import UNet3D
from latentsync.recipe import StudentSection, UNetRecipe
from latentsync.training.adapters.low_rank import attach
from latentsync.training.loop.ema import EMA
from latentsync.training.loop.precision import training_dtype
from latentsync.training.loop.trainer import TrainingResult
from latentsync.training.student.objective import StudentObjective, Teacher, prediction_of, sampler_of
from latentsync.training.student.task import StudentTask
from latentsync.training.unet.networks import (
    LossConfig,
    LossNetworks,
    build_unet,
    make_objective,
)
from latentsync.training.unet.objective import UNetObjective
from latentsync.training.unet.run import UNetParts, train_unet
from latentsync.training.unet.task import UNetSetup

logger = logging.getLogger(__name__)


class StudentParts(UNetParts):
    """See ``UNetParts``; ``section`` says what the student is to be."""

    def __init__(self, section: StudentSection) -> None:
        self._section = section

    def network(self, recipe: UNetRecipe) -> UNet3D:
        """The teacher's weights, or those that the configuration names; with low-rank changes if it asks for them."""
        network, section = build_unet(recipe), self._section
        return attach(network, LowRank(section.rank, section.alpha)) if section.rank else network

    def objective(
        self, recipe: UNetRecipe, losses: LossConfig, networks: LossNetworks, codec: LatentCodec, ema: EMA | None
    ) -> UNetObjective:
        """That of a student, with the teacher in the precision of the training."""
        section, device = self._section, next(codec.parameters()).device
        dtype = training_dtype(recipe.run, device)
        network = load_unet(section.teacher, resolution=recipe.data.resolution, device=device, dtype=dtype)
        teacher = Teacher(network.requires_grad_(False), dtype, prediction_of(section.teacher), section.guidance)
        target = nullcontext if ema is None else ema.applied
        make = partial(StudentObjective, section=section, teacher=teacher, target=target)
        return make_objective(recipe, losses, networks, codec, make)

    def task(self, setup: UNetSetup) -> StudentTask:
        """See ``UNetParts.task``."""
        return StudentTask(self._section, setup)

    def sampler(self) -> SamplerSettings:
        """The student's own."""
        return sampler_of(self._section, prediction_of(self._section.teacher))


def train_student(recipe: UNetRecipe, name: str) -> TrainingResult:
    """Train, or go on training, in ``<train_output_dir>/<name>``; its ``weights`` are U-Nets whose cards name their
    schedule.

    Raises as ``train_unet``, ``ConfigError`` for a recipe without ``student`` or a teacher that is one, and
    ``PackageMissingError`` without peft for low-rank changes.
    """
    if recipe.student is None:
        raise ConfigError(
            "The configuration has no section student.", remedy="See configs/unet/stage2_student.yaml for one."
        )
    recipe, section = _with_teacher(recipe, recipe.student)
    return train_unet(recipe, name, StudentParts(section))


def _with_teacher(recipe: UNetRecipe, section: StudentSection) -> tuple[UNetRecipe, StudentSection]:
    """The recipe with what follows from the teacher: architecture, fingerprint and, where none are named, start
    weights. Raises the ``WeightsError`` family, and ``ConfigError``."""
    path = section.teacher
    sampler_of(section, prediction_of(path))  # a schedule that makes no sense is said before anything is loaded
    config, _ = load_unet_weights(path)
    section = replace(section, base=fingerprint(path))
    ckpt = replace(recipe.ckpt, resume_ckpt_path=recipe.ckpt.resume_ckpt_path or path)
    return replace(recipe, model=config.to_dict(), student=section, ckpt=ckpt), section
