// The shift's yield and risk, the state strips, and modules of one kind side by side.

import { getJson } from "./net.js";
import { say } from "./strings.js";
import { extent, frame, node, path, textWidth } from "./svg.js";
import { unitOf } from "./traces.js";

function shift(figure) {
  const points = JSON.parse(figure.dataset.points);
  const clock = JSON.parse(figure.dataset.zoneLabels);
  const width = 560;
  const { svg, sx, sy } = frame({
    width, height: 210, x: [0, Math.max(points.length - 1, 1)], y: [0, 100], xLabel: say("shift.time"), yLabel: "%",
    xTicks: points.map((_, at) => [at, clock[at]]).filter((_, at) => at % 3 === 0), label: say("shift.label"), right: 20,
  });
  const lines = [["a", "yield_percent", say("shift.yield")], ["b", "pattern_percent", say("shift.pattern")], ["c", "risk_percent", say("shift.risk")]];
  let at = width - 16;
  for (const [kind, field, text] of lines) {
    svg.append(node("path", { class: kind, d: path(points.map((point, index) => [sx(index), sy(point[field])])) }));
    points.forEach((point, index) => {
      if (point[field] === null) return;
      const dot = node("circle", { cx: sx(index), cy: sy(point[field]), r: 2.5, class: `${kind} solid` });
      dot.append(node("title", {}, `${clock[index]}: ${point[field].toFixed(1)} % (${point.wafers})`));
      svg.append(dot);
    });
    svg.append(node("text", { x: at, y: 11, "text-anchor": "end", class: "strong" }, text));
    at -= textWidth(text) + 6;
    svg.append(node("line", { class: `key ${kind}`, x1: at - 20, x2: at, y1: 7, y2: 7 }));
    at -= 34;
  }
  figure.replaceChildren(svg);
}

function strip(box) {
  const spans = JSON.parse(box.dataset.spans);
  if (!spans.length) return;
  const [from, to] = [spans[0].from_ms, spans.at(-1).to_ms];
  const svg = node("svg", { viewBox: "0 0 1000 16", preserveAspectRatio: "none" });
  for (const span of spans) {
    const x = (1000 * (span.from_ms - from)) / (to - from || 1);
    const width = Math.max((1000 * (span.to_ms - span.from_ms)) / (to - from || 1), 1);
    const rect = node("rect", { x, width, y: 0, height: 16, class: `e10-${span.inhibited ? "inhibited" : span.state}` });
    rect.append(node("title", {}, [span.state, span.reason].filter(Boolean).join(": ")));
    svg.append(rect);
  }
  box.replaceChildren(svg);
}

// Each module's recent wafer means; limits are three sigma of the other modules (Shewhart).
function level(variable, byModule) {
  const modules = Object.keys(byModule);
  const all = Object.values(byModule).flat();
  const unit = unitOf(variable);
  const figure = document.createElement("figure");
  figure.className = "chart";
  const limits = new Map(modules.map((module) => {
    const others = modules.filter((one) => one !== module).flatMap((one) => byModule[one]);
    const mean = others.reduce((sum, value) => sum + value, 0) / (others.length || 1);
    const sigma = Math.sqrt(others.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(others.length - 1, 1));
    return [module, others.length > 2 ? [mean - 3 * sigma, mean + 3 * sigma] : []];
  }));
  all.push(...[...limits.values()].flat());
  const { svg, sx, sy } = frame({
    width: 340, height: 180, x: [-0.5, modules.length - 0.5], y: extent(all), xLabel: say("level.module"),
    yLabel: unit ? `${variable} (${unit})` : variable, xTicks: modules.map((module, at) => [at, module]), label: variable,
  });
  modules.forEach((module, at) => {
    const [low, high] = limits.get(module);
    for (const limit of limits.get(module)) {
      svg.append(node("line", { class: "limit", x1: sx(at - 0.4), x2: sx(at + 0.4), y1: sy(limit), y2: sy(limit) }));
    }
    byModule[module].forEach((value, index, list) => {
      const odd = low !== undefined && (value < low || value > high);
      const x = sx(at - 0.35 + (0.7 * index) / Math.max(list.length - 1, 1));
      svg.append(odd ? node("rect", { class: "dot odd", x: x - 2.5, y: sy(value) - 2.5, width: 5, height: 5 }) : node("circle", { class: "dot", cx: x, cy: sy(value), r: 1.8 }));
    });
  });
  figure.append(svg);
  return figure;
}

function levels(details) {
  const fill = async () => {
    if (!details.open || details.dataset.filled) return;
    details.dataset.filled = "yes";
    const box = details.querySelector(".levels-charts");
    const query = new URLSearchParams({ site: details.dataset.site, kind: details.dataset.kind });
    const found = Object.entries((await getJson(`/api/v1/equipment/levels?${query}`)) ?? {});
    const note = document.createElement("p");
    note.className = "muted";
    note.textContent = found.length ? say("level.note") : say("level.none");
    box.replaceChildren(note, ...found.map(([variable, byModule]) => level(variable, byModule)));
  };
  details.addEventListener("toggle", fill);
  fill();
}

export function drawCharts(root) {
  root.querySelectorAll('[data-chart="shift"]').forEach(shift);
  root.querySelectorAll("[data-spans]").forEach(strip);
  root.querySelectorAll("[data-levels]").forEach(levels);
}
