"""Time the cache lookup behind `current` without HTTP: ``python -m bench.lookup`` prints milliseconds as JSON."""

import json
import os
import sys
import time

COUNT, WARM_UP = 5_000, 200


def main(symbol: str, timeframe: str, indicator: str) -> None:
    """Look the value up many times and print the duration of each lookup."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stocksblitz.settings")
    import django

    django.setup()
    from indicators.engine.spec import parse
    from indicators.reads import cache

    specs, durations_ms = {indicator: parse(indicator)}, []
    for _ in range(WARM_UP + COUNT):
        start = time.perf_counter()
        answer = cache.current_sync(symbol, timeframe, specs, user_id=0)
        durations_ms.append((time.perf_counter() - start) * 1000)
        if len(durations_ms) > WARM_UP and answer.outcome != "hit":
            raise AssertionError(f"expected a cache hit, got {answer.outcome}")
    json.dump(durations_ms[WARM_UP:], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
