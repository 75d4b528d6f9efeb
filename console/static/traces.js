// The suspect's trace over the grey band of normal ones; variables ranked by |z|.

import { getJson } from "./net.js";
import { say } from "./strings.js";
import { extent, frame, node, path, textWidth } from "./svg.js";

// The unit is the variable's suffix, as everywhere in fabpilot.
const UNITS = { w: "W", pa: "Pa", c: "°C", s: "s", v: "V", a: "A", sccm: "sccm", nm: "nm", mm: "mm", um: "µm", hz: "Hz", rpm: "rpm", pct: "%", percent: "%", kpa: "kPa", mtorr: "mTorr", n: "N", db: "dB", lpm: "L/min", mpa: "MPa", ohm: "Ω", ma: "mA", kev: "keV", ev: "eV", upa: "µPa", m3: "1/m³", kv: "kV", kw: "kW", mm3: "mm³" };

export function unitOf(variable) {
  return UNITS[variable.split("_").at(-1)] ?? "";
}

// A variable or parameter as an axis is labelled: with its unit.
export function labelOf(variable) {
  const unit = unitOf(variable);
  return unit ? `${variable} (${unit})` : variable;
}

// Where the steps of the recipe begin, with their numbers as far as there is room.
function steps(svg, sx, traces) {
  let free = -Infinity;
  for (const { number, from_s: from } of traces.recipe_steps) {
    const x = sx(from);
    if (from > traces.seconds[0]) svg.append(node("line", { class: "limit", x1: x, x2: x, y1: 18, y2: 202 }));
    const text = say("trace.step", { n: number });
    if (x < free) continue;
    svg.append(node("text", { x: x + 4, y: 28 }, text));
    free = x + textWidth(text) + 10;
  }
}

function draw(figure, traces, band) {
  const all = [...band.suspect, ...band.low, ...band.high, ...band.mean];
  const seconds = traces.seconds;
  const { svg, sx, sy } = frame({
    width: 640, height: 236, x: [seconds[0], seconds.at(-1)], y: extent(all), xLabel: say("trace.time"),
    yLabel: labelOf(band.variable), label: say("trace.label", { variable: band.variable }),
  });
  if (band.low.length) {
    const there = seconds.map((second, at) => [second, band.low[at], band.high[at]]).filter((one) => one[1] !== null && one[2] !== null);
    const up = there.map(([second, , high]) => [sx(second), sy(high)]);
    const down = there.map(([second, low]) => [sx(second), sy(low)]).reverse();
    svg.append(node("path", { class: "band", d: `${path([...up, ...down])}Z` }));
    svg.append(node("path", { class: "normal", d: path(seconds.map((second, at) => [sx(second), sy(band.mean[at])])) }));
  }
  steps(svg, sx, traces);
  svg.append(node("path", { class: "suspect", d: path(seconds.map((second, at) => [sx(second), sy(band.suspect[at])])) }));
  let at = 632;
  const keys = [["suspect", say("trace.suspect", { module: traces.module })]];
  if (band.low.length) keys.push(["normal", say("trace.normal")]);
  for (const [kind, text] of keys) {
    const words = node("text", { x: at, y: 11, "text-anchor": "end", class: "strong" }, text);
    svg.append(words);
    at -= textWidth(text) + 6;
    svg.append(node("line", { class: `key ${kind}`, x1: at - 20, x2: at, y1: 7, y2: 7 }));
    at -= 34;
  }
  figure.replaceChildren(svg);
}

async function fill(section) {
  const note = section.querySelector("[data-traces-note]");
  const list = section.querySelector("[data-variables]");
  const figure = section.querySelector("[data-trace-chart]");
  const traces = await getJson(`/api/v1/alerts/${encodeURI(section.dataset.traces)}/traces`);
  if (!traces) {
    list.replaceChildren();
    note.textContent = say("trace.none");
    return;
  }
  note.textContent = traces.normal_wafers
    ? say("trace.note", { n: traces.suspect_wafers, m: traces.normal_wafers, modules: traces.normal_modules.join(", "), recipe: traces.recipe_id })
    : say("trace.alone", { n: traces.suspect_wafers, recipe: traces.recipe_id });
  const choose = (band) => {
    for (const one of list.children) one.setAttribute("aria-selected", String(one.dataset.variable === band.variable));
    section.dataset.chosen = band.variable;
    draw(figure, traces, band);
  };
  list.replaceChildren(...traces.bands.map((band) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.variable = band.variable;
    button.setAttribute("role", "option");
    const z = document.createElement("span");
    z.className = "muted";
    z.textContent = band.z === null ? "–" : `z ${band.z > 0 ? "+" : "−"}${Math.abs(band.z).toFixed(1)}`;
    button.append(band.variable, z);
    button.addEventListener("click", () => choose(band));
    return button;
  }));
  const kept = traces.bands.find((band) => band.variable === section.dataset.chosen);
  if (traces.bands.length) choose(kept ?? traces.bands[0]);
}

export function drawTraces(root) {
  for (const section of root.querySelectorAll("[data-traces]")) fill(section);
}
