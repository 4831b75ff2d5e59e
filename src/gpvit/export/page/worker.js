// Prepares images, runs the network and reads its answer, away from the page, which so never freezes.
// The arithmetic is that of gpvit.runtime: prepare.py, resizing.py, and Pillow's resizing of bytes.
"use strict";

let ort, session, facts;

self.onmessage = async ({ data }) => {
  try {
    if (data.kind === "open") {
      facts = data.facts;
      ort = await import(data.ort);
      ort.env.wasm.numThreads = 1; // more would need headers that a plain host does not send
      ort.env.wasm.wasmBinary = data.wasm;
      session = await ort.InferenceSession.create(data.model, { executionProviders: ["wasm"] });
      self.postMessage({ kind: "ready" });
    } else {
      const { answer, transfer } = await predict(new Uint8Array(data.pixels), data.width, data.height);
      self.postMessage({ kind: "answer", id: data.id, ...answer }, transfer);
    }
  } catch (error) {
    self.postMessage({ kind: "error", id: data.id, text: String(error?.message ?? error) });
  }
};

async function predict(rgba, width, height) {
  const started = performance.now();
  const image = channels({ rgba, width, height }, facts.in_chans);
  const { seen, pixels } = facts.task === "classification" ? cropped(image) : stretched(image);
  const input = new ort.Tensor("float32", normalised(pixels), [1, facts.in_chans, pixels.height, pixels.width]);
  const outputs = await session.run({ images: input });
  const logits = outputs.logits;
  const answer = { seen, groups: groupMaps(outputs) };
  const transfer = answer.groups.flatMap((block) => [block.grouping.buffer, block.ungrouping.buffer]);
  if (facts.task === "classification") {
    answer.probabilities = softmax(logits.data);
  } else {
    answer.labels = labelMap(logits, [pixels.height, pixels.width], [height, width]);
    transfer.push(answer.labels.buffer);
  }
  answer.milliseconds = performance.now() - started;
  return { answer, transfer };
}

// Gray or colour of RGBA, transparency laid on white, interleaved as (H, W, C).
function channels({ rgba, width, height }, count) {
  const data = new Uint8Array(width * height * count);
  for (let i = 0, from = 0; i < data.length; i += count, from += 4) {
    const [r, g, b] = [rgba[from], rgba[from + 1], rgba[from + 2]];
    if (count === 1) data[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16; // Pillow's "L"
    else data.set([r, g, b], i);
  }
  return { data, width, height, count };
}

// A classifier's input: the image resized until it just covers the input over crop_pct, and its centre, as timm does.
function cropped(image) {
  const how = facts.preprocessing;
  const [, high, wide] = how.input_size;
  const [coverHigh, coverWide] = [Math.floor(high / how.crop_pct), Math.floor(wide / how.crop_pct)];
  let width, height;
  if (coverHigh === coverWide) {
    const longer = Math.trunc((coverHigh * Math.max(image.width, image.height)) / Math.min(image.width, image.height));
    [height, width] = image.height <= image.width ? [coverHigh, longer] : [longer, coverHigh];
  } else {
    const ratio = Math.min(image.height / coverHigh, image.width / coverWide);
    [height, width] = [halfToEven(image.height / ratio), halfToEven(image.width / ratio)];
  }
  const resized = resizedAsPillow(image, width, height, how.interpolation);
  const [left, top] = [halfToEven((width - wide) / 2), halfToEven((height - high) / 2)];
  const pixels = { data: new Uint8Array(high * wide * image.count), width: wide, height: high, count: image.count };
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const [row, column] = [y + top, x + left]; // beyond the border is black, as in Pillow's crop
      if (row < 0 || column < 0 || row >= height || column >= width) continue;
      const from = (row * width + column) * image.count;
      pixels.data.set(resized.data.subarray(from, from + image.count), (y * wide + x) * image.count);
    }
  }
  const [across, down] = [image.width / width, image.height / height];
  return { pixels, seen: [left * across, top * down, wide * across, high * down] };
}

// A segmenter's input: the whole image, fitted to the largest size, then to whole patches.
function stretched(image) {
  const { max_size: limits, size_divisor: divisor } = facts.preprocessing;
  let { width, height } = image;
  if (limits) {
    const scale = Math.min(limits[0] / Math.max(width, height), limits[1] / Math.min(width, height));
    [width, height] = [width, height].map((side) => Math.max(Math.trunc(side * scale + 0.5), 1));
  }
  const up = (side) => Math.ceil(side / divisor) * divisor;
  const kept = resizedAsTorch(resizedAsTorch(image, width, 1), height, 0);
  return {
    pixels: resizedAsTorch(resizedAsTorch(kept, up(width), 1), up(height), 0),
    seen: [0, 0, image.width, image.height],
  };
}

function normalised({ data, width, height, count }) {
  const { mean, std } = facts.preprocessing;
  const values = new Float32Array(data.length);
  for (let c = 0; c < count; c++) {
    const [m, s] = [Math.fround(mean[c]), Math.fround(std[c])];
    for (let i = 0, to = c * width * height; i < width * height; i++, to++) {
      values[to] = Math.fround(Math.fround(data[i * count + c] / 255) - m) / s;
    }
  }
  return values;
}

// Bilinear without antialiasing along one axis (1 across, 0 down), with shares of whole numbers, as torch has it.
function resizedAsTorch(image, length, axis) {
  const old = axis ? image.width : image.height;
  if (old === length) return image;
  const scale = old / length;
  const lower = new Int32Array(length);
  const shares = new Float64Array(length);
  for (let i = 0; i < length; i++) {
    const centre = Math.max((i + 0.5) * scale - 0.5, 0);
    lower[i] = Math.min(Math.trunc(centre), old - 1);
    shares[i] = Math.min(Math.max(centre - lower[i], 0), 1);
  }
  const largest = shares.reduce((most, share) => Math.max(most, share, 1 - share), 0);
  const bits = halfToEven(largest * 2 ** 15) >= 2 ** 15 ? 14 : 15;
  const weigh = (share) => Math.floor(share * 2 ** bits + 0.5);
  return along(image, length, axis, (at, i) => {
    const above = Math.min(lower[i] + 1, old - 1);
    return (at(lower[i]) * weigh(1 - shares[i]) + at(above) * weigh(shares[i]) + 2 ** (bits - 1)) >> bits;
  });
}

const FILTERS = {
  bilinear: [1, (x) => Math.max(1 - Math.abs(x), 0)],
  bicubic: [2, (x) => ((x = Math.abs(x)) < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0)],
};

// Antialiased, as Pillow resizes bytes: first across, then down.
function resizedAsPillow(image, width, height, interpolation) {
  const across = image.width === width ? image : antialiased(image, width, 1, FILTERS[interpolation]);
  return image.height === height ? across : antialiased(across, height, 0, FILTERS[interpolation]);
}

function antialiased(image, length, axis, [support, filter]) {
  const old = axis ? image.width : image.height;
  const scale = old / length;
  const stretch = Math.max(scale, 1);
  const taps = Array.from({ length }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - support * stretch + 0.5), 0);
    const last = Math.min(Math.trunc(centre + support * stretch + 0.5), old);
    const weights = Array.from({ length: last - first }, (_, x) => filter((x + first - centre + 0.5) / stretch));
    const sum = weights.reduce((a, b) => a + b, 0);
    return { first, weights: weights.map((w) => Math.trunc((w / sum) * 2 ** 22 + (w / sum < 0 ? -0.5 : 0.5))) };
  });
  return along(image, length, axis, (at, i) => {
    const { first, weights } = taps[i];
    let sum = 1 << 21;
    for (let k = 0; k < weights.length; k++) sum += at(first + k) * weights[k];
    return Math.min(Math.max(sum >> 22, 0), 255);
  });
}

// A new image whose pixels along one axis are made of the old ones: `make(at, i)`, where `at(j)` is the old one at j.
function along(image, length, axis, make) {
  const { data, count } = image;
  const [width, height] = axis ? [length, image.height] : [image.width, length];
  const result = { data: new Uint8Array(width * height * count), width, height, count };
  const step = axis ? count : image.width * count;
  const rows = axis ? image.height : image.width;
  for (let row = 0; row < rows; row++) {
    for (let c = 0; c < count; c++) {
      const base = (axis ? row * image.width * count : row * count) + c;
      const at = (j) => data[base + j * step];
      for (let i = 0; i < length; i++) {
        result.data[(axis ? row * width + i : i * width + row) * count + c] = make(at, i);
      }
    }
  }
  return result;
}

// The most probable class of each pixel of logits (K, h, w), resized to the network's size and then to the image's.
function labelMap(logits, middle, size) {
  const [, classes, high, wide] = logits.dims;
  const [down, across] = [shares(high, middle[0], size[0]), shares(wide, middle[1], size[1])];
  const labels = new Uint8Array(size[0] * size[1]);
  const row = new Float32Array(classes * wide);
  for (let y = 0; y < size[0]; y++) {
    row.fill(0);
    for (const [from, share] of down[y]) {
      for (let k = 0; k < classes; k++) {
        const start = (k * high + from) * wide;
        for (let x = 0; x < wide; x++) row[k * wide + x] += share * logits.data[start + x];
      }
    }
    for (let x = 0; x < size[1]; x++) {
      let most = -Infinity;
      for (let k = 0; k < classes; k++) {
        let value = 0;
        for (const [from, share] of across[x]) value += share * row[k * wide + from];
        if (value > most) [most, labels[y * size[1] + x]] = [value, k];
      }
    }
  }
  return labels;
}

// How much each old place weighs in each new one, after two bilinear resizings: lists of [place, share].
function shares(length, middle, end) {
  const first = neighbours(length, middle);
  return neighbours(middle, end).map((pair) => {
    const sums = new Map();
    for (const [between, outer] of pair) {
      for (const [place, inner] of first[between]) sums.set(place, (sums.get(place) ?? 0) + outer * inner);
    }
    return [...sums].filter(([, share]) => share > 0);
  });
}

function neighbours(length, end) {
  const scale = Math.fround(length / end);
  return Array.from({ length: end }, (_, i) => {
    const centre = Math.min(Math.max(Math.fround((i + 0.5) * scale - 0.5), 0), length - 1);
    const lower = Math.trunc(centre);
    return [[lower, 1 - (centre - lower)], [Math.min(lower + 1, length - 1), centre - lower]];
  });
}

function groupMaps(outputs) {
  const names = Object.keys(outputs).filter((name) => name.startsWith("grouping_"));
  return names.map((name) => {
    const block = Number(name.slice("grouping_".length));
    const [, heads, groups, high, wide] = outputs[name].dims;
    const copy = (each) => Float32Array.from(outputs[each].data);
    return { block, heads, groups, high, wide, grouping: copy(name), ungrouping: copy(`un${name}`) };
  });
}

function softmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float32Array.from(logits, (value) => Math.exp(value - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function halfToEven(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}
