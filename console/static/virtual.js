// Virtual against real metrology: the predicted band over time with what was measured, and the one
// against the other.

import { say } from "./strings.js";
import { extent, frame, node, path, short, timeTicks } from "./svg.js";
import { labelOf } from "./traces.js";

function mark(point, x, y, text) {
  const inside = point.measured >= point.low && point.measured <= point.high;
  const one = inside
    ? node("circle", { class: "dot in", cx: x, cy: y, r: 3 })
    : node("rect", { class: "dot odd", x: x - 3.5, y: y - 3.5, width: 7, height: 7 });
  one.append(node("title", {}, text));
  return one;
}

function words(point) {
  const real = point.measured === null ? "" : ` / ${short(point.measured)}`;
  return `${point.substrate_id}: ${short(point.predicted)} (${short(point.low)} … ${short(point.high)})${real}`;
}

function overTime(figure, points) {
  const clock = JSON.parse(figure.dataset.clock);
  const large = figure.dataset.virtual === "large";
  const width = large ? 1000 : 440;
  const height = large ? 270 : 200;
  const all = points.flatMap((point) => [point.low, point.high, point.measured]);
  const { svg, sx, sy, bottom } = frame({
    width, height, x: [-0.5, Math.max(points.length - 0.5, 9.5)], y: extent(all), xLabel: say("vm.time"), yLabel: labelOf(figure.dataset.parameter),
    label: say("vm.label", { parameter: figure.dataset.parameter }), right: 12, xTicks: timeTicks(clock, large ? 10 : 4),
  });
  const up = points.flatMap((point, at) => [[sx(at - 0.5), sy(point.high)], [sx(at + 0.5), sy(point.high)]]);
  const down = points.flatMap((point, at) => [[sx(at - 0.5), sy(point.low)], [sx(at + 0.5), sy(point.low)]]).reverse();
  svg.append(node("path", { class: "band", d: `${path([...up, ...down])}Z` }));
  svg.append(node("path", { class: "normal", d: path(points.map((point, at) => [sx(at), sy(point.predicted)])) }));
  points.forEach((point, at) => {
    if (point.unlike) {
      const [x, y] = [sx(at), height - bottom - 3];
      const one = node("path", { class: "unlike", d: `M${x} ${y - 8} ${x + 4} ${y}H${x - 4}Z` });
      one.append(node("title", {}, `${words(point)}\n${say("vm.unlike")}`));
      svg.append(one);
    }
    if (point.measured !== null) svg.append(mark(point, sx(at), sy(point.measured), words(point)));
  });
  figure.replaceChildren(svg);
}

function scatter(figure, points) {
  const pairs = points.filter((point) => point.measured !== null && !point.unlike);
  const range = extent((pairs.length ? pairs : points).flatMap((point) => [point.predicted, point.measured, point.low, point.high]));
  const label = labelOf(figure.dataset.parameter);
  const { svg, sx, sy } = frame({
    width: 560, height: 360, right: 16, x: range, y: range, xLabel: say("vm.foretold", { parameter: label }), yLabel: say("vm.measured", { parameter: label }),
    label: say("vm.scatter", { parameter: figure.dataset.parameter }),
  });
  svg.append(node("line", { class: "limit", x1: sx(range[0]), y1: sy(range[0]), x2: sx(range[1]), y2: sy(range[1]) }));
  for (const point of pairs) svg.append(node("line", { class: "whisker", x1: sx(point.low), x2: sx(point.high), y1: sy(point.measured), y2: sy(point.measured) }));
  for (const point of pairs) svg.append(mark(point, sx(point.predicted), sy(point.measured), words(point)));
  if (!pairs.length) svg.append(node("text", { x: 300, y: 160, "text-anchor": "middle" }, say("vm.nothing")));
  figure.replaceChildren(svg);
}

export function drawVirtual(root) {
  for (const figure of root.querySelectorAll("[data-virtual]")) {
    const points = JSON.parse(figure.dataset.points);
    if (figure.dataset.virtual === "scatter") scatter(figure, points);
    else if (points.length) overTime(figure, points);
  }
}
