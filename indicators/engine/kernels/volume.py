"""Kernels of the volume family: how much was traded, and at which prices."""

from indicators.engine.kernels.nodes import (
    NAN,
    Step,
    Ta,
    change,
    deviation,
    ema,
    highest,
    lowest,
    mean,
    rate,
    ratio,
    total,
)
from indicators.engine.kernels.oscillators import spread
from indicators.engine.kernels.trend import runs
from stocksblitz.market.core.bars import Bar


class Total:
    """A sum from the first bar on; what is not known adds nothing."""

    def __init__(self) -> None:
        self._sum = 0.0

    def __call__(self, keep: bool, value: float) -> float:
        result = self._sum + (value if value - value == 0.0 else 0.0)
        if keep:
            self._sum = result
        return result


def money_flow(bar: Bar) -> float:
    """Return the volume times where the close stands in the bar's range, from -1 to 1; 0 for a bar without a range."""
    span = bar.high - bar.low
    return (2 * bar.close - bar.high - bar.low) / span * bar.volume if span else 0.0


def ad() -> Step:
    line = Total()
    return lambda keep, bar: line(keep, money_flow(bar))


def adosc(fast: int, slow: int) -> Step:
    line, quick, steady = Total(), ema(fast), ema(slow)

    def step(keep: bool, bar: Bar) -> float:
        value = line(keep, money_flow(bar))
        return quick(keep, value) - steady(keep, value)

    return step


def signed() -> Step:
    """Return the volume with the sign of the close's change; 0 where it has not changed, and for the first bar."""
    move = change()

    def step(keep: bool, bar: Bar) -> float:
        moved = move(keep, bar.close)
        return bar.volume if moved > 0 else -bar.volume if moved < 0 else 0.0

    return step


def obv() -> Step:
    line, flow = Total(), signed()
    return lambda keep, bar: line(keep, flow(keep, bar))


def aobv(fast: int, slow: int, max_lookback: int, min_lookback: int, run_length: int) -> Step:
    line, quick, steady = obv(), ema(fast), ema(slow)
    least, most, found = lowest(min_lookback), highest(max_lookback), runs(ema(fast), ema(slow), run_length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        value = line(keep, bar)
        averages = quick(keep, value), steady(keep, value)
        return value, least(keep, value), most(keep, value), *averages, *found(keep, value)

    return step


def cmf(length: int) -> Step:
    flow, volume = total(length), total(length)
    return lambda keep, bar: ratio(flow(keep, money_flow(bar)), volume(keep, bar.volume))


def efi(length: int) -> Step:
    move, average = change(), ema(length)
    return lambda keep, bar: average(keep, move(keep, bar.close) * bar.volume)


def eom(length: int, divisor: float) -> Step:
    move, average = change(), mean(length)

    def step(keep: bool, bar: Bar) -> float:
        moved = move(keep, (bar.high + bar.low) / 2)
        return average(keep, divisor * ratio(moved * (bar.high - bar.low), bar.volume))

    return step


def kvo(fast: int, slow: int, signal: int) -> Step:
    move, quick, steady, average = change(), ema(fast), ema(slow), ema(signal)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        moved = move(keep, (bar.high + bar.low + bar.close) / 3)
        force = NAN if moved != moved else bar.volume if moved >= 0 else -bar.volume
        line = quick(keep, force) - steady(keep, force)
        return line, average(keep, line)

    return step


def mfi(length: int) -> Step:
    line = Ta("MFI", timeperiod=length)
    return lambda keep, bar: line(keep, bar.high, bar.low, bar.close, bar.volume)


def index(sign: int, initial: float) -> Step:
    """Return an index that starts at ``initial`` and moves with the close on bars whose volume changed this way."""
    move, traded, held = rate(), change(), initial

    def step(keep: bool, bar: Bar) -> float:
        nonlocal held
        moved, more = move(keep, bar.close), traded(keep, bar.volume)
        line = held * (1 + moved) if sign * more > 0 and moved == moved else held
        if keep:
            held = line
        return line

    return step


def nvi(initial: float) -> Step:
    return index(-1, initial)


def pvi(length: int, initial: float) -> Step:
    line, average = index(1, initial), ema(length)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        value = line(keep, bar)
        return value, average(keep, value)

    return step


def pvo(fast: int, slow: int, signal: int, scalar: float) -> Step:
    lines = spread(fast, slow, signal, scalar)
    return lambda keep, bar: lines(keep, bar.volume)


def pvr() -> Step:
    move, traded = change(), change()

    def step(keep: bool, bar: Bar) -> float:
        moved, more = move(keep, bar.close), traded(keep, bar.volume)
        if moved != moved:
            return NAN
        return float((1 if moved >= 0 else 3) + (more < 0))

    return step


def pvt() -> Step:
    line, move = Total(), rate()
    return lambda keep, bar: line(keep, move(keep, bar.close) * bar.volume)


def tsv(length: int, signal: int) -> Step:
    move, flow, average = change(), total(length), mean(signal)

    def step(keep: bool, bar: Bar) -> tuple[float, ...]:
        line = flow(keep, move(keep, bar.close) * bar.volume)
        mark = average(keep, line)
        return line, mark, ratio(line, mark)

    return step


def vhm(length: int) -> Step:
    usual, wide = mean(length), deviation(length)
    return lambda keep, bar: ratio(bar.volume - usual(keep, bar.volume), wide(keep, bar.volume))


class Vwap:
    """Volume-weighted price, settled once a session was seen from its first bar; bars without a session are of one."""

    def __init__(self) -> None:
        self._session: int | None = None
        self._value = self._volume = 0.0
        self.settled = False

    def __call__(self, keep: bool, bar: Bar) -> float:
        ts, _, high, low, close, volume, session = bar
        same = session == self._session
        traded = volume + self._volume if same else volume
        value = (high + low + close) / 3 * volume + (self._value if same else 0.0)
        if keep:
            if not same:
                self.settled = self.settled or self._session is not None or session in (0, ts)
            self._session, self._value, self._volume = session, value, traded
        return ratio(value, traded)


def vwma(length: int) -> Step:
    prices, volume = total(length), total(length)
    return lambda keep, bar: ratio(prices(keep, bar.close * bar.volume), volume(keep, bar.volume))


KERNELS = {
    "AD": ad,
    "ADOSC": adosc,
    "AOBV": aobv,
    "CMF": cmf,
    "EFI": efi,
    "EOM": eom,
    "KVO": kvo,
    "MFI": mfi,
    "NVI": nvi,
    "OBV": obv,
    "PVI": pvi,
    "PVO": pvo,
    "PVOL": lambda: lambda keep, bar: bar.close * bar.volume,
    "PVR": pvr,
    "PVT": pvt,
    "TSV": tsv,
    "VHM": vhm,
    "VWAP": Vwap,
    "VWMA": vwma,
}
