//! Public data beside the project, where it is.

use super::*;

#[test]
fn coco128_has_every_label() {
    let Some(root) = shared("coco128") else { return };
    let dataset = open(root.join("data.yaml"), None, "train").unwrap();
    assert_eq!((dataset.format, dataset.samples.len()), (DatasetFormat::Yolo, 128));
    let names = dataset.class_names.as_ref().unwrap();
    assert_eq!((names.len(), names[0].as_str(), names[79].as_str()), (80, "person", "toothbrush"));
    assert_eq!(dataset.samples[0].relative, "images/train2017/000000000009.jpg");
    assert!(dataset.samples.windows(2).all(|w| w[0].relative < w[1].relative));

    let mut missing = Vec::new();
    let mut count = 0;
    for sample in &dataset.samples {
        match sample.labels(size_of(sample)).unwrap() {
            Truth::Labelled(labels) => count += labels.len(),
            Truth::Missing => missing.push(sample.relative.as_str()),
            Truth::NoLabels => panic!("{} has no labels", sample.relative),
        }
    }
    assert_eq!(missing, ["images/train2017/000000000250.jpg", "images/train2017/000000000508.jpg"]);
    // Counted without this crate's parser: non-empty lines of the files that have an image; none of them repeats.
    let mut lines = 0;
    for entry in fs::read_dir(root.join("labels/train2017")).unwrap() {
        let path = entry.unwrap().path();
        let image = root.join("images/train2017").join(path.file_name().unwrap()).with_extension("jpg");
        let text = fs::read_to_string(&path).unwrap();
        lines += if image.exists() { text.lines().filter(|l| !l.trim().is_empty()).count() } else { 0 };
    }
    assert_eq!(count, lines);
    assert!(count > 900, "{count}");

    let notes = dataset.notes.join("\n");
    assert!(notes.contains("2 images have no label file: ") && notes.contains("000000000508.jpg"), "{notes}");
    assert!(notes.contains("2 label files have no image: ") && notes.contains("000000000659.txt"), "{notes}");
    let again = open(root.join("images/../data.yaml"), None, "train").unwrap();
    assert_eq!(relatives(&again), relatives(&dataset));
}

#[test]
fn bccd_is_the_same_as_yolo_and_as_voc() {
    let Some(root) = shared("bccd") else { return };
    let mut compared = 0;
    for (split, images) in [("train", 205), ("val", 87)] {
        let yolo = open(root.join("data.yaml"), None, split).unwrap();
        let pictures = Some(root.join("images").join(split));
        let voc = open(root.join("voc").join(split), pictures, split).unwrap();
        assert_eq!((yolo.samples.len(), voc.samples.len(), voc.format), (images, images, DatasetFormat::Voc));
        assert_eq!(voc.notes, Vec::<String>::new());
        let (yolo_names, voc_names) = (yolo.class_names.as_ref().unwrap(), voc.class_names.as_ref().unwrap());
        assert_eq!(voc_names, &["Platelets", "RBC", "WBC"]);
        let to_yolo = ClassMap::new(voc_names, yolo_names).unwrap();
        for (a, b) in yolo.samples.iter().zip(&voc.samples) {
            assert_eq!(a.path.file_name(), b.path.file_name());
            assert_eq!(b.path.canonicalize().unwrap(), a.path.canonicalize().unwrap());
            let size = size_of(a);
            let mut from_yolo = boxes(a, size);
            let mut from_voc = boxes(b, size);
            from_voc.iter_mut().for_each(|(class, _)| *class = to_yolo.apply(*class).unwrap());
            let by_place = |x: &(u32, [f32; 4]), y: &(u32, [f32; 4])| {
                (x.0, x.1.map(|v| v.round() as i64)).cmp(&(y.0, y.1.map(|v| v.round() as i64)))
            };
            from_yolo.sort_by(by_place);
            from_voc.sort_by(by_place);
            from_voc.dedup();
            assert_eq!(from_yolo.len(), from_voc.len(), "{}", a.relative);
            for ((class_a, box_a), (class_b, box_b)) in from_yolo.iter().zip(&from_voc) {
                assert_eq!(class_a, class_b, "{}", a.relative);
                let off = box_a.iter().zip(box_b).map(|(p, q)| (p - q).abs()).fold(0.0, f32::max);
                assert!(off < 1e-3, "{}: {box_a:?} and {box_b:?}", a.relative);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 3941, "every line of the YOLO labels");
    let whole = open(root.join("voc"), Some(root.join("images")), "train").unwrap();
    assert_eq!(whole.samples.len(), 292, "sub-folders of XML go with sub-folders of pictures");
    assert!(whole.samples.iter().all(|s| s.path.is_file()));
}
