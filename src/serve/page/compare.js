// What two models see differently on one picture.

import { iou } from "./nms.js";

export const MATCH_IOU = 0.5;
export const SCORE_CHANGE = 0.1;

// Pairs of boxes that overlap by at least MATCH_IOU: those of one class first, then the greatest overlap;
// each box once.
function match(left, right) {
  const pairs = [];
  left.forEach((a, i) =>
    right.forEach((b, j) => {
      const overlap = iou(a.box_xyxy_px, b.box_xyxy_px);
      if (overlap >= MATCH_IOU) pairs.push({ i, j, overlap, same: a.class_id === b.class_id });
    }),
  );
  pairs.sort((p, q) => q.same - p.same || q.overlap - p.overlap || p.i - q.i || p.j - q.j);
  const [usedLeft, usedRight] = [new Set(), new Set()];
  return pairs.filter(({ i, j }) => {
    if (usedLeft.has(i) || usedRight.has(j)) return false;
    usedLeft.add(i);
    usedRight.add(j);
    return true;
  });
}

// For each box of both sides "same", "only", "class" or "score", with the other side's box where there is one.
export function difference(left, right) {
  const mark = { left: left.map(() => ({ kind: "only" })), right: right.map(() => ({ kind: "only" })) };
  for (const { i, j, same } of match(left, right)) {
    const changed = Math.abs(left[i].score - right[j].score) >= SCORE_CHANGE;
    const kind = !same ? "class" : changed ? "score" : "same";
    mark.left[i] = { kind, other: right[j] };
    mark.right[j] = { kind, other: left[i] };
  }
  const count = (side, kind) => mark[side].filter((m) => m.kind === kind).length;
  return {
    ...mark,
    summary: {
      onlyLeft: count("left", "only"),
      onlyRight: count("right", "only"),
      changedClass: count("left", "class"),
      changedScore: count("left", "score"),
      same: count("left", "same"),
    },
  };
}

export function summaryText({ onlyLeft, onlyRight, changedClass, changedScore, same }) {
  return (
    `${onlyLeft} only in A, ${onlyRight} only in B, ${changedClass} with another class, ` +
    `${changedScore} with another score, ${same} the same`
  );
}
