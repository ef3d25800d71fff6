"""The machines of docs/acceleration.md, as the server would find them with everything installed. Chooses nothing."""

from __future__ import annotations

from minimon_server.engines.machine_facts import Machine

ALL = dict.fromkeys(("torchao", "xformers", "flash_attn", "flash_attn_interface", "triton"), "1")
GIGA = 10**9


def card(capability: tuple[int, int], gigabytes: int, cuda: str = "13.0") -> Machine:
    """Return a machine with an NVIDIA card and all that could be installed."""
    return Machine("cuda", capability, gigabytes * GIGA, cuda, ALL, "/usr/bin/gcc", "/usr/bin/g++")


MACHINES = {
    "CPU": Machine("cpu", packages=ALL, c_compiler="/usr/bin/gcc", cxx_compiler="/usr/bin/g++"),
    "6.1, 8 GB (GTX 1080)": card((6, 1), 8, "12.6"),
    "7.5, 16 GB (T4)": card((7, 5), 16),
    "8.0, 80 GB (A100)": card((8, 0), 80),
    "8.6, 8 GB (RTX 3070)": card((8, 6), 8),
    "8.9, 24 GB (RTX 4090)": card((8, 9), 24),
    "9.0, 141 GB (H200)": card((9, 0), 141),
    "10.0, 180 GB (B200)": card((10, 0), 180),
    "12.0, 32 GB (RTX 5090)": card((12, 0), 32),
}
