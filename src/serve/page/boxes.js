// Boxes drawn on a canvas over a picture.

// Twelve hues that stay apart on photographs; a class keeps its colour on every picture.
const HUES = [212, 28, 130, 275, 355, 50, 185, 320, 95, 240, 10, 160];
const FONT = "600 12px system-ui, sans-serif";

export function classColour(classId) {
  const [hue, light] = tone(classId);
  return `hsl(${hue} 90% ${light}%)`;
}

function tone(classId) {
  // Classes that share a hue differ in lightness.
  return [HUES[classId % HUES.length], [62, 76, 50][Math.floor(classId / HUES.length) % 3]];
}

// Black or white, whichever reads better on the class's colour.
function inkOn(classId) {
  const [hue, light] = tone(classId);
  const dark = (hue > 225 && hue < 290) || hue > 340 || hue < 15 ? light < 60 : light < 45;
  return dark ? "#fff" : "#000";
}

// One box: {class_id, score, box_xyxy_px, label, dashed}. Boxes are redrawn with the size of the canvas.
export class BoxCanvas {
  constructor(canvas, { widthPx, heightPx, onPick }) {
    Object.assign(this, { canvas, widthPx, heightPx, onPick, boxes: [], active: -1 });
    new ResizeObserver(() => this.draw()).observe(canvas);
    // Only what is in sight is drawn: a canvas holds memory for each of its points.
    new IntersectionObserver(
      ([entry]) => {
        this.inSight = entry.isIntersecting;
        if (this.inSight) this.draw();
        else canvas.width = canvas.height = 0;
      },
      { rootMargin: "200px" },
    ).observe(canvas);
    canvas.addEventListener("pointermove", (event) => this.activate(this.at(event)));
    canvas.addEventListener("pointerdown", (event) => this.activate(this.at(event)));
    canvas.addEventListener("pointerleave", () => this.activate(-1));
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    canvas.addEventListener("blur", () => this.activate(-1));
  }

  setBoxes(boxes) {
    this.boxes = boxes;
    this.active = -1;
    this.draw();
  }

  activate(index, spoken = false) {
    if (index === this.active) return;
    this.active = index;
    this.draw();
    this.onPick?.(index < 0 ? null : this.boxes[index], index, spoken);
  }

  // Arrow keys go from box to box, Home and End to the first and last, Escape to none.
  onKey(event) {
    const last = this.boxes.length - 1;
    const next = {
      ArrowRight: Math.min(this.active + 1, last),
      ArrowDown: Math.min(this.active + 1, last),
      ArrowLeft: Math.max(this.active - 1, 0),
      ArrowUp: Math.max(this.active - 1, 0),
      Home: 0,
      End: last,
      Escape: -1,
    }[event.key];
    if (next === undefined || last < 0 || (event.key === "Escape" && this.active < 0)) return;
    event.preventDefault();
    event.stopPropagation();
    this.activate(next, true);
  }

  // The smallest box under the pointer: large boxes must not hide the small ones in them.
  at(event) {
    const frame = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * this.widthPx;
    const y = ((event.clientY - frame.top) / frame.height) * this.heightPx;
    let [best, bestArea] = [-1, Infinity];
    this.boxes.forEach(({ box_xyxy_px: [x0, y0, x1, y1] }, i) => {
      const area = (x1 - x0) * (y1 - y0);
      if (x >= x0 && x <= x1 && y >= y0 && y <= y1 && area < bestArea) [best, bestArea] = [i, area];
    });
    return best;
  }

  draw() {
    // Asking for sizes makes the browser lay out the page: not for what nobody sees.
    if (!this.inSight) return;
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = FONT;
    const scale = width / this.widthPx;
    const order = this.boxes
      .map((_, i) => i)
      .reverse()
      .filter((i) => i !== this.active);
    for (const i of order) this.outline(context, this.boxes[i], scale, false);
    // Labels lie over all boxes; a better box's label wins over one that it would cover.
    const taken = [];
    const labelled = order.reverse();
    if (this.active >= 0) {
      this.outline(context, this.boxes[this.active], scale, true);
      labelled.unshift(this.active);
    }
    for (const i of labelled) this.label(context, this.boxes[i], scale, width, height, taken, i === this.active);
  }

  outline(context, { box_xyxy_px: [x0, y0, x1, y1], class_id: classId, dashed }, scale, active) {
    const frame = [x0 * scale, y0 * scale, (x1 - x0) * scale, (y1 - y0) * scale];
    const colour = classColour(classId);
    context.globalAlpha = this.active >= 0 && !active ? 0.35 : 1;
    context.setLineDash(dashed ? [6, 4] : []);
    // A dark seam keeps the line visible on a picture of its own colour.
    context.strokeStyle = "rgb(0 0 0 / 60%)";
    context.lineWidth = active ? 5 : 3.5;
    context.strokeRect(...frame);
    context.strokeStyle = colour;
    context.lineWidth = active ? 3 : 2;
    context.strokeRect(...frame);
    if (active) {
      context.globalAlpha = 0.15;
      context.fillStyle = colour;
      context.fillRect(...frame);
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  label(context, box, scale, width, height, taken, active) {
    if (!box.label) return;
    const [x0, y0, x1, y1] = box.box_xyxy_px.map((v) => v * scale);
    const [w, h] = [context.measureText(box.label).width + 8, 17];
    const x = Math.max(0, Math.min(x0 - 1, width - w));
    // Above the box, else inside at its top, else at its foot.
    const spots = [y0 - h, Math.max(y0, 0), Math.min(y1, height) - h].filter((y) => y >= 0 && y + h <= height);
    const free = (y) => taken.every((t) => x >= t.x + t.w || t.x >= x + w || y >= t.y + h || t.y >= y + h);
    const y = spots.find(free) ?? (active ? (spots[0] ?? 0) : undefined);
    // A label without room, or wider than twice its small box among others, is left to hover and to the table.
    if (y === undefined || (!active && x1 - x0 < w / 3 && taken.length > 12)) return;
    taken.push({ x, y, w });
    context.globalAlpha = this.active >= 0 && !active ? 0.35 : 1;
    context.fillStyle = classColour(box.class_id);
    context.fillRect(x, y, w, h);
    context.fillStyle = inkOn(box.class_id);
    context.textBaseline = "middle";
    context.fillText(box.label, x + 4, y + h / 2 + 0.5);
    context.globalAlpha = 1;
  }
}
