//! Running the program as a user does.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

/// Small parts, so that a kill finds finished ones.
pub const PARTS_OF_16: (&str, &str) = ("--images-per-part", "16");

/// As many of them from half as many images, where a test builds the same cache again and again.
pub const PARTS_OF_8: (&str, &str) = ("--images-per-part", "8");

/// What a run left behind.
#[derive(Debug)]
pub struct Run {
    /// Exit status; -1 when a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Fails the test unless the exit status is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails the test unless stderr holds every one of these.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "stderr does not say {word:?}:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Fails the test unless the run was refused as it should be: status 2, words on stderr, an empty stdout.
    #[track_caller]
    pub fn refused(self, words: &[&str]) -> Self {
        let run = self.expect(2).says(words);
        assert!(run.stdout.is_empty() && run.stderr.starts_with("error: "), "{run:?}");
        run
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

/// The built program; cargo names it to the tests of its own package only.
pub fn program() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_logitcache") {
        Some(program) => program.into(),
        // This test's own executable lies in `deps`, the programs above it.
        None => std::env::current_exe().unwrap().parent().unwrap().with_file_name("logitcache"),
    }
}

pub fn command<A: AsRef<OsStr>>(args: &[A]) -> Command {
    let mut command = Command::new(program());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn finished(output: Output) -> Run {
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn logitcache<A: AsRef<OsStr>>(args: &[A]) -> Run {
    finished(command(args).output().unwrap())
}

/// A file under tests/fixtures.
pub fn fixture(name: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if package.ends_with("trainer") { package.parent().unwrap() } else { package };
    root.join("tests/fixtures").join(name)
}

/// The committed YOLOv8-shaped teacher with six classes, dynamic in batch and size.
pub fn teacher() -> PathBuf {
    fixture("models/yolov8-dynamic.onnx")
}

/// A drawn data set under `dir`; gives its data.yaml.
pub fn shapes(dir: &Path, images: u32) -> PathBuf {
    let out = dir.join("shapes");
    copy_folder(&drawn(images), &out);
    out.join("data.yaml")
}

/// Most tests need a data set, and drawing takes much longer than copying: it is drawn once for each number of images.
fn drawn(images: u32) -> PathBuf {
    static DRAWING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = DRAWING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shapes-{images}"));
    let modified = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    if modified(&folder.join("data.yaml")) <= modified(&program()) {
        let values = [("--imgsz", "160"), ("--seed", "3"), ("--images", &images.to_string())];
        logitcache(&args(["synth", "--overwrite"], &[("--out", &folder)], &values)).expect(0);
    }
    folder
}

/// The first images of COCO128, with their labels.
pub fn first_images(coco128: &Path, dir: &Path, count: usize) -> PathBuf {
    let files = |kind: &str| {
        let folder = coco128.join(kind).join("train2017");
        let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    };
    let images: Vec<PathBuf> = files("images").into_iter().take(count).collect();
    let shown = |label: &PathBuf| images.iter().any(|image| image.file_stem() == label.file_stem());
    for (kind, files) in [("images", images.clone()), ("labels", files("labels").into_iter().filter(shown).collect())] {
        let folder = dir.join(kind).join("train2017");
        fs::create_dir_all(&folder).unwrap();
        for file in files {
            fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
        }
    }
    fs::copy(coco128.join("data.yaml"), dir.join("data.yaml")).unwrap();
    dir.join("data.yaml")
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// Plain words, then flags with paths, then flags with other values.
pub fn args<const N: usize>(
    words: [&str; N],
    paths: &[(&str, &Path)],
    values: &[(&str, &str)],
) -> Vec<std::ffi::OsString> {
    let words = words.iter().map(Into::into);
    let paths = paths.iter().flat_map(|(flag, path)| [(*flag).into(), path.as_os_str().to_owned()]);
    let values = values.iter().flat_map(|(flag, value)| [(*flag).into(), (*value).into()]);
    words.chain(paths).chain(values).collect()
}

/// `build` with the committed teacher at 160 pixels.
pub fn build_args(data: &Path, out: &Path, more: &[(&str, &str)]) -> Vec<std::ffi::OsString> {
    let teacher = teacher();
    let mut all = args(
        ["build", "--imgsz", "160"],
        &[("--teacher", &teacher), ("--data", data), ("--out", out)],
        &[("--jobs", "2")],
    );
    for (flag, value) in more {
        if let Some(at) = all.iter().position(|a| a == flag) {
            all[at + 1] = value.into();
        } else {
            all.push(flag.into());
            if !value.is_empty() {
                all.push(value.into());
            }
        }
    }
    all
}

pub fn build(data: &Path, out: &Path, more: &[(&str, &str)]) -> Run {
    logitcache(&build_args(data, out, more))
}

/// The content digest that a finished cache states.
pub fn content(cache: &Path) -> String {
    let run = logitcache(&args(["inspect", "--json"], &[], &[]).into_iter().chain([cache.into()]).collect::<Vec<_>>())
        .expect(0);
    run.json()["content_sha256"].as_str().expect("a finished cache has a content digest").to_owned()
}

pub fn verify(cache: &Path) -> Run {
    logitcache(&[OsStr::new("verify"), cache.as_os_str()])
}

/// Parts whose predictions are in place.
pub fn finished_parts(cache: &Path) -> usize {
    fs::read_dir(cache.join("predictions"))
        .map_or(0, |entries| entries.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "parquet")).count())
}

/// Waits until the build has finished this many parts, or ended.
pub fn wait_for_parts(child: &mut Child, cache: &Path, parts: usize) {
    while finished_parts(cache) < parts && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Names in a folder, hidden ones too.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a shell script that mounts a small file system in a namespace of its own, with the program as
/// `$BIN`; `None` where none can be mounted here, which is said. The script ends with 77 then.
pub fn on_small_disk(script: &str, arguments: &[OsString], variables: &[(&str, &Path)]) -> Option<Run> {
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, "sh"])
        .args(arguments)
        .env("BIN", program())
        .envs(variables.iter().copied())
        .output();
    let run = match output {
        Ok(output) => finished(output),
        Err(e) => {
            skipped(&format!("no unshare here ({e})"));
            return None;
        }
    };
    if run.code == 77 || run.stderr.contains("unshare: ") {
        skipped("no small file system can be mounted here");
        return None;
    }
    Some(run)
}

/// Says why a test could not run; `make test` counts these lines.
pub fn skipped(why: &str) {
    println!("skipped: {why}");
}
