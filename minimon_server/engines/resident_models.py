"""The models that are in memory: loaded, shared part by part, moved between tiers and put out as `residency` has it.

The networks of all models lie in one pool, each named by its content: what two models share is one module. A network
that one model's adapters have changed is as it came before another model gets it. For one thread, that of the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from minimon_server.engines.acceleration_plan import Accelerations
from minimon_server.engines.adapter_stack import AdapterStack
from minimon_server.engines.checkpoint_files import OnDisk, fingerprint_of_model
from minimon_server.engines.checkpoint_loading import load_model
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.file_stamps import Stamp
from minimon_server.engines.host_copies import move, to_device, to_host
from minimon_server.engines.loaded_model import Loaded
from minimon_server.engines.memory_tally import MemoryTally, Resident
from minimon_server.engines.messages import Stack
from minimon_server.engines.model_folders import NETWORKS, BrokenModel
from minimon_server.engines.part_contents import Content, contents_of, same_networks, stamps_of
from minimon_server.engines.pristine_weights import LostWeights, check_stamps
from minimon_server.engines.residency import DEVICE, HOST, Change, Residency, Tier
from minimon_server.engines.resident_adapters import ResidentAdapters
from minimon_server.engines.resident_copies import ResidentCopies
from minimon_server.engines.sdxl_acceleration import Accelerated, accelerate
from minimon_server.engines.sdxl_decoding import Previews
from minimon_server.engines.sdxl_ladder import HOME, Ladder
from minimon_server.engines.sdxl_loading import Loading, Place
from minimon_server.engines.sdxl_memory import give_memory_back, is_out_of_memory, parts_bytes, weights_bytes
from minimon_server.engines.telling import while_told
from minimon_server.engines.weight_files import hashed_parts, settings_files, weight_files
from minimon_server.logs import Logger

BUDGET = "room for the model in use"


@dataclass(slots=True, eq=False)
class _Part:
    module: torch.nn.Module
    content: Content | None
    size: int  # bytes, as it came
    stamps: Mapping[Path, Stamp]  # of the files that it was read from
    accelerated: Accelerated | None = None  # of a UNet

    @property
    def bytes(self) -> int:
        """What it takes now: adapters have layers held in more bits."""
        quantised = self.accelerated.quantised if self.accelerated is not None else None
        return self.size + (quantised.bytes_in_full if quantised is not None else 0)


class ResidentModels:
    """Of one engine."""

    def __init__(
        self,
        place: Place,
        budgets: Mapping[Tier, int],
        hashes: FileHashes,
        log: Logger,
        tally: MemoryTally,
        plan: Accelerations | None = None,
    ) -> None:
        """`plan` is done to each model once it is loaded."""
        self._place, self._plan = place, plan
        self._hashes = hashes
        self._log = log
        self._tally = tally
        self._policy = Residency(budgets[DEVICE], budgets[HOST])
        self._models: dict[str, Loaded] = {}
        self._parts: dict[str, _Part] = {}
        main = DEVICE if place.device.type == "cpu" else HOST
        self._adapters = ResidentAdapters(self._policy, main, hashes, log, tally, self._publish)
        self._near = ResidentCopies(self._policy, place.device if main == HOST else None, log, self._apply)
        tally.budgets = {str(tier): size for tier, size in budgets.items()}

    @property
    def newest(self) -> Loaded | None:
        """The model that was used last of those in memory."""
        return next((self._models[name] for name in reversed(self._policy.order) if name in self._models), None)

    def take(self, name: str, folder: OnDisk, ladder: Ladder) -> Loaded | None:
        """Return a model that is in memory, ready to draw; None: it is not there, or not as its files are now."""
        found = self._models.get(name)
        if found is None:
            return None
        if why_not := self._why_not(found, folder):
            del found
            self.put_out(name, why_not)
            return None
        self._tidy(name, found.parts.values())
        model = self._models.get(name)
        if model is None:
            return None
        model.rests = model.rests or ladder.offloaded
        self.count(model)
        parts = [self._parts[part] for part in model.parts.values()]
        moved = [] if model.rests else [to_device(one.module, self._place.device) for one in parts]
        if any(moved):
            self._tally.copies += 1
            self._log.info("model copied back", model=name, parts=sum(moved))
        return model

    def load(self, name: str, folder: OnDisk, ladder: Ladder, tell: Loading) -> Loaded:
        """Read a model from the disk, but for parts that are in memory; room is made first.

        Raise as loading does; `LostWeights` where files changed between the first look at them and the last.
        """
        stamps = stamps_of(chain(*weight_files(folder).values(), settings_files(folder)))
        contents = contents_of(folder, self._place)
        pool = [(part, one.content, one.stamps) for part, one in self._parts.items()]
        found = while_told(
            lambda: same_networks(contents, pool, self._hashes),
            lambda: tell(0, max(1, weights_bytes(folder, self._place) >> 20)),
        )
        self._tidy(name, found.values())
        shared = {network: part for network, part in found.items() if part in self._parts}  # some may have been lost
        sizes = {part: self._parts[part].bytes for part in shared.values()}
        there = sum(sizes.values())
        rest = max(0, weights_bytes(folder, self._place) - there)
        room = {**sizes, f"what is read of {name}": rest}
        self._apply(self._policy.use(name, room, HOST if ladder.offloaded else DEVICE), BUDGET)
        known = {network: self._parts[part].module for network, part in shared.items()}
        done = False
        try:
            ladder.look_at(folder, there)
            for module in known.values():
                to_device(module, ladder.resting.device)
            pipeline = load_model(folder, ladder.resting, tell, known)
            model = self._made(name, folder, pipeline, ladder.offloaded, contents, shared, stamps)
            done = True
        except BrokenModel:
            check_stamps(stamps)  # half of one file and half of another are no model, and neither is to blame
            raise
        finally:
            if not done:
                self._apply(self._policy.drop(name), "it could not be loaded")
        self._models[name] = model
        self.count(model)
        self._tally.loads += 1
        self._log.info("model loaded", model=name, device=self._place.name, rests=model.rests, shared=sorted(shared))
        return model

    def count(self, model: Loaded, more: int = 0) -> None:
        """Let a model be the one in use, with what it takes now and `more` bytes; others go where that is too much."""
        sizes = {part: self._parts[part].bytes for part in model.parts.values()}
        sizes[model.parts["unet"]] += more
        self._apply(self._policy.use(model.name, sizes, HOST if model.rests else DEVICE), BUDGET)

    def put_out(self, name: str, reason: str) -> None:
        """Let one model leave memory; one that is not there is no mistake."""
        self._apply(self._policy.drop(name), reason)

    def make_room(self, on_device: bool, reason: str, *, copies_only: bool = False) -> bool:
        """Let all models but the one in use leave the device, or main memory; return whether there were any."""
        if copies_only:
            return self._near.refuse(reason)
        tier = DEVICE if on_device or self._place.device.type == "cpu" else HOST
        change = self._policy.make_room(tier)
        self._apply(change, reason)
        return bool(change)

    def clear(self) -> None:
        """Give everything back."""
        for name in self._policy.order:
            self._policy.drop(name)
        for all_of_it in (self._models, self._parts, self._adapters, self._near):
            all_of_it.clear()
        self._publish()
        give_memory_back()

    def _why_not(self, model: Loaded, folder: OnDisk) -> str | None:
        """Return why a model in memory cannot be drawn with as it is."""
        if model.stack.is_torn:
            return "a merge was cut off"
        stamps = [model.stamps, *(self._parts[part].stamps for part in model.parts.values())]
        if model.folder is not folder or any(stamps_of(one) != one for one in stamps):
            return "its files have changed on the disk"
        return None

    def _tidy(self, name: str, parts: Iterable[str]) -> None:
        """See to it that no other model has changed these parts, and that none that rests is left on the device."""
        wanted = frozenset(parts)
        for other in [one for one in self._models.values() if one.name != name]:
            if other.rests:
                move(other.pipeline, NETWORKS, HOME)
            if other.dirty & wanted:
                self._restore(other)

    def _restore(self, model: Loaded) -> None:
        """Take a model's adapters off; where that cannot be done, put out all who hold what they have changed."""
        dirty = model.dirty
        try:
            model.stack.take_off()
            model.told = Stack(model.name)
        except (LostWeights, MemoryError, RuntimeError) as error:
            if not isinstance(error, LostWeights) and not is_out_of_memory(error):
                raise
            for name in [one.name for one in self._models.values() if dirty & set(one.parts.values())]:
                if self._models[name] is not model:
                    self.put_out(name, f"weights cannot be restored: {error}")
            self._models.pop(model.name, None)  # nobody else has its changed parts any more
            self._apply(self._policy.drop(model.name), f"weights cannot be restored: {error}")

    def _made(
        self,
        name: str,
        folder: OnDisk,
        pipeline: Any,
        rests: bool,
        contents: Mapping[str, Content],
        shared: Mapping[str, str],
        stamps: Mapping[Path, Stamp],
    ) -> Loaded:
        """Return what was loaded, its new parts put into the pool."""
        files, parts, added = weight_files(folder), dict(shared), {}
        before = self._parts[shared["unet"]].accelerated if "unet" in shared else None
        done = accelerate(pipeline, self._plan, self._place, self._log, before)
        for network in NETWORKS:
            if network in shared:
                continue
            content = contents.get(network)
            # The same samples and another whole: it has a name that no part ever had.
            is_new = content is not None and content.key not in self._parts
            key = content.key if content and is_new else f"{network} of {name}, load {self._tally.loads}"
            own = {path: stamps[path] for path in files[network] if path in stamps}
            module = getattr(pipeline, network)
            added[key] = _Part(module, content, parts_bytes([module]), own, done if network == "unet" else None)
            parts[network] = key
        read, near = self._adapters.take, self._near.of(name)
        stack = AdapterStack(pipeline, files, self._place.device, self._log, done.quantised, read, near)
        fingerprint, previews = fingerprint_of_model(folder), Previews(pipeline.vae)
        check_stamps(
            stamps
        )  # now all is read and mapped: what was shared, what was loaded and what is told are of one state
        hashing = self._hashes.begin(hashed_parts(folder), stamps)
        self._parts |= added
        bare, scheduler = Stack(name), pipeline.scheduler
        return Loaded(
            name, folder, pipeline, previews, fingerprint, rests, stack, hashing, done, parts, stamps, bare, scheduler
        )

    def _apply(self, change: Change, reason: str) -> None:
        """Do what the policy has decided."""
        out = [name for name in change.out if name in self._models]
        self._adapters.let_go(change.out, reason)
        for name in out:
            model = self._models.pop(name)
            if model.dirty - change.gone:
                self._restore(model)  # what others share with it stays, and stays as it came
            del model
        self._near.let_go(change.out, reason)
        for part in change.gone:
            self._parts.pop(part, None)
        for part in sorted(change.down):
            self._go_down(part)
        if out or change.down:
            self._tally.evictions += len(out)
            self._log.info("models put out", models=out, parts_to_host=len(change.down), reason=reason)
            give_memory_back()
        self._publish()

    def _go_down(self, part: str) -> None:
        """Move one part to main memory; where it holds no more, put out all models that have it."""
        if part not in self._parts:
            return  # it left with another that could not go down
        try:
            to_host(self._parts[part].module)
            self._tally.demotions += 1
            return
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = f"no copy in main memory: {error}"
        for name in [one.name for one in self._models.values() if part in one.parts.values()]:
            self.put_out(name, reason)

    def _publish(self) -> None:
        """Tell `/metrics` and `/ready` what is in memory."""
        told = []
        for name in self._policy.order:
            model, tier = self._models.get(name), self._policy.tier(name)
            if model is not None and tier is not None:
                told.append(Resident(name, tier, sum(self._parts[part].bytes for part in model.parts.values())))
        self._tally.resident = tuple(told)
        self._tally.held = {tier: self._policy.held(tier) for tier in (DEVICE, HOST)}
