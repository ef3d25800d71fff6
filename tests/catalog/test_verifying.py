"""`--verify`: what is there is told apart from what is not, what is wrong, and what nothing says the hash of."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from minimon_server.catalog.command import main
from tests.catalog.files import SDXL, write
from tests.catalog.hub_scene import HEAD, SINGLE, Place, pipeline
from tests.catalog.test_kinds import CROSS, lora
from tests.catalog.test_peft_folders import put as save_as_peft
from tests.support import HOME

SHA256 = hashlib.sha256(SINGLE).hexdigest()
OTHER = SINGLE[:-1] + b"!"


def put(here: Place, place: str, data: bytes = SINGLE) -> Path:
    path = here.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_what_is_named_and_not_there_is_told_and_is_a_failure(here: Place) -> None:
    assert here.run("--verify", "--model", "single", "--lora", "nowhere") == 1
    said = here.said()
    assert "model single: not there: python download_models.py --model single\n" in said
    assert "lora nowhere: not there: the catalogue does not know where it comes from" in said
    (here.root / "small").symlink_to(here.root / "gone")
    assert here.run("--verify") == 1
    assert here.said() == "model small: models/small is a link that leads nowhere\n"


def test_what_nobody_named_is_passed_over_where_it_is_not_there(here: Place) -> None:
    assert here.run("--verify") == 0
    assert here.said() == "Nothing is there to verify.\n"
    assert here.run("--lora", "neon") == 0
    here.said()
    assert here.run("--verify") == 0
    assert here.said() == f"lora neon: as it was fetched ({here.server.url}/neon)\n"


def test_a_file_placed_by_hand_is_compared_with_the_catalogue(here: Place) -> None:
    put(here, "checkpoints/single.safetensors")
    assert here.run("--verify", "--model", "single") == 0
    assert f"model single: as the catalogue says (SHA-256 {SHA256})" in here.said()
    put(here, "checkpoints/single.safetensors", OTHER)
    for named in ((), ("--model", "single")):
        assert here.run("--verify", *named) == 1
        other = hashlib.sha256(OTHER).hexdigest()
        assert here.said() == f"model single: its SHA-256 is {other}, and the catalogue says {SHA256}\n"
    put(here, "checkpoints/single.safetensors", SINGLE + b"!")
    assert here.run("--verify") == 1
    assert f"it has {len(SINGLE) + 1} bytes, and the catalogue says {len(SINGLE)}" in here.said()


def test_without_a_known_hash_it_is_not_verified_and_the_one_it_has_is_told(here: Place) -> None:
    put(here, "loras/neon.safetensors")
    told = (
        f"lora neon: not verified: no note of what was fetched, no SHA-256 in the catalogue; its SHA-256 is {SHA256}\n"
    )
    assert here.run("--verify") == 0  # nothing contradicts it
    assert here.said() == told
    assert here.run("--verify", "--lora", "neon") == 1  # and nothing says that it is the one that was asked about
    assert here.said() == told
    put(here, "loras/neon.safetensors", SINGLE[:-1])
    assert here.run("--verify") == 1
    assert here.said() == "lora neon: it was cut: 1 bytes are missing\n"


def test_a_folder_placed_by_hand_is_not_verified(here: Place, models: Path) -> None:
    for name, data in pipeline(models).items():
        if ".." not in name:
            put(here, f"small/{name}", data)
    told = "model small: not verified: a folder without a note of what was fetched"
    assert here.run("--verify") == 0
    assert told in here.said()
    assert here.run("--verify", "--model", "small") == 1
    assert told in here.said()


def test_what_stands_in_no_catalogue_is_told_as_what_it_is(here: Place, models: Path) -> None:
    (here.root / "mine").symlink_to(models / "small")
    write(here.root / "checkpoints" / "Big one.safetensors", {name: (1, *shape[1:]) for name, shape in SDXL.items()})
    write(here.root / "loras" / "glow.safetensors", lora(CROSS, 2048))
    put(here, "loras/old.ckpt", b"a pickle")
    put(here, "loras/cut.safetensors", HEAD)
    for part in ("ip-adapter/faces", "vae/faces", "vae/soft", "ip-adapter/fix"):
        put(here, f"{part}/config.json", b"{}")
    assert here.run("--verify") == 1
    lines = dict(line.split(": ", 1) for line in here.said().splitlines())
    files = ["model mine", "model Big one", "lora cut", "lora glow", "lora old"]
    # The catalogue has a VAE fix: what has its name and another place is known by that.
    assert list(lines) == [*files, "part faces", "part ip-adapter/fix", "part vae/faces", "part soft"]
    assert lines["part soft"].startswith("a VAE's folder, in no catalogue; not verified: a folder")
    assert lines["model mine"].startswith("a folder in the diffusers layout, in no catalogue; not verified: a folder")
    assert ", in no catalogue; not verified: no note of what was fetched; its SHA-256 is " in lines["model Big one"]
    glow = hashlib.sha256((here.root / "loras" / "glow.safetensors").read_bytes()).hexdigest()
    assert lines["lora glow"] == (
        "a LoRA of the kind lora, sdxl by its tensors, in no catalogue; "
        f"not verified: no note of what was fetched; its SHA-256 is {glow}"
    )
    assert "a .ckpt file is a pickle, which could run anything when it is read" in lines["lora old"]
    assert lines["lora cut"].endswith(f"in no catalogue; it was cut: {len(SINGLE) - len(HEAD)} bytes are missing")
    assert here.run("--verify", "--lora", "glow") == 1
    assert here.said() == f"lora glow: {lines['lora glow']}\n"
    assert here.run("--verify", "--lora", "nobody", "--model", "../mine") == 2
    said = here.said()
    assert "There is no lora 'nobody' in the catalogue or beside it; there are: neon, nowhere, cut, glow, old." in said
    assert "There is no model '../mine'" in said


def test_what_left_the_catalogue_is_still_compared_with_its_note(here: Place) -> None:
    assert here.run("--lora", "neon") == 0
    text = (here.root / "catalog.toml").read_text()
    (here.root / "catalog.toml").write_text(text.replace('id = "neon"', 'id = "other"'))
    path = here.root / "loras" / "neon.safetensors"
    here.said()
    assert here.run("--verify", "--lora", "neon") == 0
    assert f"in no catalogue; as it was fetched ({here.server.url}/neon)" in here.said()
    path.write_bytes(OTHER)
    assert here.run("--verify") == 1
    assert "neon.safetensors is not what was fetched" in here.said()


@pytest.mark.parametrize("is_pipe", [True, False])
def test_what_is_no_file_is_told_and_not_waited_for(here: Place, is_pipe: bool) -> None:
    path = here.root / "checkpoints" / "single.safetensors"
    path.parent.mkdir()
    if is_pipe:
        os.mkfifo(path)
    else:
        path.mkdir()
    assert here.run("--verify") == 1
    assert here.said() == "model single: models/checkpoints/single.safetensors is no file\n"


def test_the_loras_that_ship_are_those_of_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    shipped = [word for name in ("ink", "synthwave", "watercolour") for word in ("--lora", name)]
    assert main(["--verify", *shipped], {}, HOME / "models") == 0
    assert capsys.readouterr().err.count("as the catalogue says") == 3


def test_folders_as_peft_saves_them_are_told_too(here: Place) -> None:
    save_as_peft(here.root / "loras" / "saved")
    save_as_peft(here.root / "loras" / "wrong", r=8)
    save_as_peft(here.root / "loras" / "neon")  # the catalogue describes it
    assert here.run("--verify") == 0
    lines = dict(line.split(": ", 1) for line in here.said().splitlines())
    assert list(lines) == ["lora neon", "lora saved", "lora wrong"]
    assert lines["lora neon"].startswith("not verified: a folder without a note")
    told = "a LoRA of the kind lora as PEFT saves it, sdxl by its tensors, in no catalogue; not verified"
    assert lines["lora saved"].startswith(told)
    assert lines["lora wrong"].startswith("a folder that cannot be used: r in its adapter_config.json is 8 for ")


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors",  # the server takes it, not the one that was fetched
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "minimon.json",
        "tokenizer/added_tokens.txt",
    ],
)
def test_what_was_not_fetched_and_is_read_is_wrong(here: Place, name: str) -> None:
    assert here.run("--model", "small") == 0
    put(here, f"small/{name}", b"{}")
    here.said()
    assert here.run("--verify", "--model", "small") == 1
    assert f"model small: {name} was not fetched, and is read with what was" in here.said()


def test_what_was_not_fetched_behind_a_link_is_wrong_too(here: Place, tmp_path: Path) -> None:
    assert here.run("--model", "small") == 0
    unet, elsewhere = here.root / "small" / "unet", tmp_path / "elsewhere"
    unet.replace(elsewhere)
    unet.symlink_to(elsewhere)
    (elsewhere / "again").symlink_to(elsewhere)
    assert here.run("--verify", "--model", "small") == 0
    (elsewhere / "diffusion_pytorch_model.safetensors").write_bytes(SINGLE)
    here.said()
    assert here.run("--verify", "--model", "small") == 1
    assert "unet/diffusion_pytorch_model.safetensors was not fetched" in here.said()


def test_what_was_not_fetched_and_is_not_read_is_named(here: Place) -> None:
    assert here.run("--model", "small", "--model", "single") == 0
    put(here, "small/notes/read me.md", b"mine")
    put(here, "checkpoints/single/minimon.json", b"{}")
    here.said()
    assert here.run("--verify", "--model", "small", "--model", "single") == 0
    small, single = here.said().splitlines()
    assert "as it was fetched" in small
    assert small.endswith("; not fetched, and not read: notes/read me.md")
    assert "as it was fetched" in single
    assert single.endswith("; read with it, and not verified: models/checkpoints/single/")
