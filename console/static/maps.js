// Wafer maps on canvas: off the wafer blank, pass light, fail dark; the heatmap in one hue over it.

import { getJson } from "./net.js";

const FULL = Math.PI * 2;
const MAPS_AT_ONCE = 60;
const NOTCH = 0.035; // of the radius; SEMI M1 has a 1 mm notch, drawn larger so that it is seen
const cache = new Map();

function colours() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return { pass: value("--die-pass"), fail: value("--die-fail"), heat: value("--heat"), bed: value("--wafer-bed"), edge: value("--wafer-edge") };
}

function rgb(hex) {
  const full = hex.length === 4 ? hex.replace(/[0-9a-f]/gi, "$&$&") : hex;
  return [1, 3, 5].map((at) => parseInt(full.slice(at, at + 2), 16));
}

function bytes(pixels) {
  return Uint8Array.from(atob(pixels.data), (character) => character.charCodeAt(0));
}

// One canvas pixel per die; the browser scales it up without smoothing.
function image(pixels, colour) {
  const canvas = new OffscreenCanvas(pixels.columns, pixels.rows);
  const context = canvas.getContext("2d");
  const data = context.createImageData(pixels.columns, pixels.rows);
  bytes(pixels).forEach((value, index) => data.data.set(colour(value), index * 4));
  context.putImageData(data, 0, 0);
  return canvas;
}

function outline(context, centre, radius) {
  context.beginPath();
  context.arc(centre, centre, radius, Math.PI / 2 + NOTCH, Math.PI / 2 - NOTCH + FULL);
  context.lineTo(centre, centre + radius * (1 - NOTCH * 1.4));
  context.closePath();
}

function paint(canvas, layers, shades) {
  const ratio = Math.min(window.devicePixelRatio || 1, 3);
  const width = Math.max(canvas.clientWidth || canvas.width, 16);
  const side = Math.round(width * ratio);
  canvas.width = side;
  canvas.height = side;
  const context = canvas.getContext("2d");
  const centre = side / 2;
  const radius = centre - ratio;
  outline(context, centre, radius);
  context.fillStyle = shades.bed;
  context.fill();
  context.save();
  context.clip();
  const inner = radius * 0.97;
  for (const { picture, smooth } of layers) {
    context.imageSmoothingEnabled = smooth;
    context.drawImage(picture, centre - inner, centre - inner, 2 * inner, 2 * inner);
  }
  context.restore();
  outline(context, centre, radius);
  context.strokeStyle = shades.edge;
  context.lineWidth = ratio;
  context.stroke();
  canvas.dataset.painted = layers.length ? "yes" : "blank";
}

function paintWafer(canvas, map) {
  const shades = colours();
  const layers = [];
  if (map && map.grid) {
    const of = { 1: [...rgb(shades.pass), 255], 2: [...rgb(shades.fail), 255] };
    layers.push({ picture: image(map.grid, (value) => of[value] || [0, 0, 0, 0]), smooth: false });
  }
  if (map && map.heatmap && document.body.classList.contains("heat")) {
    const heat = rgb(shades.heat);
    layers.push({ picture: image(map.heatmap, (value) => [...heat, Math.round(value * 0.6)]), smooth: true });
  }
  paint(canvas, layers, shades);
}

function paintStack(canvas, stack) {
  const shades = colours();
  const [low, high] = [rgb(shades.pass), rgb(shades.fail)];
  const layers = [];
  if (stack.pixels) {
    layers.push({
      picture: image(stack.pixels, (value) => {
        if (value === 0) return [0, 0, 0, 0];
        const share = stack.scale * (value - 1) / 254;
        return [...low.map((part, at) => Math.round(part + (high[at] - part) * share)), 255];
      }),
      smooth: false,
    });
  }
  paint(canvas, layers, shades);
}

async function fetchMaps(names) {
  const query = names.map((name) => `wafer=${encodeURIComponent(name)}`).join("&");
  // Without an answer the outline alone is drawn, and the next change tries again.
  for (const map of (await getJson(`/api/v1/maps?${query}`)) ?? []) cache.set(`${map.site}/${map.substrate_id}`, map);
}

export async function drawMaps(root, again = false) {
  const canvases = [...root.querySelectorAll("canvas[data-wafer]")].filter((one) => again || !one.dataset.painted);
  // A map that came without its prediction may have it by now.
  const missing = [...new Set(canvases.map((one) => one.dataset.wafer))].filter((name) => !cache.get(name)?.heatmap);
  for (let at = 0; !again && at < missing.length; at += MAPS_AT_ONCE) {
    await fetchMaps(missing.slice(at, at + MAPS_AT_ONCE));
  }
  for (const canvas of canvases) paintWafer(canvas, cache.get(canvas.dataset.wafer));
  if (cache.size > 2000) cache.clear();
  await drawStacks(root, again);
}

const stacks = new Map();

async function drawStacks(root, again) {
  const canvases = [...root.querySelectorAll("canvas[data-stack]")].filter((one) => again || !one.dataset.painted);
  if (!canvases.length) return;
  const id = canvases[0].dataset.alertId;
  if (!stacks.has(id)) {
    const answer = await getJson(`/api/v1/alerts/${encodeURI(id)}/stacks`);
    if (!answer) return;
    stacks.set(id, answer);
  }
  const found = stacks.get(id);
  // One scale for both, or the quiet one would look as bad as the loud one.
  const peak = Math.max(found.affected.peak, found.unaffected.peak, 1e-9);
  for (const canvas of canvases) {
    const stack = found[canvas.dataset.stack];
    paintStack(canvas, { ...stack, scale: stack.peak / peak });
    const count = document.querySelector(`[data-stack-count="${canvas.dataset.stack}"]`);
    if (count) count.textContent = `n = ${stack.wafers}`;
  }
  const label = document.querySelector("[data-stack-peak]");
  if (label) label.textContent = `${Math.round(100 * peak)} %`;
}

export function listenToHeat() {
  const wanted = localStorage.getItem("fabpilot_heat") === "on";
  document.body.classList.toggle("heat", wanted);
  const box = document.getElementById("heat");
  if (box) box.checked = wanted;
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("[data-heat]")) return;
    document.body.classList.toggle("heat", event.target.checked);
    localStorage.setItem("fabpilot_heat", event.target.checked ? "on" : "off");
    for (const canvas of document.querySelectorAll("canvas[data-wafer]")) paintWafer(canvas, cache.get(canvas.dataset.wafer));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawMaps(document, true));
}
