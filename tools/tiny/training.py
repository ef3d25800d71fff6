"""The training loop: steps, averages, saves, stops when told to and goes on exactly there. Knows no network's purpose.

All chance of a step follows from the step's number, so that a training that was stopped and one that was not are one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from tools.tiny.crew import Crew, Figures, Task
from tools.tiny.optimizer import Optimizer
from tools.tiny.progress import LossLog, Progress
from tools.tiny.recipe import Plan

LARGEST_GRADIENT: Final = 1.0
SMOOTH: Final = 0.98
CHECKPOINT: Final = "checkpoint.pt"
PAUSE: Final = "pause"


def chance_of(step: int, seed: int) -> torch.Generator:
    """Return the random numbers of a step."""
    return torch.Generator().manual_seed(seed * 1_000_000_007 + step)


class Trainer:
    """One training in one folder: `checkpoint.pt`, `losses.jsonl`; a file named `pause` there stops it."""

    def __init__(self, make: Callable[[], Task], plan: Plan, folder: Path, title: str, workers: int = 1) -> None:
        self._crew = Crew(make, workers)
        self._task, self._plan, self._folder, self._title = self._crew.task, plan, folder, title
        self.step = 0
        self.samples = 0
        self._optimizer = Optimizer(self._task.net.named_parameters(), plan.muon)
        self._parameters = list(self._task.net.parameters())
        self._average = [value.detach().clone() for value in self._parameters]
        self._log = LossLog(folder / "losses.jsonl")
        self._resume()

    def run(self, now_and_then: Callable[[int], None] | None = None) -> bool:
        """Train until the plan is done and return True, or until told to stop, save and return False."""
        progress = Progress(self._title, self._plan.steps, self.step)
        smooth: dict[str, float] = {}
        saved = time.monotonic()
        with _asked_to_stop() as asked:
            while self.step < self._plan.steps and not asked() and not (self._folder / PAUSE).exists():
                figures = self._advance()
                smooth = {name: SMOOTH * smooth.get(name, value) + (1 - SMOOTH) * value
                          for name, value in figures.items()}  # fmt: skip
                if self.step % self._plan.log_every == 0:
                    told = {name: round(value, 5) for name, value in smooth.items()}
                    self._log.write(step=self.step, samples=self.samples, **told)
                progress.tell(self.step, " ".join(f"{name} {value:.4f}" for name, value in smooth.items()))
                if now_and_then is not None:
                    now_and_then(self.step)
                if time.monotonic() - saved > self._plan.save_seconds:
                    self.save()
                    saved = time.monotonic()
        self.save()
        self._crew.close()
        return self.step >= self._plan.steps

    def averaged(self) -> dict[str, torch.Tensor]:
        """Return the network's weights with the average of the last steps in the place of each parameter."""
        state = dict(self._task.net.state_dict())
        names = [name for name, _ in self._task.net.named_parameters()]
        return {**state, **dict(zip(names, self._average, strict=True))}

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        self._folder.mkdir(parents=True, exist_ok=True)
        state = {
            "step": self.step,
            "samples": self.samples,
            "raw": self._task.net.state_dict(),
            "average": self._average,
            "averaged": self.averaged(),
            "optimizer": self._optimizer.state_dict(),
        }
        partial = self._folder / f"{CHECKPOINT}.partial"
        torch.save(state, partial)
        partial.replace(self._folder / CHECKPOINT)

    def _advance(self) -> Figures:
        rate = self._plan.rate_at(self.step)
        figures = self._crew.gradients(self.step)
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters, LARGEST_GRADIENT))
        self._optimizer.step(rate, self._crew.orthogonal)
        self.step += 1
        self.samples += self._plan.batch
        keep = min(self._plan.average, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            torch._foreach_lerp_(self._average, [value.detach() for value in self._parameters], 1 - keep)
        return {**figures, "gradient": norm, "rate": rate}

    def _resume(self) -> None:
        state = load_checkpoint(self._folder)
        if state is None:
            return
        self.step, self.samples = state["step"], state["samples"]
        self._task.net.load_state_dict(state["raw"])
        with torch.no_grad():
            for own, saved in zip(self._average, state["average"], strict=True):
                own.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return what the last training of this folder left, or None."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Take SIGTERM and SIGINT as the wish to stop after this step."""
    wishes: list[int] = []
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(one, lambda number, _: wishes.append(number)) for one in signals]
    try:
        yield lambda: bool(wishes)
    finally:
        for one, handler in zip(signals, before, strict=True):
            signal.signal(one, handler)
