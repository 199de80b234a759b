//! What may be written over: one rule for every command.
//!
//! - A file that this program wrote is replaced by the next one of its kind: a command may be run again as it is.
//! - What it did not write stays, unless the user insists with `--overwrite`.
//! - What took long to make (a cache, a run, a data set) is not replaced without `--overwrite` either; the commands say so
//!   themselves.
//! - In a folder nothing is ever removed but what a command of this program puts there, `--overwrite` or not.
//! - What a command reads, and what belongs to a cache or a run, is never replaced by a single file, `--overwrite` or not.

use crate::{
    Error, Result,
    fsio::{Lock, TEMP_PREFIX},
};
use logitcache_format::{MadeFolder, paths};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// What stands in pictures that this program draws (PNG: `Software`, JPEG: a comment).
pub const PICTURE_MARK: &str = "logitcache";
/// Who makes ONNX files (`producer_name`).
pub const ONNX_PRODUCER: &str = "logitcache-train";
/// The same of `quantize`.
pub const ONNX_PRODUCER_QUANTIZE: &str = "logitcache-quantize";
/// Who makes pages (`<meta name="generator">`).
pub const PAGE_GENERATOR: &str = "logitcache";

/// So many bytes of a file tell who wrote it.
const HEAD_BYTES: u64 = 1 << 16;

/// A single file that a command writes; each carries something by which it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFile {
    /// `export`: its producer.
    Onnx,
    /// `quantize`: its producer.
    QuantizedOnnx,
    /// `export --format openvino`: the network's name.
    Openvino,
    /// `report`: its generator.
    Page,
    /// `inspect --out`: [`PICTURE_MARK`]; BMP, TIFF and WebP have no place for it and are never known again.
    Picture,
    /// `eval --out`: its fields.
    EvalJson,
    /// `eval --out`: its columns.
    EvalCsv,
    /// `eval --out`: its first rows.
    EvalMarkdown,
    /// `man`: its title.
    ManPage,
}

impl OutputFile {
    fn wrote(self, head: &[u8]) -> bool {
        let has = |head: &[u8], text: &str| head.windows(text.len()).any(|window| window == text.as_bytes());
        let first = |bytes: usize| &head[..bytes.min(head.len())];
        match self {
            Self::Onnx => has(first(64), ONNX_PRODUCER),
            Self::QuantizedOnnx => has(first(64), ONNX_PRODUCER_QUANTIZE),
            Self::Openvino => has(first(256), &format!("<net name=\"{ONNX_PRODUCER}\"")),
            Self::Page => head.starts_with(b"<!DOCTYPE html>") && has(head, &format!("content=\"{PAGE_GENERATOR}")),
            Self::Picture => has(first(128), PICTURE_MARK),
            Self::EvalJson => head.starts_with(b"{\n  \"data\": ") && has(head, "\n  \"unlabelled_images\": "),
            Self::EvalCsv => head.starts_with(b"model,path,images,map_50,"),
            Self::EvalMarkdown => head.starts_with(b"| ") && has(head, ":|\n| mAP@0.5 |"),
            Self::ManPage => has(first(1024), "\n.TH logitcache"),
        }
    }
}

/// The path without links, whether or not its last folders are there yet.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    let path = paths::absolute(path);
    let there = path.ancestors().find_map(|a| Some((a.canonicalize().ok()?, path.strip_prefix(a).ok()?)));
    // Of components: `join` of nothing would end the path with a slash.
    there.map_or_else(|| path.clone(), |(there, rest)| there.components().chain(rest.components()).collect())
}

/// Refuses to write the file `out` over one of the `inputs` of the same command, whatever the user insists on.
///
/// # Errors
/// [`Error::Mismatch`] naming it.
pub fn refuse_input<'a>(out: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let target = real_path(out);
    match inputs.into_iter().find(|input| real_path(input) == target) {
        None => Ok(()),
        Some(input) => Err(Error::Mismatch {
            found: format!("{} is {} itself, which this command reads", out.display(), input.display()),
            remedy: "Give `out=` another name.".to_owned(),
        }),
    }
}

/// Refuses to remove what is in `folder` where one of the `inputs` of the same command lies there.
///
/// # Errors
/// [`Error::Mismatch`] naming it.
pub fn refuse_inputs_inside<'a>(folder: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    let target = real_path(folder);
    match inputs.into_iter().find(|input| real_path(input).starts_with(&target)) {
        None => Ok(()),
        Some(input) => Err(Error::Mismatch {
            found: format!(
                "{} is needed, and `overwrite=true` would remove it with what is in {}",
                input.display(),
                folder.display()
            ),
            remedy: "Choose another `out=`.".to_owned(),
        }),
    }
}

/// Refuses a file in the folder of a cache or a run: it would take the place of what belongs there, or be taken for somebody else's
/// when the build or the run goes on.
fn refuse_inside_results(out: &Path) -> Result<()> {
    for folder in real_path(out).ancestors().skip(1) {
        let Some(what) = MadeFolder::of(folder) else { continue };
        return Err(Error::Mismatch {
            found: format!("{} is in {}, the folder of a {what}", out.display(), folder.display()),
            remedy: "Choose an `out=` outside of it.".to_owned(),
        });
    }
    Ok(())
}

/// Refuses the name of an OpenVINO file for an ONNX file.
fn refuse_openvino_name(path: &Path, kind: OutputFile) -> Result<()> {
    let other = match kind {
        OutputFile::Onnx => ", or write an OpenVINO file: `format=openvino`",
        OutputFile::QuantizedOnnx => "",
        _ => return Ok(()),
    };
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("xml")) {
        return Ok(());
    }
    Err(Error::Mismatch {
        found: format!("{} is the name of an OpenVINO file, and an ONNX file would be written", path.display()),
        remedy: format!("Give a name that ends with .onnx{other}."),
    })
}

/// Refuses to write over a file that this program did not write, and into the folder of a cache or a run. To be asked before the
/// work, so that it is not in vain.
///
/// # Errors
/// [`Error::Mismatch`] where there is another file and the user does not insist, or where there is something that is no file;
/// where `path` lies in a cache or a run, or has a name of another format; [`Error::Io`] where the place cannot be looked at.
pub fn refuse_foreign_file(path: &Path, kind: OutputFile, overwrite: bool) -> Result<()> {
    refuse_openvino_name(path, kind)?;
    refuse_inside_results(path)?;
    let refused = |found: &str, remedy: &str| {
        Err(Error::Mismatch { found: format!("{} {found}", path.display()), remedy: remedy.to_owned() })
    };
    let foreign = || {
        refused(
            "already exists, and this program did not write it",
            "Choose another `out=`, or replace it with `overwrite=true`.",
        )
    };
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => refused("is a folder", "Give `out=` the name of a file."),
        Ok(meta) if !meta.is_file() => refused("is not a regular file", "Give `out=` the name of a file."),
        Ok(_) if overwrite => Ok(()),
        Ok(_) => {
            let mut head = Vec::new();
            let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
            read.map_err(|e| Error::io(path, "read", e))?;
            if kind.wrote(&head) { Ok(()) } else { foreign() }
        }
        // A link that leads nowhere is somebody's too.
        Err(e) if e.kind() == io::ErrorKind::NotFound && (overwrite || fs::symlink_metadata(path).is_err()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => foreign(),
        Err(e) => Err(Error::io(path, "look at", e)),
    }
}

/// The first entry of a folder (by name) that is not `own`; locks and temporary files are everybody's. `None` too where there is no
/// such folder.
///
/// # Errors
/// [`Error::Io`] where it cannot be listed.
pub fn foreign_entry(folder: &Path, own: impl Fn(&str) -> bool) -> Result<Option<String>> {
    let words = |e| Error::io(folder, "read the folder", e);
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(words)?,
    };
    let names = entries.map(|entry| entry.map(|e| e.file_name().to_string_lossy().into_owned()).map_err(words));
    let names = names.collect::<Result<Vec<_>>>()?;
    let foreign = |name: &String| *name != Lock::FILE_NAME && !name.starts_with(TEMP_PREFIX) && !own(name);
    Ok(names.into_iter().filter(foreign).min())
}

/// Refuses a folder that holds anything but the `own` entries of `what` ("cache", "training run"), so that nothing of the user's is
/// ever removed or mixed in.
///
/// # Errors
/// [`Error::Mismatch`] naming the first such entry, [`Error::Io`].
pub fn refuse_foreign_entries(folder: &Path, what: &str, own: impl Fn(&str) -> bool) -> Result<()> {
    match foreign_entry(folder, own)? {
        None => Ok(()),
        Some(name) => Err(Error::Mismatch {
            found: format!("{} holds {name}, which does not belong to a {what}", folder.display()),
            remedy: "Choose a new or empty folder, or move it away.".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_stays_unless_the_user_insists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.html");
        let refused = |overwrite| refuse_foreign_file(&path, OutputFile::Page, overwrite).map_err(|e| e.to_string());
        refused(false).unwrap();
        fs::write(&path, "<!DOCTYPE html><html><head><title>My page on logitcache</title>").unwrap();
        let error = refused(false).unwrap_err();
        assert!(
            error.contains("a.html") && error.contains("did not write it") && error.contains("`overwrite=true`"),
            "{error}"
        );
        refused(true).unwrap();
        fs::write(&path, "<!DOCTYPE html><html><head><meta name=\"generator\" content=\"logitcache 0.1.0\">").unwrap();
        refused(false).unwrap();
        fs::write(&path, "").unwrap();
        refused(false).unwrap_err();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(refused(false).unwrap_err().contains("did not write it"));
        refused(true).unwrap();
        for (place, says) in [(dir.path(), "is a folder"), (Path::new("/dev/null"), "not a regular file")] {
            let error = refuse_foreign_file(place, OutputFile::Onnx, true).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_folder_is_taken_with_its_own_entries_alone() {
        let dir = tempfile::tempdir().unwrap();
        let own = |name: &str| name == "manifest.json";
        assert_eq!(foreign_entry(&dir.path().join("none"), own).unwrap(), None);
        for name in ["manifest.json", ".lock", ".tmp-x-1-2"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(foreign_entry(dir.path(), own).unwrap(), None);
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        let error = refuse_foreign_entries(dir.path(), "cache", own).unwrap_err().to_string();
        assert!(error.contains("holds thesis.tex, which does not belong to a cache"), "{error}");
    }

    #[test]
    fn inputs_and_what_belongs_to_caches_and_runs_stay_whatever_the_user_insists_on() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        for folder in
            ["cache/predictions", "cache/images", "shards/shards", "shards/predictions", "run/weights", "data"]
        {
            fs::create_dir_all(place(folder)).unwrap();
        }
        for file in ["cache/manifest.json", "run/config.json", "data/manifest.json", "data/config.json", "model"] {
            fs::write(place(file), "").unwrap();
        }
        std::os::unix::fs::symlink(place("cache"), place("link")).unwrap();
        let refused = |name: &str| {
            let found = refuse_foreign_file(&place(name), OutputFile::Onnx, true);
            found.err().map(|error| error.to_string()).unwrap_or_default()
        };
        for inside in ["cache/manifest.json", "cache/new", "cache/images/new", "link/new", "shards/new", "cache/no/new"]
        {
            assert!(refused(inside).contains("the folder of a cache"), "{inside}: {}", refused(inside));
        }
        for inside in ["run/config.json", "run/new", "run/weights/new"] {
            assert!(refused(inside).contains("the folder of a training run"), "{inside}: {}", refused(inside));
        }
        for outside in ["new", "data/new", "data/config.json"] {
            assert_eq!(refused(outside), "");
        }
        assert!(refused("new.XML").contains("`format=openvino`"));

        let (model, link) = (place("model"), place("other"));
        std::os::unix::fs::symlink(&model, &link).unwrap();
        for out in [&model, &link] {
            let error = refuse_input(out, [place("run").as_path(), &model]).unwrap_err().to_string();
            assert!(error.contains("which this command reads"), "{error}");
        }
        refuse_input(&place("new"), [model.as_path(), &place("absent")]).unwrap();
        for inside in ["cache", "cache/images", "link/manifest.json"] {
            let error = refuse_inputs_inside(&place("cache"), [model.as_path(), &place(inside)]).unwrap_err();
            assert!(error.to_string().contains("would remove it"), "{error}");
        }
        refuse_inputs_inside(&place("cache"), [model.as_path(), &place("cache2")]).unwrap();
    }
}
