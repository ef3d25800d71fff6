"""What `/metrics` tells of the stock of creatures, and of those that a client waited for. Counts nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from minimon_server.creatures.rarity import Rarity
from minimon_server.creatures.stock import Stock
from minimon_server.web.metrics import Family, Source
from minimon_server.web.tally import Tally


def told(stock: Stock | None, tally: Tally) -> Source:
    """Return the source of a server that draws its creatures; without a stock, of those drawn on demand alone."""

    def families() -> Iterator[Family]:
        yield _by_rarity(
            CounterMetricFamily(
                "minimon_creatures_on_demand", "Creatures drawn while their client waited.", labels=["rarity"]
            ),
            tally.on_demand,
        )
        if stock is None:
            return
        labels = ["rarity"]
        kept = GaugeMetricFamily("minimon_stock", "Creatures kept ready, in memory and on the disk.", labels=labels)
        yield _by_rarity(kept, stock.counts())
        wanted = GaugeMetricFamily("minimon_stock_wanted", "Creatures that are kept of a full shelf.", labels=labels)
        yield _by_rarity(wanted, stock.wanted)
        given = CounterMetricFamily("minimon_stock_given", "Creatures handed out of the stock.", labels=labels)
        yield _by_rarity(given, stock.given)
        refilled = CounterMetricFamily("minimon_stock_refilled", "Creatures drawn for the stock.", labels=labels)
        yield _by_rarity(refilled, stock.refilled)
        yield CounterMetricFamily(
            "minimon_stock_discarded",
            "Creatures of the last process that left the stock at the start.",
            value=stock.discarded,
        )

    return families


def _by_rarity(family: CounterMetricFamily | GaugeMetricFamily, counts: Mapping[Rarity, int]) -> Family:
    for rarity, count in counts.items():
        family.add_metric([rarity.value], count)
    return family
