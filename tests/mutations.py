"""Nets made wrong at random: what the fuzz test and tools/fuzz feed to the reader."""

from __future__ import annotations

import random
import re
from pathlib import Path

from layers.examples import EXAMPLES

ROOT = Path(__file__).parents[1]
WORD = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\w.+-]+|\$\{[^}\n]*\}|\S|\s+')
NUMBERS = """
0 -1 1 2 3 7 255 65536 2147483647 2147483648 4294967295 -2147483648 9223372036854775807 1e9 1e38 1e39 -1e308 0.5
1e-45 nan inf -inf 0x7fffffff 017 99999999999999999999999
"""
PIECES = """
{ } < > : ; , # [ ] $ $x ${ ${1} ${index} " ' \\ / .. \x00 \ufeff é \U0001f600 layer layers input input_dim:3 repeat:3
repeat:2000000000 block{ block_param{ include{phase:TRAIN} exclude{stage:"x"} loss_weight:1 propagate_down:false
param{name:"w"} param{lr_mult:nan} true false MAX bottom:"x0" top:"x0" axis:-1 shape{dim:0} shape{dim:-1}
"""
BLOCK = """
block { name: "twice" parameter { name: "n" default: 2 } bottom: "a" top: "b"
  layer { name: "s${n}" type: "Scale" bottom: "a" top: "s" scale_param { axis: ${n // 2} num_axes: $n } }
  layer { name: "r" type: "ReLU" bottom: "s" top: "b" } }
layer { name: "in" type: "Input" top: "in" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: "t" type: "twice" bottom: "in" top: "out" repeat: 3 block_param { n: ${index + 1} } }
"""
OLD = """
input: "data" input_dim: 1 input_dim: 3 input_dim: 9 input_dim: 9
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  convolution_param { num_output: 4 kernel_size: 3 group: 1 } }
layers { layer { name: "p" type: "pool" kernelsize: 2 stride: 2 pool: MAX } bottom: "c" top: "p" }
"""


SHIPPED = (
    "cifar10_quick/train.prototxt",
    "digits_quick/train.prototxt",
    "gpt/deploy.prototxt",
    "housing_mlp/train.prototxt",
    "lenet/train.prototxt",
    "mlp/train.prototxt",
    "resnet50/deploy.prototxt",
)
"""Those of some hundred layers at most: a change can make every layer of a net wrong, and all of it is told."""


def valid() -> list[str]:
    """Texts that build: nets that ship, one for every example of a layer type, blocks, and old spellings."""
    shipped = [(ROOT / "nets" / name).read_text() for name in SHIPPED]
    return [*shipped, *(example.text() for example in EXAMPLES), BLOCK, OLD]


def mutated(texts: list[str], seed: int) -> str:
    """One of the texts with one to eight changes."""
    chance = random.Random(seed)
    words = WORD.findall(chance.choice(texts))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(words) or 1)
        other = chance.randrange(len(words) or 1)
        match chance.randrange(10):
            case 0:
                del words[at : at + chance.choice((1, 1, 2, 20))]
            case 1:
                words[at:at] = words[other : other + chance.choice((1, 2, 30))]
            case 2 if words:
                words[at], words[other] = words[other], words[at]
            case 3 | 4:
                numbers = [i for i, word in enumerate(words) if word.lstrip("-")[:1].isdigit()]
                if numbers:
                    words[chance.choice(numbers)] = chance.choice(NUMBERS.split())
            case 5:
                words.insert(at, f" {chance.choice(PIECES.split())} ")
            case 6:
                names = [i for i, word in enumerate(words) if word.startswith('"')]
                if names:
                    words[chance.choice(names)] = words[chance.choice(names)]
            case 7 if words:
                word = words[at]
                place = chance.randrange(len(word))
                words[at] = word[:place] + chr(chance.randrange(1, 0x250)) + word[place + 1 :]
            case 8:
                words += WORD.findall(chance.choice(texts))
            case 9:
                words = words[: chance.randrange(len(words) + 1)] if chance.random() < 0.3 else words
    return "".join(words)
