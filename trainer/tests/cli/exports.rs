//! `export` in its variants, as a user meets it.

use crate::support::{Run, args, command, finished, logitcache, shapes};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

struct Setup {
    dir: tempfile::TempDir,
    run: PathBuf,
    images: PathBuf,
}

impl Setup {
    /// A student of one epoch.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = shapes(dir.path(), 5);
        let run = dir.path().join("run");
        let values = [("--model", "yolov8f"), ("--imgsz", "64"), ("--epochs", "1"), ("--threads", "1")];
        let words = args(["train", "--distill", "none"], &[("--data", &data), ("--out", &run)], &values);
        logitcache(&words).expect(0);
        Self { run, images: data.with_file_name("images"), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn words(&self, out: &Path, more: &[&str]) -> Vec<OsString> {
        let words = args(["export"], &[("--out", out)], &[]).into_iter().chain([self.run.clone().into()]);
        words.chain(more.iter().map(Into::into)).collect()
    }

    fn export(&self, out: &Path, more: &[&str]) -> Run {
        logitcache(&self.words(out, more))
    }
}

#[test]
fn variants_are_checked_beside_the_student() {
    let setup = Setup::new();
    let images = setup.images.to_str().unwrap();
    let (plain, half, nms) = (setup.path("plain.onnx"), setup.path("half.onnx"), setup.path("nms.onnx"));
    let checked = |out: &Path, more: &[&str]| {
        let run = setup.export(out, &[&["--check", images], more].concat()).expect(0);
        assert!(run.stdout.contains("checked on 5 images, "), "{run:?}");
        run.stdout
    };
    checked(&plain, &[]);
    setup.export(&plain, &["--check", images]).expect(0).says(&["no box was compared"]);
    assert!(fs::read(&plain).unwrap() == fs::read(setup.run.join("best.onnx")).unwrap());
    checked(&half, &["--half", "--opset", "20"]);
    assert!(fs::metadata(&half).unwrap().len() * 10 < fs::metadata(&plain).unwrap().len() * 7);
    checked(&setup.path("free.onnx"), &["--dynamic"]);
    let text = checked(&nms, &["--nms", "--conf", "0.000001", "--max-det", "20", "--dynamic"]);
    assert!(text.contains("only one of the two has"), "{text}");

    // What the other commands take, and what they do not.
    let predict = |model: &Path| logitcache(&args(["predict", images, "--conf", "0.01"], &[("--model", model)], &[]));
    let found = predict(&half).expect(0).stdout;
    assert_eq!(found.lines().count(), predict(&plain).expect(0).stdout.lines().count());
    predict(&nms).refused(&["non-maximum suppression", "`logitcache export` without --nms"]);

    setup.export(&half, &["--conf", "0.3"]).expect(2).says(&["--nms"]);
    setup.export(&half, &["--opset", "14"]).expect(2).says(&["15 to 22"]);
    let new = setup.path("new.onnx");
    setup.export(&new, &["--check", "nowhere"]).refused(&["nowhere", "no such file or folder"]);
    assert!(!new.exists(), "nothing is written that cannot be checked");
    setup.export(&setup.path("new.xml"), &[]).refused(&["new.xml", "--format openvino"]);
}

/// With a package of the same name that writes the bytes it gets: the way there and back is tested, not OpenVINO.
#[test]
fn openvino_files_are_made_by_the_users_package() {
    let setup = Setup::new();
    let (xml, bin) = (setup.path("student.xml"), setup.path("student.bin"));
    let modules = setup.path("modules");
    fs::create_dir(&modules).unwrap();
    let openvino = |out: &Path, more: &[&str]| {
        let mut command = command(&setup.words(out, &[&["--format", "openvino"], more].concat()));
        finished(command.env("PYTHONPATH", &modules).output().unwrap())
    };
    let absent = "raise ModuleNotFoundError(\"No module named 'openvino'\")\n";
    fs::write(modules.join("openvino.py"), absent).unwrap();
    openvino(&xml, &[]).refused(&["no package openvino", "pip install openvino", "--format"]);
    // What is there and does not work says so itself, and so does a Python that does not.
    fs::write(modules.join("openvino.py"), "raise ImportError('libtbb.so is missing')\n").unwrap();
    openvino(&xml, &[]).refused(&["openvino failed: ImportError: libtbb.so is missing"]);
    let python = setup.path("bin/python3");
    fs::create_dir(python.parent().unwrap()).unwrap();
    fs::write(&python, "#!/bin/sh\necho 'no Python for this architecture' >&2\nexit 3\n").unwrap();
    fs::set_permissions(&python, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", python.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let words = setup.words(&xml, &["--format", "openvino"]);
    let run = finished(command(&words).env("PATH", path).output().unwrap());
    run.refused(&["python3 with the package openvino failed: no Python for this architecture"]);
    fs::write(modules.join("openvino.py"), "raise ValueError('too old')\n").unwrap();
    openvino(&xml, &[]).refused(&["openvino failed: ValueError: too old"]);
    assert!(!xml.exists() && !bin.exists());

    let package = r#"
class Model:
    def __init__(self, file): self.bytes = file.read()
    def set_friendly_name(self, name): self.name = name
convert_model = Model
def save_model(model, path, compress_to_fp16):
    path.write_text(f'<?xml version="1.0"?>\n<net name="{model.name}" version="11"/>{compress_to_fp16}')
    path.with_suffix(".bin").write_bytes(model.bytes)
"#;
    fs::write(modules.join("openvino.py"), package).unwrap();
    openvino(&xml, &[]).expect(0);
    assert!(fs::read(&bin).unwrap() == fs::read(setup.run.join("best.onnx")).unwrap());
    assert!(fs::read_to_string(&xml).unwrap().ends_with("False"));
    // OpenVINO rounds: what it gets stays float32. Its own files are replaced.
    openvino(&xml, &["--half"]).expect(0);
    assert!(fs::read_to_string(&xml).unwrap().ends_with("True"));
    assert!(fs::read(&bin).unwrap() == fs::read(setup.run.join("best.onnx")).unwrap());

    fs::write(&xml, "<mine/>").unwrap();
    openvino(&xml, &[]).refused(&["student.xml", "did not write it", "--overwrite"]);
    fs::remove_file(&xml).unwrap();
    openvino(&xml, &[]).refused(&["student.bin", "did not write it", "--overwrite"]);
    openvino(&setup.path("student.onnx"), &[]).refused(&["student.onnx", ".xml"]);
    openvino(&xml, &["--check", "x"]).refused(&["does not read OpenVINO", "--check"]);
}

#[test]
fn what_a_run_is_made_of_is_not_written_over() {
    let setup = Setup::new();
    let (run, weights) = (&setup.run, setup.run.join("weights/best.safetensors"));
    let (bytes, config) = (fs::read(&weights).unwrap(), fs::read(run.join("config.json")).unwrap());
    let is_whole = || {
        assert!(fs::read(&weights).unwrap() == bytes && fs::read(run.join("config.json")).unwrap() == config);
    };
    for inside in ["weights/best.safetensors", "config.json", "student.onnx"] {
        setup.export(&run.join(inside), &["--overwrite"]).refused(&[inside, "--out"]);
        is_whole();
    }
    // Weights alone, in no run's folder.
    let alone = setup.path("alone.safetensors");
    fs::copy(&weights, &alone).unwrap();
    let words = args(["export", "--overwrite"], &[("--out", &alone)], &[]).into_iter().chain([alone.clone().into()]);
    logitcache(&words.collect::<Vec<_>>()).refused(&["alone.safetensors itself, which this command reads"]);
    assert!(fs::read(&alone).unwrap() == bytes);
    // A run that starts from its own weights would remove them.
    let data = setup.images.with_file_name("data.yaml");
    let words = args(
        ["train", "--distill", "none", "--overwrite"],
        &[("--model", &weights), ("--data", &data), ("--out", run)],
        &[("--epochs", "1"), ("--threads", "1")],
    );
    logitcache(&words).refused(&["best.safetensors is needed", "--overwrite would remove it", "--out"]);
    is_whole();
}
