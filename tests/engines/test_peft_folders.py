"""Folders that the real PEFT has saved draw what PEFT draws; what a configuration says wrongly is told by member."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from minimon_server.engines.adapter_deltas import BadAdapter
from minimon_server.engines.adapter_reading import read_file
from minimon_server.engines.adapter_stack import AdapterStack, Wanted
from minimon_server.engines.file_hashes import FileHashes
from minimon_server.engines.messages import DrawRequest, EngineFault
from minimon_server.engines.model_folders import ModelFolders
from minimon_server.engines.peft_folders import CONFIG, PICKLE, WEIGHTS, digest_of_adapter
from minimon_server.engines.sdxl import SdxlEngine
from minimon_server.engines.weight_files import by_stem, hashes_here
from minimon_server.logs import Logger
from tests.engines.adapter_references import worst_error
from tests.engines.adapter_scene import answer, drawn, nothing, same, state_of, uses

CLOSE = 1e-4
KINDS: dict[str, dict[str, Any]] = {
    "alpha": {"r": 8, "lora_alpha": 3},
    "rs-lora": {"r": 8, "lora_alpha": 3, "use_rslora": True},
    "patterns": {
        "r": 4,
        "lora_alpha": 6,
        "alpha_pattern": {"attn1.to_q": 9, "proj_in": 1},
        "rank_pattern": {"attn2.to_k": 2, "to_v": 7},
    },
    "dora": {"r": 4, "lora_alpha": 6, "use_dora": True},
    "convolutions": {"r": 4, "lora_alpha": 2, "target_modules": ["conv1", "conv_shortcut", "to_q"]},
}
UNET = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "proj_in"]


def trained(network: Any, folder: Path, **settings: Any) -> Any:
    """Return PEFT's model over a copy of a network, of random numbers, and save it as its users do."""
    torch.manual_seed(3)
    config = LoraConfig(init_lora_weights=False, **{"target_modules": UNET, **settings})
    found = get_peft_model(copy.deepcopy(network), config)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if "lora_magnitude_vector" in name:
                parameter.mul_(1 + 0.2 * torch.rand(parameter.shape))
    found.save_pretrained(str(folder))
    return found


def rewritten(folder: Path, **members: Any) -> None:
    """Change members of a folder's configuration; None takes one out."""
    told = json.loads((folder / CONFIG).read_bytes()) | members
    (folder / CONFIG).write_text(json.dumps({name: one for name, one in told.items() if one is not None}))


def wanted(folder: Path, quiet: Logger, weight: float = 1.0) -> Wanted:
    return Wanted(folder.name, folder, digest_of_adapter(folder, FileHashes(quiet)), weight)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_folder_equals_peft_at_any_weight(
    pipeline: Any, stack: AdapterStack, tmp_path: Path, quiet: Logger, kind: str
) -> None:
    before, bare = state_of(pipeline), answer(pipeline.unet)
    theirs = trained(pipeline.unet, tmp_path / kind, **KINDS[kind])
    assert sorted(one.name for one in (tmp_path / kind).iterdir()) == ["README.md", CONFIG, WEIGHTS]
    for weight in (1.0, -0.6):
        for layer in theirs.modules():
            if isinstance(layer, LoraLayer):
                layer.set_scale("default", weight)
        stack.wear([wanted(tmp_path / kind, quiet, weight)], nothing, nothing)
        assert stack.unmatched(wanted(tmp_path / kind, quiet).digest) == ()
        made, told = {"unet": answer(pipeline.unet)}, {"unet": answer(theirs)}
        assert worst_error(made, told, {"unet": bare}) < CLOSE
    stack.take_off()
    assert same(state_of(pipeline), before)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_a_folder_of_a_text_encoder_changes_that_one(
    pipeline: Any, stack: AdapterStack, tmp_path: Path, quiet: Logger, part: str
) -> None:
    before = state_of(pipeline)
    theirs = trained(getattr(pipeline, part), tmp_path / "words", r=4, lora_alpha=7, target_modules=["q_proj", "fc1"])
    right = theirs.merge_and_unload().state_dict()
    stack.wear([wanted(tmp_path / "words", quiet)], nothing, nothing)
    after = state_of(pipeline)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {f"{part}.{name}" for name in right if "q_proj.weight" in name or "fc1.weight" in name}
    for name in changed:
        assert torch.allclose(after[name], right[name.removeprefix(f"{part}.")], atol=1e-6)


@pytest.fixture(scope="module")
def shelf(pipeline: Any, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a models/ folder with a model, a folder of PEFT, and its tensors as a single file beside."""
    root = tmp_path_factory.mktemp("shelf")
    shutil.copytree(models / "small", root / "small")
    trained(pipeline.unet, root / "loras" / "styled", r=8, lora_alpha=3)
    shutil.copy(root / "loras" / "styled" / WEIGHTS, root / "loras" / "single.safetensors")
    return root


def test_another_alpha_is_another_adapter(
    shelf: Path, tmp_path: Path, quiet: Logger, request_for: Callable[..., DrawRequest]
) -> None:
    root = tmp_path / "own"
    shutil.copytree(shelf, root)
    engine, hashes = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet), FileHashes(quiet)
    found: dict[str, set[bytes]] = {}
    for alpha in (3, 9, 3):
        rewritten(root / "loras" / "styled", lora_alpha=alpha)
        picture = drawn(engine, request_for(adapters=uses(styled=1.0), steps=1))
        told: Any = picture.metadata["hashes"]
        digest = told["loras"]["styled"]
        here = hashes_here(ModelFolders(root, quiet), by_stem(root), hashes, "small", ["styled"])
        assert here["loras.styled"] == digest
        found.setdefault(digest, set()).add(picture.pixels)
    assert len(found) == 2
    assert len(set.union(*found.values())) == 2
    engine.close()


def test_two_ids_of_the_same_folder_are_one_adapter(
    shelf: Path, tmp_path: Path, quiet: Logger, request_for: Callable[..., DrawRequest]
) -> None:
    root = tmp_path / "own"
    shutil.copytree(shelf, root)
    shutil.copytree(root / "loras" / "styled", root / "loras" / "a copy")
    engine, hashes = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet), FileHashes(quiet)
    pictures = [drawn(engine, request_for(adapters=uses(**{name: 1.0}), steps=1)) for name in ("styled", "a copy")]
    assert pictures[0].pixels == pictures[1].pixels
    told: list[Any] = [picture.metadata["hashes"] for picture in pictures]
    here = hashes_here(ModelFolders(root, quiet), by_stem(root), hashes, "small", ["styled", "a copy"])
    files = [root / "loras" / "styled" / name for name in (CONFIG, WEIGHTS)]
    lines = "".join(f"{sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    digest = sha256(lines.encode()).hexdigest()
    assert [told[0]["loras"]["styled"], told[1]["loras"]["a copy"]] == [digest] * 2
    assert [here["loras.styled"], here["loras.a copy"]] == [digest] * 2
    engine.close()


def test_a_configuration_beside_single_files_is_nobodys(
    shelf: Path, tmp_path: Path, quiet: Logger, request_for: Callable[..., DrawRequest]
) -> None:
    root = tmp_path / "own"
    shutil.copytree(shelf, root)
    loras = root / "loras"
    engine = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet)
    alone = drawn(engine, request_for(adapters=uses(single=1.0), steps=1))
    rewritten(loras / "styled", lora_alpha=99)
    shutil.copy(loras / "styled" / CONFIG, loras / CONFIG)
    shutil.copy(loras / "styled" / CONFIG, loras / "single.json")
    shutil.copy(loras / "single.safetensors", loras / WEIGHTS)
    beside = [drawn(engine, request_for(adapters=uses(**{name: 1.0}), steps=1)) for name in ("single", "adapter_model")]
    assert {one.pixels for one in beside} == {alone.pixels}
    assert beside[0].metadata["hashes"] == alone.metadata["hashes"]
    find = by_stem(root)
    assert (find("styled"), find("single")) == (loras / "styled", loras / "single.safetensors")
    (loras / "empty").mkdir()
    assert [find(name) for name in ("empty", "", ".", "..", "../loras/styled", "nobody")] == [None] * 6
    shutil.copytree(loras / "styled", loras / "single")
    assert find("single") == loras / "single.safetensors"
    engine.close()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no rank": ({"r": None}, "r is missing"),
    "a rank of text": ({"r": "8"}, "r in its adapter_config.json is '8', and not a whole number from 1 to 65536"),
    "another rank": ({"r": 4}, "r in its adapter_config.json is 4 for .*, whose factors have rank 8"),
    "another rank there": ({"rank_pattern": {"to_q": 3}}, "rank_pattern in .* is 3 for .*to_q, whose .* rank 8"),
    "a rank of nothing": ({"rank_pattern": {"to_q": 0}}, "rank_pattern.to_q in .* is 0"),
    "no alpha": ({"lora_alpha": None}, "lora_alpha is missing"),
    "a huge alpha": ({"lora_alpha": 1e9}, "lora_alpha in .* is 1000000000.0, and not a number from -1e"),
    "an alpha of truth": ({"lora_alpha": True}, "lora_alpha in .* is True"),
    "an alpha of NaN": ({"lora_alpha": float("nan")}, "is not JSON"),
    "a pattern of alpha": ({"alpha_pattern": {"to_q": "9"}}, "alpha_pattern.to_q in .* is '9'"),
    "an expression": ({"alpha_pattern": {"(a+)+$": 9}}, "alpha_pattern in .* is not made of layers' names"),
    "a list": ({"rank_pattern": [1]}, "rank_pattern in .* is 'list', and not an object"),
    "rs-LoRA of text": ({"use_rslora": "yes"}, "use_rslora in .* is 'yes', and not true or false"),
    "no magnitudes": ({"use_dora": True}, "use_dora in .* is true, and .* has no magnitude"),
    "another kind": ({"peft_type": "LOHA"}, "peft_type in .* is 'LOHA', and not \"LORA\""),
    "biases": ({"bias": "all"}, "bias in .* is 'all'"),
    "another beginning": ({"init_lora_weights": "pissa"}, "init_lora_weights in .* is 'pissa'"),
    "one more member": ({"layer_replication": [[0, 2]]}, "layer_replication in .* does not apply it"),
    "a member of a later PEFT": ({"use_tied_rows": True}, "use_tied_rows in .* is True, and not absent"),
    "another network": ({"auto_mapping": {"base_model_class": "LlamaModel"}}, "auto_mapping.base_model_class"),
}


@pytest.mark.parametrize("wrong", list(WRONG))
def test_what_a_configuration_says_wrongly_is_said_by_its_member(shelf: Path, tmp_path: Path, wrong: str) -> None:
    members, said = WRONG[wrong]
    folder = tmp_path / "styled"
    shutil.copytree(shelf / "loras" / "styled", folder)
    rewritten(folder, **members)
    with pytest.raises(BadAdapter, match=said):
        read_file(folder)


def test_a_folder_that_lacks_a_file_or_holds_another_is_refused(
    shelf: Path, tmp_path: Path, quiet: Logger, request_for: Callable[..., DrawRequest]
) -> None:
    def of(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(shelf / "loras" / "styled", folder)
        return folder

    (of("bare") / CONFIG).unlink()
    (of("pickled") / WEIGHTS).rename(tmp_path / "pickled" / PICKLE)
    (of("text") / CONFIG).write_text("no")
    (of("list") / CONFIG).write_text("[]")
    (of("long") / CONFIG).write_bytes(b" " * (1 << 20) + b"{}")
    (of("deep") / CONFIG).write_bytes(b'{"a":' * 99_999)
    (of("cut") / WEIGHTS).write_bytes((shelf / "loras" / "styled" / WEIGHTS).read_bytes()[:-4])
    tensors = load_file(of("scaled") / WEIGHTS)
    first = next(name for name in tensors if name.endswith("lora_A.weight")).removesuffix("lora_A.weight")
    save_file({**tensors, f"{first}alpha": torch.tensor(2.0)}, tmp_path / "scaled" / WEIGHTS)
    for name, said in {
        "bare": "adapter_config.json is missing",
        "pickled": "adapter_model.safetensors is missing: adapter_model.bin is a pickle",
        "text": "is not JSON",
        "list": "is not a JSON object",
        "long": "more than 1 MiB",
        "deep": "is not JSON",
        "cut": "not a whole safetensors file",
        "scaled": "has a scale of its own beside",
    }.items():
        with pytest.raises(BadAdapter, match=said):
            read_file(tmp_path / name)
    root = tmp_path / "root"
    shutil.copytree(shelf / "small", root / "small")
    shutil.copytree(tmp_path / "text", root / "loras" / "text")
    engine = SdxlEngine(ModelFolders(root, quiet), "cpu", quiet)
    with pytest.raises(EngineFault, match=r"cannot be used with small: text: its adapter_config.json is not JSON"):
        engine.draw(request_for(adapters=uses(text=1.0), steps=1), lambda _: True)
    engine.close()
