"""Precision of a training, TF32, and AdamW's one kernel under a gradient scaler."""

from __future__ import annotations

import pytest
import torch

from latentsync.recipe import SyncNetRun
from latentsync.training.loop import precision
from latentsync.training.loop.optimizers import make_optimizer
from latentsync.training.loop.precision import precision_on, set_tf32, training_dtype

CUDA = torch.device("cuda")


@pytest.mark.parametrize(("asked", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_half_precision_is_for_accelerators(asked, dtype, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    run = SyncNetRun(mixed_precision=asked)
    assert training_dtype(run, CUDA) is training_dtype(run, torch.device("xpu")) is dtype
    assert training_dtype(run, torch.device("cpu")) is torch.float32
    run.mixed_precision_training = False
    assert training_dtype(run, CUDA) is torch.float32
    assert (precision_on("cuda", asked), precision_on("cpu", asked)) == (asked, "no")


def test_a_cpu_that_multiplies_in_bfloat16_trains_in_it_where_it_is_asked_to(monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    assert [precision_on("cpu", asked) for asked in ("bf16", "fp16", "no")] == ["bf16", "no", "no"]


def test_what_a_processor_says_of_itself(monkeypatch):
    for said, has in (({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda said=said: said, raising=False)
        assert precision.cpu_has_bf16() is has
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not precision.cpu_has_bf16()


@pytest.fixture
def float32_products():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield lambda: (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize(
    ("capability", "asked", "products", "said"),
    [
        ((8, 0), True, ("high", True), "rounded to TF32"),
        ((9, 0), False, ("highest", False), "exact"),
        ((7, 5), True, None, ""),
    ],
)
def test_tf32_is_set_and_said_where_a_gpu_knows_it(
    monkeypatch, caplog, float32_products, capability, asked, products, said
):
    caplog.set_level("INFO")
    before = float32_products()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    set_tf32(torch.device("cpu"), asked)
    assert float32_products() == before
    set_tf32(CUDA, asked)
    assert float32_products() == (products or before)
    assert said in caplog.text and bool(caplog.text) == bool(said)


def test_the_one_kernel_of_adamw_leaves_out_the_steps_that_a_scaler_leaves_out():
    start = torch.linspace(-1, 1, 6)
    one, plain = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizer = make_optimizer("adamw", [one], 1e-2, 0.01)
    expected = torch.optim.AdamW([plain], lr=1e-2, weight_decay=0.01, foreach=False, fused=False)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    for number, gradient in enumerate((torch.ones(6), torch.full((6,), torch.inf), -torch.ones(6))):
        before, scale = one.detach().clone(), scaler.get_scale()
        scaler.scale(one).sum().backward()
        one.grad = gradient * scale
        plain.grad = gradient
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        if number == 1:
            assert torch.equal(one, before)
            assert scaler.get_scale() == scale / 2
        else:
            expected.step()
            torch.testing.assert_close(one, plain)
