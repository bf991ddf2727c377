// SPDX-License-Identifier: Apache-2.0
// Prompts from mouse, touch and keys, and how they are drawn. All places are in the picture's own pixels.

const BLUE = "#0072b2", VERMILION = "#d55e00";
const SLOP = { mouse: 5, pen: 7, touch: 12 };  // CSS pixels that a click may wander before it is a drag

export class Prompts {
  constructor() { this.reset(); }

  reset() { this.points = []; this.box = null; this.past = []; }

  get empty() { return !this.points.length && !this.box; }

  addPoint(x, y, label) {
    this.remember();
    this.points = [...this.points, [x, y, label]];
  }

  setBox(box) {
    this.remember();
    this.box = box;
  }

  clear() {
    if (this.empty) return;
    this.remember();
    [this.points, this.box] = [[], null];
  }

  remember() { this.past.push([this.points, this.box]); }

  undo() { if (this.past.length) [this.points, this.box] = this.past.pop(); }
}

export function drawPrompts(context, { points, box }, scale, unit) {
  if (box) drawBox(context, box, scale, unit);
  for (const [x, y, label] of points) drawPoint(context, x * scale, y * scale, label, unit);
}

export function drawBox(context, [x0, y0, x1, y1], scale, unit) {
  for (const [colour, width] of [["#fff", 5], [BLUE, 2.5]]) {
    [context.strokeStyle, context.lineWidth] = [colour, width * unit];
    context.strokeRect(x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale);
  }
}

function drawPoint(context, x, y, label, unit) {
  for (const [colour, radius] of [["#fff", 9], [label ? BLUE : VERMILION, 7.5]]) {
    context.fillStyle = colour;
    context.beginPath();
    context.arc(x, y, radius * unit, 0, 2 * Math.PI);
    context.fill();
  }
  context.fillStyle = "#fff";
  context.fillRect(x - 4.5 * unit, y - unit, 9 * unit, 2 * unit);
  if (label) context.fillRect(x - unit, y - 4.5 * unit, 2 * unit, 9 * unit);
}

export function drawCross(context, [x, y], scale, unit) {
  for (const [colour, width] of [["#fff", 4], ["#000", 1.5]]) {
    [context.strokeStyle, context.lineWidth] = [colour, width * unit];
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x * scale + 4 * dx * unit, y * scale + 4 * dy * unit);
      context.lineTo(x * scale + 16 * dx * unit, y * scale + 16 * dy * unit);
    }
    context.stroke();
  }
}

// Tells `on` of points and boxes that a pointer makes: on.point([x, y], label), on.drag(box), on.box(box). `size` gives
// the picture's [width, height], `mode` what a tap does.
export function followPointer(canvas, size, mode, on) {
  let begun = null;
  const place = (event) => {
    const rect = canvas.getBoundingClientRect(), [width, height] = size();
    const clamp = (value, side) => Math.min(Math.max(value * side - 0.5, 0), side - 1);
    const x = clamp((event.clientX - rect.left) / rect.width, width);
    return [x, clamp((event.clientY - rect.top) / rect.height, height)].map((value) => Math.round(value * 10) / 10);
  };
  const boxTo = (event) => {
    const [[a, b], [c, d]] = [begun.place, place(event)];
    return [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
  };
  const mayDrag = () => begun.button === 0 && (mode() === "box" || begun.pointerType !== "touch");
  const wandered = (event) => Math.hypot(event.clientX - begun.x, event.clientY - begun.y) > (SLOP[begun.pointerType] ?? 7);
  const end = () => { begun = null; on.drag(null); };

  canvas.addEventListener("pointerdown", (event) => {
    if (begun || (event.button !== 0 && event.button !== 2)) return;
    const { pointerId, pointerType, button, clientX: x, clientY: y } = event;
    begun = { pointerId, pointerType, button, x, y, place: place(event), dragged: false };
    canvas.setPointerCapture(pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== begun?.pointerId) return;
    begun.dragged ||= wandered(event);
    if (begun.dragged && mayDrag()) on.drag(boxTo(event));
  });
  canvas.addEventListener("pointerup", (event) => {
    if (event.pointerId !== begun?.pointerId) return;
    const [{ place: at, button, dragged }, box, dragging] = [begun, boxTo(event), mayDrag()];
    end();
    if (dragged) {
      if (dragging) on.box(box);
    } else if (mode() !== "box" || button === 2 || event.shiftKey) {
      on.point(at, button === 2 || event.shiftKey || mode() === "outside" ? 0 : 1);
    }
  });
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
}
