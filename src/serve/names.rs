//! Short names of files and folders that tell them apart.

use std::path::{Path, PathBuf};

/// Of each path its last part, with as many parts before it as are needed where several would be called the same.
pub(super) fn names(paths: &[PathBuf]) -> Vec<String> {
    let last = |path: &Path, parts: usize| -> String {
        let all: Vec<String> = path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let most = paths.iter().map(|path| path.components().count()).max().unwrap_or_default();
    let name = |path: &PathBuf| {
        let tells = |parts: &usize| {
            let own = last(path, *parts);
            !paths.iter().any(|other| other != path && last(other, *parts) == own)
        };
        last(path, (1..=most).find(tells).unwrap_or(most))
    };
    paths.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_parts_as_are_needed() {
        let shown = |paths: &[&str]| names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(shown(&["runs/a/best.onnx", "teacher.onnx"]), ["best.onnx", "teacher.onnx"]);
        assert_eq!(
            shown(&["runs/a/best.onnx", "runs/b/best.onnx", "c.onnx"]),
            ["a/best.onnx", "b/best.onnx", "c.onnx"]
        );
        assert_eq!(shown(&["x/a/m.onnx", "y/a/m.onnx", "m.onnx"]), ["x/a/m.onnx", "y/a/m.onnx", "m.onnx"]);
        assert_eq!(shown(&["m.onnx", "m.onnx"]), ["m.onnx", "m.onnx"]);
        assert_eq!(shown(&[]), [] as [&str; 0]);
    }
}
