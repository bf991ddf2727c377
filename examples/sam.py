# SPDX-License-Identifier: Apache-2.0
"""Segment Anything in a program: load an engine, ask for the object under a point, keep the mask and a picture.

evit-deploy export l0-sam && evit-deploy build l0-sam --target cpu
python examples/sam.py engines/l0-sam.cpu.fp32 photo.jpg 320 240
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import evit_deploy
from evit_deploy.data.images import read_image, write_image
from evit_deploy.data.overlay import draw_points, label_masks, paint_labels
from evit_deploy.errors import EvitError
from evit_deploy.runtime.sam import SegmentAnything


def main(engine: str, photo: str, x: float, y: float) -> None:
    """Segment the object at a point, (x, y) in pixels of the photo."""
    frame = read_image(Path(photo))
    with evit_deploy.load(engine) as sam:
        if not isinstance(sam, SegmentAnything):
            sys.exit(f"{engine} takes no prompts")
        sam.set_image(frame)  # the slow part, once per picture
        masks = sam.predict(points=[[x, y]])  # three candidates: whole, part, subpart
    best = masks.best()
    print(f"predicted IoU {best.iou[0]:.3f}, {best.masks[0].mean():.1%} of the photo")

    picture = paint_labels(frame, label_masks(best.masks, *frame.shape[:2]))
    draw_points(picture, [(x, y)], [1])
    stem = Path(photo).stem
    write_image(Path(f"{stem}.sam.png"), picture)
    Path(f"{stem}.sam.json").write_text(json.dumps(best.coco()), encoding="utf-8")
    print(f"{stem}.sam.png shows it, {stem}.sam.json holds it as COCO's run lengths")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    try:
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
    except (EvitError, ValueError) as error:
        sys.exit(str(error))
