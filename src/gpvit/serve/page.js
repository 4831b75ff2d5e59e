"use strict";
const $ = (id) => document.getElementById(id);
const canvas = $("canvas"), context = canvas.getContext("2d");
let models = {}, photo, picture, answer, asked = 0;

const percent = (share) => (share < 0.001 ? "<0.1%" : (100 * share).toFixed(1) + "%");
const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;
const hue = (group) => `hsl(${(group * 137.5) % 360} ${group % 2 ? 65 : 85}% ${42 + 12 * (group % 3)}%)`;

function say(text, wrong = false) {
  $("said").textContent = text;
  $("said").classList.toggle("wrong", wrong);
}

async function call(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  if ($("key").value) headers.Authorization = `Bearer ${$("key").value}`;
  const response = await fetch(path, { ...options, headers });
  const said = await response.json();
  $("keys").hidden = response.status !== 401 && !$("key").value;
  if (!response.ok) throw new Error(said.error.message);
  return said;
}

async function list() {
  try {
    for (const model of (await call("v1/models")).models) models[model.name] = model;
    $("model").replaceChildren(...Object.keys(models).map((name) => new Option(name)));
    say("");
    chosen();
  } catch (error) {
    say(error.message, true);
  }
}

function chosen() {
  const model = models[$("model").value];
  $("verbs").hidden = !model.groups;
  if (!model.groups) $("verb").value = "predict";
  ask();
}

async function open(file) {
  if (!file) return;
  photo = file;
  answer = null; // of another image
  const read = await createImageBitmap(file).catch(() => null); // the service may read what this browser does not show
  if (photo !== file) return; // another was chosen meanwhile
  picture = read;
  ask();
}

async function ask() {
  if (!photo || !$("model").value) return;
  const turn = ++asked, start = performance.now();
  say("Looking …");
  try {
    const path = `v1/${$("verb").value}?score=${$("score").min}&model=${encodeURIComponent($("model").value)}`;
    const said = await call(path, { method: "POST", body: photo, headers: { "Content-Type": "application/octet-stream" } });
    if (turn !== asked) return;
    answer = prepare(said.results[0]);
    $("views").classList.add("answered");
    $("hint").hidden = !!picture;
    canvas.hidden = !picture;
    const seconds = ((performance.now() - start) / 1000).toFixed(2);
    say(`${said.model}, ${seconds} s. ${remark(answer)}`);
    show();
  } catch (error) {
    if (turn !== asked) return;
    answer = null;
    $("list").replaceChildren();
    canvas.hidden = true;
    $("hint").hidden = false;
    say(error.message, true);
  }
}

function remark({ blocks, objects }) {
  if (blocks) return "Each place has the colour of the group that looks there most. Move over the image to see where a group looks.";
  if (!objects) return "";
  return objects.length ? `The best score is ${percent(objects[0].score)}.` : "There is no object.";
}

function prepare(result) {
  for (const block of result.blocks ?? []) block.bytes = Uint8Array.from(atob(block.strength), (c) => c.charCodeAt(0));
  if (result.blocks) {
    $("block").replaceChildren(...result.blocks.map((block, place) => new Option(block.block, place)));
    $("block").value = result.blocks.length - 1;
    $("group").value = -1;
  }
  return result;
}

/* Each has the image's size, and so is made when it is shown first. */
function layer(shown) {
  return (shown.layer ??= decoded(shown.mask, shown.color));
}

/* COCO's run lengths: columns from top to bottom, numbers of 5 bits a character, from the third on as differences. */
function decoded({ size: [height, width], counts }, [r, g, b]) {
  const canvas = new OffscreenCanvas(width, height), context = canvas.getContext("2d");
  const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
  const color = ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0, runs = [];
  for (let place = 0, at = 0; at < counts.length; ) {
    let run = 0, shift = 0, code;
    do {
      code = counts.charCodeAt(at++) - 48;
      run |= (code & 31) << shift;
      shift += 5;
    } while (code & 32);
    if (code & 16) run |= -1 << shift;
    if (runs.length > 2) run += runs[runs.length - 2];
    if (runs.push(run) % 2 === 0)
      for (let i = place; i < place + run; i++) pixels[(i % height) * width + Math.floor(i / height)] = color;
    place += run;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function show() {
  $("blocks").hidden = $("groups").hidden = !answer.blocks;
  $("shades").hidden = !answer.areas && !answer.blocks;
  $("scores").hidden = !answer.objects;
  $("from").textContent = percent(Number($("score").value));
  const rows = answer.top ?? answer.areas ?? found();
  const share = (row) => row.probability ?? row.share ?? row.score;
  $("list").replaceChildren(...rows.map((row) => item(row.class_name, percent(share(row)), row.color && css(row.color), share(row))));
  if (picture) draw();
}

const found = () => (answer.objects ?? []).filter((object) => object.score >= Number($("score").value));

function item(name, value, color, share) {
  const row = document.createElement("li"), mark = document.createElement("i"), label = document.createElement("span");
  mark.style.background = color ?? "none";
  label.textContent = name;
  row.append(mark, label, value);
  if (!color) row.append(Object.assign(document.createElement("meter"), { value: share, ariaLabel: name }));
  return row;
}

/* In pixels of the answer, of which small images get several of the screen's each. */
function draw() {
  const width = answer.width ?? picture.width, height = answer.height ?? picture.height;
  const scale = Math.ceil(448 / Math.min(width, height));
  canvas.width = width * scale;
  canvas.height = height * scale;
  context.scale(scale, scale);
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.filter = answer.areas || answer.blocks ? "grayscale(1)" : "none";
  context.drawImage(picture, 0, 0, width, height);
  context.filter = "none";
  context.imageSmoothingEnabled = false;
  context.globalAlpha = Number($("shade").value);
  if (answer.blocks) paintGroups();
  for (const area of answer.areas ?? []) context.drawImage(layer(area), 0, 0);
  for (const object of found().reverse()) box(object, Math.max(width, height) / 400);
}

function box(object, unit) {
  const { box: [left, top, right, bottom], color, class_name, score } = object;
  context.globalAlpha = 0.45;
  if (object.mask) context.drawImage(layer(object), 0, 0);
  context.globalAlpha = 1;
  context.strokeStyle = context.fillStyle = css(color);
  context.lineWidth = unit;
  context.strokeRect(left, top, right - left, bottom - top);
  context.font = `600 ${8 * unit}px system-ui`;
  const text = `${class_name} ${percent(score)}`, y = Math.max(top, 10 * unit);
  context.fillRect(left - unit / 2, y - 10 * unit, context.measureText(text).width + 4 * unit, 10 * unit);
  context.fillStyle = color[0] * 3 + color[1] * 6 + color[2] > 1400 ? "black" : "white";
  context.fillText(text, left + unit, y - 2.5 * unit);
}

function paintGroups() {
  const { shape: [count, rows, columns], assignment, bytes } = answer.blocks[$("block").value];
  const { stride } = answer, group = Math.min(Number($("group").value), count - 1);
  $("group").max = count - 1;
  $("which").textContent = group < 0 ? "all" : group;
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) {
      const heat = bytes[(group * rows + y) * columns + x] / 255;
      context.fillStyle = group < 0 ? hue(assignment[y][x]) : `hsl(${265 - 215 * heat} 90% ${10 + 55 * heat}%)`;
      context.fillRect(x * stride, y * stride, stride, stride);
    }
}

canvas.addEventListener("pointermove", (event) => {
  if (!answer?.blocks) return;
  const { assignment, shape: [, rows, columns] } = answer.blocks[$("block").value], bounds = canvas.getBoundingClientRect();
  const cell = answer.stride / answer.width;
  const x = Math.floor((event.clientX - bounds.left) / bounds.width / cell);
  const y = Math.floor((event.clientY - bounds.top) / bounds.height * (answer.height / answer.width) / cell);
  $("group").value = assignment[Math.min(Math.max(y, 0), rows - 1)][Math.min(Math.max(x, 0), columns - 1)];
  draw();
});
canvas.addEventListener("pointerleave", () => {
  if (!answer?.blocks) return;
  $("group").value = -1;
  draw();
});
$("file").addEventListener("change", (event) => open(event.target.files[0]));
$("model").addEventListener("change", chosen);
$("verb").addEventListener("change", ask);
$("key").addEventListener("change", list);
$("score").addEventListener("input", () => answer && show());
for (const id of ["block", "group", "shade"]) $(id).addEventListener("input", () => answer && picture && draw());
document.addEventListener("paste", (event) => open(event.clipboardData.files[0]));
document.addEventListener("dragover", (event) => (event.preventDefault(), $("drop").classList.add("over")));
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  open(event.dataTransfer.files[0]);
});
$("here").textContent = location.href.replace(/[^/]*$/, "");
list();
