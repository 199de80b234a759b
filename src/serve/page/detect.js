// The detect view: pictures in, boxes and counts out. Sliders and filters work on what the server sent once.

import { Lane, getJson, ApiError } from "./api.js";
import { countClasses } from "./counts.js";
import { announce, el, foldOnPhone, settle, show } from "./dom.js";
import { Picture, nameOf, paint } from "./picture.js";
import { CountReport } from "./report.js";
import { slider } from "./slider.js";

// The server sends boxes from this score on: the lowest that the slider reaches.
const LOWEST_CONF = 0.05;
const MAX_DETECTIONS = 300;
const REQUESTS_AT_ONCE = 2;

export class DetectView {
  constructor(root, models) {
    Object.assign(this, { root, models, pictures: [], hidden: new Set(), lane: new Lane(REQUESTS_AT_ONCE) });
    this.settings = { conf: models[0].conf, iou: models[0].iou, hidden: this.hidden, maxDetections: MAX_DETECTIONS };
    this.chosen = [models[0]];
    this.redrawSoon = settle(() => this.refresh(), 30);
    this.build();
    this.listen();
    this.refresh();
  }

  build() {
    const options = this.models.map((m) => el("option", { value: m.id }, m.name));
    this.modelA = el("select", { id: "model-a", onchange: () => this.chooseModels() }, options);
    this.modelB = el(
      "select",
      { id: "model-b", onchange: () => this.chooseModels() },
      el("option", { value: "" }, "no other model"),
      options.map((o) => o.cloneNode(true)),
    );
    this.conf = slider("conf", "Confidence", { min: LOWEST_CONF, max: 1, value: this.settings.conf }, (value) =>
      this.setting("conf", value),
    );
    this.iou = slider("iou", "IoU of NMS", { min: 0, max: 1, value: this.settings.iou }, (value) =>
      this.setting("iou", value),
    );
    this.iouNote = el("p", { class: "note", hidden: true }, "This model gives each object one box: there is no NMS.");
    this.classList = el("div", { class: "classes" });
    this.picker = el("input", {
      type: "file",
      id: "choose",
      class: "unseen",
      accept: "image/*,.tif,.tiff,.bmp",
      multiple: true,
    });
    this.camera = el("input", {
      type: "file",
      id: "photograph",
      class: "unseen",
      accept: "image/*",
      capture: "environment",
    });
    this.drop = el(
      "div",
      { class: "drop" },
      el("p", {}, "Drop pictures here, paste them, or"),
      el(
        "div",
        { class: "buttons" },
        this.picker,
        el("label", { for: "choose", class: "button primary" }, "Choose pictures"),
        // Only where the device has a camera to hand; else neither shown nor reached by Tab.
        el(
          "span",
          { class: "camera" },
          this.camera,
          el("label", { for: "photograph", class: "button" }, "Take a photo"),
        ),
      ),
      el("p", { class: "note" }, "JPEG, PNG, WebP, BMP or TIFF. They go to this server and nowhere else."),
    );
    this.report = new CountReport(this);
    this.list = el("div", { class: "pictures" });
    this.side = el(
      "details",
      { class: "settings card", open: true },
      el("summary", {}, "Settings"),
      el(
        "div",
        { class: "stack" },
        el("div", { class: "field" }, el("label", { for: "model-a" }, "Model"), this.modelA),
        this.models.length > 1
          ? el("div", { class: "field" }, el("label", { for: "model-b" }, "Compare with"), this.modelB)
          : null,
        this.conf.root,
        this.iou.root,
        this.iouNote,
        el("fieldset", {}, el("legend", {}, "Classes"), this.classList),
      ),
    );
    foldOnPhone(this.side);
    this.root.append(
      el("div", { class: "split" }, this.side, el("div", { class: "stack" }, this.drop, this.report.root, this.list)),
    );
  }

  listen() {
    const take = (input) =>
      input.addEventListener("change", () => {
        this.add([...input.files]);
        input.value = "";
      });
    take(this.picker);
    take(this.camera);
    const over = (event, on) => {
      event.preventDefault();
      this.drop.classList.toggle("over", on);
    };
    // The whole page takes a drop: a picture beside the target must not replace the page.
    document.addEventListener("dragover", (event) => over(event, !this.root.hidden));
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) over(event, false);
    });
    document.addEventListener("drop", (event) => {
      over(event, false);
      if (!this.root.hidden) this.add([...event.dataTransfer.files]);
    });
    document.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length && !this.root.hidden) {
        event.preventDefault();
        this.add(files);
      }
    });
  }

  setting(name, value) {
    this.settings[name] = value;
    this.redrawSoon();
  }

  chooseModels() {
    const find = (select) => this.models.find((m) => m.id === select.value);
    this.chosen = [find(this.modelA), find(this.modelB)].filter((m, i, all) => m && all.indexOf(m) === i);
    this.hidden.clear();
    for (const picture of this.pictures) {
      picture.build(this.chosen);
      this.ask(picture);
    }
    this.refresh();
  }

  add(files) {
    for (const file of files) {
      const picture = new Picture(file, (gone) => this.remove(gone));
      this.pictures.push(picture);
      picture.build(this.chosen);
      this.list.append(picture.card);
      this.ask(picture);
    }
    this.refresh();
  }

  remove(picture) {
    const at = this.pictures.indexOf(picture);
    this.pictures.splice(at, 1);
    picture.gone = true;
    picture.release();
    (this.pictures[Math.min(at, this.pictures.length - 1)]?.heading ?? this.picker).focus();
    this.refresh();
  }

  clear() {
    for (const picture of this.pictures.splice(0)) {
      picture.gone = true;
      picture.release();
    }
    this.picker.focus();
    this.refresh();
  }

  // Each model's answer is asked for once; sliders never ask again.
  ask(picture) {
    for (const model of this.chosen) {
      picture.asked ??= new Set();
      if (picture.asked.has(model.id)) continue;
      picture.asked.add(model.id);
      this.lane
        .add(() => (picture.gone ? Promise.resolve() : this.detect(picture, model)))
        .then(() => this.redrawSoon());
    }
  }

  async detect(picture, model) {
    const query = new URLSearchParams({
      model: model.id,
      conf: model.conf,
      iou: model.iou,
      max_det: MAX_DETECTIONS,
      candidates: LOWEST_CONF,
    });
    const body = new FormData();
    body.append("image", picture.file, picture.name);
    picture.state.textContent = "Detecting …";
    try {
      const {
        images: [image],
      } = await getJson(`/v1/detect?${query}`, { method: "POST", body });
      if (image.error) throw new ApiError(422, image.error.code, image.error.message, image.error.remedy);
      picture.answers[model.id] = image;
    } catch (error) {
      picture.errors[model.id] = error;
      announce(`${picture.name} failed: ${error.message}`);
    }
  }

  refresh() {
    for (const picture of this.pictures) picture.update(this.settings);
    this.root.classList.toggle("has-pictures", this.pictures.length > 0);
    const noNms = this.chosen.every((m) => m.one_to_one);
    this.iou.input.disabled = noNms;
    show(this.iouNote, noNms);
    this.report.update();
    this.showClasses();
  }

  // A box to tick for each class that was found at the settings, hidden ones included.
  showClasses() {
    const name = (id) => nameOf(this.chosen[0], id);
    const found = this.chosen.map((model, i) =>
      countClasses(
        this.pictures.flatMap((p) => (p.answers[model.id] ? p.sides[i].all : [])),
        name,
      ),
    );
    const ofModel = (i, id) => found[i].find((c) => c.class_id === id)?.count ?? 0;
    const ids = new Set([...found.flat().map((c) => c.class_id), ...this.hidden]);
    const counts = [...ids].map((id) => ({
      class_id: id,
      name: name(id),
      count: found.map((_, i) => ofModel(i, id)).join(" / "),
    }));
    const focused = document.activeElement?.dataset?.classId;
    this.classList.replaceChildren(
      ...counts.map(({ class_id: id, name, count }) =>
        el(
          "label",
          { class: "check" },
          el("input", {
            type: "checkbox",
            checked: !this.hidden.has(id),
            "data-class-id": id,
            onchange: (event) => this.toggleClass(id, event.target.checked),
          }),
          paint(id),
          el("span", {}, name),
          el("span", { class: "quiet" }, count),
        ),
      ),
    );
    if (!counts.length) this.classList.append(el("p", { class: "quiet" }, "Classes that are found appear here."));
    else if (focused !== undefined) this.classList.querySelector(`[data-class-id="${focused}"]`)?.focus();
  }

  toggleClass(id, on) {
    if (on) this.hidden.delete(id);
    else this.hidden.add(id);
    this.refresh();
  }
}
