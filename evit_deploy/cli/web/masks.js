// SPDX-License-Identifier: Apache-2.0
// Masks from COCO's compressed run lengths, painted over a picture at any size.

// Lengths of the runs, zeros first, column by column. Each is a number in groups of five bits, lowest first, bit 5
// meaning "more follows"; from the fourth on it is the difference to the run two before.
export function readCounts(text) {
  const counts = [];
  for (let at = 0; at < text.length;) {
    let value = 0, shift = 0, group;
    do {
      group = text.charCodeAt(at++) - 48;
      value |= (group & 31) << shift;
      shift += 5;
    } while (group & 32);
    if (group & 16) value |= -1 << shift;
    counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value);
  }
  return counts;
}

// Writes `number` into labels (Uint16Array, width × height) wherever the mask covers the middle of a pixel.
export function fillMask(labels, width, height, { size: [rows, columns], counts }, number) {
  const row = Float64Array.from({ length: rows + 1 }, (_, y) => Math.ceil((y * height) / rows - 0.5));
  const column = Float64Array.from({ length: columns + 1 }, (_, x) => Math.ceil((x * width) / columns - 0.5));
  let at = 0, inside = false;
  for (const count of readCounts(counts)) {
    for (let start = at, end = at + count; inside && start < end;) {
      const x = Math.floor(start / rows), stop = Math.min(end, (x + 1) * rows);
      const top = row[start - x * rows], bottom = row[stop - x * rows];
      for (let shown = column[x]; shown < column[x + 1]; shown++) {
        for (let y = top; y < bottom; y++) labels[y * width + shown] = number;
      }
      start = stop;
    }
    at += count;
    inside = !inside;
  }
}

// A canvas of width × height with all masks: half transparent, each with an outline of its colour and a white rim.
// Large masks first, so that small ones lie on top; `colours` are [r, g, b], one for each mask.
export function paintMasks(masks, colours, width, height, line = 1) {
  const order = masks.map((_, index) => index).sort((a, b) => masks[b].area - masks[a].area);
  const labels = new Uint16Array(width * height);
  for (const index of order) fillMask(labels, width, height, masks[index].segmentation, index + 1);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d"), image = context.createImageData(width, height), data = image.data;
  const edge = findEdges(labels, width, height, line);
  for (let pixel = 0; pixel < labels.length; pixel++) {
    const label = labels[pixel];
    if (!label && !edge[pixel]) continue;
    const [r, g, b] = label ? colours[(label - 1) % colours.length] : [255, 255, 255];
    data.set([r, g, b, edge[pixel] ? 255 : 128], 4 * pixel);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// Pixels within `line` of another label.
function findEdges(labels, width, height, line) {
  let edge = new Uint8Array(labels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = y * width; x < width; x++, at++) {
      if (x + 1 < width && labels[at] !== labels[at + 1]) edge[at] = edge[at + 1] = 1;
      if (y + 1 < height && labels[at] !== labels[at + width]) edge[at] = edge[at + width] = 1;
    }
  }
  for (let step = 1; step < line; step++) {
    const grown = edge.slice();
    for (let y = 0; y < height; y++) {
      for (let x = 0, at = y * width; x < width; x++, at++) {
        if (!edge[at]) continue;
        if (x) grown[at - 1] = 1;
        if (x + 1 < width) grown[at + 1] = 1;
        if (y) grown[at - width] = 1;
        if (y + 1 < height) grown[at + width] = 1;
      }
    }
    edge = grown;
  }
  return edge;
}
