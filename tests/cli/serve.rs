//! `logitcache serve` over real connections: the same detections as `predict`, wrong requests, tokens, caches, runs, the end.

use crate::{
    common,
    support::{Run, build, command, finished, logitcache, names, shapes},
};
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::Duration,
};

/// A detector of the drawn classes that knows nothing of them, with scores from 0 to 1.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/families/yolov5.onnx");

/// A server of its own, stopped when it is dropped.
struct Server {
    child: Child,
    /// `127.0.0.1:PORT`
    host: String,
}

impl Server {
    #[track_caller]
    fn start(words: &[&dyn AsRef<OsStr>]) -> Self {
        let words: Vec<&OsStr> =
            ["serve", "--port", "0"].iter().map(OsStr::new).chain(words.iter().map(|word| word.as_ref())).collect();
        let mut child = command(&words).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some((_, rest)) = line.split_once("http://") else {
            panic!("{line:?} {:?}", finished(child.wait_with_output().unwrap()))
        };
        let host = rest.split_once('/').unwrap().0.to_owned();
        Self { child, host }
    }

    /// A connection on which so much was sent.
    fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        // A server that refuses a request may close before all of it was sent.
        let _ = stream.write_all(bytes);
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let own = |name: &str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !own("Host") {
            text += &format!("Host: {}\r\n", self.host);
        }
        if !own("Content-Length") && !body.is_empty() {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        answer(self.send(&[format!("{text}\r\n").as_bytes(), body].concat()))
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// The JSON of a path, asked for again while the server says that it is not ready.
    #[track_caller]
    fn json(&self, path: &str) -> Value {
        loop {
            let answer = self.get(path);
            if answer.status == 202 {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                thread::sleep(Duration::from_millis(50));
                continue;
            }
            return answer.expect(200).json();
        }
    }

    fn interrupt(&self) {
        assert!(
            std::process::Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    /// Ctrl-C; gives how the server ended.
    fn stop(mut self) -> Run {
        self.interrupt();
        let status = self.child.wait().unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Run { code: status.code().unwrap(), stdout: String::new(), stderr }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// Reads an answer to its end.
fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A server may close a connection hard after it refused what was sent.
    let _ = stream.read_to_end(&mut bytes);
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body: bytes.split_off((at + 4).min(bytes.len())) }
}

impl Answer {
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, String::from_utf8_lossy(&self.body));
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A form of pictures.
fn form(pictures: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, bytes) in pictures {
        let head = format!("--XX\r\nContent-Disposition: form-data; name=\"image\"; filename=\"{name}\"\r\n\r\n");
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(b"--XX--\r\n");
    body
}

const FORM: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=XX");

/// What `predict` finds, as the server writes it.
fn predicted(model: &Path, folder: &Path) -> Vec<(PathBuf, Value)> {
    let words = ["predict", folder.to_str().unwrap(), "--model", model.to_str().unwrap(), "--json", "--quiet"];
    let report = logitcache(&words).expect(0).json();
    let corners = |found: &Value| {
        let b = &found["box_xyxy_px"];
        json!({
            "class_id": found["class_id"], "score": found["score"], "box_xyxy_px": [b["x1"], b["y1"], b["x2"], b["y2"]],
            "name": report["class_names"][found["class_id"].as_u64().unwrap() as usize],
        })
    };
    let images = report["images"].as_array().unwrap().iter();
    let of = |image: &Value| {
        let found: Vec<Value> = image["detections"].as_array().unwrap().iter().map(corners).collect();
        (folder.join(image["path"].as_str().unwrap()), Value::from(found))
    };
    images.map(of).collect()
}

#[track_caller]
fn same_as_predict(model: &Path, folder: &Path) {
    let expected = predicted(model, folder);
    assert!(expected.iter().any(|(_, found)| !found.as_array().unwrap().is_empty()));
    let server = Server::start(&[&model]);
    for (path, found) in &expected {
        let bytes = fs::read(path).unwrap();
        let answer = server.ask("POST", "/v1/detect?candidates=0.05", &[], &bytes).expect(200).json();
        let image = &answer["images"][0];
        assert_eq!(image["detections"], *found, "{}", path.display());
        assert_eq!(image["reused"], false);
        let candidates = image["candidates"].as_array().unwrap();
        let scores: Vec<f64> = candidates.iter().map(|candidate| candidate["score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| *score > 0.05), "{scores:?}");
        for own in found.as_array().unwrap() {
            let is_own = |other: &&Value| ["class_id", "score", "box_xyxy_px"].iter().all(|key| own[key] == other[key]);
            assert!(candidates.iter().any(|candidate| is_own(&candidate)), "{own}");
        }
        let counted: u64 =
            image["counts"].as_array().unwrap().iter().map(|count| count["count"].as_u64().unwrap()).sum();
        assert_eq!(counted as usize, found.as_array().unwrap().len());
    }
}

#[test]
fn detections_are_those_of_predict() {
    let dir = tempfile::tempdir().unwrap();
    let images = shapes(dir.path(), 10).with_file_name("images/train");
    same_as_predict(Path::new(MODEL), &images);
    // Many pictures at once keep their order; an equal one is not run again.
    let expected = predicted(Path::new(MODEL), &images);
    let server = Server::start(&[&MODEL, &MODEL]);
    let files: Vec<(String, Vec<u8>)> =
        expected.iter().map(|(path, _)| (path.display().to_string(), fs::read(path).unwrap())).collect();
    let mut pictures: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    pictures.push(("again.png", &files[0].1));
    pictures.push(("broken.jpg", b"no picture"));
    let answer = server.ask("POST", "/v1/detect?model=m1", &[FORM], &form(&pictures)).expect(200).json();
    let images = answer["images"].as_array().unwrap();
    for ((path, found), image) in expected.iter().zip(images) {
        assert_eq!((&image["detections"], &image["name"]), (found, &path.display().to_string().into()));
    }
    assert_eq!(images[expected.len()]["detections"], expected[0].1);
    assert!(images[expected.len() + 1]["error"]["message"].as_str().unwrap().contains("not an image"), "{answer}");
    assert_eq!(answer["model"], "m1");
    let again = server.ask("POST", "/v1/detect?model=m1", &[], &files[0].1).expect(200).json();
    assert_eq!((&again["images"][0]["reused"], &again["images"][0]["detections"]), (&true.into(), &expected[0].1));
    let other = server.ask("POST", "/v1/detect?model=m1&conf=0.9", &[], &files[0].1).expect(200).json();
    assert_eq!(other["images"][0]["reused"], false);
    let metrics = String::from_utf8(server.get("/metrics").expect(200).body).unwrap();
    assert!(metrics.contains("logitcache_pictures_unreadable_total 1\n"), "{metrics}");
    server.stop().expect(0);
}

#[test]
fn detections_on_photographs_are_those_of_predict() {
    let Some(shared) = common::shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let all = shared.join("data/coco128/images/train2017");
    for name in names(&all).iter().step_by(8) {
        fs::copy(all.join(name), dir.path().join(name)).unwrap();
    }
    same_as_predict(&shared.join("models/yolov12n.onnx"), dir.path());
}

/// A PNG with a whole header and next to no pixels.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let named = [kind, data].concat();
        let mut sum = flate2::Crc::new();
        sum.update(&named);
        [&(data.len() as u32).to_be_bytes()[..], &named, &sum.sum().to_be_bytes()].concat()
    };
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", b"\x78\x9c\x03\0"), chunk(b"IEND", b"")]
        .concat()
}

/// Method, path, headers, body, and the status and some words of the answer.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);

#[test]
fn whatever_is_asked_the_server_says_what_is_wrong_and_lives() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 8);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[("--teacher", MODEL), ("--imgsz", "64")]).expect(0);
    let server = Server::start(&[&MODEL, &"--cache", &cache]);
    let huge = png_header(60_000, 60_000);
    let cut = form(&[("a.jpg", b"abc")]);
    let (evil, foreign) = (("Host", "evil.example"), ("Origin", "http://evil.example"));
    let cases: [Case<'_>; 30] = [
        ("GET", "/v1/models", &[evil], b"", 421, "evil.example"),
        ("POST", "/v1/detect", &[evil], b"x", 421, "evil.example"),
        ("POST", "/v1/detect", &[foreign], b"x", 403, "another server"),
        ("POST", "/v1/detect", &[], b"", 400, "no picture"),
        ("POST", "/v1/detect", &[FORM], b"--XX--\r\n", 400, "no picture"),
        ("POST", "/v1/detect", &[], b"no picture", 422, "not an image"),
        ("POST", "/v1/detect", &[], &huge, 422, "60000"),
        ("POST", "/v1/detect", &[FORM], &cut[..cut.len() - 12], 400, ""),
        ("POST", "/v1/detect", &[("Content-Type", "multipart/form-data")], &cut, 400, "oundary"),
        ("POST", "/v1/detect?conf=2", &[], b"x", 400, "conf"),
        ("POST", "/v1/detect?conf=nan", &[], b"x", 400, "conf"),
        ("POST", "/v1/detect?iou=-1", &[], b"x", 400, "iou"),
        ("POST", "/v1/detect?max_det=0", &[], b"x", 400, "max_det"),
        ("POST", "/v1/detect?max_det=many", &[], b"x", 400, "max_det"),
        ("POST", "/v1/detect?model=m7", &[], b"x", 404, "m7"),
        ("POST", "/v1/detect?%", &[], b"x", 422, ""),
        ("GET", "/v1/detect", &[], b"", 405, ""),
        ("GET", "/nothing", &[], b"", 404, "nothing at this path"),
        ("GET", "/page/../Cargo.toml", &[], b"", 404, ""),
        ("GET", "/page/%2e%2e/%2e%2e/Cargo.toml", &[], b"", 404, ""),
        ("GET", "/page//etc/passwd", &[], b"", 404, ""),
        ("GET", "/v1/caches/c9/images", &[], b"", 404, "c9"),
        ("GET", "/v1/caches/..%2f..%2fetc/images", &[], b"", 404, ""),
        ("GET", "/v1/caches/c0/images/99", &[], b"", 404, "99"),
        ("GET", "/v1/caches/c0/images/-1", &[], b"", 400, ""),
        ("GET", "/v1/caches/c0/images/99999999999999999999/picture", &[], b"", 400, ""),
        ("GET", "/v1/caches/c0/images?limit=x", &[], b"", 400, "limit"),
        ("GET", "/v1/caches/c0/images?sort=size", &[], b"", 400, "sort"),
        ("GET", "/v1/runs/r0", &[], b"", 404, "r0"),
        ("POST", "/v1/caches/c0/issues/0", &[("Content-Type", "application/json")], b"{", 400, ""),
    ];
    for (method, path, headers, body, status, says) in cases {
        let answer = server.ask(method, path, headers, body);
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        // Which of the two a query that cannot be read is called is axum's.
        let same = answer.status == status || (path == "/v1/detect?%" && answer.status < 500);
        assert!(same && text.contains(says), "{method} {path} {headers:?}: {} {text}", answer.head);
        assert!(answer.header("content-security-policy").is_some(), "{}", answer.head);
    }
    // More than a request may have, said before it is sent; what is no HTTP; clients that send nothing more.
    assert_eq!(server.ask("POST", "/v1/detect", &[("Content-Length", "99999999999")], b"").status, 413);
    assert_eq!(answer(server.send(b"hello\r\n\r\n")).status, 400);
    let slow: Vec<TcpStream> = (0..20).map(|_| server.send(b"POST /v1/detect HTTP/1.1\r\nHost: 127")).collect();
    let picture =
        fs::read(data.with_file_name("images/train").join(&names(&data.with_file_name("images/train"))[0])).unwrap();
    server.ask("POST", "/v1/detect", &[], &picture).expect(200);
    drop(slow);

    // A request cut in its body leaves no trace.
    drop(server.send(
        format!("POST /v1/detect HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000\r\n\r\nabc", server.host).as_bytes(),
    ));
    assert_eq!(server.get("/healthz").expect(200).json()["status"], "ok");

    // A cache that is removed while it is shown.
    assert_eq!(server.json("/v1/caches/c0/images")["total"], 6);
    fs::rename(&cache, dir.path().join("away")).unwrap();
    for path in ["images", "images/0", "images/0/picture", "images/0/thumbnail"] {
        let answer = server.get(&format!("/v1/caches/c0/{path}")).expect(410);
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains("was removed"));
    }
    server.get("/healthz").expect(200);
    server.stop().expect(0);
}

#[test]
fn more_pictures_than_may_wait_are_refused_with_a_time_to_come_back() {
    let server = Server::start(&[&MODEL, &"--max-waiting", &"1", &"--jobs", &"1"]);
    let dir = tempfile::tempdir().unwrap();
    let images = shapes(dir.path(), 40).with_file_name("images/train");
    let all: Vec<Vec<u8>> = names(&images).iter().map(|name| fs::read(images.join(name)).unwrap()).collect();
    let server = &server;
    let statuses: Vec<Answer> = thread::scope(|threads| {
        let ask = |bytes| move || server.ask("POST", "/v1/detect", &[], bytes);
        let asked: Vec<_> = all.iter().map(|bytes| threads.spawn(ask(bytes))).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for answer in &statuses {
        assert!(
            answer.status == 200 || answer.header("retry-after").is_some_and(|_| answer.status == 429),
            "{answer:?}"
        );
    }
    assert!(statuses.iter().any(|answer| answer.status == 200));
}

#[test]
fn another_address_needs_a_token() {
    let refused = |words: &[&str], says: &[&str]| {
        logitcache(&[&["serve", "--port", "0"], words].concat()).refused(says);
    };
    refused(&[MODEL, "--host", "0.0.0.0"], &["other machines could reach", "--token"]);
    refused(&[MODEL, "--token=a b"], &["cannot stand in an address"]);
    refused(&[], &["nothing to serve", "MODEL.onnx"]);
    refused(&["nowhere.onnx"], &["nowhere.onnx"]);
    refused(&["--cache", "nowhere"], &["nowhere"]);
    refused(&["--run", "."], &["config.json"]);
    let server = Server::start(&[&MODEL, &"--token=secret"]);
    let port = server.host.rsplit_once(':').unwrap().1;
    logitcache(&["serve", MODEL, "--port", port]).refused(&["cannot listen", "--port"]);
    for path in ["/v1/models", "/metrics", "/openapi.json"] {
        assert!(server.get(path).expect(401).json()["error"]["remedy"].as_str().unwrap().contains("token"));
        server.ask("GET", path, &[("Authorization", "Bearer wrong")], b"").expect(401);
        server.ask("GET", path, &[("Authorization", "Bearer secret")], b"").expect(200);
    }
    for path in ["/", "/page/app.js", "/healthz"] {
        server.get(path).expect(200);
    }
    server.get("/?token=wrong").expect(401);
    let entered = server.get("/?token=secret").expect(303);
    let cookie = entered.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split_once(';').unwrap().0;
    server.ask("GET", "/v1/models", &[("Cookie", cookie), ("Host", "mybox:8000")], b"").expect(200);
    drop(server);
    let drawn = Server::start(&[&MODEL, &"--token"]);
    drawn.get("/v1/models").expect(401);
}

#[test]
fn a_cache_is_browsed() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[("--teacher", MODEL), ("--imgsz", "64")]).expect(0);
    let reviews = dir.path().join("reviews.jsonl");
    let server = Server::start(&[&"--cache", &cache, &"--reviews", &reviews]);
    let caches = server.json("/v1/caches");
    assert_eq!((&caches["caches"][0]["images"], &caches["reviews"]), (&16.into(), &true.into()));
    let all = server.json("/v1/caches/c0/images");
    let images = all["images"].as_array().unwrap().clone();
    assert_eq!((&all["total"], images.len()), (&16.into(), 16));
    assert!(images.iter().enumerate().all(|(at, image)| image["index"] == at));
    // Filters and orders against the plain list.
    let value = |image: &Value, key: &str| image[key].as_f64().unwrap();
    for key in ["uncertainty", "disagreement"] {
        let sorted = server.json(&format!("/v1/caches/c0/images?sort={key}"));
        let values: Vec<f64> = sorted["images"].as_array().unwrap().iter().map(|image| value(image, key)).collect();
        let mut wanted: Vec<f64> = images.iter().map(|image| value(image, key)).collect();
        wanted.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(values, wanted, "{key}");
        let least = wanted[5];
        let few = server.json(&format!("/v1/caches/c0/images?min_{key}={least}"));
        assert_eq!(few["total"], images.iter().filter(|image| value(image, key) >= least).count(), "{key}");
    }
    let page = server.json("/v1/caches/c0/images?offset=3&limit=2");
    assert_eq!(page["images"].as_array().unwrap()[..], images[3..5]);
    let path = images[7]["path"].as_str().unwrap();
    let named = server.json(&format!("/v1/caches/c0/images?text={path}"));
    assert_eq!(named["images"].as_array().unwrap()[..], images[7..8]);

    for image in &images {
        let index = &image["index"];
        let detail = server.json(&format!("/v1/caches/c0/images/{index}"));
        let predictions = detail["predictions"].as_array().unwrap();
        let kept: Vec<&Value> = predictions.iter().filter(|one| one["kept"] == true).collect();
        assert_eq!(kept.len() as u64, image["detections"].as_u64().unwrap().min(300));
        let file = data.parent().unwrap().join(image["path"].as_str().unwrap());
        let labels = fs::read_to_string(
            file.to_str().unwrap().replace("images", "labels").replace(".png", ".txt").replace(".jpg", ".txt"),
        );
        assert_eq!(detail["labels"].as_array().unwrap().len(), labels.unwrap_or_default().lines().count());
        let picture = server.get(&format!("/v1/caches/c0/images/{index}/picture")).expect(200);
        assert_eq!(picture.body, fs::read(&file).unwrap());
        let small = server.get(&format!("/v1/caches/c0/images/{index}/thumbnail?size=40")).expect(200);
        assert!(small.body.starts_with(&[0xff, 0xd8]) && small.header("content-type") == Some("image/jpeg"));
    }
    let class = server.json("/v1/caches/c0/images/0")["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["kept"] == true)
        .map(|one| one["class_id"].clone());
    if let Some(class) = class {
        let with = server.json(&format!("/v1/caches/c0/images?class={class}"));
        assert!(with["images"].as_array().unwrap().iter().any(|image| image["index"] == 0));
    }

    // Verdicts are kept, also by the next server; one can be taken back.
    let list = |server: &Server| server.json("/v1/caches/c0/issues?limit=1000");
    let issues = list(&server);
    let told = logitcache(&["issues", cache.to_str().unwrap(), "--top", "10000", "--json", "--quiet"]).expect(0).json();
    assert_eq!(issues["total"], told["issues"].as_array().unwrap().len());
    assert_eq!(issues["issues"][0]["reason"], told["issues"][0]["why"]);
    let say = |server: &Server, id: u64, verdict: Value| {
        let body = json!({ "verdict": verdict }).to_string();
        let kind = [("Content-Type", "application/json")];
        server.ask("POST", &format!("/v1/caches/c0/issues/{id}"), &kind, body.as_bytes())
    };
    assert_eq!(say(&server, 0, "accept".into()).expect(200).json()["verdict"], "accept");
    say(&server, 1, "reject".into()).expect(200);
    say(&server, 1, Value::Null).expect(200);
    say(&server, 2, "reject".into()).expect(200);
    say(&server, 999_999, "reject".into()).expect(404);
    say(&server, 2, "maybe".into()).expect(422);
    server.stop().expect(0);
    assert_eq!(fs::read_to_string(&reviews).unwrap().lines().count(), 4);
    let server = Server::start(&[&"--cache", &cache, &"--reviews", &reviews]);
    let verdicts: Vec<Value> =
        list(&server)["issues"].as_array().unwrap()[..3].iter().map(|i| i["verdict"].clone()).collect();
    assert_eq!(verdicts, [json!("accept"), Value::Null, json!("reject")]);
    drop(server);
    let server = Server::start(&[&"--cache", &cache]);
    list(&server);
    assert!(say(&server, 0, "accept".into()).expect(409).json()["error"]["remedy"] == "Start it with --reviews FILE.");
    drop(server);
    fs::write(&reviews, "no verdict\n").unwrap();
    let words: [&OsStr; 5] =
        ["serve".as_ref(), "--cache".as_ref(), cache.as_os_str(), "--reviews".as_ref(), reviews.as_os_str()];
    logitcache(&words).refused(&["line 1", "no verdict", "--reviews"]);
}

#[test]
fn a_run_is_followed_while_it_grows() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("config.json"), r#"{"model": "yolov8n", "settings": {"epochs": 3}}"#).unwrap();
    fs::write(run.join("results.csv"), "epoch,time,metrics/mAP50(B)\n1,2.5,0.1\n").unwrap();
    let server = Server::start(&[&"--run", &run]);
    assert_eq!(server.json("/v1/runs")["runs"], json!([{"id": "r0", "name": "run", "finished": false, "epochs": 3}]));
    let state = server.json("/v1/runs/r0");
    assert_eq!((&state["columns"][0], &state["rows"]), (&"epoch".into(), &json!([[1.0, 2.5, 0.1]])));
    let ask = format!("GET /v1/runs/r0/events HTTP/1.1\r\nHost: {}\r\n\r\n", server.host);
    let mut events = BufReader::new(server.send(ask.as_bytes())).lines().map(Result::unwrap);
    let mut next = |kind: &str| {
        events.find(|line| line == &format!("event: {kind}")).unwrap();
        events.next().unwrap()
    };
    assert_eq!(next("row"), "data: [1.0,2.5,0.1]");
    // Half a row first, as a writer might leave it for a moment.
    fs::write(run.join("results.csv"), "epoch,time,metrics/mAP50(B)\n1,2.5,0.1\n2,5").unwrap();
    thread::sleep(Duration::from_millis(600));
    fs::write(run.join("results.csv"), "epoch,time,metrics/mAP50(B)\n1,2.5,0.1\n2,5,\n").unwrap();
    assert_eq!(next("row"), "data: [2.0,5.0,null]");
    fs::write(run.join("results.csv"), "epoch,time,metrics/mAP50(B)\n1,2.5,0.1\n2,5,\n3,7.5,0.3\n").unwrap();
    assert_eq!(next("row"), "data: [3.0,7.5,0.3]");
    assert_eq!(next("finished"), "data: {}");
    server.stop().expect(0);
}

#[test]
fn what_is_in_flight_at_the_end_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let images = shapes(dir.path(), 8).with_file_name("images/train");
    let bytes = fs::read(images.join(&names(&images)[0])).unwrap();
    let mut server = Server::start(&[&MODEL]);
    let head = format!("POST /v1/detect HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n", server.host, bytes.len());
    let mut stream = server.send(&[head.as_bytes(), &bytes[..10]].concat());
    // An answer shows that the server looked at its connections since.
    server.get("/healthz").expect(200);
    server.interrupt();
    // It takes no new ones once it saw the signal.
    while TcpStream::connect(&server.host).is_ok() {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(server.child.try_wait().unwrap().is_none(), "it waits for the request");
    stream.write_all(&bytes[10..]).unwrap();
    answer(stream).expect(200);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));

    // A second Ctrl-C does not wait.
    let mut server = Server::start(&[&MODEL]);
    let _stream = server.send(head.replace("\r\nHost", "\r\nX: y\r\nHost").as_bytes());
    server.get("/healthz").expect(200);
    server.interrupt();
    while TcpStream::connect(&server.host).is_ok() {
        thread::sleep(Duration::from_millis(10));
    }
    server.interrupt();
    assert_eq!(server.child.wait().unwrap().code(), Some(130));
}

#[test]
fn the_api_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 5);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[("--teacher", MODEL), ("--imgsz", "64")]).expect(0);
    let server = Server::start(&[&MODEL, &"--cache", &cache]);
    let api = server.json("/openapi.json");
    let paths = api["paths"].as_object().unwrap();
    assert!(paths.len() >= 12);
    for (path, operations) in paths.iter().filter(|(path, _)| !path.contains("{run}")) {
        let path = path.replace("{cache}", "c0").replace("{index}", "0");
        if operations.get("get").is_some() && !path.contains("issues") {
            assert!(!server.get(&path).expect(200).body.is_empty(), "{path}");
        }
    }
    // Every reference leads somewhere.
    let text = api.to_string();
    for (at, _) in text.match_indices("\"#/components/schemas/") {
        let name = text[at + 22..].split('"').next().unwrap();
        assert!(api["components"]["schemas"].get(name).is_some(), "{name}");
    }
}
