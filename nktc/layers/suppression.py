"""Which of many boxes stay: SSD's choice, on the host, and to the order that Caffe has in ties."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nktc.layers.introsort import introsorted

LOWEST = float(np.finfo(np.float32).min)
FIELDS = 7  # of a row: image, label, score, xmin, ymin, xmax, ymax


@dataclass(frozen=True)
class Choice:
    """Scores above `threshold`; of a class the best `top_k` (-1: all), less those that overlap a better one by more
    than `overlap` (IoU), which shrinks by `eta` at each box kept while it is above 0.5; of an image the best
    `keep_top_k` (-1: all). Class `background` is none."""

    background: int = 0
    threshold: float = LOWEST
    overlap: float = float(np.float32(0.3))
    eta: float = 1.0
    top_k: int = -1
    keep_top_k: int = -1

    def rows(self, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """boxes[n p l 4] (l: 1, or one for each class) scores[n c p], f32 -> [m 7], by image, class and falling score;
        where nothing is found a row of -1 for each image."""
        with np.errstate(all="ignore"):
            found = [row for image in range(len(boxes)) for row in self._image(image, boxes[image], scores[image])]
        if found:
            return np.concatenate(found)
        nothing = np.full((len(boxes), FIELDS), -1, np.float32)
        nothing[:, 0] = np.arange(len(boxes))
        return nothing

    def _image(self, image: int, boxes: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
        shared = boxes.shape[1] == 1
        kept = {
            label: self._class(boxes[:, 0 if shared else label], scores[label])
            for label in range(len(scores))
            if label != self.background
        }
        if not any(map(len, kept.values())):
            return []
        labels = np.concatenate([np.full(len(places), label) for label, places in kept.items()])
        places = np.concatenate([*kept.values()])
        if 0 <= self.keep_top_k < len(places):
            best = introsorted(scores[labels, places])[: self.keep_top_k]
            best = best[np.argsort(labels[best], kind="stable")]
            labels, places = labels[best], places[best]
        if not len(places):
            return []
        chosen = boxes[places, 0 if shared else labels]
        told = [np.full(len(places), image), labels, scores[labels, places]]
        return [np.column_stack([*told, chosen]).astype(np.float32)]

    def _class(self, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The places of the boxes [p 4] that stay, by falling score."""
        above = np.flatnonzero(scores > np.float32(self.threshold))
        order = above[np.argsort(-scores[above], kind="stable")]
        return greedy(boxes, order[: self.top_k] if self.top_k > -1 else order, self.overlap, self.eta)


def greedy(
    boxes: np.ndarray, order: np.ndarray, overlap: float, eta: float = 1.0, most: int = -1, pixel: int = 0
) -> np.ndarray:
    """Of the places `order` of boxes [p 4], those that overlap no earlier one that stays by more than `overlap`; the
    first `most` (-1: all). Sides count their last `pixel`, 1 or none: boxes less than a pixel apart overlap nothing."""
    x0, y0, x1, y1 = boxes[order].T
    areas = np.where((x1 < x0) | (y1 < y0), np.float32(0), (x1 - x0 + pixel) * (y1 - y0 + pixel))
    rest, worst = np.arange(len(order)), np.zeros(len(order), np.float32)  # the largest overlap with one that stays
    limit = np.float32(overlap)
    kept: list[int] = []
    while len(rest) and len(kept) != most:
        one, rest, worst = int(rest[0]), rest[1:], worst[1:]
        kept.append(one)
        width = np.minimum(x1[rest], x1[one]) - np.maximum(x0[rest], x0[one])
        height = np.minimum(y1[rest], y1[one]) - np.maximum(y0[rest], y0[one])
        meet = (width >= 0) & (height >= 0) if pixel else (width > 0) & (height > 0)
        common = (width + pixel) * (height + pixel)
        shares = np.where(meet, common / (areas[rest] + areas[one] - common), np.float32(0))
        worst = np.maximum(worst, shares)
        if eta < 1 and limit > 0.5:
            limit *= np.float32(eta)
        stays = worst <= limit
        rest, worst = rest[stays], worst[stays]
    return order[np.array(kept, int)]
