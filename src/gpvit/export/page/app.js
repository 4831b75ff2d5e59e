// The page: loads runtime and model from its own folder, hands images to the worker, and shows what it answers.
"use strict";

const MOST_PIXELS = 64e6;
const SHOWN_CLASSES = 5;
const RAMP = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

const $ = (id) => document.getElementById(id);
const gpvit = { parts: {}, part: (name, text) => (gpvit.parts[name] ??= []).push(text) };
window.gpvit = gpvit;

let worker, facts, pending, shown, place = null, asked = 0;

start().catch((error) => say(`This page could not start: ${error.message}`, true));

async function start() {
  await script("parts/facts.js");
  facts = gpvit.facts;
  $("title").textContent = facts.title;
  document.title = facts.title;
  let loaded = 0;
  for (const file of gpvit.files) {
    say(`Loading the model and its runtime, ${Math.round((100 * loaded) / gpvit.files.length)} %`);
    await script(file);
    $("progress").value = ++loaded / gpvit.files.length;
  }
  say("Starting the model…");
  // a page on the disk may start no worker from a blob, but may from an address that holds the script itself
  const address = async (name) => `data:text/javascript;charset=utf-8,${encodeURIComponent(new TextDecoder().decode(await unpacked(name)))}`;
  const [wasm, model] = [await unpacked("wasm"), await unpacked("model")];
  worker = new Worker(await address("worker"), { type: "module" });
  worker.onmessage = ({ data }) => receive(data);
  worker.onerror = (event) => {
    const failed = document.body.dataset.ready ? "The model stopped; load this page again" : "The model could not start";
    say(`${failed}: ${event.message ?? "this browser starts no worker here"}`, true);
  };
  worker.postMessage({ kind: "open", facts, ort: await address("ort"), wasm, model }, [wasm.buffer, model.buffer]);
  gpvit.parts = {};
}

function script(source) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement("script"), { src: source, onload: resolve });
    element.onerror = () => reject(new Error(`${source} is missing; copy the whole folder`));
    document.head.append(element);
  });
}

// Each part is whole groups of four characters, and so is decoded by itself: one text of all would be too long.
function decoded(part) {
  const text = atob(part);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unpacked(name) {
  const stream = new Blob(gpvit.parts[name].map(decoded)).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function receive(data) {
  if (data.kind === "ready") {
    $("progress").hidden = true;
    say("Ready. Choose, drop or paste an image.");
    document.body.dataset.ready = "true";
  } else if (data.id === undefined) {
    say(`The model could not start: ${data.text}`, true);
  } else if (data.id === asked) {
    if (data.kind === "error") return say(`The model could not answer: ${data.text}`, true);
    shown = { ...pending, ...data };
    show();
    say(`${shown.name}: answered in ${Math.round(data.milliseconds)} ms`);
  }
}

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

// ---- images in

async function take(file) {
  if (!file || !document.body.dataset.ready) return;
  const id = ++asked;
  say(`Reading ${file.name}…`);
  try {
    const claimed = await claimedSize(file);
    if (claimed > MOST_PIXELS) throw new Error(`has ${Math.round(claimed / 1e6)} million pixels; at most ${MOST_PIXELS / 1e6} million can be shown here`);
    const bitmap = await createImageBitmap(file, { premultiplyAlpha: "none", colorSpaceConversion: "none" }).catch(() => {
      throw new Error("is no image that this browser can read, or is damaged");
    });
    const { width, height } = bitmap;
    if (width * height > MOST_PIXELS) throw new Error(`has more than ${MOST_PIXELS / 1e6} million pixels`);
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white"; // beneath what is transparent
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const pixels = context.getImageData(0, 0, width, height).data.buffer;
    if (id !== asked) return;
    pending = { name: file.name, image: canvas, width, height };
    say(`Looking at ${file.name}…`);
    worker.postMessage({ kind: "predict", id, pixels, width, height }, [pixels]);
  } catch (error) {
    if (id === asked) say(`${file.name} ${error.message}.`, true);
  }
}

// What a PNG says of its size, before anything is decoded; browsers guard against other formats' bombs themselves.
async function claimedSize(file) {
  const head = new DataView(await file.slice(0, 24).arrayBuffer());
  const isPng = head.byteLength === 24 && head.getUint32(0) === 0x89504e47;
  return isPng ? head.getUint32(16) * head.getUint32(20) : 0;
}

for (const id of ["file", "camera"]) {
  $(id).addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = "";
  });
}
addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
addEventListener("dragleave", () => document.body.classList.remove("dragging"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files[0]);
});

// ---- answers out

function show() {
  $("result").hidden = false;
  const isMap = Boolean(shown.labels);
  $("segmentation").hidden = $("mask").hidden = !isMap;
  $("heading").textContent = isMap ? "Classes in the image" : "Most probable classes";
  const rows = isMap ? areas() : [...shown.probabilities].map((share, index) => [index, share]);
  rows.sort((a, b) => b[1] - a[1]);
  list($("classes"), rows.slice(0, isMap ? rows.length : SHOWN_CLASSES), ([index, share]) => ({
    text: facts.label_names[index],
    share,
    colour: isMap ? facts.colors[index] : null,
  }));
  $("groups").hidden = shown.groups.length === 0;
  if (shown.groups.length && $("block").length === 0) offerGroups();
  draw();
}

function areas() {
  const counts = new Array(facts.num_classes).fill(0);
  for (const label of shown.labels) counts[label]++;
  return counts.map((count, index) => [index, count / shown.labels.length]).filter(([, share]) => share > 0);
}

function list(element, rows, describe) {
  element.replaceChildren(
    ...rows.map((row) => {
      const { text, share, colour, action } = describe(row);
      const item = document.createElement("li");
      const bar = document.createElement(action ? "button" : "div");
      bar.className = "bar";
      bar.style.setProperty("--share", `${100 * share}%`);
      if (colour) bar.style.setProperty("--colour", `rgb(${colour})`);
      if (action) Object.assign(bar, { type: "button", onclick: action });
      const [name, figure] = [document.createElement("span"), document.createElement("span")];
      [name.textContent, figure.textContent] = [text, `${(100 * share).toFixed(1)} %`];
      bar.append(name, figure);
      item.append(bar);
      return item;
    }),
  );
}

function draw() {
  const canvas = $("canvas");
  const { width, height } = shown;
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(shown.image, 0, 0);
  if ($("groups").open && shown.groups.length) {
    drawHeat(context);
  } else if (shown.labels) {
    context.globalAlpha = $("opacity").value / 100;
    const colours = facts.colors.map(pixelOf);
    context.drawImage(painted(width, height, shown.labels, (label) => colours[label]), 0, 0);
    context.globalAlpha = 1;
  }
}

// A colour as the four bytes of a pixel.
const pixelOf = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

function painted(width, height, values, pixel) {
  const canvas = new OffscreenCanvas(width, height);
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = pixel(values[i]);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// A colour of the ramp for a share from 0 to 1.
function ramp(share) {
  const at = share * (RAMP.length - 1);
  const low = Math.min(Math.floor(at), RAMP.length - 2);
  return RAMP[low].map((value, c) => value + (at - low) * (RAMP[low + 1][c] - value));
}

// ---- groups

function offerGroups() {
  const fill = (id, entries) => $(id).replaceChildren(...entries.map(([text, value]) => new Option(text, value)));
  fill("block", shown.groups.map(({ block }, index) => [block, index]));
  const { heads, groups } = shown.groups[0];
  fill("head", [["all", -1], ...Array.from({ length: heads }, (_, i) => [i, i])]);
  fill("group", Array.from({ length: groups }, (_, i) => [i, i]));
}

// The mean over the chosen heads of a map (heads, groups, h, w), for one group: (h, w).
function mapOf(kind, block, group) {
  const { heads, groups, high, wide } = block;
  const chosen = Number($("head").value);
  const used = chosen < 0 ? [...Array(heads).keys()] : [Math.min(chosen, heads - 1)];
  const mean = new Float32Array(high * wide);
  for (const head of used) {
    const start = (head * groups + group) * high * wide;
    for (let i = 0; i < mean.length; i++) mean[i] += block[kind][start + i] / used.length;
  }
  return mean;
}

function drawHeat(context) {
  const block = shown.groups[Number($("block").value)];
  const map = mapOf("grouping", block, Math.min(Number($("group").value), block.groups - 1));
  const [least, most] = [map.reduce((a, b) => Math.min(a, b)), map.reduce((a, b) => Math.max(a, b))];
  const heat = painted(block.wide, block.high, map, (value) => pixelOf(ramp((value - least) / (most - least || 1))));
  const [left, top, wide, high] = shown.seen;
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 0.7;
  context.drawImage(heat, left, top, wide, high);
  context.globalAlpha = 1;
  place ??= [block.wide >> 1, block.high >> 1];
  const [x, y] = [Math.min(place[0], block.wide - 1), Math.min(place[1], block.high - 1)];
  const [cellWide, cellHigh] = [wide / block.wide, high / block.high];
  context.lineWidth = Math.max(2, shown.width / 300);
  for (const [colour, grow] of [["black", 1.5], ["white", 0]]) {
    context.strokeStyle = colour;
    context.strokeRect(left + x * cellWide - grow, top + y * cellHigh - grow, cellWide + 2 * grow, cellHigh + 2 * grow);
  }
  const here = Array.from({ length: block.groups }, (_, g) => [g, mapOf("ungrouping", block, g)[y * block.wide + x]]);
  here.sort((a, b) => b[1] - a[1]);
  list($("answering"), here.slice(0, SHOWN_CLASSES), ([group, share]) => ({
    text: `group ${group}`,
    share,
    action: () => choose(group),
  }));
  $("place").textContent = `Place ${x + 1} of ${block.wide} across, ${y + 1} of ${block.high} down: group ${here[0][0]} answers most, ${(100 * here[0][1]).toFixed(0)} %.`;
}

function choose(group) {
  $("group").value = group;
  draw();
}

function moveTo(x, y) {
  const block = shown.groups[Number($("block").value)];
  place = [Math.min(Math.max(x, 0), block.wide - 1), Math.min(Math.max(y, 0), block.high - 1)];
  draw();
}

$("canvas").addEventListener("pointermove", (event) => {
  if (!$("groups").open || !shown?.groups?.length) return;
  const block = shown.groups[Number($("block").value)];
  const [left, top, wide, high] = shown.seen;
  const scale = shown.width / $("canvas").clientWidth;
  const [x, y] = [(event.offsetX * scale - left) / wide, (event.offsetY * scale - top) / high];
  moveTo(Math.floor(x * block.wide), Math.floor(y * block.high));
});
$("canvas").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step || !$("groups").open || !place) return;
  event.preventDefault();
  moveTo(place[0] + step[0], place[1] + step[1]);
});
for (const id of ["block", "head", "group", "opacity"]) $(id).addEventListener("input", draw);
$("groups").addEventListener("toggle", () => {
  if (!$("groups").open) $("place").textContent = "";
  draw();
});

// ---- downloads

async function download(name, blob) {
  const address = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}

const stem = () => shown.name.replace(/\.[^.]*$/, "");

$("mask").addEventListener("click", async () => {
  const mask = painted(shown.width, shown.height, shown.labels, (label) => pixelOf([label, label, label])); // gray is the class
  download(`${stem()}_labels.png`, await mask.convertToBlob({ type: "image/png" }));
});
$("json").addEventListener("click", () => {
  const named = (rows, key) => rows.map(([index, share]) => ({ class_name: facts.label_names[index], class_index: index, [key]: share }));
  const answer = shown.labels
    ? { classes: named(areas(), "area") }
    : { predictions: named([...shown.probabilities].map((share, index) => [index, share]), "probability") };
  const text = JSON.stringify({ image: shown.name, model: facts.name, ...answer }, null, 1);
  download(`${stem()}.json`, new Blob([text], { type: "application/json" }));
});
