"""Volume: what traded, and at which prices."""

from functools import partial

from indicators.catalogue.entry import Entry as _Entry

Entry = partial(_Entry, category="volume")

ENTRIES = (
    Entry(
        "VWAP",
        "Volume Weighted Average Price",
        warmup="1",
        kernel="own",
        convention="Typical price weighted by volume since the exchange session opened.",
        pane="overlay",
        settles=True,
    ),
)
