// Small SVG helpers: scales with round ticks, axes with labels, lines with gaps.

const NS = "http://www.w3.org/2000/svg";

export function node(name, attributes = {}, text = "") {
  const one = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  if (text) one.textContent = text;
  return one;
}

export function ticks(low, high, count = 5) {
  const span = high - low || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(Math.abs(value) < step * 1e-6 ? 0 : value);
  return found;
}

export function short(value) {
  if (Math.abs(value) >= 1e6 || (value !== 0 && Math.abs(value) < 0.001)) return value.toExponential(1);
  return String(Number(value.toPrecision(4)));
}

export function extent(values, pad = 0.08) {
  const there = values.filter((value) => value !== null && Number.isFinite(value));
  let [low, high] = [Math.min(...there), Math.max(...there)];
  if (!there.length) return [0, 1];
  if (low === high) { low -= Math.abs(low) * 0.05 || 1; high += Math.abs(high) * 0.05 || 1; }
  const room = (high - low) * pad;
  return [low - room, high + room];
}

export function path(points) {
  let pen = "M";
  return points.map(([x, y]) => {
    if (y === null || Number.isNaN(y)) { pen = "M"; return ""; }
    const part = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}

// A frame with axes; returns the scales and the drawing.
export function frame({ width, height, x, y, xLabel, yLabel, xTicks, yTicks, label, right = 8 }) {
  const [left, top, bottom] = [52, 18, 34];
  const svg = node("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const sx = (value) => left + ((value - x[0]) / (x[1] - x[0] || 1)) * (width - left - right);
  const sy = (value) => (value === null ? null : height - bottom - ((value - y[0]) / (y[1] - y[0] || 1)) * (height - top - bottom));
  for (const [value, text] of yTicks ?? ticks(y[0], y[1], 4).map((one) => [one, short(one)])) {
    svg.append(node("line", { class: "grid", x1: left, x2: width - right, y1: sy(value), y2: sy(value) }));
    svg.append(node("text", { x: left - 6, y: sy(value) + 4, "text-anchor": "end" }, text));
  }
  for (const [value, text] of xTicks ?? ticks(x[0], x[1], 6).map((one) => [one, short(one)])) {
    svg.append(node("line", { class: "axis", x1: sx(value), x2: sx(value), y1: height - bottom, y2: height - bottom + 4 }));
    svg.append(node("text", { x: sx(value), y: height - bottom + 16, "text-anchor": "middle" }, text));
  }
  svg.append(node("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  svg.append(node("text", { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, xLabel));
  svg.append(node("text", { x: left - 46, y: 11 }, yLabel));
  return { svg, sx, sy, left, top, bottom };
}

// Marks of a logarithmic axis between two powers of ten: 1, 2 and 5 of each, or only 1 where there are many.
export function logTicks(low, high) {
  const marks = high - low > 1.6 ? [1] : [1, 2, 5];
  const found = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const mark of marks) {
      const at = power + Math.log10(mark);
      if (at >= low && at <= high) found.push([at, short(mark * 10 ** power)]);
    }
  }
  return found;
}

// Labels of a time axis with room for `shown` points, at `count` of them at most; the day is said where it changes.
export function timeTicks(clock, count, shown = clock.length) {
  const every = Math.max(Math.ceil(shown / count), 1);
  let day = "";
  return clock.map((text, at) => [at, text]).filter(([at]) => at % every === 0 && (at === 0 || at < clock.length - every / 3)).map(([at, text]) => {
    const [before, time] = text.includes(" ") ? text.split(" ") : ["", text];
    const shown = before === day ? time : text;
    day = before;
    return [at, shown];
  });
}

const ruler = new OffscreenCanvas(1, 1).getContext("2d");

// Of a chart's label, in its own units (the style sheet sets 11 px).
export function textWidth(text) {
  ruler.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}
