// A grid of pictures of which only those in sight exist as elements: a cache may have a million.

import { el, score, settle } from "./dom.js";

const PAGE = 200;
const PAGES_KEPT = 40;
// Browsers cut elements at about 17 to 33 million pixels; longer lists scroll in proportion.
const MAX_HEIGHT_PX = 8_000_000;
const GAP_PX = 8;

export class Grid {
  // `load(offset, limit)` gives {total, images}; `open(position)` shows one.
  constructor({ load, open, thumbnail, describe }) {
    Object.assign(this, {
      load,
      open,
      thumbnail,
      describe,
      total: 0,
      active: 0,
      cells: new Map(),
      pages: new Map(),
      generation: 0,
    });
    this.space = el("div", { class: "grid-space", role: "none" });
    this.root = el(
      "div",
      { class: "grid", role: "listbox", tabindex: 0, "aria-label": "Pictures of the cache" },
      this.space,
    );
    this.root.addEventListener("scroll", () => this.render());
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.loadThumbnails = settle(() => this.fillThumbnails(), 60);
    new ResizeObserver(() => this.layout()).observe(this.root);
  }

  async reset() {
    const generation = ++this.generation;
    this.pages.clear();
    const first = await this.load(0, PAGE);
    if (generation !== this.generation) return;
    this.pages.set(0, first.images);
    this.total = first.total;
    this.active = 0;
    this.clear();
    this.root.scrollTop = 0;
    this.layout();
  }

  clear() {
    for (const cell of this.cells.values()) this.drop(cell);
    this.cells.clear();
  }

  drop(cell) {
    // A request for a picture out of sight is given up.
    cell.querySelector("img").removeAttribute("src");
    cell.remove();
  }

  layout() {
    const width = this.root.clientWidth - 2 * GAP_PX;
    if (width <= 0) return;
    this.columns = Math.max(2, Math.floor(width / 190));
    this.cellWidth = (width - (this.columns - 1) * GAP_PX) / this.columns;
    this.rowHeight = Math.round(this.cellWidth * 0.75) + 52;
    this.rows = Math.ceil(this.total / this.columns);
    this.height = Math.min(this.rows * this.rowHeight + GAP_PX, MAX_HEIGHT_PX);
    this.space.style.height = `${this.height}px`;
    this.clear();
    this.render();
  }

  // The row at the top of the window, with its fraction; in proportion where the list is longer than an element may be.
  topRow() {
    const whole = this.rows * this.rowHeight + GAP_PX - this.root.clientHeight;
    const scrollable = this.height - this.root.clientHeight;
    return scrollable > 0 ? ((this.root.scrollTop / scrollable) * whole) / this.rowHeight : 0;
  }

  render() {
    if (!this.columns) return;
    const top = this.topRow();
    const first = Math.max(0, Math.floor(top) - 1) * this.columns;
    const count = (Math.ceil(this.root.clientHeight / this.rowHeight) + 3) * this.columns;
    const end = Math.min(this.total, first + count);
    for (const [position, cell] of this.cells) {
      if (position < first || position >= end) {
        this.drop(cell);
        this.cells.delete(position);
      }
    }
    for (let position = first; position < end; position++) {
      const cell = this.cells.get(position) ?? this.make(position);
      const row = Math.floor(position / this.columns);
      cell.style.top = `${this.root.scrollTop + (row - top) * this.rowHeight + GAP_PX}px`;
    }
    this.loadThumbnails();
    this.mark();
  }

  make(position) {
    const cell = el(
      "div",
      {
        class: "cell",
        role: "option",
        id: `cell-${position}`,
        "aria-posinset": position + 1,
        "aria-setsize": this.total,
        "aria-selected": "false",
        "aria-label": `Picture ${position + 1}`,
        onclick: () => {
          this.active = position;
          this.mark();
          this.open(position);
        },
      },
      el("img", { alt: "", draggable: "false" }),
      el("span", { class: "cell-name" }, "…"),
      el("span", { class: "cell-facts quiet" }),
    );
    cell.style.left = `${GAP_PX + (position % this.columns) * (this.cellWidth + GAP_PX)}px`;
    cell.style.width = `${this.cellWidth}px`;
    cell.style.height = `${this.rowHeight - GAP_PX}px`;
    this.cells.set(position, cell);
    this.space.append(cell);
    const known = this.pages.get(Math.floor(position / PAGE));
    if (Array.isArray(known)) this.fill(cell, known[position % PAGE]);
    return cell;
  }

  fill(cell, image) {
    if (!image || cell.dataset.index) return;
    cell.dataset.index = image.index;
    cell.title = image.path;
    cell.querySelector(".cell-name").textContent = image.path.split("/").at(-1);
    const facts = this.describe(image);
    cell.querySelector(".cell-facts").textContent = facts;
    cell.setAttribute("aria-label", `${image.path}, ${facts}`);
  }

  // Once scrolling rests: what is in sight, and no more.
  async fillThumbnails() {
    const generation = this.generation;
    const wanted = new Set([...this.cells.keys()].map((position) => Math.floor(position / PAGE)));
    await Promise.all([...wanted].map((page) => this.fetchPage(page)));
    if (generation !== this.generation) return;
    for (const [position, cell] of this.cells) {
      const page = this.pages.get(Math.floor(position / PAGE));
      if (Array.isArray(page)) this.fill(cell, page[position % PAGE]);
      const picture = cell.querySelector("img");
      if (cell.dataset.index && !picture.hasAttribute("src")) picture.src = this.thumbnail(Number(cell.dataset.index));
    }
    this.mark();
  }

  async fetchPage(page) {
    if (this.pages.has(page)) return this.pages.get(page);
    const generation = this.generation;
    const request = this.load(page * PAGE, PAGE).then(({ images }) => images);
    this.pages.set(page, request);
    try {
      const images = await request;
      if (generation === this.generation) this.pages.set(page, images);
      if (this.pages.size > PAGES_KEPT) this.pages.delete(this.pages.keys().next().value);
      return images;
    } catch {
      // Asked again at the next scroll.
      if (generation === this.generation) this.pages.delete(page);
      return [];
    }
  }

  async at(position) {
    return (await this.fetchPage(Math.floor(position / PAGE)))[position % PAGE];
  }

  mark() {
    for (const [position, cell] of this.cells) cell.setAttribute("aria-selected", String(position === this.active));
    if (this.cells.has(this.active)) this.root.setAttribute("aria-activedescendant", `cell-${this.active}`);
    else this.root.removeAttribute("aria-activedescendant");
  }

  onKey(event) {
    if (event.key === "Enter" && this.total) {
      event.preventDefault();
      this.open(this.active);
      return;
    }
    const onePage = Math.max(1, Math.floor(this.root.clientHeight / this.rowHeight)) * this.columns;
    const moves = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: this.columns,
      ArrowUp: -this.columns,
      PageDown: onePage,
      PageUp: -onePage,
      Home: -Infinity,
      End: Infinity,
    };
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey || !this.total) return;
    event.preventDefault();
    this.select(this.active + moves[event.key]);
  }

  select(position) {
    this.active = Math.max(0, Math.min(this.total - 1, position));
    const row = Math.floor(this.active / this.columns);
    const shown = (this.root.clientHeight - GAP_PX) / this.rowHeight;
    const top = this.topRow();
    if (row < top) this.scrollToRow(row);
    else if (row + 1 > top + shown) this.scrollToRow(row + 1 - shown);
    this.render();
  }

  scrollToRow(row) {
    const whole = this.rows * this.rowHeight + GAP_PX - this.root.clientHeight;
    const scrollable = this.height - this.root.clientHeight;
    this.root.scrollTop = whole > 0 ? ((row * this.rowHeight) / whole) * scrollable : 0;
  }
}

export const factsOf = (sort) => (image) => {
  const boxes = `${image.detections} ${image.detections === 1 ? "box" : "boxes"}`;
  if (sort === "uncertainty") return `${boxes}, uncertainty ${score(image.uncertainty)}`;
  if (sort === "disagreement") {
    return `${boxes}, ${image.disagreement === null ? "no labels" : `disagreement ${score(image.disagreement)}`}`;
  }
  return image.detections ? `${boxes}, best ${score(image.top_score)}` : boxes;
};
