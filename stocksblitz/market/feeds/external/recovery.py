"""Continues the bars of a symbol where an earlier feed ended (pure)."""

from collections.abc import Mapping, Sequence

from stocksblitz.market.core.bars import Bar, Closed, TickBars, joined


def restore(
    bars: TickBars, minutes: Sequence[Bar], last: Mapping[str, int], forming: Mapping[str, Bar]
) -> list[Closed]:
    """Set ``bars`` to the state of an earlier feed; return the larger bars that it did not close.

    ``minutes``: the newest closed bars of the smallest timeframe. The larger ones that were forming are built from them
    again, exactly; only where the minutes do not reach back far enough, the earlier feed's forming bar is used.
    ``last``: the opening time of the bar closed last, by timeframe; ``forming``: the forming bars that were written.
    """
    ladder, closed = bars.ladder, []
    newest = minutes[-1] if minutes else None
    session = newest.session if newest else 0
    for minute in minutes:
        if minute.session == session:
            closed += [larger for larger in ladder.add(minute) if larger[0] != ladder.base]
    if newest:
        closed += ladder.pass_time(newest.ts + ladder.length)
    part = forming.get(ladder.base)
    bars.part = part if part and (newest is None or part.ts > newest.ts) else None
    begun = next((minute.ts for minute in minutes if minute.session == session), 0)
    complete = not minutes or minutes[0].ts < begun or begun == session
    if not complete:
        _use_forming(bars, begun, forming)
    if bars.part:
        closed += ladder.begin(bars.part.ts)
    unfinished = {tf: bar for tf, bar in ladder.forming(None).items() if bar.ts > last.get(tf, -1)}
    closed = [(timeframe, bar) for timeframe, bar in closed if bar.ts > last.get(timeframe, -1)]
    ladder.restore(
        {tf: max(last.get(tf, 0), ladder.last.get(tf, 0)) for tf in {*last, *ladder.last}}, unfinished
    )
    bars.newest = bars.part.ts if bars.part else newest.ts + ladder.length - 1 if newest else 0
    return closed


def _use_forming(bars: TickBars, begun: int, forming: Mapping[str, Bar]) -> None:
    """Join each forming bar from before the first known minute with the bar built from there on."""
    built = bars.ladder.forming(None)
    for timeframe, bar in built.items():
        earlier = forming.get(timeframe)
        if earlier and earlier.ts == bar.ts and bar.ts < begun:
            part = bars.part
            volume = earlier.volume - (part.volume if part else 0.0)
            whole = joined(earlier._replace(volume=0.0), bar._replace(volume=volume))
            built[timeframe] = whole
    bars.ladder.restore(bars.ladder.last, built)
