# SPDX-License-Identifier: Apache-2.0
"""Places everything of a scene along the street and draws it from far to near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from evit_deploy.data.scenes import buildings, furniture, people, plants, vehicles
from evit_deploy.data.scenes.ground import Street
from evit_deploy.data.scenes.pen import Pen
from evit_deploy.data.scenes.solids import Frame, unit

HORIZON_DEPTH = 125.0


@dataclass
class Layout:
    """Collects what is to be drawn, with its depth.

    Attributes:
        pen: Scene pen.
        street: Plan of the ground.
        sun: Side of the sun (-1, +1).
        queue: (depth, draw) pairs.
    """

    pen: Pen
    street: Street
    sun: int
    queue: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def add(self, z: float, draw: Callable[[], None]) -> None:
        """Queue a drawing at depth z; larger depths are drawn first."""
        self.queue.append((z, draw))

    def draw(self) -> None:
        """Draw the queue from far to near."""
        for _, draw in sorted(self.queue, key=lambda entry: -entry[0]):
            draw()

    def spot(self, lateral: float, z: float) -> tuple[float, float]:
        """World (x, z) of a street position."""
        return self.pen.camera.street_x(lateral, z), z

    def blocked(self, z: float, margin: float = 0.0) -> bool:
        """True on the crossing road."""
        crossing = self.street.crossing
        return crossing is not None and crossing[0] - margin < z < crossing[1] + margin


def skyline(pen: Pen) -> None:
    """Draw far buildings and trees along the horizon; call before the ground is painted."""
    dice, z = pen.dice, HORIZON_DEPTH
    for _ in range(dice.count(2, 9)):
        x, width, height = dice.between(-90.0, 90.0), dice.between(8.0, 26.0), dice.between(5.0, 24.0)
        if dice.chance(0.5):
            style = buildings.draw_style(dice)
            buildings.facade(pen, (x, z), (x + width, z), height, style, 0.9)
        else:
            plants.hedge(pen, (x, z), (x + width, z), height * 0.6)


def plan_sides(layout: Layout) -> None:
    """Line both sides of the street with buildings, walls, fences, hedges and trees."""
    for sign in (-1, 1):
        dice = layout.pen.dice
        setback = layout.street.half + layout.street.side(sign).depth + dice.between(0.3, 1.5)
        town = dice.between(0.2, 0.65)
        z = dice.between(2.0, 8.0)
        while z < 85.0:
            end = z + dice.between(7.0, 20.0)
            crossing = layout.street.crossing
            if crossing is not None and z < crossing[1] and end > crossing[0]:
                end = crossing[0] - 0.5
            if end - z > 3.0:
                _segment(layout, sign, setback, (z, end), town)
            z = max(end, z) + (dice.between(0.0, 3.0) if dice.chance(0.4) else 0.0)
            if crossing is not None and crossing[0] - 2.0 < z < crossing[1] + 1.0:
                z = crossing[1] + 1.0


def _segment(layout: Layout, sign: int, setback: float, depth: tuple[float, float], town: float) -> None:
    dice, pen = layout.pen.dice, layout.pen
    start, end = layout.spot(sign * setback, depth[0]), layout.spot(sign * setback, depth[1])
    if dice.chance(town):
        height = dice.between(4.0, 20.0)
        layout.add(depth[1], lambda: buildings.building(pen, start, end, sign, height, layout.sun))
        if layout.sun == sign and dice.chance(0.8):
            _cast(layout, sign, setback, depth, dice.between(1.0, 0.8 * height))
        return
    kind = dice.pick(["wall", "fence", "wall", "fence", "hedge", "open"])
    _background(layout, sign, setback, depth)
    height = dice.between(1.4, 3.2)
    if kind == "wall":
        layout.add(depth[1], lambda: buildings.free_wall(pen, start, end, height))
    elif kind == "fence":
        look = buildings.draw_fence(dice, 0.75 * height)
        layout.add(depth[1], lambda: buildings.fence(pen, start, end, look))
    elif kind == "hedge":
        layout.add(depth[1], lambda: plants.hedge(pen, start, end, height))


def _background(layout: Layout, sign: int, setback: float, depth: tuple[float, float]) -> None:
    """Trees, or a building set back, behind a low border."""
    dice, pen = layout.pen.dice, layout.pen
    if dice.chance(0.25):
        deep = setback + dice.between(4.0, 12.0)
        start, end = layout.spot(sign * deep, depth[0]), layout.spot(sign * deep, depth[1])
        layout.add(
            depth[1] + 0.5, lambda: buildings.building(pen, start, end, sign, dice.between(4.0, 9.0), layout.sun)
        )
    for _ in range(dice.count(0, 3)):
        x, z = layout.spot(sign * (setback + dice.between(2.5, 9.0)), dice.between(*depth))
        height = dice.between(4.0, 10.0)
        layout.add(depth[1] + 0.2, lambda x=x, z=z, height=height: plants.tree(pen, x, z, height, 0.33 * height))  # type: ignore[misc]


def _cast(layout: Layout, sign: int, setback: float, depth: tuple[float, float], reach: float) -> None:
    near, far = depth
    outline = [
        (setback, near),
        (setback, far),
        (setback - reach, far + 0.3 * reach),
        (setback - reach, near + 0.3 * reach),
    ]
    points = [layout.spot(sign * lateral, z) for lateral, z in outline]
    layout.add(HORIZON_DEPTH, lambda: layout.pen.shadow([(x, 0.0, z) for x, z in points]))


def plan_kerb(layout: Layout) -> None:
    """Place posts, signs, lights, trees and people on the pavements."""
    dice, street = layout.pen.dice, layout.street
    for sign in (-1, 1):
        z = dice.between(4.0, 9.0)
        while z < 50.0:
            if not layout.blocked(z):
                _kerb_item(layout, sign, z)
            z += dice.between(3.0, 8.0) * (1.0 + z / 40.0)
    if street.crossing is not None and dice.chance(0.8):
        z = street.crossing[0] - 0.8
        for sign in (-1, 1):
            x, _ = layout.spot(sign * (street.half + 0.6), z)
            layout.add(z, lambda x=x, sign=sign: furniture.traffic_light(layout.pen, x, z, sign))  # type: ignore[misc]
    for sign in (-1, 1):
        if dice.chance(0.35):
            _railing(layout, sign)
    if dice.chance(0.08):
        z = dice.between(25.0, 50.0)
        x, _ = layout.spot(0.0, z)
        layout.add(z, lambda: furniture.gantry(layout.pen, x, z, street.half + 1.5))


def _railing(layout: Layout, sign: int) -> None:
    """Draw a fence along the kerb in short panels, so that it hides only what stands behind each of them."""
    dice, pen = layout.pen.dice, layout.pen
    look = buildings.draw_fence(dice, dice.between(0.9, 1.25))
    z, lateral = dice.between(5.0, 16.0), sign * (layout.street.half + 0.3)
    for _ in range(dice.count(3, 9)):
        if not layout.blocked(z, 2.5):
            start, end = layout.spot(lateral, z), layout.spot(lateral, z + 2.4)
            layout.add(z, lambda start=start, end=end: buildings.fence(pen, start, end, look))  # type: ignore[misc]
        z += 2.4


def _kerb_item(layout: Layout, sign: int, z: float) -> None:
    dice, pen = layout.pen.dice, layout.pen
    side = layout.street.side(sign)
    x, _ = layout.spot(sign * (layout.street.half + dice.between(0.4, max(0.8, side.depth - 0.3))), z)
    edge, _ = layout.spot(sign * (layout.street.half + dice.between(0.35, 0.7)), z)
    height, roll = dice.between(3.5, 8.5), dice.between(0.0, 1.0)
    if roll < 0.22:
        layout.add(z, lambda: plants.tree(pen, x, z, height, 0.3 * height))
    elif roll < 0.32:
        layout.add(z, lambda: plants.bush(pen, x, z, 0.16 * height))
    elif roll < 0.5:
        layout.add(z, lambda: furniture.lamp_post(pen, edge, z, sign))
    elif roll < 0.78:
        layout.add(z, lambda: furniture.traffic_sign(pen, edge, z))
    elif roll < 0.93:
        layout.add(z, lambda: furniture.traffic_light(pen, edge, z, sign))
    else:
        layout.add(z, lambda: furniture.post(pen, edge, z, 0.14 * height, 0.22))


def plan_people(layout: Layout) -> None:
    """Place pedestrians, cyclists, motorcyclists and parked two-wheelers."""
    dice, pen, half = layout.pen.dice, layout.pen, layout.street.half
    for _ in range(dice.count(2, 7)):
        sign, z = dice.side(), dice.between(5.0, 22.0)
        lateral = sign * (half + dice.between(0.4, 3.5)) if dice.chance(0.85) else dice.between(-half, half)
        for step in range(dice.count(1, 2)):
            x, depth = layout.spot(lateral + 0.7 * step, z + 0.3 * step)
            layout.add(depth, lambda x=x, depth=depth: people.pedestrian(pen, x, depth))  # type: ignore[misc]
    for draw, chance, parked in ((people.bicycle, 0.85, 0.55), (people.motorcycle, 0.75, 0.5)):
        if dice.chance(parked):
            _park(layout, draw, dice.side())
        for _ in range(dice.count(1, 2)):
            if dice.chance(chance):
                lateral, z = dice.between(-half, half), dice.between(5.0, 20.0)
                x, depth = layout.spot(lateral, z)
                layout.add(depth, lambda draw=draw, x=x, depth=depth: draw(pen, x, depth, True))  # type: ignore[misc]


def _park(layout: Layout, draw: Callable[[Pen, float, float, bool], None], sign: int) -> None:
    dice = layout.pen.dice
    lateral, z = sign * (layout.street.half + dice.between(0.3, 1.8)), dice.between(5.0, 16.0)
    for step in range(dice.count(1, 3)):
        x, depth = layout.spot(lateral, z + 0.9 * step)
        layout.add(depth, lambda x=x, depth=depth: draw(layout.pen, x, depth, False))  # type: ignore[misc]


def plan_traffic(layout: Layout) -> None:
    """Place vehicles in the lanes, parked at the kerb and on the crossing road."""
    dice, street = layout.pen.dice, layout.street
    makers = [(vehicles.tram, 0.5, 12.0), (vehicles.truck, 0.42, 4.5), (vehicles.bus, 0.42, 6.0)]
    taken: list[tuple[int, float, float]] = []
    for maker, chance, reach in makers:
        if dice.chance(chance):
            _drive(layout, maker, reach, dice.between(6.0, 24.0) + reach, taken)
    for _ in range(dice.count(1, 5)):
        _drive(layout, vehicles.car, 2.5, dice.between(8.0, 38.0), taken)
    for sign in (-1, 1):
        if dice.chance(0.6):
            near = abs(sign * (street.half - 1.05) - layout.pen.camera.view.lateral) < 2.4
            z = dice.between(9.0 if near else 4.0, 16.0)
            for _ in range(dice.count(1, 5)):
                if not layout.blocked(z, 3.0) and not _occupied(_edge_lane(street, sign), z, 2.5, taken):
                    x, depth = layout.spot(sign * (street.half - 1.05), z)
                    frame = Frame(x, depth, _along(layout, z, sign))
                    layout.add(depth, lambda frame=frame: vehicles.car(layout.pen, frame, layout.sun))  # type: ignore[misc]
                z += dice.between(5.5, 9.0)
    if street.crossing is not None and dice.chance(0.6):
        _cross(layout)


def _edge_lane(street: Street, sign: int) -> int:
    return 0 if sign < 0 else street.lanes - 1


def _along(layout: Layout, z: float, direction: int) -> tuple[float, float]:
    """Heading along the street: +1 with the camera, -1 towards it."""
    return unit(direction * 2.0 * layout.pen.camera.view.bend * z, float(direction))


def _drive(
    layout: Layout,
    maker: Callable[[Pen, Frame, int], None],
    reach: float,
    z: float,
    taken: list[tuple[int, float, float]],
) -> None:
    """Put a vehicle of half length `reach` (metres) in a lane, where there is room."""
    dice, street = layout.pen.dice, layout.street
    lane = dice.count(0, street.lanes - 1)
    if _occupied(lane, z, reach, taken):
        lane = (lane + 1) % street.lanes
    if _occupied(lane, z, reach, taken):
        return
    lateral = -street.half + (lane + 0.5) * street.lane
    own = lateral > 0
    # the own lane stays free just ahead, else a near vehicle would fill the picture
    if abs(lateral - layout.pen.camera.view.lateral) < 2.2 and z - reach < 6.0:
        return
    taken.append((lane, z, reach))
    x, depth = layout.spot(lateral + dice.between(-0.25, 0.25), z)
    frame = Frame(x, depth, _along(layout, z, 1 if own else -1))
    # sorted by its near end, so that nothing standing inside a long vehicle is drawn over it
    layout.add(depth - 0.8 * reach, lambda: maker(layout.pen, frame, layout.sun))


def _occupied(lane: int, z: float, reach: float, taken: list[tuple[int, float, float]]) -> bool:
    return any(lane == other and abs(z - at) < reach + size + 2.0 for other, at, size in taken)


def _cross(layout: Layout) -> None:
    dice, crossing = layout.pen.dice, layout.street.crossing
    assert crossing is not None
    maker = dice.pick([vehicles.car, vehicles.car, vehicles.truck, vehicles.bus])
    direction = dice.side()
    z = crossing[0] + (0.3 if direction > 0 else 0.7) * (crossing[1] - crossing[0])
    x, depth = layout.spot(dice.between(-9.0, 9.0), z)
    frame = Frame(x, depth, unit(float(direction), dice.between(-0.15, 0.15)))
    layout.add(depth, lambda: maker(layout.pen, frame, layout.sun))
