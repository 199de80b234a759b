//! Finding and loading the ONNX Runtime library: once per process, named in every message.

pub mod provider;
pub mod session;

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::{Error, Result, install};

/// The oldest ONNX Runtime whose interface is enough: the newest `onnxruntime-openvino` wheel holds this one.
const OLDEST: &str = "1.24";

/// What helps where no library was found.
const REMEDY: &str = "Run `make setup` in the project's folder, or `pip install onnxruntime` and give its library with \
    `ort_lib=.../site-packages/onnxruntime/capi/libonnxruntime.so.*`";

static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// The ONNX Runtime library of this process.
#[derive(Debug)]
pub struct Runtime {
    /// The library's file, or the bare name where the system's loader found it.
    pub path: PathBuf,
    /// Its version, such as `1.32.0`; "1.24 or newer" where the file does not tell.
    pub version: String,
    /// What sessions are made in.
    pub environment: ort::environment::Environment,
}

/// Loads the library if that has not happened yet.
///
/// Looked for in this order: `explicit` (`--ort-lib`); the variable `ORT_DYLIB_PATH`; the package `onnxruntime` where
/// this runs from the package `logitcache`, else beside the executable; the project's environment (`.venv` in the folders
/// above the executable, above `CARGO_MANIFEST_DIR`, above the current folder); the active Python environment
/// (`VIRTUAL_ENV`, `CONDA_PREFIX`); the system. The first two are never skipped.
///
/// # Errors
/// [`Error::Runtime`] where no library is found (the places are listed), the one named explicitly is not there or no
/// ONNX Runtime, it is too old, or the process has already loaded another one.
pub fn init(explicit: Option<&Path>) -> Result<&'static Runtime> {
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return match explicit {
            Some(path) if !same_file(path, &runtime.path) => Err(Error::Runtime {
                found: format!(
                    "{} cannot be loaded: this process already uses {}.",
                    path.display(),
                    runtime.path.display()
                ),
                remedy: "Name the library once, before any model is loaded.".to_owned(),
            }),
            _ => Ok(runtime),
        };
    }
    let runtime = find_and_load(explicit, &Surroundings::here())?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Where the search starts; a value so that tests can give another.
#[derive(Debug, Default)]
struct Surroundings {
    ort_dylib_path: Option<PathBuf>,
    /// The folder of the library in the package `onnxruntime`, where this runs from the package `logitcache`.
    package: Option<PathBuf>,
    executable: Option<PathBuf>,
    manifest_dir: Option<PathBuf>,
    current_dir: Option<PathBuf>,
    python_environments: Vec<PathBuf>,
    system_folders: Vec<PathBuf>,
    /// A name that the system's loader resolves by its own rules.
    bare_name: Option<&'static str>,
}

impl Surroundings {
    fn here() -> Self {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let mut system_folders: Vec<PathBuf> = Vec::new();
        if cfg!(unix) {
            let multiarch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
            let usual =
                ["/usr/local/lib", "/usr/lib", "/usr/lib64", &multiarch, "/opt/onnxruntime/lib", "/opt/homebrew/lib"];
            system_folders.extend(usual.map(PathBuf::from));
        }
        Self {
            ort_dylib_path: variable("ORT_DYLIB_PATH"),
            package: install::package().and_then(|package| package.onnxruntime.clone()),
            // Of the package it is the interpreter, beside which nothing of ours lies.
            executable: env::current_exe().ok().filter(|_| install::package().is_none()),
            manifest_dir: variable("CARGO_MANIFEST_DIR"),
            current_dir: env::current_dir().ok(),
            python_environments: ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable).collect(),
            system_folders,
            bare_name: Some(if cfg!(windows) {
                "onnxruntime.dll"
            } else if cfg!(target_os = "macos") {
                "libonnxruntime.dylib"
            } else {
                "libonnxruntime.so"
            }),
        }
    }

    /// `(what the place is, folders that may hold the library)`, in the order of the search.
    fn places(&self) -> Vec<(String, Vec<PathBuf>)> {
        let mut places: Vec<(String, Vec<PathBuf>)> = Vec::new();
        if let Some(dir) = &self.package {
            places.push((format!("the package onnxruntime ({})", dir.display()), vec![dir.clone()]));
        }
        let executable_dir = self.executable.as_deref().and_then(Path::parent);
        if let Some(dir) = executable_dir {
            places.push((format!("beside the executable ({})", dir.display()), vec![dir.to_owned()]));
        }
        let mut environments: Vec<PathBuf> = Vec::new();
        for start in [executable_dir, self.manifest_dir.as_deref(), self.current_dir.as_deref()].into_iter().flatten() {
            for dir in start.ancestors().map(|dir| dir.join(".venv")) {
                if !environments.contains(&dir) && dir.is_dir() {
                    environments.push(dir);
                }
            }
        }
        let shown = match environments.as_slice() {
            [] => "none found above the executable or the current folder".to_owned(),
            found => found.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", "),
        };
        places.push((
            format!("the project's environment .venv ({shown})"),
            environments.iter().flat_map(|dir| wheel_folders(dir)).collect(),
        ));
        for dir in &self.python_environments {
            places.push((format!("the active Python environment ({})", dir.display()), wheel_folders(dir)));
        }
        let shown = self.system_folders.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
        places.push((format!("the system ({shown})"), self.system_folders.clone()));
        places
    }
}

fn find_and_load(explicit: Option<&Path>, surroundings: &Surroundings) -> Result<Runtime> {
    let named = [(explicit, "`ort_lib=`"), (surroundings.ort_dylib_path.as_deref(), "ORT_DYLIB_PATH")];
    if let Some((path, by)) = named.into_iter().find_map(|(path, by)| path.map(|path| (path, by))) {
        return load_named(path, by);
    }
    let mut looked: Vec<String> = Vec::new();
    for (place, folders) in surroundings.places() {
        let mut line = place;
        for library in folders.iter().flat_map(|folder| libraries_in(folder)) {
            match load(&library) {
                Ok(runtime) => return Ok(runtime),
                Err(why) => line.push_str(&format!("; {}: {why}", library.display())),
            }
        }
        looked.push(line);
    }
    if let Some(name) = surroundings.bare_name {
        match load(Path::new(name)) {
            Ok(runtime) => return Ok(runtime),
            Err(why) => looked.push(format!("the system's loader, as {name}: {why}")),
        }
    }
    Err(Error::Runtime {
        found: format!("no library was found. Looked in:\n    {}", looked.join("\n    ")),
        remedy: REMEDY.to_owned(),
    })
}

/// A library the user named: whatever is wrong with it is an error.
fn load_named(path: &Path, by: &str) -> Result<Runtime> {
    let wrong = |why: String| Error::Runtime {
        found: format!("the library named by {by}, {}, {why}.", path.display()),
        remedy: format!(
            "Name a libonnxruntime.so of version {OLDEST} or newer (in a wheel: site-packages/onnxruntime/capi/), or leave {by} out."
        ),
    };
    let absolute = fs::canonicalize(path).map_err(|error| wrong(format!("cannot be opened: {error}")))?;
    if !absolute.is_file() {
        return Err(wrong("is not a file".to_owned()));
    }
    load(&absolute).map_err(|why| wrong(format!("cannot be used: {why}")))
}

fn load(path: &Path) -> Result<Runtime, String> {
    use ort::LoadDynamicError as Load;
    let builder = ort::init_from(path).map_err(|error| match error {
        Load::Dlopen { error, .. } => format!("it is not a library that can be loaded here ({error})"),
        Load::MissingApi { .. } => "it is a library, but not ONNX Runtime".to_owned(),
        Load::BadVersion { version_str, .. } => format!("it is version {version_str}; {OLDEST} or newer is needed"),
        Load::InvalidVersionString => "it does not report its version".to_owned(),
    })?;
    let environment = builder
        .with_name("logitcache")
        .with_telemetry(false)
        .build()
        .map_err(|error| format!("it does not start: {}", error.message()))?;
    if env::var_os("ORT_LOG").is_none() {
        // Every error comes back as a value and is reported once, with its remedy.
        environment.set_log_level(ort::logging::LogLevel::Fatal);
    }
    Ok(Runtime {
        path: path.to_owned(),
        version: version_of(path).unwrap_or_else(|| format!("{OLDEST} or newer")),
        environment,
    })
}

/// `libonnxruntime.so`, `.so.1.32.0`, `.dylib` and `.1.32.0.dylib` files of a folder, newest name first.
fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let is_library = |name: &str| {
        name == "onnxruntime.dll"
            || name
                .strip_prefix("libonnxruntime.")
                .is_some_and(|rest| rest.starts_with("so") || rest.ends_with("dylib"))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(is_library)).map(|entry| entry.path()).collect();
    found.sort();
    found.reverse();
    found
}

/// Where wheels of a Python environment put the library: `lib/python3.*/site-packages/onnxruntime/capi`.
fn wheel_folders(environment: &Path) -> Vec<PathBuf> {
    let wheel = Path::new("site-packages/onnxruntime/capi");
    let versions = fs::read_dir(environment.join("lib")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut pythons: Vec<PathBuf> = versions
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("python")))
        .collect();
    pythons.sort();
    pythons.reverse();
    // Windows has no folder per Python version.
    pythons
        .into_iter()
        .chain([environment.join("Lib")])
        .map(|python| python.join(wheel))
        .filter(|dir| dir.is_dir())
        .collect()
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// The version, from the symbol version `VERS_1.32.0` that builds for Linux carry, or from the file's name.
///
/// ONNX Runtime's own answer cannot be asked for through `ort` without unsafe code.
fn version_of(path: &Path) -> Option<String> {
    symbol_version(path).or_else(|| version_after(path.file_name()?.to_str()?.as_bytes(), b"onnxruntime."))
}

fn symbol_version(path: &Path) -> Option<String> {
    const MARK: &[u8] = b"VERS_1.";
    const BLOCK: usize = 1 << 20;
    const OVERLAP: usize = 64;
    let mut file = fs::File::open(path).ok()?;
    let mut kept: Vec<u8> = Vec::new();
    loop {
        let tail = kept.split_off(kept.len().saturating_sub(OVERLAP));
        kept = tail;
        let read = file.by_ref().take(BLOCK as u64).read_to_end(&mut kept).ok()?;
        if let Some(at) = kept.windows(MARK.len()).position(|window| window == MARK)
            && let Some(version) = kept.get(at..).and_then(|from| version_after(from, b"VERS_"))
        {
            return Some(version);
        }
        if read == 0 {
            return None;
        }
    }
}

/// Digits and dots that follow `mark` (anything between the mark and the first digit but a letter may stand there).
fn version_after(text: &[u8], mark: &[u8]) -> Option<String> {
    let at = text.windows(mark.len()).position(|window| window == mark)? + mark.len();
    let rest = text.get(at..)?;
    let rest = rest.strip_prefix(b"so.").unwrap_or(rest);
    let version: String =
        rest.iter().map(|byte| char::from(*byte)).take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let version = version.trim_end_matches('.');
    (version.split('.').count() >= 2).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<Runtime>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_named_library_is_never_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent.so");
        let text = dir.path().join("libonnxruntime.so");
        fs::write(&text, "not a library").unwrap();
        let here = Surroundings { ort_dylib_path: Some(text.clone()), ..Surroundings::here() };

        let error = message(find_and_load(Some(&absent), &here));
        assert!(
            error.contains("`ort_lib=`") && error.contains("absent.so") && error.contains("cannot be opened"),
            "{error}"
        );
        let error = message(find_and_load(Some(dir.path()), &here));
        assert!(error.contains("is not a file"), "{error}");
        let error = message(find_and_load(None, &here));
        assert!(error.contains("ORT_DYLIB_PATH") && error.contains("not a library that can be loaded"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn another_library_is_told_from_onnx_runtime() {
        let Some(libm) = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/usr/lib/libm.so.6"]
            .into_iter()
            .find(|path| Path::new(path).exists())
        else {
            println!("skipped: no libm found");
            return;
        };
        let error = message(find_and_load(Some(Path::new(libm)), &Surroundings::default()));
        assert!(error.contains("not ONNX Runtime"), "{error}");
    }

    #[test]
    fn where_none_is_found_the_places_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("project/.venv/lib/python3.11/site-packages/onnxruntime/capi");
        fs::create_dir_all(&wheel).unwrap();
        fs::write(wheel.join("libonnxruntime.so.1.30.0"), "broken").unwrap();
        fs::write(wheel.join("libonnxruntime_providers_shared.so"), "never tried").unwrap();
        let surroundings = Surroundings {
            executable: Some(dir.path().join("project/target/release/logitcache")),
            current_dir: Some(dir.path().join("elsewhere")),
            python_environments: vec![dir.path().join("conda")],
            system_folders: vec![dir.path().join("system")],
            ..Surroundings::default()
        };
        let error = message(find_and_load(None, &surroundings));
        for part in [
            "beside the executable",
            "project/.venv",
            "libonnxruntime.so.1.30.0: it is not a library",
            "conda",
            "system",
            "make setup",
        ] {
            assert!(error.contains(part), "{part} is missing in: {error}");
        }
        assert!(!error.contains("providers_shared"), "{error}");
    }

    #[test]
    fn places_come_in_the_promised_order() {
        let dir = tempfile::tempdir().unwrap();
        let make = |root: &str| {
            let capi = dir.path().join(root).join("lib/python3.12/site-packages/onnxruntime/capi");
            fs::create_dir_all(&capi).unwrap();
            capi
        };
        let (near, far, conda) = (make("a/b/.venv"), make("a/.venv"), make("conda"));
        let package = make("package");
        let surroundings = Surroundings {
            package: Some(package.clone()),
            executable: Some(dir.path().join("a/b/logitcache")),
            current_dir: Some(dir.path().join("a")),
            python_environments: vec![dir.path().join("conda")],
            ..Surroundings::default()
        };
        let folders: Vec<PathBuf> = surroundings.places().into_iter().flat_map(|(_, folders)| folders).collect();
        let wanted = vec![package, dir.path().join("a/b"), near, far, conda];
        assert_eq!(folders.iter().filter(|folder| folder.starts_with(dir.path())).cloned().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn versions_are_read_from_symbols_and_names() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lib");
        // The mark lies across the border of two blocks.
        let mut bytes = vec![0u8; (1 << 20) - 3];
        bytes.extend(b"VERS_1.32.0\0rest");
        fs::write(&file, &bytes).unwrap();
        assert_eq!(version_of(&file).as_deref(), Some("1.32.0"));
        fs::write(&file, "nothing").unwrap();
        assert_eq!(version_of(&file), None);
        assert_eq!(version_of(Path::new("/x/libonnxruntime.so.1.24.1")).as_deref(), Some("1.24.1"));
        assert_eq!(version_of(Path::new("/x/libonnxruntime.1.24.1.dylib")).as_deref(), Some("1.24.1"));
    }
}
