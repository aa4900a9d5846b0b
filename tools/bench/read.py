"""How long a large net takes to read and to build: ResNet-152 written out, a field a line, and one ten times as long.

`.venv/bin/python tools/bench/read.py [--rounds N]` prints for each the lines, the layers, the seconds to read (parse,
bind, upgrade) and to build (connect, infer every shape), imports left out: the fastest of N rounds, alternating.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import nktc.layers  # noqa: F401
from nktc import reader, text
from nktc.errors import Source
from nktc.ir import Phase
from nktc.text import Tree

NET = Path(__file__).parents[2] / "nets" / "resnet50" / "deploy.prototxt"
MORE = {"more: 2": 2, "more: 3": 7, "more: 5": 35}  # identity rounds of a stage: of ResNet-50, of ResNet-152


def resnet152(times: int) -> str:
    """The text of ResNet-152 with `times` as many layers in its stages, a field a line."""
    blocks = NET.read_text().replace("${'bcdef'[index]}", "b${index + 1}")
    for shallow, deep in MORE.items():
        blocks = blocks.replace(shallow, f"more: {(deep + 1) * times - 1}")
    return "\n".join(_lines(reader.expand(text.parse(Source("resnet152", blocks))).tree, ""))


def _lines(tree: Tree, margin: str) -> Iterator[str]:
    for field in tree.fields:
        if isinstance(field.value, Tree):
            yield f"{margin}{field.name} {{"
            yield from _lines(field.value, margin + "  ")
            yield f"{margin}}}"
        else:
            word = field.value
            yield (
                f'{margin}{field.name}: "{word.text}"'
                if word.kind == "string"
                else f"{margin}{field.name}: {word.text}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    texts = {times: resnet152(times) for times in (1, 10)}
    best: dict[int, tuple[float, float]] = {}
    layers = {}
    for _ in range(rounds):
        for times, prototxt in texts.items():
            start = time.perf_counter()
            net = reader.parse_net(prototxt)
            read = time.perf_counter()
            graph = reader.build(net, Phase.TEST)
            built = time.perf_counter()
            layers[times] = len(graph)
            best[times] = min(best.get(times, (9e9, 9e9)), (read - start, built - read), key=sum)
    print(f"{'lines':>8} {'layers':>8} {'read s':>8} {'build s':>8} {'us a line':>10}")
    for times, prototxt in texts.items():
        lines = prototxt.count("\n") + 1
        read, build = best[times]
        print(f"{lines:8} {layers[times]:8} {read:8.3f} {build:8.3f} {(read + build) / lines * 1e6:10.1f}")


if __name__ == "__main__":
    main()
