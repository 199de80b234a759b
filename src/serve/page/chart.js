// A chart of lines as SVG: axes with round numbers, a reading under the pointer.

import { el, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [420, 220];
const [LEFT, RIGHT, TOP, BOTTOM] = [46, 10, 8, 24];

// Round numbers over a range, at most `most` of them.
export function ticks(low, high, most = 5) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => span / s <= most) ?? 10 * power;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

const shown = (v) => (v !== 0 && Math.abs(v) < 0.001 ? v.toExponential(0) : String(Number(v.toPrecision(4))));

// `lines`: [{name, number, points: [[x, y], ...]}], points in the order of x.
export function lineChart(title, lines) {
  const all = lines.flatMap(({ points }) => points);
  const [xs, ys] = [all.map(([x]) => x), all.map(([, y]) => y)];
  const range = (values) => [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
  const [x0, x1] = range(xs);
  let [y0, y1] = range(ys);
  // Losses and scores read best from zero unless they lie far from it.
  if (y0 > 0 && y0 < y1 * 0.6) y0 = 0;
  const pad = (y1 - y0 || Math.abs(y1) || 1) * 0.05;
  [y0, y1] = [y0 === 0 ? 0 : y0 - pad, y1 + pad];
  const px = (x) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT);
  const py = (y) => TOP + (1 - (y - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const reading = el("p", { class: "reading", "aria-hidden": "true" });
  const guide = svg("line", { class: "guide", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const summary = lines
    .map(({ name, points }) => `${name}: ${shown(points.at(-1)[1])} at epoch ${points.at(-1)[0]}`)
    .join("; ");
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title} over epochs. ${summary}` },
    ticks(y0, y1).map((y) => [
      svg("line", { class: "grid-line", x1: LEFT, x2: WIDTH - RIGHT, y1: py(y), y2: py(y) }),
      svg("text", { x: LEFT - 6, y: py(y) + 4, "text-anchor": "end" }, shown(y)),
    ]),
    ticks(x0, x1, 6)
      .filter(Number.isInteger)
      .map((x) => svg("text", { x: px(x), y: HEIGHT - 6, "text-anchor": "middle" }, x)),
    guide,
    lines.map(({ number, points }) =>
      points.length > 1
        ? svg("polyline", {
            class: `run-line run-${number % 6}`,
            points: points.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" "),
          })
        : svg("circle", { class: `run-dot run-${number % 6}`, cx: px(points[0][0]), cy: py(points[0][1]), r: 3 }),
    ),
  );
  const read = (event) => {
    const frame = drawing.getBoundingClientRect();
    const at =
      x0 + ((((event.clientX - frame.left) / frame.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT)) * (x1 - x0);
    const epoch = Math.round(Math.min(x1, Math.max(x0, at)));
    guide.setAttribute("x1", px(epoch));
    guide.setAttribute("x2", px(epoch));
    guide.setAttribute("visibility", "visible");
    const values = lines
      .map(({ name, points }) => {
        const point = points.find(([x]) => x === epoch);
        return point ? `${name} ${shown(point[1])}` : null;
      })
      .filter(Boolean);
    reading.textContent = `epoch ${epoch}: ${values.join(", ") || "no value"}`;
  };
  drawing.addEventListener("pointermove", read);
  drawing.addEventListener("pointerleave", () => {
    guide.setAttribute("visibility", "hidden");
    reading.textContent = "";
  });
  return el("div", {}, drawing, reading);
}
