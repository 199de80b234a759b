//! Probabilities and their log-odds, in double precision, so that rounding never decides a threshold. What the logits
//! of a head mean is for its [`HeadKind`](crate::HeadKind) to say; these serve it, and regressions.

/// The logistic function: the probability that has these log-odds.
pub fn sigmoid(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// The logarithm of `p / (1 - p)`: infinite for 0 and 1.
pub fn log_odds(probability: f64) -> f64 {
    (probability / (1.0 - probability)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_odds_lead_back_to_their_probability() {
        for (probability, odds) in [(0.5, 0.0), (0.9, 9f64.ln()), (0.1, -9f64.ln()), (0.0, f64::NEG_INFINITY)] {
            assert!((sigmoid(odds) - probability).abs() < 1e-15, "{probability}");
            assert!(log_odds(probability) == odds || (log_odds(probability) - odds).abs() < 1e-14, "{probability}");
        }
    }
}
