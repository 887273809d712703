"""The smallest thing that the loop can train: a line through points, some of which are poisoned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from latentsync.data.batches import ClipFault, SampleOrigin


@dataclass(frozen=True)
class Points:
    """x and y (B, 2)."""

    x: torch.Tensor
    y: torch.Tensor
    origins: tuple[SampleOrigin, ...]

    def to(self, device) -> Points:
        return Points(self.x.to(device), self.y.to(device), self.origins)


class PointSet(Dataset):
    """``poisoned`` are steps at which every sample is not a number."""

    def __init__(self, poisoned=()) -> None:
        self._poisoned = set(poisoned)

    def __len__(self) -> int:
        return 16

    def __getitem__(self, key):
        generator = torch.Generator().manual_seed(100 * key.epoch + key.index)
        x = torch.randn(2, generator=generator)
        y = 3 * x + 1 if key.step not in self._poisoned else x * torch.nan
        fault = (ClipFault("bad.mp4", "undecodable: made up"),) if key.index == 0 else ()
        return x, y, SampleOrigin(str(key.index), f"point {key.index}", key.step, fault)


class ToyTask:
    """A ``Task``; ``on_step`` is called before every loss with the number of losses so far."""

    def __init__(self, poisoned=(), on_step=lambda count: None) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 2))
        self.dataset = PointSet(poisoned)
        self.on_step, self.count, self.exported, self.seen = on_step, 0, [], []

    @staticmethod
    def collate(samples) -> Points:
        x, y, origins = zip(*samples, strict=True)
        return Points(torch.stack(x), torch.stack(y), origins)

    def loss(self, network, batch):
        self.count += 1
        self.on_step(self.count)
        self.seen.append([int(origin.clip_id) for origin in batch.origins])
        return (network(batch.x) - batch.y).square().mean(), {"size": torch.tensor(float(len(batch.x)))}

    def validate(self, accelerator, step):
        x = torch.linspace(-1, 1, 10)[:, None].expand(10, 2)
        loss = float((self.network(x) - 3 * x - 1).square().mean())
        return {"score": -loss, "loss": loss}

    def panels(self, rows):
        from latentsync.training.loop.charts import Curve, Panel

        return [Panel("loss", [Curve("train", [r["step"] for r in rows["train"]], [r["loss"] for r in rows["train"]])])]

    def export(self, path: Path, step: int) -> None:
        self.exported.append((path.name, step))

    def watch(self, step, rows) -> None:
        pass
