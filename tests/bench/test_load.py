"""Reading what wrk prints: samples of real runs, none of them made here."""

from __future__ import annotations

import pytest

from bench.errors import BenchError
from bench.load import parse

GOOD = """\
Running 10s test @ https://127.0.0.1:18443/v1/generate
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     9.07ms   11.18ms 160.82ms   95.89%
    Req/Sec     2.09k   633.06     3.35k    64.65%
  Latency Distribution
     50%    6.44ms
     75%    9.40ms
     90%   13.50ms
     99%   51.74ms
  20652 requests in 10.02s, 3.19GB read
Requests/sec:   2061.75
Transfer/sec:    326.52MB
"""

BAD = """\
Running 1s test @ https://127.0.0.1:18444/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.98ms    1.15ms  10.32ms   72.14%
    Req/Sec     4.57k   601.02     5.28k    40.00%
  Latency Distribution
     50%    2.65ms
     75%    3.42ms
     90%    4.52ms
     99%    6.58ms
  2272 requests in 1.01s, 4.34MB read
  Socket errors: connect 3454, read 16, write 0, timeout 0
  Non-2xx or 3xx responses: 747
Requests/sec:   2260.53
Transfer/sec:      4.32MB
"""

OTHER_UNITS = """\
Running 1m test @ https://127.0.0.1:18443/health
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   812.07us    1.18ms   1.02s    95.89%
    Req/Sec     2.09k   633.06     3.35k    64.65%
  Latency Distribution
     50%  710.00us
     75%    0.94ms
     90%    1.35ms
     99%    1.02s
  120000 requests in 1.00m, 300B read
Requests/sec:   2000.00
Transfer/sec:      5.00B
"""


def test_a_good_run() -> None:
    load = parse(GOOD)
    assert (load.answers, load.seconds, load.per_second) == (20652, 10.02, 2061.75)
    assert (load.p50_ms, load.p99_ms) == pytest.approx((6.44, 51.74))
    assert (load.refused, load.broken) == (0, 0)
    assert load.bytes_per_answer == pytest.approx(3.19 * 1024**3 / 20652)
    assert load.megabytes_per_second == pytest.approx(342, rel=0.01)


def test_errors_are_counted() -> None:
    load = parse(BAD)
    assert load.refused == 747
    assert load.broken == 3454 + 16


def test_other_units() -> None:
    load = parse(OTHER_UNITS)
    assert load.seconds == 60
    assert load.bytes_read == 300
    assert load.p50_ms == pytest.approx(0.71)
    assert load.p99_ms == pytest.approx(1020)


def test_no_answers_have_no_size() -> None:
    load = parse(GOOD.replace("20652 requests", "0 requests"))
    assert load.bytes_per_answer == 0


@pytest.mark.parametrize(
    "text", ["", "unable to connect to 127.0.0.1:18444 Connection refused\n", GOOD.replace("     99%   51.74ms\n", "")]
)
def test_unknown_output_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="wrk printed"):
        parse(text)
