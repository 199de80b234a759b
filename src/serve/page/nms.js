// Suppression as `predict` does it (src/eval/nms.rs), to the digit: single precision, strict comparisons,
// boxes moved apart by their class. The server's candidates come in the order that the program takes them.

const CLASS_OFFSET_PX = 7680;
const MAX_CANDIDATES = 30000;
const f32 = Math.fround;

// A box moved by its class, with its area, each step rounded to single precision as in the program.
function offsetBox([x0, y0, x1, y1], classId) {
  const offset = f32(f32(classId) * CLASS_OFFSET_PX);
  const corners = [f32(f32(x0) + offset), f32(f32(y0) + offset), f32(f32(x1) + offset), f32(f32(y1) + offset)];
  return { corners, area: f32(f32(corners[2] - corners[0]) * f32(corners[3] - corners[1])) };
}

function offsetIou(a, b) {
  const [p, q] = [a.corners, b.corners];
  const width = Math.max(f32(Math.min(p[2], q[2]) - Math.max(p[0], q[0])), 0);
  const height = Math.max(f32(Math.min(p[3], q[3]) - Math.max(p[1], q[1])), 0);
  const intersection = f32(width * height);
  return f32(intersection / f32(f32(a.area + b.area) - intersection));
}

// Candidates that are detections: score over `conf`, no better box of their class overlaps by more than `iou`.
// `box_xyxy_input_px` decides where there is one: clipping and scaling to the picture change overlaps.
export function suppress(candidates, { conf, iou, maxDetections = 300 }) {
  const threshold = f32(conf);
  const kept = [];
  const boxes = [];
  let seen = 0;
  for (const candidate of candidates) {
    if (!(f32(candidate.score) > threshold)) continue;
    if (kept.length === maxDetections || ++seen > MAX_CANDIDATES) break;
    const box = offsetBox(candidate.box_xyxy_input_px ?? candidate.box_xyxy_px, candidate.class_id);
    // Not a number (two boxes without area) is over no threshold.
    if (boxes.some((better) => offsetIou(better, box) > iou)) continue;
    boxes.push(box);
    kept.push(candidate);
  }
  return kept;
}

// Intersection over union of two boxes of one picture, in double precision: for matching, not for suppression.
export function iou(a, b) {
  const width = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0);
  const height = Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const union = area(a) + area(b) - width * height;
  return union > 0 ? (width * height) / union : 0;
}
