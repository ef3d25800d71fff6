"""What a TLS scanner finds at the running server: nothing of weight. Run by `make torture`, which installs sslyze."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import PATIENCE, RunningServer, clean_environment

pytestmark = pytest.mark.torture

OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")

SCANS = (
    *("sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "compression", "openssl_ccs", "fallback"),
    *("heartbleed", "robot", "reneg", "certinfo", "ems", "early_data"),
)


def scanned(server: RunningServer) -> dict[str, Any]:
    """Return what sslyze found, by the name of its scan."""
    program = os.environ.get("SSLYZE_PYTHON")
    if not program:
        pytest.skip("SSLYZE_PYTHON names no Python that has sslyze; `make torture` does")
    target = f"localhost:{server.https_port}"
    command = [program, "-m", "sslyze", f"--json_out={server.cwd / 'scan.json'}", "--mozilla_config=disable", target]
    done = subprocess.run(
        [*command, *(f"--{one}" for one in SCANS)],
        cwd=server.cwd,
        env=clean_environment({}),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 4,
        check=False,
    )
    (found,) = json.loads((server.cwd / "scan.json").read_text())["server_scan_results"]
    assert found["connectivity_status"] == "COMPLETED", done.stdout + done.stderr
    return {name: one["result"] for name, one in found["scan_result"].items() if one["status"] == "COMPLETED"}


def accepted(found: dict[str, Any], version: str) -> list[str]:
    return [one["cipher_suite"]["name"] for one in found[f"{version}_cipher_suites"]["accepted_cipher_suites"]]


def test_a_scanner_has_nothing_of_weight_to_say(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        found = scanned(server)
        assert server.end() == 0
        assert '"level":"error"' not in server.log.read_text()
    assert {version: accepted(found, version) for version in OLD} == {version: [] for version in OLD}
    modern = [*accepted(found, "tls_1_2"), *accepted(found, "tls_1_3")]
    assert len(modern) >= 5
    for name in accepted(found, "tls_1_2"):
        assert name.startswith("TLS_ECDHE_"), name
    for name in modern:
        assert "GCM" in name or "CHACHA20" in name, name
    assert {
        "heartbleed": found["heartbleed"]["is_vulnerable_to_heartbleed"],
        "CCS injection": found["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"],
        "ROBOT": found["robot"]["robot_result"],
        "compression": found["tls_compression"]["supports_compression"],
        "early data": found["tls_1_3_early_data"]["supports_early_data"],
        "renegotiation by the client": found["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"],
    } == {
        "heartbleed": False,
        "CCS injection": False,
        "ROBOT": "NOT_VULNERABLE_RSA_NOT_SUPPORTED",
        "compression": False,
        "early data": False,
        "renegotiation by the client": False,
    }
    assert found["session_renegotiation"]["supports_secure_renegotiation"]
    assert found["tls_fallback_scsv"]["supports_fallback_scsv"]
    assert found["tls_extended_master_secret"]["supports_ems_extension"]
    (deployed,) = found["certificate_info"]["certificate_deployments"]
    (certificate,) = deployed["received_certificate_chain"]
    assert certificate["signature_hash_algorithm"]["name"] == "sha256"
    assert (certificate["public_key"]["algorithm"], certificate["public_key"]["key_size"]) == ("ECPublicKey", 256)
