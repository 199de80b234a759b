//! A user's word on how images become a model's input.

use super::{Colours, Fit, InputRule, InputValues};

/// Parts of an [`InputRule`] that a user states; the others are the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatedInputRule {
    /// How an image is fitted into the input.
    pub fit: Option<Fit>,
    /// The order of the colour planes.
    pub colours: Option<Colours>,
    /// What the levels become.
    pub values: Option<InputValues>,
}

impl StatedInputRule {
    /// Every part of a rule.
    pub fn whole(rule: InputRule) -> Self {
        Self { fit: Some(rule.fit), colours: Some(rule.colours), values: Some(rule.values) }
    }

    /// The rule with the parts that are stated replaced.
    pub fn of(self, rule: InputRule) -> InputRule {
        InputRule {
            fit: self.fit.unwrap_or(rule.fit),
            colours: self.colours.unwrap_or(rule.colours),
            values: self.values.unwrap_or(rule.values),
        }
    }
}

impl std::str::FromStr for StatedInputRule {
    type Err = String;

    /// Reads `stretch,rgb,0-1`: any of the parts, in any order.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut stated = Self::default();
        for word in text.split(',').map(str::trim) {
            let fit = Fit::ALL.into_iter().find(|fit| fit.as_str() == word);
            let colours = Colours::ALL.into_iter().find(|colours| colours.as_str() == word);
            let values = InputValues::ALL.into_iter().find(|values| values.as_str() == word);
            let again = match (fit, colours, values) {
                (Some(fit), ..) => stated.fit.replace(fit).is_some(),
                (_, Some(colours), _) => stated.colours.replace(colours).is_some(),
                (.., Some(values)) => stated.values.replace(values).is_some(),
                _ => {
                    return Err(format!(
                        "{word:?} is no part of an input rule; known are letterbox, top-left, stretch; rgb, bgr; 0-1, \
                         0-255, imagenet"
                    ));
                }
            };
            if again {
                return Err(format!("{word:?} says a second time what was said before it"));
            }
        }
        Ok(stated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_any_order() {
        let rule: StatedInputRule = "0-255, top-left,bgr".parse().unwrap();
        let whole = InputRule { fit: Fit::TopLeft, colours: Colours::Bgr, values: InputValues::Levels };
        assert_eq!((rule.of(InputRule::default()), rule), (whole, StatedInputRule::whole(whole)));
        let bgr: StatedInputRule = "bgr".parse().unwrap();
        assert_eq!(bgr.of(InputRule::default()).to_string(), "letterbox,bgr,0-1");
        for (text, says) in [("", "no part"), ("rgb,stretched", "\"stretched\""), ("rgb,bgr", "second time")] {
            assert!(text.parse::<StatedInputRule>().unwrap_err().contains(says), "{text}");
        }
    }
}
