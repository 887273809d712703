"""One thread launches while others prepare and fetch, and the launching thread touches no image."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from latentsync.diffusion.settings import SamplerSettings
from latentsync.face.align import image_key
from latentsync.inference import latent_generator
from latentsync.inference.latent_generator import LatentGenerator
from latentsync.inference.transfer import Transfer
from latentsync.types import Window
from tests.inference.plain_networks import models_on

SIDE, FRAMES, PATIENCE = 64, 4, 300
MASK = np.ones((1, SIDE, SIDE), np.float32)
MASK[:, 32:60, 8:56] = 0.25
SETTINGS = SamplerSettings(steps=2)


def windows_of(count, steady=False, keys=True):
    rng = np.random.default_rng(count)
    windows = []
    for number in range(count):
        faces = rng.uniform(-1, 1, (FRAMES, 3, SIDE, SIDE)).astype(np.float32)
        audio = rng.normal(size=(FRAMES, 5, 8)).astype(np.float32)
        whole = faces[0] if steady else None
        face_keys = tuple(map(image_key, faces)) if keys else ()
        windows.append(Window(number, faces, audio, whole, face_keys, image_key(whole) if steady and keys else b""))
    return windows


class HostBytes(TorchDispatchMode):
    """Adds up the bytes of what torch computes in the CPU's memory; a view has none."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu" and not function.is_view:
                self.bytes += tensor.nbytes
        return result


@pytest.mark.parametrize("steady", [False, True])
def test_the_launching_thread_works_on_no_image(monkeypatch, steady):
    """What it does on the host is no more for four windows than for one: the sampler's tables."""
    generator = LatentGenerator(models_on("meta", torch.float16), MASK, SETTINGS, seed=1)
    generator.launch(generator.prepare(windows_of(1, steady)))  # sends what is sent once in a run
    monkeypatch.setattr(latent_generator, "image_key", lambda pixels: pytest.fail("a digest is made"))
    launched = []
    for count in (1, 4):
        windows = windows_of(count, steady)
        with HostBytes() as preparing:
            prepared = generator.prepare(windows)
        with HostBytes() as launching:
            faces = generator.launch(prepared).faces
        assert preparing.bytes > sum(window.faces.nbytes for window in windows) / 4  # half of the precision
        assert faces.tensor.shape == (count, FRAMES, 3, SIDE, SIDE)
        launched.append(launching.bytes)
    assert launched[0] == launched[1] < 20_000


@pytest.mark.parametrize(("device", "dtype", "bytes_each"), [("meta", torch.float16, 2), ("cpu", torch.float16, 4)])
def test_images_travel_once_and_in_the_precision_of_the_networks(device, dtype, bytes_each):
    generator = LatentGenerator(models_on(device, dtype), MASK, SETTINGS, seed=1)
    prepared = generator.prepare(windows_of(2))
    assert prepared.faces.tensor.nbytes == 2 * FRAMES * 3 * SIDE * SIDE * bytes_each
    assert prepared.references is None  # each frame is its own reference
    assert generator.launch(prepared).faces.tensor.dtype == dtype


def test_half_precision_loses_nothing_on_its_way():
    """What is sent in half precision is what the networks would have made of it."""
    part = np.random.default_rng(0).uniform(-1, 1, (3, 4)).astype(np.float32)
    sent = Transfer(torch.device("meta")).upload([part, part], torch.float16).tensor
    assert sent.dtype == torch.float16 and sent.shape == (6, 4)
    received = Transfer(torch.device("cpu")).download(torch.from_numpy(part).half()).wait()
    assert received.dtype == np.float32 and np.array_equal(received, part.astype(np.float16))


def test_on_the_cpu_a_window_is_not_copied():
    windows = windows_of(1)
    prepared = LatentGenerator(models_on("cpu", torch.float32), MASK, SETTINGS, seed=1).prepare(windows)
    assert np.shares_memory(prepared.faces.tensor.numpy(), windows[0].faces)


@pytest.mark.parametrize("steady", [False, True])
def test_faces_without_keys_are_known_by_their_content(steady):
    models = models_on("cpu", torch.float32)
    generator = LatentGenerator(models, MASK, SETTINGS, seed=1)
    first = generator(windows_of(2, steady, keys=True))
    encoded = len(models.codec.encoded)
    assert np.array_equal(generator(windows_of(2, steady, keys=False)), first)
    assert len(models.codec.encoded) == encoded


def test_one_thread_launches_while_another_prepares():
    launching, together, prepared = threading.Semaphore(1), [], threading.Event()

    def at_work():
        together.append(launching.acquire(blocking=False))
        assert prepared.wait(PATIENCE)  # the other batch, while this one is launched
        launching.release()

    models = models_on("cpu", torch.float32, at_work)
    models.lock = threading.Lock()  # as on a device whose kernels are launched
    generator = LatentGenerator(models, MASK, SETTINGS, seed=1)
    prepare, count = generator.prepare, []

    def counted(windows):
        result = prepare(windows)
        count.append(1)
        if len(count) == 2:
            prepared.set()
        return result

    generator.prepare = counted
    faces = {}
    threads = [
        threading.Thread(target=lambda n=n: faces.update({n: generator(windows_of(n))}), daemon=True) for n in (1, 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    alone = LatentGenerator(models_on("cpu", torch.float32), MASK, SETTINGS, seed=1)
    assert together and all(together)
    assert all(np.array_equal(faces[n], alone(windows_of(n))) for n in (1, 2))
