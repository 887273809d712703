"""What a student is trained for: its levels, its teacher's step, its target."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from latentsync.diffusion.conditioning import Conditioning
from latentsync.diffusion.noise import add_noise
from latentsync.diffusion.schedule import make_scheduler
from latentsync.errors import ConfigError
from latentsync.models.codec import LatentCodec
from latentsync.recipe import StudentSection
from latentsync.training.student.objective import StudentObjective, Teacher, sampler_of
from latentsync.training.unet.latents import LatentBatch, StepDraws
from latentsync.training.unet.objective import LossWeights
from tests.golden import rule_input
from tests.models.networks import small_kl

ALPHA_BARS = make_scheduler("ddim").alphas_cumprod
SHAPE = (3, 4, 2, 4, 4)
SECTION = StudentSection(timesteps=[900, 400], levels=9, schedule_share=0.0, guidance=1.0)


class Knowing(nn.Module):
    """Predicts the noise of data that all lie at one point, times ``scale``; notes levels and inputs."""

    def __init__(self, target: torch.Tensor) -> None:
        super().__init__()
        self.target = target
        self.scale = nn.Parameter(torch.ones(()))
        self.levels: list[list[int]] = []
        self.noisy: list[torch.Tensor] = []

    def forward(self, sample, timestep, audio, *, feature_cache=None, guided=False):
        alpha_bar = ALPHA_BARS[timestep].view(-1, 1, 1, 1, 1)
        self.levels.append(timestep.flatten().tolist())
        self.noisy.append(sample[:, :4])
        return self.scale * (sample[:, :4] - alpha_bar.sqrt() * self.target) / (1 - alpha_bar).sqrt()


def _batch() -> LatentBatch:
    keep = (rule_input("mask", (3, 1, 2, 4, 4)) > 0).float()
    masked, reference, target = (rule_input(name, SHAPE) for name in ("masked", "reference", "target"))
    return LatentBatch(target, Conditioning(keep, masked, reference), rule_input("audio", (3, 2, 5, 8)), None, None)


def _draws(*timesteps: int) -> StepDraws:
    return StepDraws(torch.tensor(timesteps), rule_input("noise", SHAPE))


def _objective(teacher: nn.Module, section: StudentSection = SECTION, target=nullcontext) -> StudentObjective:
    frozen = Teacher(teacher, torch.float32, "epsilon", section.guidance)
    codec, weights = LatentCodec(small_kl()), LossWeights(recon=0.5)
    return StudentObjective(codec, weights, section=section, teacher=frozen, target=target)


def test_levels_are_those_of_the_ladder_and_the_teacher_steps_to_the_next():
    batch, teacher, student = _batch(), Knowing(_batch().target), Knowing(_batch().target)
    objective = _objective(teacher)
    objective(student, batch, _draws(0, 500, 999))
    assert teacher.levels == [[900, 500, 100]]  # of 900, 800, ... 100
    assert student.levels == [[800, 400, 0], [900, 500, 100]]  # the target first, then what is trained
    assert torch.equal(teacher.noisy[0][0], _draws(0).noise[0])  # a dub begins with noise alone
    expected = add_noise(batch.target, _draws(0).noise, ALPHA_BARS[torch.tensor([900, 500, 100])])
    assert torch.allclose(teacher.noisy[0][1:], expected[1:])


def test_clips_at_the_schedule_are_as_many_as_asked_for():
    teacher = Knowing(_batch().target)
    objective = _objective(teacher, replace(SECTION, schedule_share=0.6))
    objective(Knowing(_batch().target), _batch(), _draws(0, 299, 300))
    objective(Knowing(_batch().target), _batch(), _draws(599, 600, 999))
    assert teacher.levels == [[900, 900, 400], [400, 900, 100]]


def test_who_knows_the_data_has_no_loss_and_others_learn_from_both():
    batch = _batch()
    objective = _objective(Knowing(batch.target))
    draws = _draws(300, 500, 800)  # neither noise alone nor the last step, which ends at latents with some noise
    losses = objective(Knowing(batch.target), batch, draws)
    assert losses.consistency < 2e-3 and losses.recon < 2e-3
    wrong = Knowing(batch.target)
    wrong.scale.data.fill_(0.9)
    losses = objective(wrong, batch, draws)
    assert losses.total.item() == pytest.approx(0.5 * losses.recon.item() + losses.consistency.item(), rel=1e-5)
    assert losses.consistency > 0.01
    losses.consistency.backward()
    assert wrong.scale.grad != 0


def test_the_target_is_the_average_of_the_weights():
    batch, student = _batch(), Knowing(_batch().target)
    student.scale.data.fill_(0.5)

    @contextmanager
    def average():
        student.scale.data.fill_(1.0)
        yield
        student.scale.data.fill_(0.5)

    draws = _draws(300, 500, 800)
    own, averaged = (
        _objective(Knowing(batch.target), target=each)(student, batch, draws) for each in (nullcontext, average)
    )
    assert averaged.recon.item() == own.recon.item()
    assert averaged.consistency.item() == pytest.approx(averaged.recon.item(), rel=1e-2)  # its target is the truth
    assert own.consistency < averaged.consistency


def test_guidance_weighs_the_difference_that_the_audio_makes():
    class Hearing(nn.Module):
        def forward(self, sample, timestep, audio, *, guided):
            assert guided
            return torch.cat([sample[:, :4], sample[:, :4] + audio.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1, 1)])

    batch, noisy = _batch(), rule_input("noise", SHAPE)
    guided = Teacher(Hearing(), torch.float32, "epsilon", 3.0).guided(noisy, torch.tensor([5, 5, 5]), batch)
    expected = noisy + 3 * batch.audio.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1, 1)
    assert torch.allclose(guided, expected, atol=1e-5)


def test_validation_goes_through_the_schedule():
    batch, student = _batch(), Knowing(_batch().target)
    losses = _objective(student).validate(student, batch, _draws(1, 2, 3))
    assert student.levels == [[900], [400]]
    assert losses.consistency is None
    assert losses.recon < 2e-3


@pytest.mark.parametrize("timesteps", [[400, 900], [1000, 400], [900, 0]])
def test_a_schedule_that_makes_no_sense_is_refused(timesteps):
    with pytest.raises(ConfigError, match="schedule"):
        sampler_of(replace(SECTION, timesteps=timesteps), "epsilon")
