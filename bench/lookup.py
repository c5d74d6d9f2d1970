"""``python -m bench.lookup``: times the cache lookup beneath `current`, without HTTP; prints milliseconds as JSON."""

import json
import os
import sys
import time

COUNT, WARM = 5_000, 200


def main(symbol: str, timeframe: str, indicator: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stocksblitz.settings")
    import django

    django.setup()
    from indicators.engine.spec import parse
    from indicators.reads import cache

    specs, taken = {indicator: parse(indicator)}, []
    for _ in range(WARM + COUNT):
        start = time.perf_counter()
        answer = cache.current_sync(symbol, timeframe, specs)
        taken.append((time.perf_counter() - start) * 1000)
        if len(taken) > WARM and answer.outcome != "hit":
            raise AssertionError(f"not a hit: {answer.outcome}")
    json.dump(taken[WARM:], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
