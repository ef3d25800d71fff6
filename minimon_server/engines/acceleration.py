"""What of the wished accelerations is done on a machine, and why. Pure: reads no machine, imports no library.

A default is no wish: what a machine lacks of it is chosen away, with the reason. Quantisation, compilation or
offloading that somebody set by hand and that cannot be had is refused, with what to install. Attention switches permit.
"""

from __future__ import annotations

from collections.abc import Iterator

from minimon_server.engines.acceleration_plan import (
    NO_GRAPHS,
    NO_QUANTIZATION,
    NOTHING_QUANTIZED,
    Accelerations,
    Chosen,
    Refused,
    Wishes,
)
from minimon_server.engines.acceleration_table import (
    LEAST_FOR_COMPILE,
    PIXELS_A_ROW,
    ROWS_FOR_DYNAMIC,
    SCHEMES,
    SMALL_CARD,
    TORCHAO,
    Scheme,
    shown,
)
from minimon_server.engines.attention_choice import choose_attention
from minimon_server.engines.machine_facts import Machine
from minimon_server.errors import Text


def choose(wishes: Wishes, machine: Machine) -> Accelerations:
    """Return what is done, or raise `Refused` with every wish that cannot be met."""
    refusals: list[Text] = []

    def settle(field: str, setting: str, chosen: Chosen, problem: Text | None) -> Chosen:
        """Take what was chosen; where a problem stands against it, refuse a wish and let a default go."""
        if problem is None:
            return chosen
        if field in wishes.by_hand:
            refusals.append(Text(f"{setting} : {problem.fr}", f"{setting}: {problem.en}"))
        away: str | bool = NO_QUANTIZATION if field == "quantization" else False
        return Chosen(away, problem)

    compiled, problem = _compile(wishes, machine)
    compiling = settle("use_compile", "SDXL_USE_COMPILE=1", compiled, problem)
    quantized, problem = _quantization(wishes, machine, compiled=bool(compiling.value))
    quantization = settle("quantization", f"SDXL_QUANTIZATION={wishes.quantization}", quantized, problem)
    offloaded, problem = _offload(wishes, machine)
    offload = settle("enable_cpu_offload", "SDXL_ENABLE_CPU_OFFLOAD=1", offloaded, problem)
    captured, problem = _graphs(wishes, machine)
    graphs = settle("use_cuda_graphs", "SDXL_USE_CUDA_GRAPHS=1", captured, problem)
    if refusals:
        raise Refused(refusals)
    kernels, attention = choose_attention(wishes, machine)
    merged = _quantized_loras(wishes, quantization)
    return Accelerations(quantization, attention, compiling, _slicing(wishes), offload, kernels[1:], graphs, merged)


def _quantization(wishes: Wishes, machine: Machine, *, compiled: bool) -> tuple[Chosen, Text | None]:
    name = wishes.quantization
    if name == NO_QUANTIZATION:
        return Chosen(NO_QUANTIZATION, Text("SDXL_QUANTIZATION=none", "SDXL_QUANTIZATION=none")), None
    nothing = Chosen(NO_QUANTIZATION, Text("", ""))
    if "torchao" not in machine.packages:
        lacks = Text(
            f"le paquet Python torchao manque : python -m pip install {TORCHAO}",
            f"the Python package torchao is not installed: python -m pip install {TORCHAO}",
        )
        return nothing, lacks
    rows = [scheme for scheme in SCHEMES if scheme.name == name]
    able = [scheme for scheme in rows if _lack(scheme, machine) is None]
    if not able:
        lack = _lack(rows[-1], machine)
        return nothing, lack
    slow = _why_no_time(able, wishes.pixels, machine, compiled=compiled)
    if slow is None:
        faster = Text(
            "la carte calcule dans ces nombres, et les produits sont assez grands",
            "the card computes in these numbers, and the products are large enough",
        )
        return Chosen(able[0].label, faster, able[0]), None
    small = machine.device == "cuda" and (machine.memory or SMALL_CARD) < SMALL_CARD
    if "quantization" not in wishes.by_hand and not small:
        ask = f"SDXL_QUANTIZATION={name}"
        enough = Text(
            f"{slow.fr}, et la mémoire suffit sans ; à demander : {ask}",
            f"{slow.en}, and the memory suffices without; ask for it with {ask}",
        )
        return nothing, enough
    saving = Text(f"gagne de la mémoire, pas de temps : {slow.fr}", f"saves memory, no time: {slow.en}")
    return Chosen(able[-1].label, saving, able[-1]), None


def _why_no_time(able: list[Scheme], pixels: int, machine: Machine, *, compiled: bool) -> Text | None:
    """Return why no time is gained by the schemes of one name that could be had; None: the first one gains some."""
    if able[0].way != "dynamic":
        if machine.device == "cpu":
            return Text("un processeur ne calcule pas dans ces nombres", "a CPU does not compute in these numbers")
        return Text(
            f"une carte de capacité {shown(machine.capability)} ne calcule pas dans ces nombres",
            f"a card of compute capability {shown(machine.capability)} does not compute in these numbers",
        )
    if not compiled:
        # Rounding as a kernel of its own costs many times what the product saves (diffusers-torchao, README).
        return Text("ce qui n'est pas compilé arrondit trop lentement", "what is not compiled rounds too slowly")
    if (rows := pixels // PIXELS_A_ROW) < ROWS_FOR_DYNAMIC:
        return Text(f"les produits n'ont que {rows} lignes", f"the products have {rows} rows only")
    return None


def _lack(scheme: Scheme, machine: Machine) -> Text | None:
    """Return what a machine lacks for a scheme, and what serves instead."""
    name = scheme.name
    if machine.device == "cpu":
        if scheme.on_cpu:
            return None
        return Text(
            f"un processeur ne calcule pas en {name} ; il sait faire fp8, int8 et int4",
            f"a CPU does not compute in {name}; it can do fp8, int8 and int4",
        )
    if machine.capability is None or machine.capability < scheme.least:
        there, least = shown(machine.capability), shown(scheme.least)
        return Text(
            f"{scheme.label} demande une carte de capacité {least}, celle-ci a {there} ; {_instead(machine, 'fr')}",
            f"{scheme.label} needs a card of compute capability {least}, this one has {there}; "
            f"{_instead(machine, 'en')}",
        )
    if scheme.needs_cuda and _number(machine.cuda) < scheme.needs_cuda:
        least = shown(scheme.needs_cuda)
        url = "https://download.pytorch.org/whl/cu130"
        return Text(
            f"torch est construit pour CUDA {machine.cuda}, il en faut {least} : "
            f"python -m pip install torch==2.13.0 --index-url {url}",
            f"torch is built for CUDA {machine.cuda}, and {least} is needed: "
            f"python -m pip install torch==2.13.0 --index-url {url}",
        )
    return None


def _instead(machine: Machine, language: str) -> str:
    """Name what this card can do; `_lack` of these is decided by the capability alone."""
    capability = machine.capability or (0, 0)
    able = [*dict.fromkeys(one.name for one in SCHEMES if capability >= one.least), NO_QUANTIZATION]
    if language == "fr":
        return f"elle sait faire {', '.join(able)}"
    return f"it can do {', '.join(able)}"


def _compile(wishes: Wishes, machine: Machine) -> tuple[Chosen, Text | None]:
    if not wishes.use_compile:
        return Chosen(False, Text("SDXL_USE_COMPILE=0", "SDXL_USE_COMPILE=0")), None
    yes = Chosen(True, Text("cela se peut ici", "it can be had here"))
    by_hand = "use_compile" in wishes.by_hand
    if problem := next(_compile_lacks(machine), None):
        return yes, problem
    if machine.device == "cpu" and not by_hand:
        return yes, Text(
            "sur un processeur, compiler dure des minutes par taille ; à demander : SDXL_USE_COMPILE=1",
            "on a CPU, compiling takes minutes a size; ask for it with SDXL_USE_COMPILE=1",
        )
    if wishes.enable_cpu_offload and not by_hand:
        return yes, Text(
            "compiler prend la mémoire que SDXL_ENABLE_CPU_OFFLOAD doit épargner",
            "compiling takes the memory that SDXL_ENABLE_CPU_OFFLOAD is to save",
        )
    return yes, None


def _compile_lacks(machine: Machine) -> Iterator[Text]:
    if machine.device == "cpu":
        if machine.cxx_compiler is None:
            yield Text("il faut un compilateur C++ : apt install g++", "a C++ compiler is needed: apt install g++")
    else:
        yield from _triton_lacks(machine)
    if not machine.python_headers:
        yield Text(
            "il faut les en-têtes de Python (Python.h) : apt install python3-dev",
            "Python's headers (Python.h) are needed: apt install python3-dev",
        )


def _triton_lacks(machine: Machine) -> Iterator[Text]:
    if machine.capability is None or machine.capability < LEAST_FOR_COMPILE:
        least, there = shown(LEAST_FOR_COMPILE), shown(machine.capability)
        yield Text(
            f"il faut une carte de capacité {least}, celle-ci a {there}",
            f"a card of compute capability {least} is needed, this one has {there}",
        )
    if "triton" not in machine.packages:
        yield Text(
            "le paquet Python triton manque : python -m pip install triton",
            "the Python package triton is not installed: python -m pip install triton",
        )
    if machine.c_compiler is None:
        yield Text("il faut un compilateur C : apt install gcc", "a C compiler is needed: apt install gcc libc6-dev")


def _offload(wishes: Wishes, machine: Machine) -> tuple[Chosen, Text | None]:
    if not wishes.enable_cpu_offload:
        return Chosen(False, Text("SDXL_ENABLE_CPU_OFFLOAD=0", "SDXL_ENABLE_CPU_OFFLOAD=0")), None
    problem = None
    if machine.device == "cpu":
        problem = Text(
            "ce qui dessine est le processeur : sa mémoire est la seule ; il faut une carte NVIDIA",
            "what draws is the CPU, whose memory is the only one; an NVIDIA card is needed",
        )
    return Chosen(True, Text("SDXL_ENABLE_CPU_OFFLOAD=1", "SDXL_ENABLE_CPU_OFFLOAD=1")), problem


def _graphs(wishes: Wishes, machine: Machine) -> tuple[Chosen, Text | None]:
    if not wishes.use_cuda_graphs:
        return NO_GRAPHS, None
    problem = None
    if machine.device == "cpu":
        problem = Text(
            "un processeur n'a pas de graphes CUDA ; il faut une carte NVIDIA",
            "a CPU has no CUDA graphs; an NVIDIA card is needed",
        )
    elif wishes.enable_cpu_offload:
        problem = Text(
            "un graphe garde la place des poids, que SDXL_ENABLE_CPU_OFFLOAD déplace",
            "a graph keeps the places of weights, which SDXL_ENABLE_CPU_OFFLOAD moves",
        )
    return Chosen(True, Text("cela se peut ici", "it can be had here")), problem


def _slicing(wishes: Wishes) -> Chosen:
    value = wishes.enable_slicing
    return Chosen(value, Text(f"SDXL_ENABLE_SLICING={int(value)}", f"SDXL_ENABLE_SLICING={int(value)}"))


def _quantized_loras(wishes: Wishes, quantization: Chosen) -> Chosen:
    if quantization.scheme is None:
        return NOTHING_QUANTIZED
    if wishes.quantize_loras:
        return Chosen(True, Text("SDXL_QUANTIZE_LORAS=1", "SDXL_QUANTIZE_LORAS=1"))
    exact = Text(
        "en si peu de bits, les LoRAs ne seraient plus exactes : les couches qu'elles changent restent entières",
        "in so few bits LoRAs would not be exact: layers that they change stay whole",
    )
    return Chosen(False, exact)


def _number(version: str | None) -> tuple[int, int]:
    parts = [int(part) for part in (version or "0.0").split(".")[:2]]
    return (parts[0], parts[1] if len(parts) > 1 else 0)
