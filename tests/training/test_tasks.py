"""All tasks of the training: in half precision, and how often their step makes the host wait for a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.training.tiny_tasks import TASKS, TinyTask, student
from tests.training.waits import CountedCopies, CountedWaits

CUDA = torch.device("cuda")
every_task = pytest.mark.parametrize("make", TASKS, ids=lambda make: make.__name__)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wrapped(network: nn.Module, dtype: torch.dtype) -> Callable[..., Any]:
    """As the accelerator wraps a network that trains in mixed precision."""
    if dtype is torch.float32:
        return network
    return convert_outputs_to_fp32(torch.autocast("cpu", dtype=dtype)(network.forward))


def gradients(make: Callable[[torch.dtype], TinyTask], dtype: torch.dtype) -> tuple[float, Tensor]:
    """Loss of a step in ``dtype``, and the gradients of all weights as one vector."""
    tiny = make(dtype)
    factor = 2.0**8 if dtype is torch.float16 else 1.0  # as the gradient scaler's, but smaller: nothing overflows
    torch.manual_seed(0)
    loss, figures = tiny.task.loss(wrapped(tiny.task.network, dtype), tiny.batch)
    assert loss.dtype is torch.float32
    assert all(torch.isfinite(value) for value in figures.values())
    (loss * factor).backward()
    found = [p.grad.flatten() / factor for p in tiny.task.network.parameters() if p.grad is not None]
    return loss.item(), torch.cat(found)


@pytest.mark.parametrize("make", [task for task in TASKS if task is not student], ids=lambda make: make.__name__)
def test_half_precision_trains_like_single(make):
    """But for a student, whose loss is of the difference of two networks that are all but the same here."""
    loss, wanted = gradients(make, torch.float32)
    for dtype, tolerance, cosine in ((torch.bfloat16, 0.01, 0.97), (torch.float16, 0.001, 0.998)):
        half, found = gradients(make, dtype)
        assert half == pytest.approx(loss, rel=tolerance)
        assert found.isfinite().all()
        assert nn.functional.cosine_similarity(found, wanted, 0) > cosine, dtype


@every_task
def test_a_step_never_asks_the_device(make):
    """But at the first one, where a loss without gradient is looked for."""
    tiny = make(torch.float32)
    network = tiny.task.network
    for step in range(3):
        with CountedWaits() as waits:
            loss, _ = tiny.task.loss(network, tiny.batch)
            loss.backward()
        watched = make.__name__ in ("unet_stage_2", "unet_on_cached_latents")
        allowed = ["__bool__", "tolist"] if step == 0 and watched else []
        assert [name for name in waits.found if name not in allowed] == []


def on_the_device(mode: FakeTensorMode, network: nn.Module) -> None:
    """``network`` on a GPU that is not there, without content."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                parameter.grad = None
                moved = mode.from_tensor(parameter.detach()).to(CUDA)
                module._parameters[name] = nn.Parameter(moved, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = mode.from_tensor(buffer).to(CUDA)


@every_task
def test_a_loss_on_a_device_copies_nothing_that_the_host_waits_for(make):
    """On tensors without content, which have no values to ask for: that would raise."""
    tiny = make(torch.float32)
    tiny.task.loss(tiny.task.network, tiny.batch)[0].backward()  # of the first step the gradients are looked at
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for network in (tiny.task.network, *tiny.frozen):
            on_the_device(mode, network)
        send_constants(mode, tiny.task)
        batch = tiny.batch.to("cpu")  # the loader's, in pinned memory
        with torch.no_grad():
            tiny.task.loss(tiny.task.network, batch.to(CUDA))  # tables of the noise schedule move once
            with CountedCopies() as copies:
                loss, _ = tiny.task.loss(tiny.task.network, batch.to(CUDA))
    assert loss.device.type == "cuda"
    assert copies.found == []


def send_constants(mode: FakeTensorMode, task: Any) -> None:
    """What a task put onto the device of its network when it was made."""
    for name, value in vars(task).items():
        if isinstance(value, Tensor):
            setattr(task, name, mode.from_tensor(value).to(CUDA))
