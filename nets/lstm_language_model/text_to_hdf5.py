"""Cut a text into streams of characters, as nets/lstm_language_model/train_val.prototxt reads them.

    python nets/lstm_language_model/text_to_hdf5.py input.txt [FOLDER]

Writes into FOLDER (runs/text) train.h5, of the first 90 %, test.h5, the lists train.txt and test.txt that the net names
and characters.json: the character that each number stands for. A row of a file is a moment: the 128 streams'
characters then.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import numpy as np

STREAMS = 128


def write(path: Path, numbers: np.ndarray) -> None:
    """`numbers` as streams of one length, what is left over at the end dropped."""
    length = (len(numbers) - 1) // STREAMS
    inputs, targets = (numbers[i : i + length * STREAMS].reshape(STREAMS, length).T for i in (0, 1))
    going_on = np.ones_like(inputs)
    going_on[0] = 0
    with h5py.File(path, "w") as file:
        for name, rows in (("cont", going_on), ("input", inputs), ("target", targets)):
            file[f"{name}_sentence"] = rows.astype(np.float32)
    path.with_suffix(".txt").write_text(f"{path.resolve()}\n")


def main(text: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = text.read_text(encoding="utf-8")
    characters = sorted(set(found))
    number = {character: i for i, character in enumerate(characters)}
    numbers = np.array([number[character] for character in found])
    cut = len(numbers) * 9 // 10
    write(folder / "train.h5", numbers[:cut])
    write(folder / "test.h5", numbers[cut:])
    (folder / "characters.json").write_text(json.dumps(characters))
    print(f"{len(characters)} characters (input_dim and num_output of the net)")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "runs/text"))
