"""Every call on the ledger, at every moment, with every fault. By `make torture` alone; the suite takes a choice."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.fault_scene import HOWS, Site, Templates, record, survive
from tests.e2e.tracing import needs_strace

pytestmark = [pytest.mark.torture, needs_strace()]


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return Templates(tmp_path_factory.mktemp("templates"))


@pytest.mark.parametrize("state", ["first", "grown", "crashed", "rewriting"])
def test_no_fault_of_any_call_loses_a_score(state: str, templates: Templates, tmp_path: Path) -> None:
    def one(case: tuple[int, Site, str]) -> str | None:
        number, site, how = case
        try:
            said = survive(templates, site, how, tmp_path / str(number))
        except Exception as error:
            told = f"{site} {how}: {error!r} {traceback.extract_tb(error.__traceback__)[-1]}"
            print(told)
            return told
        print(f"{site} {how}: {said or 'ready'}")
        return None

    sites = record(templates, state, tmp_path / "recorded")
    cases = [(site, how) for site in sites for how in HOWS if how != "short" or site.call == "write"]
    print(f"{state}: {len(sites)} calls, {len(cases)} faults")
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(one, [(number, *case) for number, case in enumerate(cases)]))
    assert not [outcome for outcome in outcomes if outcome]
