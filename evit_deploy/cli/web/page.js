// SPDX-License-Identifier: Apache-2.0
// The demo page: a picture, prompts, masks. Its server is evit_deploy/cli/web/server.py.

import { saveJson, savePng } from "./keep.js";
import { paintMasks } from "./masks.js";
import { Prompts, drawBox, drawCross, drawPrompts, followPointer } from "./prompts.js";
import { Refused, ask, inWords, post, readLines } from "./talk.js";

const $ = (id) => document.getElementById(id);
const canvas = $("canvas"), context = canvas.getContext("2d");
const prompts = new Prompts();
const state = {
  colours: [], limits: {}, picture: null, masks: [], chosen: 0, all: false, layer: null, drag: null, cross: null,
  corner: null, opening: 0, asked: 0, busy: false, again: false, stop: null,
};

function showError(error) {
  if (!(error instanceof Refused)) console.error(error);
  $("error").textContent = error?.message ?? String(error);
  $("error").hidden = false;
}

const hideError = () => { $("error").hidden = true; };

// ---- pictures

async function openFile(file) {
  if (file.size > state.limits.bytes) {
    return showError(new Refused(`The file is too large.\nFound: ${Math.ceil(file.size / 2 ** 20)} MiB\n` +
      `Expected: at most ${state.limits.bytes >> 20} MiB`));
  }
  const options = { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file };
  await openPicture(file.name, async () => (await ask("api/pictures", options)).json());
}

async function openPicture(name, read) {
  const turn = ++state.opening;
  hideError();
  stopEverything();
  $("busy").hidden = false;
  try {
    const { picture, width, height } = await read();
    const image = new Image();
    image.src = `api/pictures/${picture}`;
    await image.decode().catch(() => { throw new Refused("The browser cannot show this picture."); });
    if (turn === state.opening) usePicture({ id: picture, width, height, image, name });
  } catch (error) {
    if (turn === state.opening) showError(error);
  } finally {
    if (turn === state.opening) $("busy").hidden = true;
  }
}

function usePicture(picture) {
  Object.assign(state, { picture, cross: null, corner: null, drag: null });
  prompts.reset();
  setMasks([], false);
  $("empty").hidden = true;
  canvas.hidden = false;
  $("everything").disabled = false;
  showLatency("–", "–", "–");
  fit();
  say(`${picture.name}, ${picture.width} × ${picture.height} pixels.`);
}

// ---- masks

function setMasks(masks, all, best = 0) {
  Object.assign(state, { masks, all, chosen: best, layer: null });
  showCandidates();
  const none = !masks.length;
  $("json").disabled = $("png").disabled = none;
  $("undo").disabled = !prompts.past.length;
  $("clear").disabled = prompts.empty && none;
}

const shownMasks = () => (state.all ? state.masks : state.masks.slice(state.chosen, state.chosen + 1));
const shownColours = () => (state.all ? state.colours : [state.colours[state.chosen % state.colours.length]]);

function showCandidates() {
  const field = $("candidates"), focused = field.contains(document.activeElement);
  field.querySelectorAll("label").forEach((label) => label.remove());
  field.hidden = state.all || state.masks.length < 2;
  if (field.hidden) return;
  state.masks.forEach((mask, index) => {
    const [label, input, swatch] = ["label", "input", "span"].map((tag) => document.createElement(tag));
    Object.assign(input, { type: "radio", name: "candidate", value: index, checked: index === state.chosen });
    input.addEventListener("change", () => choose(index));
    swatch.className = "swatch";
    swatch.style.background = `rgb(${state.colours[index % state.colours.length]})`;
    const part = (100 * mask.area) / (state.picture.width * state.picture.height);
    label.append(input, swatch, `${mask.predicted_iou.toFixed(3)}, ${part.toFixed(1)} % of the area`);
    field.append(label);
    if (focused && input.checked) input.focus();
  });
}

function choose(index) {
  if (state.all || index >= state.masks.length) return;
  [state.chosen, state.layer] = [index, null];
  showCandidates();
  draw();
}

// One request at a time; while it is under way only the latest wish is kept.
async function predict() {
  const turn = ++state.asked, picture = state.picture;
  if (state.busy) { state.again = true; return; }
  if (prompts.empty) { setMasks([], false); say("No prompt."); return draw(); }
  state.busy = true;
  canvas.ariaBusy = "true";
  const { points, box } = prompts;
  const question = { engine: $("engine").value, picture: picture.id, points, box, multimask: $("multimask").checked };
  try {
    const answer = await (await post("api/predict", question)).json();
    if (turn === state.asked && picture === state.picture) showAnswer(answer, question);
  } catch (error) {
    if (picture === state.picture) { setMasks([], false); draw(); showError(error); }
  } finally {
    state.busy = false;
    canvas.ariaBusy = "false";
    if (state.again) { state.again = false; predict(); }
  }
}

function showAnswer({ masks, best, milliseconds: { encoder, decoder, masks: pixels } }, question) {
  hideError();
  state.source = { engine: question.engine, prompt: { points: question.points, box: question.box } };
  setMasks(masks, false, best);
  showLatency(encoder === null ? "kept" : milliseconds(encoder), milliseconds(decoder), milliseconds(pixels));
  const count = masks.length === 1 ? "One mask" : `${masks.length} masks, the best`;
  say(`${count} with a predicted IoU of ${masks[best].predicted_iou.toFixed(3)}.`);
  draw();
}

const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

function showLatency(encoder, decoder, pixels) {
  [$("encoder").textContent, $("decoder").textContent, $("masks").textContent] = [encoder, decoder, pixels];
}

const say = (text) => { $("status").textContent = text; };

// ---- everything

async function everything() {
  if (state.stop) return stopEverything();
  hideError();
  const picture = state.picture, stop = (state.stop = new AbortController());
  const settings = {};
  for (const input of document.querySelectorAll("details input")) {
    if (!input.reportValidity()) { state.stop = null; return; }
    settings[input.id] = input.valueAsNumber;
  }
  $("everything").textContent = "Stop";
  $("progress").hidden = false;
  $("progress").removeAttribute("value");
  say("Looking for everything …");
  try {
    const question = { engine: $("engine").value, picture: picture.id, ...settings };
    const answer = await post("api/everything", question, stop.signal);
    state.source = { engine: question.engine, prompt: null };
    await readLines(answer, (line) => { if (stop === state.stop) showLine(line); });
  } catch (error) {
    if (error.name !== "AbortError") showError(error);
    say(error.name === "AbortError" ? "Stopped." : "");
  } finally {
    if (stop === state.stop) finishEverything();
  }
}

function showLine({ progress, result, error }) {
  if (error) throw new Refused(inWords(error));
  if (progress?.total) [$("progress").max, $("progress").value] = [progress.total, progress.done];
  if (!result) return;
  prompts.reset();
  state.asked++;
  setMasks(result.masks, true);
  showLatency("–", "–", "–");
  const count = result.masks.length === 1 ? "One mask" : `${result.masks.length || "No"} masks`;
  say(`${count} in ${(result.milliseconds.everything / 1000).toFixed(1)} s.`);
  draw();
}

function stopEverything() {
  if (!state.stop) return;
  state.stop.abort();
  finishEverything();
}

function finishEverything() {
  state.stop = null;
  $("everything").textContent = "Everything";
  $("progress").hidden = true;
}

// ---- drawing

function fit() {
  if (!state.picture) return;
  const { width, height } = state.picture, room = $("stage").clientWidth;
  const scale = Math.min(room / width, (0.8 * innerHeight) / height, Math.max(1, 480 / Math.max(width, height)));
  const ratio = devicePixelRatio || 1;
  const [wide, high] = [width, height].map((side) => Math.max(1, Math.round(side * scale * ratio)));
  canvas.style.width = `${wide / ratio}px`;  // the height follows
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height, state.layer] = [wide, high, null];
  draw();
}

function draw() {
  if (!state.picture) return;
  const { width, height } = canvas, unit = devicePixelRatio || 1, scale = width / state.picture.width;
  context.drawImage(state.picture.image, 0, 0, width, height);
  if (state.masks.length) {
    state.layer ??= paintMasks(shownMasks(), shownColours(), width, height, Math.max(1, Math.round(1.5 * unit)));
    context.drawImage(state.layer, 0, 0);
  }
  // A point names a pixel; it is drawn in the pixel's middle.
  context.save();
  context.translate(scale / 2, scale / 2);
  drawPrompts(context, prompts, scale, unit);
  if (state.drag) drawBox(context, state.drag, scale, unit);
  if (state.corner) drawBox(context, boxOf(state.corner, state.cross), scale, unit);
  if (state.cross && document.activeElement === canvas) drawCross(context, state.cross, scale, unit);
  context.restore();
}

// ---- prompts

const mode = () => document.querySelector("input[name=mode]:checked").value;

function addPoint([x, y], label) {
  if (prompts.points.length >= state.limits.points) {
    return showError(new Refused(`More than ${state.limits.points} points are not taken.`));
  }
  prompts.addPoint(x, y, label);
  changed();
}

function setBox(box) {
  if (box[0] === box[2] || box[1] === box[3]) return;
  prompts.setBox(box);
  changed();
}

function changed() {
  hideError();
  stopEverything();
  if (state.all) setMasks([], false);
  state.corner = null;
  $("undo").disabled = !prompts.past.length;
  $("clear").disabled = prompts.empty;
  draw();
  predict();
}

function undo() {
  if (!prompts.past.length) return;
  prompts.undo();
  changed();
}

function clear() {
  if (!state.picture || (prompts.empty && !state.masks.length)) return;
  prompts.clear();
  setMasks([], false);
  changed();
}

const boxOf = ([a, b], [c, d]) => [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];

function moveCross(dx, dy) {
  const { width, height } = state.picture;
  const [x, y] = state.cross ?? [Math.floor(width / 2), Math.floor(height / 2)];
  state.cross = [Math.min(Math.max(x + dx, 0), width - 1), Math.min(Math.max(y + dy, 0), height - 1)];
  say(`Cross at ${state.cross.join(", ")}.`);
  draw();
}

function setAtCross(event) {
  if (!state.cross) return moveCross(0, 0);
  if (mode() !== "box") return addPoint(state.cross, mode() === "outside" || event.shiftKey ? 0 : 1);
  if (!state.corner) { state.corner = state.cross; say("First corner of the box is set."); return draw(); }
  const box = boxOf(state.corner, state.cross);
  state.corner = null;
  setBox(box);
  draw();
}

// ---- keys

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function onCanvasKey(event) {
  const step = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(state.picture.width, state.picture.height) / 50));
  if (event.key in ARROWS) moveCross(...ARROWS[event.key].map((side) => side * step));
  else if (event.key === "Enter" || event.key === " ") setAtCross(event);
  else return;
  event.preventDefault();
}

function onKey(event) {
  const typing = event.target.matches("input[type=number], select");
  const command = event.ctrlKey || event.metaKey;
  if (typing || event.altKey || (command && event.key.toLowerCase() !== "z")) return;
  if (command || event.key.toLowerCase() === "u") { undo(); event.preventDefault(); }
  else if (event.key === "Escape") clear();
  else if (/^[1-3]$/.test(event.key)) choose(Number(event.key) - 1);
}

// ---- beginning

function followPage() {
  followPointer(canvas, () => [state.picture.width, state.picture.height], mode, {
    point: addPoint, box: setBox, drag: (box) => { state.drag = box; draw(); },
  });
  canvas.addEventListener("keydown", onCanvasKey);
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, draw);
  addEventListener("keydown", onKey);
  addEventListener("resize", fit);
  new ResizeObserver(() => requestAnimationFrame(fit)).observe($("stage"));
  $("open").addEventListener("change", ({ target }) => {
    if (target.files[0]) openFile(target.files[0]);
    target.value = "";
  });
  const json = () => {
    saveJson(state.picture, shownMasks(), state.source);
  };
  const png = () => savePng(state.picture, shownMasks(), shownColours());
  for (const [id, act] of Object.entries({ undo, clear, everything, json, png })) $(id).addEventListener("click", act);
  $("multimask").addEventListener("change", () => { if (!prompts.empty) predict(); });
  $("engine").addEventListener("change", () => {
    showWarnings();
    if (state.stop) stopEverything();
    if (state.all) { setMasks([], false); draw(); }
    if (!prompts.empty) changed();
  });
  $("modes").addEventListener("change", () => {
    state.corner = null;
    canvas.classList.toggle("box", mode() === "box");
    draw();
  });
  followDrops();
}

function followDrops() {
  addEventListener("dragover", (event) => { event.preventDefault(); $("stage").classList.add("over"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("stage").classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("stage").classList.remove("over");
    const file = event.dataTransfer.files[0];
    if (file) openFile(file);
  });
}

function showWarnings() {
  const { warnings } = state.engines.find(({ name }) => name === $("engine").value);
  $("warnings").textContent = warnings.join("\n");
  $("warnings").hidden = !warnings.length;
}

async function begin() {
  followPage();
  const known = await (await ask("api/state")).json();
  const asNumbers = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  Object.assign(state, { engines: known.engines, limits: known.limits, colours: known.colours.map(asNumbers) });
  for (const { name } of known.engines) $("engine").append(new Option(name, name));
  $("version").textContent = `evit-deploy ${known.version}`;
  showWarnings();
  if (!known.example) return;
  const [height, width] = known.example_size;
  const open = () => openPicture("example.png", async () => ({ picture: known.example, width, height }));
  $("example").hidden = false;
  $("example").addEventListener("click", open);
  await open();
}

begin().catch(showError);
