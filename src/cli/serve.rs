//! `logitcache serve`

use super::{Status, args::ServeArgs, flags::as_flags, output, print};
use crate::{
    Error, Result,
    eval::NmsOptions,
    serve::{Serve, ServeOptions, serve},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{fs::File, io::Read as _, net::SocketAddr, path::Path};

/// Random bytes of a token: as hard to guess as a key.
const TOKEN_BYTES: usize = 24;

pub fn run(args: &ServeArgs, quiet: bool) -> Result<Status> {
    let resolved = args.models.iter().map(|model| args.detector.resolve(model.clone(), NmsOptions::PREDICTING));
    let options = ServeOptions {
        models: resolved.collect::<Result<Vec<_>>>()?,
        caches: args.cache.clone(),
        runs: args.run.clone(),
        address: SocketAddr::new(args.host, args.port),
        token: args.token.as_deref().map(token).transpose()?,
        max_waiting: args.max_waiting,
        reviews: args.reviews.clone(),
        wording: |text| as_flags(text).into_owned(),
    };
    let stop = super::stop_on_ctrl_c();
    let prepared = Serve::prepare(&options, stop)?;
    if !quiet {
        prepared.notes.iter().for_each(|note| output::note(&format!("note: {note}")));
    }
    let query = options.token.map_or_else(String::new, |token| format!("?token={token}"));
    print(&format!("listening on http://{}/{query} (Ctrl-C ends)", prepared.address))?;
    serve(prepared, stop)?;
    Ok(Status::Done)
}

/// The token that was given, or a random one.
fn token(given: &str) -> Result<String> {
    if given.is_empty() {
        let source = Path::new("/dev/urandom");
        let mut bytes = [0; TOKEN_BYTES];
        let read = File::open(source).and_then(|mut file| file.read_exact(&mut bytes));
        read.map_err(|e| Error::io(source, "read random bytes from", e))?;
        return Ok(URL_SAFE_NO_PAD.encode(bytes));
    }
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "-._~".contains(letter);
    if given.chars().all(fits) {
        return Ok(given.to_owned());
    }
    Err(Error::Mismatch {
        found: "the token has letters that cannot stand in an address".into(),
        remedy: "Use A to Z, a to z, 0 to 9, and - . _ ~, or give `token=` no value.".into(),
    })
}
