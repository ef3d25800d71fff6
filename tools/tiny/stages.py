"""The stages of the workshop, in their order: each finds what is done and does the rest."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch
from PIL import Image

from tools.tiny.adapter_sheet import adapter_sheet
from tools.tiny.adapters import FOLDER as ADAPTERS
from tools.tiny.adapters import LESSONS, train_adapter
from tools.tiny.assemble import LARGEST, assemble, build, trained, write_card
from tools.tiny.autoencoder import FOLDER, PICTURES, train_autoencoder
from tools.tiny.card import card
from tools.tiny.classifier import train_judge
from tools.tiny.critic import train_critic
from tools.tiny.enlarging import best_autoencoder, train_enlarger
from tools.tiny.evaluate import Settings, evaluate
from tools.tiny.finishing import (
    FINISHED,
    TEST_PICTURES,
    finish_autoencoder,
    finished_autoencoder,
    measure,
    reconstruct,
    unseen_signal,
)
from tools.tiny.latents import FOLDER as LATENTS
from tools.tiny.latents import Latents
from tools.tiny.painter import TOKENIZER, train_painter
from tools.tiny.pictures import Pictures
from tools.tiny.reader import train_reader
from tools.tiny.recipe import Recipe
from tools.tiny.sheets import Pixels, pairs_sheet, prompt_sheet
from tools.tiny.tokenizer import learn_tokenizer
from tools.tiny.unseen import unseen_loss


@dataclass(frozen=True, slots=True)
class Shop:
    """Where everything lies, and what computes."""

    recipe: Recipe
    work: Path
    output: Path
    device: str
    workers: int

    @property
    def pictures(self) -> Pictures:
        """The drawn pictures."""
        return Pictures(self.work / PICTURES, self.recipe.drawn, self.recipe.per_file)


def draw(shop: Shop) -> bool:
    """Draw what is missing."""
    shop.pictures.draw(shop.recipe.pictures, multiprocessing.cpu_count())
    return True


def autoencoder(shop: Shop) -> bool:
    """Train, then finish once: latents are made by the finished one, which must not change afterwards."""
    if (shop.work / FOLDER / FINISHED).exists():
        return True
    if not train_autoencoder(shop.recipe, shop.work, shop.device, shop.workers):
        return False
    finish(shop)
    return True


def finish(shop: Shop) -> float:
    """Finish the autoencoder as it is, and show what it gives back."""
    sample = unseen_signal(TEST_PICTURES, shop.recipe.drawn)
    decibels = finish_autoencoder(shop.recipe, shop.work, sample)
    shown = sample[:16]
    back = reconstruct(finished_autoencoder(shop.recipe, shop.work), shown)
    _save(shop.work / "autoencoder.png", pairs_sheet(shown, back))
    print(f"autoencoder: {decibels:.2f} dB on held-out pictures", file=sys.stderr)
    return decibels


def encode(shop: Shop) -> bool:
    """Make the latents and the tokenizer."""
    if not (shop.work / TOKENIZER / "merges.txt").exists():
        learn_tokenizer(shop.work / TOKENIZER)
    device = torch.device(shop.device)
    net = finished_autoencoder(shop.recipe, shop.work).to(device)
    latents = Latents(shop.work / LATENTS, shop.pictures, shop.recipe.per_file)
    latents.encode(net, device, shop.recipe.pictures)
    return True


def read(shop: Shop) -> bool:
    """Train the text encoders alone."""
    return train_reader(shop.recipe, shop.work, shop.work / TOKENIZER, shop.device, shop.workers)


def critic(shop: Shop) -> bool:
    """Train the critic of latents."""
    return train_critic(shop.recipe, shop.work, shop.device, shop.workers)


def train(shop: Shop) -> bool:
    """Train text encoders and UNet."""
    return train_painter(shop.recipe, shop.work, shop.device, shop.workers)


def enlarge(shop: Shop) -> bool:
    """Train the autoencoder at full side, for latents as they are."""
    return train_enlarger(shop.recipe, shop.work, shop.device, shop.workers)


def classifier(shop: Shop) -> bool:
    """Train the judge."""
    return train_judge(shop.recipe, shop.work, shop.device, shop.workers)


def assemble_model(shop: Shop) -> bool:
    """Write the folder; a model that is too large is an error."""
    size = assemble(shop.recipe, shop.work, shop.output)
    print(f"{shop.output}: {size / 1e6:.2f} MB", file=sys.stderr)
    if size > LARGEST:
        raise ValueError(f"the model has {size} bytes; {LARGEST} are allowed")
    return True


def evaluate_model(shop: Shop) -> bool:
    """Measure the model of the work folder; write figures and card beside the weights."""
    with _many_threads(shop.workers):
        figures = evaluate(build(shop.recipe, shop.work), shop.recipe, shop.work, Settings())
        figures["training"] = trained(shop.work)
        figures["unseen loss"] = round(unseen_loss(shop.recipe, shop.work), 4)
        net = best_autoencoder(shop.recipe, shop.work)
        sample = unseen_signal(TEST_PICTURES, shop.recipe.drawn, half=net.config.sample_size < shop.recipe.drawn)
        figures["autoencoder dB"] = round(measure(net, sample), 2)
    write_card(shop.output, card(figures), figures)
    return True


def adapt(shop: Shop) -> bool:
    """Train every adapter upon the finished UNet; write them, and their sheet, drawn by the server's own engine."""
    for name in LESSONS:
        if not train_adapter(shop.recipe, shop.work, name, shop.device, shop.workers):
            return False
    _save(shop.work / "adapters.png", adapter_sheet(shop.output, shop.work / ADAPTERS))
    return True


def sheet(shop: Shop) -> bool:
    """Draw the contact sheet into the work folder."""
    _save(shop.work / "sheet.png", prompt_sheet(build(shop.recipe, shop.work)))
    return True


RUN: Final[Mapping[str, Callable[[Shop], bool]]] = MappingProxyType(
    {
        "draw": draw,
        "autoencoder": autoencoder,
        "encode": encode,
        "read": read,
        "critic": critic,
        "train": train,
        "enlarge": enlarge,
        "classifier": classifier,
        "assemble": assemble_model,
        "evaluate": evaluate_model,
        "sheet": sheet,
        "adapt": adapt,
    }
)


@contextmanager
def _many_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
