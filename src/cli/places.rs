//! Where a command's caches and data sets lie: URLs of object stores become the local copies that the rest works on.

use super::args::{CacheCommand, Command};
use crate::{Error, Result, remote};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// What an argument names.
enum Place<'a> {
    /// A cache that is read.
    Cache(&'a mut PathBuf),
    /// A cache that is read byte by byte.
    CacheToVerify(&'a mut PathBuf),
    /// A data set, or the folder of a cache that is written.
    Other(&'a mut PathBuf),
}

/// Replaces every URL in a command's arguments by its local copy, and fetches the caches that the command reads. `words` are
/// those of the command line.
///
/// # Errors
/// [`Error::Mismatch`] of a URL where the command takes none; of the store, where a cache cannot be had.
pub fn fetch(command: &mut Command, words: &[OsString]) -> Result<()> {
    let urls: Vec<PathBuf> = words.iter().filter_map(url_in).collect();
    let Some(last) = urls.last() else { return Ok(()) };
    // Wrong ones first: nothing is fetched before.
    urls.iter().try_for_each(|url| remote::local(url).map(drop))?;
    let mut found = 0;
    for place in places(command) {
        let (path, again) = match place {
            Place::Cache(path) => (path, Some(false)),
            Place::CacheToVerify(path) => (path, Some(true)),
            Place::Other(path) => (path, None),
        };
        if !remote::is_url(path) {
            continue;
        }
        found += 1;
        *path = remote::local(path)?;
        if let Some(again) = again {
            remote::pull_cache(path, again)?;
        }
    }
    if found == urls.len() {
        return Ok(());
    }
    Err(Error::Mismatch {
        found: format!("{} is in an object store, and this command cannot use it there", last.display()),
        remedy: "Give a local path. docs/how-to/object-stores.md says which commands take URLs.".into(),
    })
}

/// The URL that a word is, or that follows its `=`.
fn url_in(word: &OsString) -> Option<PathBuf> {
    let text = word.to_str()?;
    let value = if text.starts_with('-') { text.split_once('=')?.1 } else { text };
    remote::is_url(Path::new(value)).then(|| value.into())
}

fn places(command: &mut Command) -> Vec<Place<'_>> {
    use Place::{Cache, CacheToVerify, Other};
    let mut optional = Vec::new();
    let mut places = match command {
        Command::Build(a) => {
            optional.push(&mut a.images);
            vec![Other(&mut a.data), Other(&mut a.out)]
        }
        Command::Audit(a) => {
            optional.extend([&mut a.data, &mut a.images]);
            vec![Cache(&mut a.cache)]
        }
        Command::Convert(a) => vec![Cache(&mut a.cache), Other(&mut a.out)],
        Command::Inspect(a) => vec![Cache(&mut a.cache)],
        Command::Verify(a) => vec![CacheToVerify(&mut a.cache)],
        Command::Train(a) => {
            optional.extend([&mut a.data, &mut a.images]);
            a.cache.iter_mut().map(Cache).collect()
        }
        Command::Eval(a) => {
            optional.push(&mut a.images);
            vec![Other(&mut a.data)]
        }
        Command::Quantize(a) => {
            optional.extend([&mut a.data, &mut a.images]);
            vec![Cache(&mut a.cache)]
        }
        Command::Issues(a) => {
            optional.extend([&mut a.data, &mut a.images]);
            vec![Cache(&mut a.cache)]
        }
        Command::Select(a) => {
            optional.extend([&mut a.data, &mut a.images]);
            vec![Cache(&mut a.cache)]
        }
        Command::Label(a) => {
            optional.extend([&mut a.data, &mut a.images]);
            vec![Cache(&mut a.cache)]
        }
        Command::Serve(a) => a.cache.iter_mut().map(Cache).collect(),
        Command::Report(a) => {
            optional.extend([&mut a.data, &mut a.images]);
            a.folders.iter_mut().map(Cache).collect()
        }
        Command::Cache(a) => match &mut a.command {
            CacheCommand::Merge(a) => a.caches.iter_mut().map(Cache).chain(a.shards.iter_mut().map(Other)).collect(),
            CacheCommand::Subset(a) => vec![Cache(&mut a.cache)],
            CacheCommand::Diff(a) => vec![Cache(&mut a.a), Cache(&mut a.b)],
        },
        Command::Predict(_)
        | Command::Data(_)
        | Command::Export(_)
        | Command::Synth(_)
        | Command::Demo(_)
        | Command::Completions(_)
        | Command::Man(_) => Vec::new(),
    };
    places.extend(optional.into_iter().flatten().map(Other));
    places
}
