"""Asks engines whether they can run here: those named, by the words of each; also where nktc's cache is."""

from __future__ import annotations

import json
import sys

from nktc import data, engines


def main(*names: str) -> None:
    found = {}
    for name in names:
        engine = engines.loaded(name)
        missing = engine.missing()
        found[name] = {"missing": missing, "version": "" if missing else engine.version()}
    print(json.dumps({"backends": found, "cache": str(data.Places.from_environment().cache)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
