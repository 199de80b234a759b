// One picture of the detect view: its card with one or two canvases, counts, latency and a table of boxes.

import { BoxCanvas, classColour } from "./boxes.js";
import { countClasses, countsText } from "./counts.js";
import { difference, summaryText } from "./compare.js";
import { announce, el, errorBox, score, show, table } from "./dom.js";
import { latencyBar } from "./latency.js";
import { suppress } from "./nms.js";

const SIDES = ["A", "B"];
const KINDS = { same: "the same", only: "only here", class: "another class", score: "another score" };

export function paint(classId) {
  const swatch = el("i", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = classColour(classId);
  return swatch;
}

export class Picture {
  // `file` stays in the browser for showing; `answers[model id]` is what the server said of it.
  constructor(file, onRemove) {
    Object.assign(this, { file, name: file.name || "pasted picture", answers: {}, errors: {}, sides: [] });
    this.address = URL.createObjectURL(file);
    this.state = el("p", { class: "quiet" }, "Waiting …");
    this.body = el("div");
    this.size = el("span", { class: "quiet" });
    this.heading = el("h3", { tabindex: -1 }, this.name);
    this.card = el(
      "article",
      { class: "card picture", "aria-label": this.name },
      el(
        "header",
        {},
        this.heading,
        this.size,
        el("button", { class: "plain", "aria-label": `Remove ${this.name}`, onclick: () => onRemove(this) }, "Remove"),
      ),
      this.state,
      this.body,
    );
  }

  release() {
    URL.revokeObjectURL(this.address);
    this.card.remove();
  }

  // A new set of models: canvases are made anew.
  build(models) {
    this.models = models;
    this.drawn = "";
    this.sides = models.map((model, i) => this.buildSide(model, models.length > 1 ? SIDES[i] : ""));
    this.summary = el("p", { class: "difference" });
    this.key = el(
      "p",
      { class: "note" },
      "Dashed: only here. In brackets: what the other model says of the same object.",
    );
    this.detail = el("div", { class: "scroll" });
    this.detailBox = el(
      "details",
      { ontoggle: () => this.fillTable() },
      el("summary", {}, "Table of boxes"),
      this.detail,
    );
    this.body.replaceChildren(
      el(
        "div",
        { class: `sides sides-${models.length}` },
        this.sides.map((side) => side.root),
      ),
      this.summary,
      this.key,
      this.detailBox,
    );
    show(this.summary, models.length > 1);
  }

  buildSide(model, letter) {
    const side = { model, letter };
    side.image = el("img", { src: this.address, alt: "", loading: "lazy" });
    side.image.addEventListener("error", () => show(side.unseen, true));
    side.canvas = el("canvas", { tabindex: 0, role: "img" });
    side.unseen = el(
      "p",
      { class: "unshown", hidden: true },
      "This browser cannot show the picture. Its boxes are in the table.",
    );
    side.tip = el("p", { class: "tip", "aria-hidden": "true", hidden: true });
    side.stage = el("div", { class: "stage" }, side.image, side.unseen, side.canvas, side.tip);
    side.counts = el("p", { class: "counts" });
    side.latency = el("div");
    side.error = el("div");
    const title = letter ? el("h4", {}, el("span", { class: "badge" }, letter), model.name) : null;
    side.root = el("div", { class: "side" }, title, side.stage, side.counts, side.latency, side.error);
    return side;
  }

  // Draws what the settings let through; `settings` = {conf, iou, hidden: Set of class ids}.
  update(settings) {
    // A slider changes all pictures, an answer one: the others stay as they are.
    const state = JSON.stringify([
      settings.conf,
      settings.iou,
      [...settings.hidden],
      this.models.map(({ id }) => id),
      Object.keys(this.answers),
      Object.keys(this.errors),
    ]);
    if (state === this.drawn) return;
    this.drawn = state;
    for (const side of this.sides) this.updateSide(side, settings);
    const done = this.sides.every(({ model }) => this.answers[model.id] || this.errors[model.id]);
    show(this.state, !done);
    this.mark();
    this.sides.forEach((side) => this.drawSide(side));
    if (this.detailBox) {
      show(
        this.detailBox,
        this.sides.some((side) => side.shown?.length),
      );
      this.fillTable();
    }
  }

  updateSide(side, settings) {
    const { model } = side;
    const [answer, error] = [this.answers[model.id], this.errors[model.id]];
    show(side.stage, Boolean(answer));
    side.error.replaceChildren(...(error ? [errorBox(error)] : []));
    side.shown = null;
    if (!answer) return;
    side.all = suppress(answer.candidates ?? answer.detections, {
      conf: settings.conf,
      iou: model.one_to_one ? 1 : settings.iou,
      maxDetections: settings.maxDetections,
    });
    side.shown = side.all
      .filter(({ class_id: id }) => !settings.hidden.has(id))
      .map((d) => ({ ...d, name: nameOf(model, d.class_id) }));
    side.countsOf = countClasses(side.shown, (id) => nameOf(model, id));
    side.counts.textContent = countsText(side.countsOf);
    this.size.textContent = `${answer.width_px} × ${answer.height_px} px`;
    if (!side.latency.firstChild) side.latency.append(latencyBar(answer.latency_ms, answer.reused));
    const last = answer.candidates?.at(-1);
    if (answer.candidates_left_out && last && settings.conf < last.score) {
      side.counts.append(el("span", { class: "note" }, ` Boxes under ${score(last.score)} were too many to send.`));
    }
  }

  mark() {
    const [a, b] = this.sides;
    this.marks = b && a.shown && b.shown ? difference(a.shown, b.shown) : null;
    this.summary.textContent = this.marks ? summaryText(this.marks.summary) : "";
    show(this.key, Boolean(this.marks));
    if (a) a.marks = this.marks?.left;
    if (b) b.marks = this.marks?.right;
  }

  drawSide(side) {
    if (!side.shown) return;
    const answer = this.answers[side.model.id];
    if (!side.boxes) {
      side.stage.style.aspectRatio = `${answer.width_px} / ${answer.height_px}`;
      side.stage.style.maxWidth = `calc(70vh * ${answer.width_px / answer.height_px})`;
      side.boxes = new BoxCanvas(side.canvas, {
        widthPx: answer.width_px,
        heightPx: answer.height_px,
        onPick: (box, _, spoken) => this.pick(side, box, spoken),
      });
    }
    side.canvas.setAttribute(
      "aria-label",
      `${this.name}${side.letter && `, model ${side.letter}`}: ` +
        `${side.counts.textContent}. Arrow keys go from box to box.`,
    );
    side.boxes.setBoxes(side.shown.map((d, i) => ({ ...d, ...marked(d, side.marks?.[i]) })));
  }

  pick(side, box, spoken) {
    show(side.tip, Boolean(box));
    if (!box) return;
    const text = `${box.name} ${score(box.score)}${box.says ? ` (${box.says})` : ""}`;
    side.tip.textContent = text;
    if (spoken) announce(text);
  }

  // The same as the canvas for those who read instead; filled while it is open.
  fillTable() {
    if (!this.detailBox?.open) return;
    const both = this.sides.length > 1;
    const heads = ["Class", "Score", "Left", "Top", "Right", "Bottom (px)"];
    this.detail.replaceChildren(
      ...this.sides
        .filter((side) => side.shown)
        .map((side) => {
          const rows = side.shown.map((d, i) => [
            [paint(d.class_id), d.name],
            score(d.score),
            ...d.box_xyxy_px.map((v) => v.toFixed(1)),
            ...(both ? [side.marks ? KINDS[side.marks[i].kind] : ""] : []),
          ]);
          const filled = table(
            `Boxes on ${this.name}${side.letter && `, ${side.letter}: ${side.model.name}`}`,
            both ? [...heads, "Beside the other"] : heads,
            rows,
          );
          [...filled.tBodies[0].rows].forEach((row, i) => {
            row.addEventListener("pointerenter", () => side.boxes.activate(i));
            row.addEventListener("pointerleave", () => side.boxes.activate(-1));
          });
          return filled;
        }),
    );
  }

  // For the report: what is shown of one side.
  report(index) {
    const side = this.sides[index];
    const error = side && this.errors[side.model.id];
    if (error) return { name: this.name, error: [error.message, error.remedy].filter(Boolean).join(" ") };
    const answer = side && this.answers[side.model.id];
    if (!answer) return null;
    return {
      name: this.name,
      width_px: answer.width_px,
      height_px: answer.height_px,
      counts: side.countsOf,
      detections: side.shown,
    };
  }
}

export const nameOf = (model, classId) => model.classes[classId] ?? String(classId);

// How a box that the other model sees otherwise is drawn.
function marked(detection, mark) {
  const plain = `${detection.name} ${score(detection.score)}`;
  if (!mark || mark.kind === "same") return { label: plain, says: mark && KINDS.same };
  if (mark.kind === "only") return { label: plain, dashed: true, says: "only here" };
  const other = mark.kind === "class" ? mark.other.name : score(mark.other.score);
  return { label: `${plain} (${other})`, says: `the other model: ${mark.other.name} ${score(mark.other.score)}` };
}
