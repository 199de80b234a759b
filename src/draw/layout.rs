//! Where captions go: outside of their box, off the small boxes, off each other, inside the picture.

use super::rect::Rect;

/// What a place costs for each place before it in the list, so that the first of equals is taken.
const RANK_COST: f64 = 0.02;

/// How much of a box, and of another caption, may lie under a caption. In a crowd some captions find no such place and are left out:
/// the colour of the frame says the class.
const MOST_HIDDEN: (f64, f64) = (0.5, 0.1);

/// One thing to name.
pub(super) struct Named {
    /// Its box with the line around it.
    pub(super) frame: Rect,
    /// Width and height of its caption; `None` for one that fits nowhere.
    pub(super) caption: Option<(i64, i64)>,
    /// Below the box rather than above it.
    pub(super) below: bool,
}

/// A place for each caption, all of them inside `picture`. The first in the list choose first.
pub(super) fn place_captions(picture: &Rect, things: &[Named]) -> Vec<Option<Rect>> {
    let mut placed: Vec<Option<Rect>> = Vec::with_capacity(things.len());
    for thing in things {
        let best = thing.caption.and_then(|(width, height)| {
            let candidates = candidates(thing, width, height).into_iter().map(|place| place.moved_into(picture));
            let costs = candidates.enumerate().filter_map(|(rank, place)| {
                let frames = things.iter().map(|other| (part_of(&place, &other.frame), MOST_HIDDEN.0));
                let captions = placed.iter().flatten().map(|other| (part_of(&place, other), MOST_HIDDEN.1));
                let mut cost = RANK_COST * rank as f64;
                for (hidden, most) in frames.chain(captions) {
                    if hidden > most {
                        return None;
                    }
                    cost += hidden;
                }
                Some((cost, place))
            });
            costs.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, place)| place)
        });
        placed.push(best);
    }
    placed
}

/// Around the box, then inside of it.
fn candidates(thing: &Named, width: i64, height: i64) -> [Rect; 10] {
    let Rect { x1, y1, x2, y2 } = thing.frame;
    let at = |x, y| Rect::at(x, y, width, height);
    let above = [at(x1, y1 - height), at(x2 - width, y1 - height)];
    let below = [at(x1, y2), at(x2 - width, y2)];
    let [first, second] = if thing.below { [below, above] } else { [above, below] };
    let right = [at(x2, y1), at(x2, y2 - height)];
    let left = [at(x1 - width, y1), at(x1 - width, y2 - height)];
    let inside = [at(x1, y1), at(x1, y2 - height)];
    [first[0], second[0], first[1], second[1], right[0], left[0], right[1], left[1], inside[0], inside[1]]
}

/// How much of `thing` lies under `cover`, 0 to 1.
fn part_of(cover: &Rect, thing: &Rect) -> f64 {
    cover.common(thing).area() as f64 / thing.area().max(1) as f64
}
