// The count report and its files.

// Objects of each class, the most frequent first, then by class id.
export function countClasses(detections, nameOf) {
  const counts = new Map();
  for (const { class_id: id } of detections) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts]
    .map(([classId, count]) => ({ class_id: classId, name: nameOf(classId), count }))
    .sort((a, b) => b.count - a.count || a.class_id - b.class_id);
}

// "person 5, car 3, bicycle 2"
export function countsText(counts) {
  return counts.length ? counts.map(({ name, count }) => `${name} ${count}`).join(", ") : "no objects";
}

// The report as lines of text: one per picture, then the total.
export function reportText(pictures, total) {
  const lines = pictures.map((p) => `${p.name}: ${p.error ? `failed: ${p.error}` : countsText(p.counts)}`);
  return [...lines, `total: ${countsText(total)}`].join("\n") + "\n";
}

// A spreadsheet would run a cell that begins with one of these as a formula.
function csvCell(value) {
  let text = String(value ?? "");
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// One line per box; a picture without boxes has none, one that failed a line with the reason.
export function reportCsv(pictures) {
  const head = ["image", "class_id", "class", "score", "x0_px", "y0_px", "x1_px", "y1_px", "error"];
  const rows = pictures.flatMap((p) =>
    p.error
      ? [[p.name, "", "", "", "", "", "", "", p.error]]
      : p.detections.map((d) => [p.name, d.class_id, d.name, d.score, ...d.box_xyxy_px, ""]),
  );
  return [head, ...rows].map((row) => row.map(csvCell).join(",")).join("\r\n") + "\r\n";
}

export function reportJson(pictures, total, settings) {
  const images = pictures.map((p) =>
    p.error
      ? { name: p.name, error: p.error }
      : {
          name: p.name,
          width_px: p.width_px,
          height_px: p.height_px,
          counts: p.counts,
          detections: p.detections.map(({ class_id, name, score, box_xyxy_px }) => ({
            class_id,
            name,
            score,
            box_xyxy_px,
          })),
        },
  );
  return JSON.stringify({ ...settings, counts: total, images }, null, 2) + "\n";
}

// COCO results as `predict --out` writes them: image ids count the pictures in their order, from 0.
export function reportCoco(pictures) {
  const results = pictures.flatMap((p, imageId) =>
    p.error
      ? []
      : p.detections.map(({ class_id, score, box_xyxy_px: [x0, y0, x1, y1] }) => ({
          image_id: imageId,
          file_name: p.name,
          category_id: class_id,
          bbox: [x0, y0, side(x0, x1), side(y0, y1)],
          score,
        })),
  );
  return JSON.stringify(results) + "\n";
}

// Subtracted in single precision, as the program does it.
const side = (from, to) => shortest(Math.fround(Math.fround(to) - Math.fround(from)));

// The shortest number that is the same in single precision: 0.1, not 0.10000000149011612.
export function shortest(value) {
  for (let digits = 6; digits < 10; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}
