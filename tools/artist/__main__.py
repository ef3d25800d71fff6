"""Command line of the artist: reads arguments, draws and writes PNG files; it decides nothing about the pictures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.artist.creature import stream
from tools.artist.picture import LARGEST, SMALLEST, Pixels, draw
from tools.artist.png import encode
from tools.artist.sheet import SHEET_SEED, draw_sheet
from tools.artist.shipped import SHIPPED, draw_shipped, draw_sprite, shipped_name, sprite_name
from tools.artist.traits import TRAIT_KINDS, Rarity, sample, with_traits


def _picture_size(text: str) -> int:
    """Read a picture size; argparse turns the error into its message."""
    size = int(text)
    if not SMALLEST <= size <= LARGEST:
        raise argparse.ArgumentTypeError(f"must be from {SMALLEST} to {LARGEST}, not {size}")
    return size


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.artist", description="Draw cartoon creatures as PNG files.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("one", help="draw one creature", description="Draw one creature; "
                              "traits that are not given are chosen by the seed.")  # fmt: skip
    one.add_argument("--seed", type=int, default=0, help="number the creature grows from (default 0)")
    one.add_argument("--size", type=_picture_size, default=512, help="pixels a side, 64 to 1024 (default 512)")
    one.add_argument("--transparent", action="store_true", help="leave out the backdrop, as games want sprites")
    for name, kind in TRAIT_KINDS.items():
        words = [value.value for value in kind]
        one.add_argument(f"--{name}", choices=words, metavar=name.upper(), help=f"one of: {', '.join(words)}")
    one.add_argument("-o", "--output", type=Path, required=True, help="the PNG file to write")
    six = commands.add_parser("six", help="draw the six pictures that ship with the server, and their sprites")
    six.add_argument(
        "-o", "--output", type=Path, required=True, help="the folder for image_00.png to image_05.sprite.png"
    )
    sheet = commands.add_parser("sheet", help="draw a contact sheet of 48 creatures, a column for each rarity")
    sheet.add_argument("--seed", type=int, default=SHEET_SEED, help=f"number it grows from (default {SHEET_SEED})")
    sheet.add_argument("-o", "--output", type=Path, required=True, help="the PNG file to write")
    return parser


def _write(path: Path, pixels: Pixels) -> None:
    """Write a PNG file, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels))


def _draw_one(options: argparse.Namespace) -> Pixels:
    """Draw the creature that the options of the one command describe."""
    given = {name: word for name in TRAIT_KINDS if (word := getattr(options, name)) is not None}
    rarity = Rarity(given["rarity"]) if "rarity" in given else None
    traits = with_traits(sample(stream(options.seed, "traits"), rarity), given)
    pixels = draw(traits, options.seed, options.size, options.transparent)
    return pixels if options.transparent else pixels[..., :3]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    options = make_parser().parse_args(arguments)
    if options.command == "one":
        _write(options.output, _draw_one(options))
    elif options.command == "six":
        for index in range(len(SHIPPED)):
            _write(options.output / shipped_name(index), draw_shipped(index))
            _write(options.output / sprite_name(index), draw_sprite(index))
    else:
        _write(options.output, draw_sheet(options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
