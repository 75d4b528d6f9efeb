// Control charts: points in order, limits as they were at each point, what broke a rule marked and
// named. The same drawing in two sizes.

import { say, ruleName } from "./strings.js";
import { extent, frame, logTicks, node, path, short, textWidth, timeTicks } from "./svg.js";
import { labelOf } from "./traces.js";

const SIZES = {
  small: { width: 330, height: 158, right: 52, ticks: 3, zones: false },
  large: { width: 800, height: 330, right: 84, ticks: 9, zones: true },
};
// Zones at one and two sigmas are what the run rules of these are about.
const ZONED = new Set(["xbar", "individuals"]);
// Scores have no centre and reach far: their axis is logarithmic, and below a hundredth nothing is told apart.
const LEAST_SCORE = 0.01;

export function shortRule(rule) {
  return rule.replace("western-electric-", "WE ").replace("nelson-", "N ").replace("moving-range", "MR").replace("bernoulli-cusum", "CUSUM");
}

function yLabel(kind, parameter) {
  if (kind === "cusum") return `${parameter} (σ)`;
  if (kind === "score") return say("judged.axis");
  return parameter ? labelOf(parameter) : say(`chart.${kind}`);
}

// Ends of stretches in which `same` stays what it is: [first, last] pairs.
function stretches(points, same) {
  const found = [];
  points.forEach((point, at) => {
    if (at && same(point) === same(points[at - 1])) found.at(-1)[1] = at;
    else found.push([at, at]);
  });
  return found;
}

// A level that may change from point to point, drawn as steps half a point wide on either side.
function steps(points, level, sx, sy) {
  const parts = [];
  points.forEach((point, at) => {
    const value = level(point);
    if (value === null) { parts.push([sx(at), null]); return; }
    parts.push([sx(at - 0.5), sy(value)], [sx(at + 0.5), sy(value)]);
  });
  return path(parts);
}

function levelsOf(points, kind) {
  if (kind === "score") return points.flatMap((point) => [lifted(point.value), lifted(point.upper)]);
  return points.flatMap((point) => [point.value, point.center, point.lower, point.upper]);
}

function lifted(score) {
  return Math.log10(Math.max(score, LEAST_SCORE));
}

export function control(figure, shared = null) {
  const points = JSON.parse(figure.dataset.points);
  if (!points.length) return;
  const clock = JSON.parse(figure.dataset.clock);
  const { kind, parameter } = figure.dataset;
  const size = SIZES[figure.dataset.size];
  const count = points.length;
  // A short run keeps to the left of room for ten points.
  const shown = Math.max(count, 10);
  const scored = kind === "score";
  const y = shared ?? extent(levelsOf(points, kind));
  const { svg, sx, sy: place, top, bottom } = frame({
    width: size.width, height: size.height, right: size.right, x: [-0.5, shown - 0.5], y, yTicks: scored ? logTicks(...y) : undefined,
    xLabel: say("spc.time"), yLabel: yLabel(kind, parameter), label: say("spc.label", { parameter: parameter || say(`chart.${kind}`), n: count }),
    xTicks: timeTicks(clock, size.ticks, shown),
  });
  const sy = (value) => place(scored && value !== null ? lifted(value) : value);
  const floor = size.height - bottom;
  for (const [from, to] of stretches(points, (point) => point.phase)) {
    if (points[from].phase !== 1) continue;
    const [x1, x2] = [sx(from - 0.5), sx(to + 0.5)];
    svg.append(node("rect", { class: "phase", x: x1, y: top, width: x2 - x1, height: floor - top }));
    if (size.zones) svg.append(node("text", { x: x1 + 4, y: floor - 5 }, say("spc.phase_1")));
  }
  const last = points.at(-1);
  if (size.zones && ZONED.has(kind) && last.sigma > 0) {
    for (const sigmas of [-2, -1, 1, 2]) {
      svg.append(node("path", { class: "zone", d: steps(points, (point) => point.center + sigmas * point.sigma, sx, sy) }));
      const y = sy(last.center + sigmas * last.sigma);
      if (sigmas > 0) svg.append(node("text", { x: size.width - size.right + 4, y: y + 3.5, class: "zone-name" }, `${sigmas} σ`));
    }
  }
  if (!scored) svg.append(node("path", { class: "center", d: steps(points, (point) => point.center, sx, sy) }));
  for (const side of ["upper", "lower"]) svg.append(node("path", { class: "limit", d: steps(points, (point) => point[side], sx, sy) }));
  const names = [[scored ? say("judged.limit") : "UCL", last.upper], [scored || kind === "cusum" ? "" : "CL", last.center], ["LCL", last.lower]].filter(([name, value]) => name && value !== null);
  let above = -Infinity;
  for (const [name, value] of names) {
    const y = Math.max(sy(value) + 4, above + 11);
    above = y;
    svg.append(node("text", { x: size.width - size.right + 4, y, class: "strong" }, `${name} ${short(value)}`));
  }
  svg.append(node("path", { class: "run", d: path(points.map((point, at) => [sx(at), sy(point.value)])) }));
  let free = -Infinity;
  points.forEach((point, at) => {
    const [x, y] = [sx(at), sy(point.value)];
    const out = point.rules.length > 0;
    const mark = out
      ? node("rect", { class: "dot odd", x: x - 3.5, y: y - 3.5, width: 7, height: 7 })
      : node("circle", { class: scored && point.value > point.upper ? "dot strong" : "dot", cx: x, cy: y, r: size.zones && count < 150 ? 2.6 : 1.8 });
    mark.append(node("title", {}, [`${clock[at]} ${point.lot_id ?? ""}: ${short(point.value)}`, ...point.rules.map((rule) => ruleName(rule))].join("\n")));
    svg.append(size.zones && point.time_ms ? chosen(figure, point, x, y, mark, clock[at]) : mark);
    if (!out || !size.zones) return;
    // A run of points is named once; names never cover each other.
    const text = point.rules.map(shortRule).join(", ");
    const before = points[at - 1]?.rules.map(shortRule).join(", ");
    const start = x - textWidth(text) / 2;
    if (text === before || start < free) return;
    free = start + textWidth(text) + 4;
    const up = point.value >= point.center;
    svg.append(node("text", { x, y: up ? Math.max(y - 8, 10) : Math.min(y + 16, floor - 4), "text-anchor": "middle", class: "broken" }, text));
  });
  figure.replaceChildren(svg);
}

// A point with contributions leads to them; the one whose are shown has a ring.
function chosen(figure, point, x, y, mark, when) {
  const link = node("a", { href: `?at=${point.time_ms}#contributions`, "aria-label": say("judged.show", { time: when, value: short(point.value) }) });
  link.append(node("circle", { class: "touch", cx: x, cy: y, r: 7 }), mark);
  if (String(point.time_ms) === figure.dataset.chosen) link.append(node("circle", { class: "ring", cx: x, cy: y, r: 6.5 }));
  return link;
}

export function drawControlCharts(root) {
  const apart = [...root.querySelectorAll("[data-control]")].filter((figure) => !figure.closest("[data-same-scale]"));
  apart.forEach((figure) => control(figure));
  const groups = root.matches?.("[data-same-scale]") ? [root] : root.querySelectorAll("[data-same-scale]");
  for (const group of groups) {
    // Side by side means on one scale, that of the chart they are compared with included.
    const figures = [...group.querySelectorAll("[data-control]")];
    const main = document.querySelector('[data-control][data-size="large"]');
    const all = [...figures, main].filter(Boolean).flatMap((figure) => levelsOf(JSON.parse(figure.dataset.points), figure.dataset.kind));
    figures.forEach((figure) => control(figure, extent(all)));
  }
}
