"""The model's card: what it is, what it was trained on, its figures and limits, in words. Measures nothing."""

from __future__ import annotations

from typing import Any, Final

TEXT: Final = """---
license: mit
pipeline_tag: text-to-image
---

# minimon-tiny

A small model that draws cartoon creatures from a few words, in the layout of `StableDiffusionXLPipeline`: autoencoder,
two text encoders and UNet, all trained from nothing by `tools/tiny` of Minimon server.

**Trained on** {samples:,} samples of creatures drawn by the project's own artist (`tools/artist`), with captions in
English and French made by a grammar of ours (`tools/tiny/captions.py`). No picture, text or weight of anybody else is
in it.

**Settings:** {steps} steps, guidance {guidance}, DDIM with trailing timesteps (`scheduler/scheduler_config.json`). It
draws at one size, which stands in `minimon.json`; the server resamples that to whatever size is asked for.

**Limits:** creatures of this one artist, and nothing else: a word it does not know gives some creature. It counts no
further than three eyes. Eyes that a prompt does not name are those of its element (fire angry, water and electric
happy, ghost one, ice sleepy), else big: left to the seed, one face in five was a blend of two kinds. Everything else
that is left open is the seed's. Stripes and spots are a shade of the coat, as the artist draws them: the judge finds
them more often than an eye does. What else it misses stands below.

**Licence:** MIT, as the server's.

## Figures

{prompts} prompts, none of whose combinations of element, body and colour came up in training; a small network trained
on the artist's pictures says what each of the model's shows. The last column is how often that judge is right on the
artist's pictures that it has not seen.

| trait | prompts that name it | pictures that show it | the judge itself |
|---|---|---|---|
{rows}

Of all named traits, {overall:.1%} are shown. Pictures of one prompt with different seeds differ by {diversity} of 255
in the mean. The autoencoder gives back held-out pictures at {decibels} dB. A picture takes {seconds} s on {threads}
threads of the processor that this was measured on.

Made anew by `make model`.
"""


def card(figures: dict[str, Any]) -> str:
    """Return the card as Markdown."""
    judge = figures["judge on drawn pictures"]
    rows = [
        f"| {name} | {one['named']} | {one['shown']:.1%} | {judge[name]:.1%} |"
        for name, one in figures["traits"].items()
    ]
    return TEXT.format(
        samples=figures["training"]["samples"],
        steps=figures["steps"],
        guidance=figures["guidance"],
        prompts=figures["prompts"],
        rows="\n".join(rows),
        overall=figures["of all named"],
        diversity=figures["diversity"]["mean"],
        decibels=figures["autoencoder dB"],
        seconds=figures["seconds a picture"]["one"],
        threads=figures["threads"],
    )
