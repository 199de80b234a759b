// The count report over all pictures of the detect view, and its files.

import { countClasses, countsText, reportCoco, reportCsv, reportJson, reportText } from "./counts.js";
import { announce, download, el, plural, show } from "./dom.js";
import { nameOf } from "./picture.js";

export class CountReport {
  constructor(view) {
    this.view = view;
    this.total = el("p", { id: "total", class: "total" });
    this.totalB = el("p", { id: "total-b", class: "total" });
    this.progress = el("p", { class: "quiet", id: "progress" });
    this.copied = el("span", { class: "quiet", role: "status" });
    this.root = el(
      "section",
      { class: "card report", "aria-labelledby": "total-title" },
      el("h2", { id: "total-title" }, "Count report"),
      this.total,
      this.totalB,
      this.progress,
      el(
        "div",
        { class: "buttons" },
        el("button", { onclick: () => this.copy() }, "Copy as text"),
        el("button", { onclick: () => this.save("csv") }, "CSV"),
        el("button", { onclick: () => this.save("json") }, "JSON"),
        el("button", { onclick: () => this.save("coco") }, "COCO"),
        el("button", { class: "plain", onclick: () => view.clear() }, "Remove all"),
        this.copied,
      ),
    );
  }

  // Of one of the chosen models: what is shown of each picture, and the counts over all.
  of(index) {
    const { pictures, chosen } = this.view;
    const reports = pictures.map((p) => p.report(index)).filter(Boolean);
    const detections = reports.flatMap((p) => p.detections ?? []);
    return { pictures: reports, total: countClasses(detections, (id) => nameOf(chosen[index], id)) };
  }

  update() {
    const { pictures, chosen } = this.view;
    show(this.root, pictures.length > 0);
    const both = chosen.length > 1;
    const texts = chosen.map((_, i) => `${both ? `${"AB"[i]}: ` : ""}${countsText(this.of(i).total)}`);
    this.total.textContent = texts[0];
    this.totalB.textContent = texts[1] ?? "";
    show(this.totalB, both);
    this.copied.textContent = "";
    const done = pictures.filter((p) => chosen.every((m) => p.answers[m.id] || p.errors[m.id])).length;
    const failed = pictures.filter((p) => chosen.some((m) => p.errors[m.id])).length;
    const parts = [plural(pictures.length, "picture")];
    if (done < pictures.length) parts.push(`${done} done`);
    if (failed) parts.push(`${failed} failed`);
    this.progress.textContent = parts.join(", ");
    if (pictures.length && done === pictures.length) announce(`${parts.join(", ")}. ${texts.join(". ")}`);
  }

  async copy() {
    const { chosen } = this.view;
    const text = chosen.map((model, i) => {
      const { pictures, total } = this.of(i);
      return (chosen.length > 1 ? `${model.name}\n` : "") + reportText(pictures, total);
    });
    try {
      await navigator.clipboard.writeText(text.join("\n"));
      this.copied.textContent = "Copied.";
    } catch {
      // No clipboard away from localhost without TLS.
      download("counts.txt", "text/plain", text.join("\n"));
      this.copied.textContent = "Saved as counts.txt: the browser allows no copy here.";
    }
  }

  save(kind) {
    const { chosen, settings } = this.view;
    chosen.forEach((model, i) => {
      const { pictures, total } = this.of(i);
      const stem = `detections${chosen.length > 1 ? `-${"ab"[i]}` : ""}`;
      const head = { model: model.name, conf: settings.conf, iou: settings.iou };
      if (kind === "csv") download(`${stem}.csv`, "text/csv", reportCsv(pictures));
      if (kind === "json") download(`${stem}.json`, "application/json", reportJson(pictures, total, head));
      if (kind === "coco") download(`${stem}.coco.json`, "application/json", reportCoco(pictures));
    });
  }
}
