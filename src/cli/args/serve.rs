//! Arguments of `logitcache serve`.

use super::{DetectorArgs, bounds, heading};
use clap::Args;
use std::{net::IpAddr, path::PathBuf};

/// `logitcache serve`
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Models to detect with: ONNX exports of detectors.
    #[arg(value_name = "MODEL.onnx")]
    pub models: Vec<PathBuf>,
    /// A cache to browse; repeat for several.
    #[arg(long, value_name = "CACHE", help_heading = heading::DATA)]
    pub cache: Vec<PathBuf>,
    /// A training run to follow; repeat for several.
    #[arg(long, value_name = "RUN", help_heading = heading::DATA)]
    pub run: Vec<PathBuf>,
    /// A file for verdicts on suspected label errors, a JSON object a line; it is made or added to [default: none are taken].
    #[arg(long, value_name = "FILE", requires = "cache", help_heading = heading::OUTPUT)]
    pub reviews: Option<PathBuf>,
    /// Address to listen on; one that other machines reach needs --token.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", help_heading = heading::NETWORK)]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8000, help_heading = heading::NETWORK)]
    pub port: u16,
    /// What a client must know; without a value a random one is made and printed.
    #[arg(long, value_name = "TOKEN", num_args = 0..=1, require_equals = true, default_missing_value = "", help_heading = heading::NETWORK)]
    pub token: Option<String>,
    /// Most images that wait for a model; more are refused with status 429.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = bounds::listed, help_heading = heading::NETWORK)]
    pub max_waiting: usize,
    /// How the models run.
    #[command(flatten)]
    pub detector: DetectorArgs,
}
