// SPDX-License-Identifier: Apache-2.0
// Masks as files to keep: JSON in COCO's form, or a picture of the photo's own size.

import { paintMasks } from "./masks.js";

function save(blob, picture, suffix) {
  const link = document.createElement("a"), stem = picture.name.replace(/\.[^.]*$/, "");
  Object.assign(link, { href: URL.createObjectURL(blob), download: `${stem}.${suffix}` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function saveJson(picture, masks, about) {
  const { name: file_name, width, height } = picture;
  const file = {
    info: { description: "masks by evit-deploy demo-sam", ...about },
    images: [{ id: 1, file_name, height, width }],
    annotations: masks.map((mask, index) => ({ id: index + 1, image_id: 1, category_id: 1, iscrowd: 0, ...mask })),
    categories: [{ id: 1, name: "object", supercategory: "" }],
  };
  save(new Blob([JSON.stringify(file)], { type: "application/json" }), picture, "masks.json");
}

export function savePng(picture, masks, colours) {
  const longest = Math.max(picture.width, picture.height), scale = Math.min(1, 16384 / longest);
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(picture.image, 0, 0, width, height);
  context.drawImage(paintMasks(masks, colours, width, height, Math.ceil((longest * scale) / 600)), 0, 0);
  canvas.toBlob((blob) => save(blob, picture, "overlay.png"), "image/png");
}
