// One picture of a cache: boxes, labels beside, and what the teacher said of a chosen box.

import { getJson } from "./api.js";
import { BoxCanvas } from "./boxes.js";
import { dflBars, classBars } from "./bars.js";
import { el, errorBox, plural, score, show } from "./dom.js";
import { paint } from "./picture.js";

// A picture with a canvas of boxes over it.
export function stage(address, { widthPx, heightPx, name, onPick, most = "72vh" }) {
  const canvas = el("canvas", { tabindex: 0, role: "img", "aria-label": `${name}. Arrow keys go from box to box.` });
  const root = el("div", { class: "stage" }, el("img", { src: address, alt: "" }), canvas);
  root.style.aspectRatio = `${widthPx} / ${heightPx}`;
  root.style.maxWidth = `calc(${most} * ${widthPx / heightPx})`;
  return { root, boxes: new BoxCanvas(canvas, { widthPx, heightPx, onPick }) };
}

export class ImageDialog {
  constructor(view) {
    this.view = view;
    this.title = el("h2", { id: "image-title", tabindex: -1 });
    this.facts = el("p", { class: "quiet" });
    this.before = el("button", { onclick: () => view.step(this.position, -1) }, "Previous");
    this.after = el("button", { onclick: () => view.step(this.position, 1) }, "Next");
    this.all = el("input", { type: "checkbox", onchange: () => this.draw() });
    this.body = el("div", { class: "image-body" });
    this.root = el(
      "dialog",
      { class: "image-dialog", "aria-labelledby": "image-title" },
      el(
        "header",
        {},
        el("div", {}, this.title, this.facts),
        el(
          "div",
          { class: "buttons" },
          el("label", { class: "check" }, this.all, "All cached boxes"),
          this.before,
          this.after,
          el("button", { class: "primary", onclick: () => this.root.close() }, "Close"),
        ),
      ),
      this.body,
    );
    this.root.addEventListener("close", () => view.closed());
    this.root.addEventListener("keydown", (event) => {
      if (event.target.closest("input, select, canvas, .box-list")) return;
      if (event.key === "ArrowLeft") view.step(this.position, -1);
      if (event.key === "ArrowRight") view.step(this.position, 1);
    });
    document.body.append(this.root);
  }

  async open(index, position) {
    this.position = position;
    this.before.disabled = position === null || position === 0;
    this.after.disabled = position === null || position + 1 >= this.view.grid.total;
    if (!this.root.open) this.root.showModal();
    history.replaceState(null, "", `#cache/pictures/${index}`);
    const asked = (this.asked = Symbol("picture"));
    try {
      const image = await getJson(`${this.view.address}/images/${index}`);
      if (asked !== this.asked) return;
      this.image = image;
      this.build();
    } catch (error) {
      this.title.textContent = `Picture ${index}`;
      this.body.replaceChildren(errorBox(error));
    }
  }

  build() {
    const { image, view } = this;
    this.title.textContent = image.path;
    const address = `${view.address}/images/${image.index}/picture`;
    this.left = stage(address, {
      widthPx: image.width_px,
      heightPx: image.height_px,
      name: `Teacher's boxes on ${image.path}`,
      onPick: (_, i) => i >= 0 && this.choose(i),
    });
    const sides = [el("figure", {}, this.left.root, (this.leftCaption = el("figcaption", {})))];
    if (image.labels) {
      const right = stage(address, {
        widthPx: image.width_px,
        heightPx: image.height_px,
        name: `Labels of ${image.path}`,
      });
      right.boxes.setBoxes(image.labels.map((label) => ({ ...label, label: label.name, dashed: true })));
      sides.push(el("figure", {}, right.root, el("figcaption", {}, plural(image.labels.length, "label"))));
    }
    this.list = el("div", { class: "box-list" });
    this.detail = el("div", { class: "stack" });
    this.body.replaceChildren(
      el("div", { class: `sides sides-${sides.length}` }, sides),
      el("div", { class: "image-side" }, this.list, this.detail),
    );
    const parts = [`${image.width_px} × ${image.height_px} px`, `uncertainty ${score(image.uncertainty)}`];
    if (image.disagreement !== null) parts.push(`disagreement with labels ${score(image.disagreement)}`);
    this.facts.textContent = parts.join(" · ");
    this.draw();
    this.title.focus();
  }

  draw() {
    const names = this.view.cache.classes;
    const name = (id) => names[id] ?? String(id);
    const kept = this.image.predictions.filter((p) => p.kept || this.all.checked);
    this.shown = kept.sort((a, b) => b.score - a.score);
    this.left.boxes.setBoxes(this.shown.map((p) => ({ ...p, label: `${name(p.class_id)} ${score(p.score)}` })));
    this.leftCaption.textContent = this.all.checked
      ? `${plural(this.shown.length, "cached box", "cached boxes")} of the teacher`
      : `${plural(this.shown.length, "box", "boxes")} of the teacher after NMS`;
    this.buttons = this.shown.map((p, i) =>
      el(
        "button",
        {
          "aria-pressed": "false",
          onclick: () => this.left.boxes.activate(i),
          onfocus: () => this.left.boxes.activate(i),
        },
        paint(p.class_id),
        name(p.class_id),
        el("span", {}, score(p.score)),
      ),
    );
    this.list.replaceChildren(...this.buttons);
    show(this.list, this.shown.length > 0);
    if (this.shown.length) this.choose(0);
    else this.detail.replaceChildren(el("p", { class: "quiet" }, "The teacher saw nothing here at confidence 0.25."));
  }

  choose(i) {
    const prediction = this.shown[i];
    this.buttons.forEach((button, k) => button.setAttribute("aria-pressed", String(k === i)));
    this.buttons[i].scrollIntoView({ block: "nearest" });
    const place = prediction.stride_px
      ? `Stride ${prediction.stride_px} px${prediction.cell ? `, cell ${prediction.cell.join(", ")}` : ""}`
      : null;
    const parts = [el("h3", {}, "Soft classes"), classBars(prediction.classes, this.view.cache.classes)];
    if (prediction.dfl) {
      parts.push(el("h3", {}, "Distances to the sides (DFL → px)"), dflBars(prediction.dfl, prediction.stride_px));
    }
    if (place) parts.push(el("p", { class: "quiet" }, place));
    this.detail.replaceChildren(...parts);
  }
}
