//! How numbers and lists stand in sentences: one place, so that all messages agree.

use crate::types::Failure;
use indicatif::HumanCount;

/// Images named one by one in a message; the rest is counted.
pub const SHOWN: usize = 20;

/// "1 image", "2,345 images", "1 class", "3 boxes": the plural follows from the noun's ending.
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let number = HumanCount(count);
    let hisses = noun.ends_with(['s', 'x']);
    match noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        _ if count == 1 => format!("{number} {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None if hisses => format!("{number} {noun}es"),
        None => format!("{number} {noun}s"),
    }
}

/// A line for each failed image with its reason; beyond the first [`SHOWN`] their number, and `more` behind it.
pub fn reasons(failures: &[Failure], more: &str) -> Vec<String> {
    let mut lines: Vec<String> = failures.iter().take(SHOWN).map(|f| format!("  {}: {}", f.path, f.reason)).collect();
    if failures.len() > SHOWN {
        lines.push(format!("  ... and {} more{more}", HumanCount((failures.len() - SHOWN) as u64)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::FailureStage;

    #[test]
    fn one_is_one_and_plurals_are_those_of_the_language() {
        let shown =
            |count: u64| ["image", "class", "box", "entry", "view", "epoch", "day"].map(|noun| counted(count, noun));
        assert_eq!(shown(1), ["1 image", "1 class", "1 box", "1 entry", "1 view", "1 epoch", "1 day"]);
        assert_eq!(shown(0)[..2], ["0 images", "0 classes"]);
        assert_eq!(shown(2345)[2..], ["2,345 boxes", "2,345 entries", "2,345 views", "2,345 epochs", "2,345 days"]);
    }

    #[test]
    fn many_reasons_end_with_their_number() {
        let failure = |id: usize| Failure {
            image_id: id as i64,
            path: format!("{id}.jpg"),
            stage: FailureStage::Read,
            reason: "gone".into(),
        };
        let lines = |count| reasons(&(0..count).map(failure).collect::<Vec<_>>(), " (--json has all)");
        assert_eq!(lines(1), ["  0.jpg: gone"]);
        assert_eq!(lines(SHOWN).len(), SHOWN);
        let many = lines(SHOWN + 3);
        assert_eq!((many.len(), many[SHOWN].as_str()), (SHOWN + 1, "  ... and 3 more (--json has all)"));
    }
}
